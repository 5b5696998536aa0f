"""Everything that needs a GPU, in one command: the GPU tests and all benchmarks, with their logs and JSON in a folder.

    python benchmarks/gpu.py --out=gpu-results

Stages run one after the other, each in a process of its own and with a time limit; a failed one does not end the
others.
`--stages=tests,ops` runs some of them. The summary, `summary.json`, says which passed and what they took.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import machine  # noqa: E402

PYTHON = sys.executable


def stages(out: Path) -> dict[str, list[str]]:
    """Command lines by name, cheapest first."""
    step = [PYTHON, "benchmarks/training.py", "--repeats=10"]
    return {
        "doctor": [PYTHON, "-m", "torch_utils.doctor"],
        "tests": [PYTHON, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"],
        "ops": [PYTHON, "benchmarks/ops.py", f"--out={out / 'ops'}"],
        "losses": [PYTHON, "benchmarks/losses.py", "--device=cuda", "--compile"],
        "step": [*step, "--precisions=fp32,bf16", f"--json={out / 'step.json'}"],
        "step-graphs": [*step, "--precisions=bf16", "--cuda-graphs", f"--json={out / 'step-graphs.json'}"],
        "tools": [PYTHON, "benchmarks/tools.py", "--resolutions=64,256,1024", "--json", str(out / "tools.json")],
    }


@click.command()
@click.option("--out", default="gpu-results", help="Folder for logs and JSON.")
@click.option("--stages", "names", help="Comma-separated subset.")
@click.option("--limit", default=580, help="Seconds for each stage.")
def main(out: str, names: str | None, limit: int) -> None:
    """Run the stages and write `summary.json`."""
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    commands = stages(folder)
    summary = {"machine": machine("cuda"), "stages": {}}
    for name in names.split(",") if names else commands:
        start = time.perf_counter()
        with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
            try:
                status = subprocess.run(
                    commands[name], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=limit
                ).returncode
            except subprocess.TimeoutExpired:
                status = "time limit"
        summary["stages"][name] = {"status": status, "seconds": round(time.perf_counter() - start, 1)}
        print(name, summary["stages"][name], flush=True)
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
