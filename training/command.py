"""What `train.py` does before it trains: options to configuration, run directory, first words."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnnlib import UserError
from torch_utils.distributed import World
from torch_utils.ops import describe_implementations
from training.config import TrainingConfig, load_config
from training.options import check_dataset_unchanged, data_description, extend, resolve
from training.run_dir import RunDir, can_continue, open_run_dir


@dataclass(frozen=True)
class Session:
    """A locked run directory and what is to be trained in it.

    Attributes:
        extended: whether the options ask for more than the finished run has.
        introduction: lines for the log before the first step.
    """

    config: TrainingConfig
    run: RunDir
    extended: bool = False
    introduction: list[str] = field(default_factory=list)


def begin(flags: dict[str, Any], world: World, *, dry_run: bool = False) -> Session:
    """Resolve the options and open the run directory; every process gets the same answer.

    Raises:
        UserError: an option, the data or the folder is not as it should be.
    """
    flags = dict(flags)
    outdir, run_dir = flags.pop("outdir"), flags.pop("run_dir")
    continue_dir, new = flags.pop("continue_dir"), flags.pop("new")
    if continue_dir is not None:
        return _continue(Path(continue_dir), flags, world, dry_run)
    config, dataset = world.together(lambda: resolve(flags, world.size))
    if dry_run:
        return Session(config, RunDir(Path(run_dir or outdir)))
    _check_same_everywhere(config, world)
    # A restart by torchrun repeats the command, but goes on with the run.
    new = new and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    opened: list[RunDir] = []

    def open_folder() -> tuple[str, list[str]]:
        run = open_run_dir(config, outdir=Path(outdir), run_dir=Path(run_dir) if run_dir else None, new=new)
        opened.append(run)
        return str(run.path), _take_over(run, config)

    # Only the main process makes and locks the folder; the others learn its name, or the error.
    path, notes = world.main_only(open_folder)
    run = opened[0] if opened else RunDir(Path(path))
    description = data_description(config.training_set_kwargs.path, dataset)
    return Session(config, run, introduction=_introduction(config, run, description) + notes)


def _continue(path: Path, flags: dict[str, Any], world: World, dry_run: bool) -> Session:
    old = world.main_only(lambda: load_config(path))
    config = extend(old, flags, world.size)
    world.together(lambda: check_dataset_unchanged(config))
    run = RunDir(path)
    extended = config.total_kimg > old.total_kimg

    def take() -> list[str]:
        if not can_continue(run):
            raise UserError(f"--continue={path}: there is no checkpoint yet; repeat the run's command")
        if dry_run:
            return []
        if not run.lock():
            raise UserError(f"--continue={path}: another process is training there; wait for it")
        if extended:
            # Before the new length is written: a finished run that is longer than it was would never go on.
            run.forget_finish()
        return _take_over(run, config)

    return Session(config, run, extended, [f"run directory: {path}", *world.main_only(take)])


def _check_same_everywhere(config: TrainingConfig, world: World) -> None:
    """Refuse to train on other images on one machine than on another.

    Raises:
        UserError: the content differs; raised on every process.
    """
    hashes = world.gather_object(config.dataset_hash)
    others = [str(rank) for rank, value in enumerate(hashes) if value != hashes[0]]
    if others:
        raise UserError(
            f"--data: rank {', '.join(others)} finds other images at {config.training_set_kwargs.path} than rank 0; "
            "give every machine the same copy"
        )


def _take_over(run: RunDir, config: TrainingConfig) -> list[str]:
    """Write down how the run goes on from now; notes where that is another way than before."""
    old = load_config(run.path)
    if config == old:
        return []
    run.write_config(config)
    if not can_continue(run):
        return []
    changes = {
        "processes": (old.num_gpus, config.num_gpus),
        "images per micro-batch": (old.batch_gpu, config.batch_gpu),
        "device": (old.device, config.device),
        "precision": (old.precision.dtype, config.precision.dtype),
    }
    listed = [f"{name} {now} instead of {before}" for name, (before, now) in changes.items() if now != before]
    if not listed:
        return []
    return [f"note: {', '.join(listed)}: the run goes on correctly, but not bit for bit as it would have"]


def _introduction(config: TrainingConfig, run: RunDir, data: str) -> list[str]:
    precision = config.precision.dtype + (" channels_last" if config.precision.channels_last else "")
    return [
        f"run directory: {run.path}",
        data,
        f"loss {config.loss.describe()}, batch {config.batch_size}, {config.total_kimg:g} kimg, "
        f"{config.device} x {config.num_gpus}, {precision}",
        describe_implementations(),
    ]
