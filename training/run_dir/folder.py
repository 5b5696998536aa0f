"""One run directory: its lock, its state, its log and its tables."""

import contextlib
import enum
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from filelock import lock_descriptor
from tqdm import tqdm

from dnnlib import UserError, atomic_write, read_json, write_json
from dnnlib.cli import in_flags
from dnnlib.errors import WriteError, printable
from dnnlib.json_files import append_record, keep_records, read_records
from torch_utils.checkpoint import is_checkpoint, list_checkpoints
from training.run_dir import names

_LONGEST_LINE = 1 << 16
_LOCK_ATTEMPTS = 20  # 10 ms apart, as who looks at the state of a run holds its lock for a moment


class State(enum.Enum):
    """How a run stands."""

    NEW = "new"  # nothing to go on from
    RUNNING = "running"  # a process trains it
    STOPPED = "stopped"  # it can go on from a checkpoint
    FINISHED = "finished"  # it has reached its end
    DIVERGED = "diverged"  # it was given up, as its gradients were not finite any more


class RunDir:
    """A run directory; rank 0 holds its lock while it trains.

    Attributes:
        path: the folder.
        is_new: whether this session has begun the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.is_new = False
        self._lock: IO | None = None
        self._unwritten: set[str] = set()

    @property
    def has_begun(self) -> bool:
        """Whether this is the folder of a run: it has options."""
        return (self.path / names.OPTIONS).is_file()

    def foreign(self) -> list[str]:
        """The files in the way of a run that is to begin here: they have names of a run's, but no run wrote them."""
        if self.has_begun:
            return []
        return sorted(path.name for path in self.path.iterdir() if names.is_ours(path.name))

    @property
    def can_continue(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.path.is_dir() and bool(list_checkpoints(self.path))

    @property
    def state(self) -> State:
        """How the run stands now."""
        for name, ended in ((names.FINISHED, State.FINISHED), (names.DIVERGED, State.DIVERGED)):
            if (self.path / name).exists():
                return ended
        if self._is_locked():
            return State.RUNNING
        return State.STOPPED if self.can_continue else State.NEW

    def finish(self, summary: dict[str, Any]) -> None:
        """Write down that the run has reached its end."""
        write_json(self.path / names.FINISHED, summary)

    def give_up(self, summary: dict[str, Any]) -> None:
        """Write down that the run has diverged."""
        write_json(self.path / names.DIVERGED, summary)

    def reopen(self) -> None:
        """Take back that the run has reached its end or was given up: it is to go on."""
        for name in (names.FINISHED, names.DIVERGED):
            (self.path / name).unlink(missing_ok=True)

    def lock(self) -> bool:
        """Take the lock; False if another process trains here. The system frees it when the process ends.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            stream = open(self.path / names.LOCK, "a+")  # noqa: SIM115 - held until `unlock`
        except OSError as error:
            raise UserError(
                f"the run directory {self.path} cannot be written ({error.strerror}); "
                "make it writable or choose another with `run_dir` or `outdir`"
            ) from error
        if not _try_lock(stream):
            stream.close()
            return False
        self._lock = stream
        stream.truncate(0)
        # On Windows nobody else can read the byte that is locked, the first.
        with contextlib.suppress(OSError):  # on a full disk: nothing hangs on it
            os.write(stream.fileno(), f" process {os.getpid()} on {socket.gethostname()}\n".encode())
        return True

    def holder(self) -> str:
        """Who trains here, as the lock tells it."""
        with contextlib.suppress(OSError, ValueError):
            with open(self.path / names.LOCK, "rb", buffering=0) as stream:
                stream.seek(1)
                text = stream.read(200).decode().strip()
            if text.startswith("process ") and text.isprintable():
                return text
        return "another process"

    def unlock(self) -> None:
        """Free the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _is_locked(self) -> bool:
        if self._lock is not None:
            return True
        try:
            with open(self.path / names.LOCK) as stream:
                return not _try_lock(stream)
        except OSError:
            return False  # nobody has begun here, or not where this process may look

    def log(self, line: str) -> None:
        """Print a line and append it to the log; a log that cannot be written is said once.

        Arguments that it names are shown as the command's flags; what it quotes from files and names is data, shown
        as `printable` shows it.
        """
        line = printable(in_flags(line), _LONGEST_LINE)
        tqdm.write(line, file=sys.stdout)
        with self.tolerating(names.LOG):
            try:
                _append(self.path / names.LOG, line)
            except OSError as error:
                raise WriteError(f"cannot write {self.path / names.LOG}: {error.strerror}; free space") from error

    @contextlib.contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """Within it, a file that cannot be written does not end the run; the first of each `what` is said."""
        try:
            yield
        except WriteError as error:
            if what not in self._unwritten:
                self._unwritten.add(what)
                self.log(f"warning: {error}; the run goes on without it")

    def record(self, text: str) -> None:
        """Append to the log while the run is failing: where that cannot be written, to stderr."""
        try:
            _append(self.path / names.LOG, text)
        except OSError:
            print(text, file=sys.stderr)

    def options(self) -> dict[str, Any]:
        """What the run was begun with, `training_options.json`.

        Raises:
            UserError: no such file, or damaged.
        """
        if not self.has_begun:
            raise UserError(f"{self.path} is not a run directory: it has no {names.OPTIONS}")
        options = read_json(self.path / names.OPTIONS)
        if not isinstance(options, dict):
            raise UserError(f"{self.path / names.OPTIONS} is damaged: it holds no object")
        return options

    def write_options(self, options: dict[str, Any]) -> None:
        """Write down what the run is."""
        write_json(self.path / names.OPTIONS, {**options, "run_dir": str(self.path)})

    def append_stats(self, record: dict[str, Any]) -> None:
        """Add a line to the statistics."""
        append_record(self.path / names.STATS, record)

    def stats(self) -> list[dict[str, Any]]:
        """The statistics, a record for each tick; [] before the first."""
        return read_records(self.path / names.STATS)

    def nimg(self) -> int:
        """The images at the last tick; 0 before the first."""
        ticks = self.stats()
        return _nimg(ticks[-1]) if ticks else 0

    def append_metric(self, record: dict[str, Any]) -> None:
        """Add a line to the results of the metric that the record names."""
        append_record(self.path / names.metric_file(record["metric"]), record)

    def write_picture(self, metric: str, nimg: int, png: bytes) -> None:
        """Write the picture that belongs to a metric's result."""
        with atomic_write(self.path / names.picture_file(metric, nimg)) as stream:
            stream.write(png)

    def pictures(self, metric: str) -> dict[int, Path]:
        """The pictures of a metric by images, in their order."""
        found = {
            int(path.stem.removeprefix(f"{metric}-")) * 1000: path
            for path in self.path.glob(f"{metric}-*.png")
            if names.is_ours(path.name)
        }
        return dict(sorted(found.items()))

    def metric(self, name: str) -> list[dict[str, Any]]:
        """The results of a metric in the order of their computation; [] where it has none."""
        return read_records(self.path / names.metric_file(name))

    def metrics(self) -> list[str]:
        """The metrics that have results."""
        return sorted(names.metric_of(path.name) for path in self.path.glob(names.metric_file("*")))

    def rewind(self, nimg: int) -> None:
        """Make the folder as it was after `nimg` images, before training goes on from there.

        What was being written when an earlier session was killed is removed, so are the lines of later images: they
        will be written again. Results of calc_metrics.py stay.
        """
        for path in self.path.iterdir():
            if names.is_leftover(path.name):
                path.unlink(missing_ok=True)
        (self.path / names.DIVERGED).unlink(missing_ok=True)
        keep_records(self.path / names.STATS, lambda line: _nimg(line) <= nimg)
        for name in self.metrics():
            keep_records(
                self.path / names.metric_file(name),
                lambda line: line.get("source") != "training" or line["nimg"] <= nimg,
            )

    def drop_after(self, nimg: int) -> list[str]:
        """Remove everything of later images, the results of calc_metrics.py too, so that the run goes on from `nimg`.

        Best networks are left to who knows which came before them. Returns what was removed, in words.
        """
        told = [(names.nimg_of(path.name), path) for path in self.path.iterdir() if not path.is_dir()]
        later = [(count, path) for count, path in told if count is not None and count > nimg]
        self.reopen()
        # Checkpoints first, the newest of them before others: wherever this ends, the rest are those of one run.
        for _, path in sorted(later, key=lambda item: (is_checkpoint(item[1].name), item[0]), reverse=True):
            path.unlink()
        dropped = [path.name for _, path in sorted(later)]
        for name in (names.STATS, *map(names.metric_file, self.metrics())):
            before = len(read_records(self.path / name))
            keep_records(self.path / name, lambda line: _nimg(line) <= nimg)
            gone = before - len(read_records(self.path / name))
            dropped += [f"{gone} lines of {name}"] if gone else []
        return dropped

    def best(self) -> dict[str, Any]:
        """Metric, value, images and file of the best snapshot; {} where there is none yet.

        Raises:
            UserError: the record is damaged.
        """
        path = self.path / names.BEST_RECORD
        best = read_json(path) if path.exists() else {}
        if best and not (isinstance(best, dict) and type(best.get("nimg")) is int):
            raise UserError(f"{path} is damaged: it does not say which snapshot is the best")
        return best

    def discard(self) -> None:
        """Remove what a run that never made a step has left here, and the folder if nothing else is in it."""
        for path in self.path.iterdir():
            if path.name == names.LOCK or names.is_ours(path.name) or names.is_leftover(path.name):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def _nimg(line: dict[str, Any]) -> int:
    """The images that a line of a table is of; 0 where it does not say."""
    if "Progress/kimg" in line:
        return round(line["Progress/kimg"]["mean"] * 1000)
    return line.get("nimg") or 0


def _try_lock(stream: IO) -> bool:
    for _ in range(_LOCK_ATTEMPTS):
        try:
            if lock_descriptor(stream.fileno(), blocking=False):
                return True
        except OSError:
            return True  # some network file systems have no locks; a run must not depend on them
        time.sleep(0.01)
    return False


def _append(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(text + "\n")
