"""The folder of a run: its name, its lock, its log and its tables.

Names and formats are the reference's: `<outdir>/<ID:05d>-<description>` with `log.txt`, `stats.jsonl`,
`metric-<name>.jsonl`, `training_options.json`. JSON is strict: a value that is not finite is null.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from dnnlib import UserError, atomic_write
from torch_utils.checkpoint import list_checkpoints
from training.config import FREE_TO_CHANGE, TrainingConfig, load_config

FINISHED = "finished.json"
_FIRST_FILES = (".lock", ".*.tmp", "training_options.json", "log.txt", "events.out.tfevents.*", "reals.png",
                "fakes_init.png")  # fmt: skip


class RunDir:
    """An existing run directory; rank 0 holds its lock while it trains.

    Attributes:
        path: the folder.
        is_new: whether this session has begun the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.is_new = False
        self._lock: IO | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the run has reached its end."""
        return (self.path / FINISHED).exists()

    def lock(self) -> bool:
        """Take the lock; False if another process trains here. The system frees it when the process ends.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            stream = open(self.path / ".lock", "w")  # noqa: SIM115 - held until `unlock`
        except OSError as error:
            raise UserError(
                f"the run directory {self.path} cannot be written ({error.strerror}); "
                "make it writable or choose another with --run-dir or --outdir"
            ) from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return False
        except OSError:
            # Some network file systems have no locks; a run must not depend on them.
            pass
        self._lock = stream
        return True

    def unlock(self) -> None:
        """Free the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def log(self, line: str) -> None:
        """Print a line and append it to `log.txt`."""
        tqdm.write(line, file=sys.stdout)
        self.append("log.txt", line + "\n")

    def append(self, name: str, text: str) -> None:
        """Append to a file of the folder and flush.

        Raises:
            UserError: the disk is full or the folder went away.
        """
        path = self.path / name
        try:
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror}; free space and run the same command again"
            ) from error

    def record(self, text: str) -> None:
        """Append to `log.txt` while the run is failing: where that cannot be written, to stderr."""
        try:
            self.append("log.txt", text)
        except UserError:
            sys.stderr.write(text)

    def remove_leftovers(self) -> None:
        """Remove what was being written when an earlier session was killed."""
        for path in self.path.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def append_json(self, name: str, values: dict[str, Any]) -> None:
        """Append one object as a line of strict JSON."""
        self.append(name, json.dumps(finite(values), allow_nan=False) + "\n")

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write an object as an indented strict JSON file, atomically."""
        with atomic_write(self.path / name, "w") as stream:
            json.dump(finite(values), stream, indent=2, allow_nan=False)
            stream.write("\n")

    def write_config(self, config: TrainingConfig) -> None:
        """Write `training_options.json`."""
        self.write_json("training_options.json", {**config.to_dict(), "run_dir": str(self.path)})

    def discard(self) -> None:
        """Remove what a run that never made a step has left here, and the folder if nothing else is in it."""
        for pattern in _FIRST_FILES:
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def forget_finish(self) -> None:
        """Take back that the run has reached its end."""
        (self.path / FINISHED).unlink(missing_ok=True)

    def truncate_json_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the lines that `keep` refuses, and a last line that was cut off while being written."""
        path = self.path / name
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                if keep(json.loads(line)):
                    kept.append(line + "\n")
        with atomic_write(path, "w") as stream:
            stream.writelines(kept)


def finite(value: Any) -> Any:
    """`value` with None in place of every NaN and infinity, as strict JSON requires."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def open_run_dir(config: TrainingConfig, *, outdir: Path | None, run_dir: Path | None, new: bool = False) -> RunDir:
    """Create and lock the folder of a run, or find the unfinished one that the same command began.

    Args:
        config: the run.
        outdir: parent folder; the newest unfinished run of the same configuration in it is continued,
            else a folder with the next number is made.
        run_dir: the exact folder instead; one that holds another configuration is refused.
        new: make a new folder even if there is an unfinished run.

    Raises:
        UserError: a folder that cannot be written, is in use, or belongs to another configuration.
    """
    if run_dir is not None:
        run = RunDir(run_dir)
        make_folder(run.path, "--run-dir")
        if not run.lock():
            raise UserError(f"another process is training in {run.path}; wait for it or choose another --run-dir")
        if (run.path / "training_options.json").exists():
            _check_same(run, config)
        else:
            _write_first(run, config)
        return run
    outdir = Path(outdir)
    make_folder(outdir, "--outdir")
    for path in [] if new else sorted(_numbered(outdir), reverse=True):
        run = RunDir(path)
        if not run.is_finished and _holds(path, config) and run.lock():
            return run
    # Two commands may start at once: a folder is whose who made and locked it.
    number = 1 + max(_numbered(outdir).values(), default=-1)
    while True:
        run = RunDir(outdir / f"{number:05d}-{config.description}")
        try:
            run.path.mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise UserError(
                f"--outdir={outdir}: the run directory cannot be made ({error.strerror}); choose another"
            ) from error
        run.lock()
        _write_first(run, config)
        return run


def _write_first(run: RunDir, config: TrainingConfig) -> None:
    run.write_config(config)
    run.is_new = True


def make_folder(path: Path, flag: str) -> None:
    """Make a folder and its parents; a `UserError` names the flag where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{flag}={path}: the folder cannot be made or written ({error.strerror}); choose another"
        ) from error


def _numbered(outdir: Path) -> dict[Path, int]:
    """The sub-folders whose names begin with a number, and that number."""
    try:
        folders = [path for path in outdir.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"--outdir={outdir} cannot be read ({error.strerror}); choose another") from error
    matches = {path: re.match(r"\d+", path.name) for path in folders}
    return {path: int(match.group()) for path, match in matches.items() if match}


def _holds(path: Path, config: TrainingConfig) -> bool:
    try:
        return load_config(path).same_run_as(config)
    except UserError:
        return False


def _check_same(run: RunDir, config: TrainingConfig) -> None:
    # The description may name the number of processes; here the user has named the folder.
    theirs = dataclasses.replace(load_config(run.path), description=config.description)
    if not theirs.same_run_as(config):
        ours, old = config.to_dict(), theirs.to_dict()
        differing = [key for key in ours if ours[key] != old[key] and key not in FREE_TO_CHANGE]
        raise UserError(
            f"--run-dir={run.path} holds a run with other settings ({', '.join(differing)}); "
            "repeat its command, use --continue, or choose another folder"
        )


def can_continue(run: RunDir) -> bool:
    """Whether the run can be continued."""
    return bool(list_checkpoints(run.path))
