"""Cases in children with limits on time, memory and file size, and what became of them."""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.attack import data, networks, runs, servers
from benchmarks.attack.field import Field, invoke
from benchmarks.attack.shown import obeyed

SECONDS = 60  # for a case, however busy the machine is
MEMORY = 4 << 30  # bytes of address space above what a child begins with
FILE_BYTES = 1 << 28
BATCH = 40  # cases of a child
SHARES = {"comparisons": 8, "run directories": 2, "names and metadata": 2, "downloads": 2}
"""Kinds that take long have one case for so many of another kind."""
KINDS = networks.KINDS | data.KINDS | runs.KINDS | servers.KINDS


class Slow(BaseException):
    """A case took more than its time."""


def attack(field: Field, kind: str, seed: int, cases: range) -> list[tuple[int, str]]:
    """Run the cases of a kind in children; the numbers of those that went wrong, and how."""
    context, faults = multiprocessing.get_context("fork"), []
    for first in range(cases.start, cases.stop, BATCH):
        left = range(first, min(first + BATCH, cases.stop))
        while left:
            results = field.folder / "results"
            results.write_text("")
            child = context.Process(target=_attack, args=(field, kind, seed, left, results))
            child.start()
            child.join(SECONDS * 2 + BATCH * 5)
            if child.is_alive():
                child.kill()
                child.join()
            lines = [json.loads(line) for line in results.read_text().splitlines()]
            faults += [(number, fault) for number, fault in lines if fault]
            ended = [number for number, fault in lines if fault is not None]
            if len(ended) == len(left):
                break
            broken = lines[-1][0] if lines else left.start
            faults.append((broken, f"the process ended with {child.exitcode}"))
            left = range(broken + 1, left.stop)
    return faults


def _attack(field: Field, kind: str, seed: int, cases: range, results: Path) -> None:
    """Run cases; each appends (number, fault) to `results`, the number alone when it begins."""
    os.environ["DNNLIB_CACHE_DIR"] = str(field.folder / "cache")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)

    def too_slow(*_: Any) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, too_slow)
    time.sleep = lambda _: None  # in this child alone: a download waits before it tries again
    sys.path.insert(0, str(field.folder))
    with open(results, "a", encoding="utf-8", buffering=1) as stream:
        for number in cases:
            stream.write(json.dumps([number, None]) + "\n")
            stream.write(json.dumps([number, fault(field, kind, seed, number)]) + "\n")


def fault(field: Field, kind: str, seed: int, number: int) -> str:
    """Run one case in this process; what went wrong, "" if nothing did."""
    choose = random.Random(f"{seed} {kind} {number}")
    with _folder(field.folder) as folder:
        arguments = KINDS[kind](field, choose, folder)
        signal.alarm(SECONDS)
        try:
            done = invoke(*arguments)
        except Slow:
            return f"more than {SECONDS} seconds"
        finally:
            signal.alarm(0)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        if list(field.marks.iterdir()):
            return "executed"
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return f"{type(done.exception).__name__}: {str(done.exception)[:200]}"
        if done.exit_code not in (0, 2) or len(lines) > 1 or "Traceback" in done.output:
            return f"status {done.exit_code}, {len(lines)} error lines: {' | '.join(lines)[:200]}"
        return obeyed(done.output, folder)


@contextlib.contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A temporary one, that may become deeper than Python can walk."""
    folder = tempfile.mkdtemp(dir=parent)
    yield Path(folder)
    subprocess.run(["rm", "-rf", folder], check=True)
