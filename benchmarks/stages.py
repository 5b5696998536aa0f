r"""All benchmarks of a device in one command: JSON, logs, and a table of what was found beside the goals.

    python benchmarks/run.py --device=cpu --out=cpu-results

Stages run one after the other, each in a process of its own and with a time limit; a failed one does not end the
others. `summary.json` holds the outcome of each with its result, or with the end of its log where it failed, and
`summary.md` the table; both are written anew after every stage. A second call with the same folder adds to them.

Where a GPU is available for minutes only, one call of nine does the most telling stages in small, and a second of
three minutes repeats one by name:

    python benchmarks/run.py --device=cuda --nine-minutes --out=gpu1
    python benchmarks/run.py --device=cuda --nine-minutes --budget=180 --out=gpu2 --stages=step-graphs

Their outcomes are joined, and made a page, anywhere:

    python benchmarks/run.py --device=cuda --stages=none --merge=gpu1 --merge=gpu2 --out=gpu --page=docs/results/gpu.md

`--stand-in` rehearses all this without a GPU: the same stages on the CPU, in a size that it can do.

`kill_test` is not among the stages of a GPU: it asks for equal bits, and on a GPU some sums (the gradient of the
sampling in the augmentation) are taken in any order. `quick` continues a run there and compares within rounding.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from benchmarks.goals import goals
from benchmarks.page import page
from benchmarks.plans import NINE_MINUTES, nine_minutes, stages
from dnnlib import UserError, atomic_write
from dnnlib.cli import door
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import SOURCE, provenance

GRACE = 20  # seconds that a stage gets to say what it has found, after its time is over
LOG_END = 8000  # characters of the log of a failed stage that the summary holds


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
    text = page(summary, found)
    for name, content in (("summary.json", json.dumps(summary, indent=1) + "\n"), ("summary.md", text)):
        with atomic_write(out / name, "w") as stream:
            stream.write(content)
    return text


def chosen(names: str | None, known: Collection[str]) -> list[str]:
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
@click.option("--nine-minutes", "short", is_flag=True, help="Of a GPU's stages those that tell most, in small.")
@click.option("--stand-in", is_flag=True, help="Rehearse --nine-minutes on the CPU.")
@click.option("--out", type=Path, default=Path("benchmark-results"), show_default=True, help="Folder for the results.")
@click.option("--stages", "names", help="Comma-separated subset, or none [all of the device].")
@click.option(
    "--budget", type=click.IntRange(min=1), help="Seconds for all stages [530 of nine minutes, else no limit]."
)
@click.option("--merge", "others", type=Path, multiple=True, help="Add the outcomes of this folder. Repeatable.")
@click.option("--page", "page_path", type=Path, help="Write the page here, too.")
@door
def main(
    device: str,
    short: bool,
    stand_in: bool,
    out: Path,
    names: str | None,
    budget: int | None,
    others: tuple[Path, ...],
    page_path: Path | None,
) -> None:
    """Run the stages."""
    started = time.monotonic()
    if stand_in and not short:
        raise UserError("--stand-in rehearses --nine-minutes: give both")
    if short and device == "cpu" and not stand_in:
        raise UserError("--nine-minutes is a GPU's: give --device=cuda, or --stand-in to rehearse it on the CPU")
    known = nine_minutes(stand_in) if short else stages(device)
    budget = NINE_MINUTES if short and budget is None else budget
    wanted, place = chosen(names, known), "cpu" if stand_in else device
    if wanted:
        choose_device(place)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    ran: dict[str, Any] = {}
    described = {"kind": "cuda" if short else device, **provenance(place if wanted else "cpu")}
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
    if page_path is not None:
        with atomic_write(page_path, "w") as stream:
            stream.write(text)
    click.echo(text)


if __name__ == "__main__":
    main()
