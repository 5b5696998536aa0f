"""Which folder a run is in: the one that its command began earlier, or the next number.

As in the reference its name is `<outdir>/<ID:05d>-<description>`.
"""

import dataclasses
import re
from pathlib import Path

from dnnlib import UserError, make_folder
from training.config import TrainingConfig, load_config
from training.config.schema import FREE_TO_CHANGE
from training.run_dir import RunDir, State


def open_run_dir(config: TrainingConfig, *, outdir: Path | None, run_dir: Path | None, new: bool = False) -> RunDir:
    """Create and lock the folder of a run, or find the unfinished one that the same command began.

    Args:
        config: the run.
        outdir: parent folder; the newest unfinished run of the same configuration in it is continued,
            else a folder with the next number is made. A run that another process holds is not begun again.
        run_dir: the exact folder instead; one that holds another configuration is refused.
        new: make a new folder even if there is an unfinished run.

    Raises:
        UserError: a folder that cannot be written, is in use, or belongs to another configuration.
    """
    if run_dir is not None:
        run = RunDir(run_dir)
        make_folder(run.path, "`run_dir`")
        foreign = run.foreign()
        if foreign:
            raise UserError(
                f"`run_dir`={run.path} is no run directory, but holds {', '.join(foreign[:3])}, which a run would "
                "write over; move them or choose another folder"
            )
        if not run.lock():
            raise UserError(f"{run.holder()} is training in {run.path}; wait for it or choose another `run_dir`")
        if run.has_begun:
            _check_same(run, config)
        else:
            _write_first(run, config)
        return run
    outdir = Path(outdir)
    make_folder(outdir, "`outdir`")
    for path in [] if new else sorted(_numbered(outdir), reverse=True):
        run = RunDir(path)
        if run.state is not State.FINISHED and _holds(path, config):
            if not run.lock():
                raise UserError(
                    f"{run.holder()} is training this run in {path}; wait for it or end it, then the same command "
                    "goes on from its checkpoint; `new` begins another"
                )
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
                f"`outdir`={outdir}: the run directory cannot be made ({error.strerror}); choose another"
            ) from error
        run.lock()
        _write_first(run, config)
        return run


def _write_first(run: RunDir, config: TrainingConfig) -> None:
    run.write_options(config.to_dict())
    run.is_new = True


def _numbered(outdir: Path) -> dict[Path, int]:
    """The sub-folders whose names begin with a number, and that number."""
    try:
        folders = [path for path in outdir.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"`outdir`={outdir} cannot be read ({error.strerror}); choose another") from error
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
            f"`run_dir`={run.path} holds a run with other settings ({', '.join(differing)}); "
            "repeat its command, use `continue_dir`, or choose another folder"
        )
