"""Kill training runs with SIGKILL at random moments, continue them, and compare with a run that was left alone.

    python -m benchmarks.kill_test --runs=30
    python -m benchmarks.kill_test --runs=30 --precision=bf16

Every run is a tiny configuration on the built-in faces, with a checkpoint at every step, so that many kills fall
inside a save; every second kill waits for a checkpoint that is being written. A run passes if its networks, its
checkpoint, its statistics (timings aside) and its grids are equal, bit for bit, to those of the uninterrupted run.
"""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from torch_utils.checkpoint import list_checkpoints, unpack
from training.run_dir import SNAPSHOTS, RunDir, names

TINY = (
    "--cbase=128", "--cmax=8", "--batch=8", "--kimg=0.12", "--tick=0.04", "--snap=1", "--img-snap=1", "--grid=2x1",
    "--metrics=none", "--ada-kimg=0.5", "--target=0", "--checkpoint-minutes=0", "--precision=fp32", "--device=cpu",
)  # fmt: skip
"""A run of 15 steps, in which p grows from the start."""
BF16 = (*TINY, "--precision=bf16")

_TIMINGS = ("Timing/", "Resources/", "timestamp")
_COUNTERS_OF_TIME = ("elapsed", "tick_elapsed", "maintenance", "processor", "tick_processor")


@dataclass
class Outcome:
    """What became of one run: `kills` in all, `inside_saves` of them, and how it differs from the reference."""

    kills: int
    inside_saves: int
    differences: list[str]


def start(run_dir: Path, options: tuple[str, ...] = TINY, environment: dict[str, str] | None = None) -> Any:
    """Start `train.py` on a run directory in a process of its own; its output goes to `<run_dir>.out`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["rooted_stylegan.train", "training.command", "training.training_loop", "torch._dynamo"]
    )
    process = context.Process(target=_train, args=(str(run_dir), options, environment or {}))
    process.start()
    return process


def _train(run_dir: str, options: tuple[str, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    import torch

    from rooted_stylegan import train

    torch.set_num_threads(1)
    output = os.open(f"{run_dir}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    train.main.main(args=[f"--run-dir={run_dir}", *options])


def finish(run_dir: Path, options: tuple[str, ...] = TINY) -> None:
    """Train to the end.

    Raises:
        RuntimeError: the run did not end with status 0.
    """
    process = start(run_dir, options)
    process.join()
    if process.exitcode != 0:
        output = Path(f"{run_dir}.out").read_text(encoding="utf-8")
        raise RuntimeError(f"{run_dir}: exit status {process.exitcode}\n{output}")


def kill(run_dir: Path, delay: float, inside_save: bool, options: tuple[str, ...] = TINY) -> bool:
    """Start or continue a run and kill it after `delay` seconds, then at its next save if `inside_save`.

    Returns whether it was killed before it had reached its end.
    """
    process = start(run_dir, options)
    # The first steps take long: count from the moment when there is a run to kill.
    _wait(process, lambda: (run_dir / names.REALS).exists())
    time.sleep(delay)
    if inside_save:
        _wait(process, lambda: _unfinished(run_dir))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def _wait(process: Any, condition: Any) -> None:
    while process.is_alive() and not condition():
        time.sleep(0.0005)


def _unfinished(run_dir: Path) -> list[Path]:
    return list(run_dir.glob(".checkpoint-*.tmp"))


def killed_run(
    run_dir: Path, reference: Path, kills: int, choose: random.Random, options: tuple[str, ...] = TINY
) -> Outcome:
    """Kill a run up to `kills` times, let it end, and compare it with the run in `reference`."""
    done = inside = 0
    for attempt in range(kills):
        inside_save = attempt % 2 == 1 or choose.random() < 0.5
        if not kill(run_dir, choose.uniform(0.0, 0.5), inside_save, options):
            break
        done += 1
        inside += bool(_unfinished(run_dir))
    finish(run_dir, options)
    return Outcome(done, inside, differences(run_dir, reference))


def differences(run_dir: Path, reference: Path) -> list[str]:
    """What is not the same in two run directories, timings aside; empty if everything is."""
    found = []
    ours, theirs = _files(run_dir), _files(reference)
    if ours != theirs:
        found.append(f"files {sorted(ours ^ theirs)}")
    found += [
        name for name in sorted(ours & theirs) if (run_dir / name).read_bytes() != (reference / name).read_bytes()
    ]
    if statistics(run_dir) != statistics(reference):
        found.append(names.STATS)
    if not _same(state(run_dir), state(reference)):
        found.append("checkpoint")
    return found


def _files(run_dir: Path) -> set[str]:
    return {path.name for path in [*run_dir.glob("*.png"), *SNAPSHOTS.find(run_dir).values()]}


def statistics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `stats.jsonl` without timings and use of resources."""
    return [
        {name: value for name, value in record.items() if not name.startswith(_TIMINGS)}
        for record in RunDir(run_dir).stats()
    ]


def state(run_dir: Path) -> dict[str, Any]:
    """The newest checkpoint without the time that was spent."""
    content = unpack(list_checkpoints(run_dir)[0])
    for name in _COUNTERS_OF_TIME:
        content["progress"].pop(name, None)  # earlier runs lack some
    return content


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "numpy"):
        return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return set(a) == set(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


@click.command()
@click.option("--runs", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--max-kills", type=click.IntRange(min=1), default=3, show_default=True, help="Per run; at least one.")
@click.option("--seed", default=0, show_default=True, help="Of the moments of the kills.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
def main(runs: int, max_kills: int, seed: int, precision: str) -> None:
    """Kill that many runs, continue them, and say which differ from the uninterrupted one."""
    choose, options = random.Random(seed), BF16 if precision == "bf16" else TINY
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "uninterrupted"
        finish(reference, options)
        for number in range(runs):
            run_dir, kills = Path(folder) / f"run{number}", choose.randint(1, max_kills)
            outcome = killed_run(run_dir, reference, kills, choose, options)
            outcomes.append(outcome)
            verdict = "differs in " + ", ".join(outcome.differences) if outcome.differences else "identical"
            click.echo(f"run {number}: {outcome.kills} kills, {outcome.inside_saves} inside a save: {verdict}")
    different = sum(bool(outcome.differences) for outcome in outcomes)
    unkilled = sum(not outcome.kills for outcome in outcomes)
    click.echo(
        f"{runs} runs, {sum(o.kills for o in outcomes)} kills, {sum(o.inside_saves for o in outcomes)} inside a save; "
        f"{different} runs differ, {unkilled} ended before they could be killed"
    )
    sys.exit(1 if different or unkilled else 0)


if __name__ == "__main__":
    main()
