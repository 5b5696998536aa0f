r"""All benchmarks of a device in one command: JSON, logs, and a table of what was found beside the goals.

    python benchmarks/run.py --device=cpu --out=cpu-results

Stages run one after the other, each in a process of its own and with a time limit; a failed one does not end the
others. `summary.json` holds the outcome of each with its result, or with the end of its log where it failed, and
`summary.md` the table; both are written anew after every stage. A second call with the same folder adds to them.

Where a GPU is available for minutes only, three calls of less than ten do it, the most telling first:

    python benchmarks/run.py --device=cuda --budget=580 --out=gpu1 --stages=quick,tests-ops,tests-training,ops
    python benchmarks/run.py --device=cuda --budget=580 --out=gpu2 \
        --stages=step,step-graphs,losses,losses-compiled,tools
    python benchmarks/run.py --device=cuda --budget=580 --out=gpu3 --stages=precision,step-more,memory,saving

and their outcomes are joined, anywhere, by

    python benchmarks/run.py --device=cuda --out=gpu --stages=none --merge=gpu1 --merge=gpu2 --merge=gpu3

`kill_test.py` is not among the stages of a GPU: it asks for equal bits, and on a GPU some sums (the gradient of the
sampling in the augmentation) are taken in any order. `quick` continues a run there and compares within rounding.
"""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.goals import goals, table
from dnnlib import UserError, atomic_write
from dnnlib.cli import door
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import SOURCE, provenance
from training.config.number_format import cpu_has_bf16_units

GRACE = 20  # seconds that a stage gets to say what it has found, after its time is over
LOG_END = 8000  # characters of the log of a failed stage that the summary holds


@dataclass(frozen=True)
class Stage:
    """A module that is run, with its options, and the seconds it may take.

    `{json}` in an option stands for the file of the result and `{out}` for the folder.
    """

    command: tuple[str, ...]
    limit: int = 560

    def line(self, out: Path, name: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", *(part.format(json=out / f"{name}.json", out=out) for part in self.command)]


def stages(device: str) -> dict[str, Stage]:
    """The stages of a device by name, the most telling ones first."""
    on, to_json = f"--device={device}", "--json={json}"
    quick = Stage(("benchmarks.speed.quick", on, to_json), limit=180)
    if device == "cpu":
        precisions = "fp32,bf16" if cpu_has_bf16_units() else "fp32"
        step = (
            "benchmarks.speed.training",
            on,
            "--resolutions=32",
            "--batch=16",
            f"--precisions={precisions}",
            to_json,
        )
        return {
            "quick": quick,
            "step": Stage(step, limit=1800),
            "tools": Stage(("benchmarks.speed.tools", on, "--resolutions=32", f"--precisions={precisions}", to_json)),
            "metrics": Stage(("benchmarks.speed.metrics", "--images=2000", "--out={json}")),
            "losses": Stage(("benchmarks.speed.losses", on, "--rounds=5", to_json)),
            "ops": Stage(
                ("benchmarks.speed.ops", on, "--resolutions=64", "--repeats=5", "--out={out}/ops"), limit=1800
            ),
            "saving": Stage(("benchmarks.speed.saving",)),
            "memory": Stage(("benchmarks.speed.memory", on), limit=1800),
        }
    step = ("benchmarks.speed.training", on, "--repeats=10", to_json)
    pytest = ("pytest", "-q", "-m", "gpu", "--maxfail=25", "-p", "no:cacheprovider", "--durations=10", "--tb=short")
    if importlib.util.find_spec("xdist") is not None:
        pytest += ("-n", "4")
    losses = ("benchmarks.speed.losses", on, "--dtype=float32", "--dtype=bfloat16", to_json)
    larger = ("--", "--cbase=8192", "--cmax=256", "--glr=0.0025", "--dlr=0.0025")
    precision = ("benchmarks.speed.bfloat16", on, "--outdir={out}/precision", "--kimg=16", "--jobs=3", to_json, *larger)
    return {
        "quick": quick,
        "tests-ops": Stage((*pytest, "tests/torch_utils"), 300),
        "tests-training": Stage((*pytest, "tests/training"), 240),
        "ops": Stage(("benchmarks.speed.ops", on, "--out={out}/ops")),
        "step": Stage((*step, "--resolutions=64,256", "--precisions=bf16,fp32")),
        "step-graphs": Stage((*step, "--resolutions=64,256,32,128", "--precisions=bf16", "--cuda-graphs")),
        "losses": Stage(losses),
        "losses-compiled": Stage((*losses, "--compile")),
        "tools": Stage(("benchmarks.speed.tools", on, "--resolutions=64,256,1024", to_json)),
        "precision": Stage(precision, limit=480),
        "step-more": Stage((*step, "--resolutions=32,128", "--precisions=bf16,fp32")),
        "memory": Stage(("benchmarks.speed.memory", on)),
        "saving": Stage(("benchmarks.speed.saving",)),
    }


def run(command: list[str], log: Path, seconds: float) -> int | str:
    """The exit status of a program, or "time limit"; it is interrupted first, so that it can say what it has found."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, cwd=SOURCE, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            # Whoever starts us in the background may have made us ignore it, and a stage would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            return "time limit"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def outcome(out: Path, name: str, status: int | str, seconds: float) -> dict[str, Any]:
    """What the summary says of a stage that has run."""
    log = (out / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    found: dict[str, Any] = {"status": status, "seconds": round(seconds, 1)}
    if name.startswith("tests"):
        found["result"] = counts(log) | ({"unfinished": 1} if isinstance(status, str) else {})
    # Absent or cut off where the stage was; without a result, what was printed is all there is.
    with contextlib.suppress(OSError, ValueError):
        found["result"] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    if status != 0 or "result" not in found:
        found["log"] = log[-LOG_END:]
    return found


def counts(log: str) -> dict[str, int]:
    """{"passed": n, "failed": n, ...} from what pytest printed last."""
    lines = [line for line in log.splitlines() if re.search(r"\d+ (passed|failed|skipped|errors?).* in [\d.]+s", line)]
    if not lines:
        return {"error": 1}
    return {word.removesuffix("s"): int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", lines[-1])}


def write(out: Path, summary: dict[str, Any]) -> str:
    """Write `summary.json` and `summary.md`, and return the latter."""
    ran = summary["stages"]
    results = {name: stage["result"] for name, stage in ran.items() if "result" in stage}
    found = goals(results, summary["machine"]["kind"])
    summary["goals"] = [{**goal._asdict(), "verdict": goal.verdict} for goal in found]
    lines = [f"# {summary['machine']['device']}", ""]
    lines += [f"* {key}: {value}" for key, value in summary["machine"].items() if key not in ("device", "kind")]
    lines += ["", table(found), "| stage | status | seconds |", "|---|---|---|"]
    lines += [f"| {name} | {stage['status']} | {stage['seconds']} |" for name, stage in ran.items()]
    text = "\n".join(lines) + "\n"
    for name, content in (("summary.json", json.dumps(summary, indent=1) + "\n"), ("summary.md", text)):
        with atomic_write(out / name, "w") as stream:
            stream.write(content)
    return text


def chosen(names: str | None, known: dict[str, Stage]) -> list[str]:
    """The stages to run.

    Raises:
        UserError: one that does not exist.
    """
    if names == "none":
        return []
    wanted = names.split(",") if names else list(known)
    for name in wanted:
        if name not in known:
            raise UserError(f"--stages: there is no {name}; choose from {', '.join(known)}, none")
    return wanted


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--out", type=Path, default=Path("benchmark-results"), show_default=True, help="Folder for the results.")
@click.option("--stages", "names", help="Comma-separated subset, or none [all of the device].")
@click.option("--budget", type=click.IntRange(min=1), help="Seconds for all stages together [no limit].")
@click.option("--merge", "others", type=Path, multiple=True, help="Add the outcomes of this folder. Repeatable.")
@door
def main(device: str, out: Path, names: str | None, budget: int | None, others: tuple[Path, ...]) -> None:
    """Run the stages."""
    started = time.monotonic()
    known = stages(device)
    wanted = chosen(names, known)
    if wanted:
        choose_device(device)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    ran: dict[str, Any] = {}
    described = {"kind": device, **provenance(device if wanted else "cpu")}
    for folder in (*others, out):
        path = folder / "summary.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            ran |= before["stages"]
            described = described if wanted else before["machine"]
        elif folder in others:
            raise UserError(f"--merge={folder}: there is no summary.json in it")
    summary = {"machine": described, "stages": ran}
    text = write(out, summary)
    for name in wanted:
        left = float("inf") if budget is None else budget - (time.monotonic() - started) - GRACE
        begin = time.monotonic()
        if left < GRACE:
            ran[name] = {"status": "not started: the budget is spent", "seconds": 0.0}
        else:
            (out / f"{name}.json").unlink(missing_ok=True)
            status = run(known[name].line(out, name), out / f"{name}.log", min(known[name].limit, left))
            ran[name] = outcome(out, name, status, time.monotonic() - begin)
        click.echo(f"{name}: {ran[name]['status']}, {ran[name]['seconds']} s", err=True)
        text = write(out, summary)
    click.echo(text)


if __name__ == "__main__":
    main()
