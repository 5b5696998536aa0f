"""Tiny training runs in processes of their own, whose output goes wherever an output can go."""

import contextlib
import multiprocessing
import os
import pty
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.run_dir import RunDir, names

TINY = (
    "--cbase=128", "--cmax=8", "--batch=8", "--kimg=0.12", "--tick=0.04", "--snap=1", "--img-snap=1", "--grid=2x1",
    "--metrics=none", "--ada-kimg=0.5", "--target=0", "--checkpoint-minutes=0", "--precision=fp32", "--device=cpu",
)  # fmt: skip
"""A run of 15 steps, in which p grows from the start."""
BF16 = (*TINY, "--precision=bf16")


class Output:
    """Where the output of a run goes: a file beside its folder.

    Attributes:
        nohup: whether the run ignores the end of the connection.
    """

    nohup = False

    def attach(self, run_dir: str) -> None:
        """In the process of the run: take it as stdout and stderr."""
        output = os.open(f"{run_dir}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)

    def drain(self) -> None:
        """In the process that watches: read what there is, so that the run need not wait."""

    def cut(self) -> None:
        """In the process that watches: read no more."""


class Closed(Output):
    """Stdout and stderr are closed from the beginning, as with `>&- 2>&-`."""

    def attach(self, run_dir: str) -> None:
        """Close them; Python has no streams then."""
        os.close(1)
        os.close(2)
        sys.stdout = sys.stderr = None


class Reader(Output):
    """A pipe with a reader."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"pipe{time.monotonic_ns()}"
        os.mkfifo(self._path)
        self._end: int | None = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def attach(self, run_dir: str) -> None:
        """Write into the pipe."""
        output = os.open(self._path, os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)

    def drain(self) -> None:
        """Read what there is."""
        with contextlib.suppress(OSError):
            while self._end is not None and os.read(self._end, 65536):
                pass

    def cut(self) -> None:
        """Close the end that is read from: what is written from now on is refused."""
        if self._end is not None:
            os.close(self._end)
            self._end = None

    def __getstate__(self) -> dict[str, Any]:
        """What the process of the run needs: descriptors are this one's."""
        return {"_path": self._path, "nohup": self.nohup}


class Terminal(Reader):
    """A terminal of the run's own; when it closes, the run is told by SIGHUP unless that is ignored."""

    def __init__(self, nohup: bool) -> None:
        self.nohup = nohup
        self._end, self._theirs = pty.openpty()
        os.set_blocking(self._end, False)
        self._path = os.ttyname(self._theirs)

    def attach(self, run_dir: str) -> None:
        """Become the leader of a session with this terminal."""
        os.setsid()
        super().attach(run_dir)

    def cut(self) -> None:
        """Close the terminal."""
        os.close(self._theirs)
        super().cut()


def start(
    run_dir: Path,
    options: tuple[str, ...] = TINY,
    environment: dict[str, str] | None = None,
    output: Output | None = None,
) -> Any:
    """Start `train.py` on a run directory in a process of its own; without `output` it goes to `<run_dir>.out`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["rooted_stylegan.train", "training.starting.command", "training.training_loop", "torch._dynamo"]
    )
    process = context.Process(target=_train, args=(str(run_dir), options, environment or {}, output or Output()))
    process.start()
    return process


def _train(run_dir: str, options: tuple[str, ...], environment: dict[str, str], output: Output) -> None:
    os.environ.update(environment)
    import torch

    from rooted_stylegan import train

    torch.set_num_threads(1)
    if output.nohup:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    output.attach(run_dir)
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
    wait_for_moment(process, run_dir, delay)
    if inside_save:
        wait(process, lambda: unfinished(run_dir))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def wait_for_moment(process: Any, run_dir: Path, delay: float, output: Output | None = None) -> None:
    """Wait for so many seconds from the moment when there is a run to interrupt: its first steps take long.

    Its process holds the run then, and answers signals.
    """
    run = RunDir(run_dir)
    mine = f"process {process.pid} "
    wait(process, lambda: (run_dir / names.REALS).exists() and run.holder().startswith(mine), output)
    end = time.monotonic() + delay
    wait(process, lambda: time.monotonic() > end, output)


def wait(process: Any, condition: Callable[[], Any], output: Output | None = None) -> None:
    """Wait until the condition holds or the process has ended; meanwhile its output is read."""
    while process.is_alive() and not condition():
        if output is not None:
            output.drain()
        time.sleep(0.0005)


def unfinished(run_dir: Path) -> list[Path]:
    """The checkpoints that are being written, or were when the run was killed."""
    return list(run_dir.glob(".checkpoint-*.tmp"))
