"""What happens to a run at a random moment, and how the run may end then."""

import contextlib
import os
import random
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kill_test.comparing import differences
from benchmarks.kill_test.disks import Disk
from benchmarks.kill_test.runs import (
    TINY,
    Closed,
    Output,
    Reader,
    Terminal,
    finish,
    start,
    unfinished,
    wait,
    wait_for_moment,
)
from dnnlib.cli import CONTINUE_STATUS, MISTAKE_STATUS
from torch_utils.checkpoint import DamagedCheckpoint, list_checkpoints, unpack

KILLED = -signal.SIGKILL
STATUSES = {
    "kill": {KILLED, 0},
    "kill in a save": {KILLED, 0},
    "reader gone": {0},
    "streams closed": {0},
    "terminal closed": {CONTINUE_STATUS, 0},
    "terminal closed, nohup": {0},
    "disk full": {KILLED, MISTAKE_STATUS, CONTINUE_STATUS, 0},
}
"""The kinds, and the statuses that a run may end with."""
LONGEST = 0.5  # seconds from the first step to the interruption


@dataclass
class Outcome:
    """What became of one run.

    Attributes:
        kinds: the interruptions; inside_saves: how many of them left a checkpoint half written.
        differences: from the run that was left alone.
        lost: interruptions after which the newest whole checkpoint was older than before, or the status was wrong.
    """

    kinds: list[str] = field(default_factory=list)
    inside_saves: int = 0
    differences: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def interrupted_run(
    disk: Disk,
    name: str,
    reference: Path,
    kinds: list[str],
    choose: random.Random,
    options: tuple[str, ...] = TINY,
) -> Outcome:
    """Interrupt a run in these ways one after the other as far as it goes, let it end, and compare it."""
    run_dir, outcome = disk.folder / name, Outcome()
    for kind in kinds:
        before = _newest(run_dir)
        status = interrupt(kind, disk, run_dir, choose, options)
        outcome.kinds.append(kind)
        outcome.inside_saves += bool(unfinished(run_dir))
        if status not in STATUSES[kind]:
            outcome.lost.append(f"{kind}: status {status}")
        if _newest(run_dir) < before:
            outcome.lost.append(f"{kind}: no checkpoint of {before} images any more")
        if status == 0:
            break
    finish(run_dir, options)
    outcome.differences = differences(run_dir, reference)
    shutil.rmtree(run_dir)
    return outcome


def interrupt(kind: str, disk: Disk, run_dir: Path, choose: random.Random, options: tuple[str, ...] = TINY) -> int:
    """Start or continue a run, let this happen to it, and wait for its end; the exit status."""
    output = _output(kind, disk)
    process = start(run_dir, options, output=output)
    wait_for_moment(process, run_dir, choose.uniform(0, LONGEST), output)
    if kind == "disk full":
        disk.fill(process)
        wait_for_moment(process, run_dir, choose.uniform(0, LONGEST), output)
        _send(process.pid, choose.choice((signal.SIGKILL, signal.SIGTERM)))
    elif kind.startswith("kill"):
        if kind == "kill in a save":
            wait(process, lambda: unfinished(run_dir))
        _send(process.pid, signal.SIGKILL)
    output.cut()
    process.join()
    disk.free()
    return process.exitcode


def _output(kind: str, disk: Disk) -> Output:
    if kind.startswith("terminal"):
        return Terminal(nohup=kind.endswith("nohup"))
    if kind == "reader gone":
        return Reader(disk.folder)
    return Closed() if kind == "streams closed" else Output()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _newest(run_dir: Path) -> int:
    """The images of the newest whole checkpoint; 0 where there is none."""
    for path in list_checkpoints(run_dir) if run_dir.is_dir() else ():
        with contextlib.suppress(DamagedCheckpoint):
            return unpack(path)["progress"]["nimg"]
    return 0
