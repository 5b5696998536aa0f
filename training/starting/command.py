"""What `train.py` does before it trains: options to configuration, run directory, first words."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib import UserError
from dnnlib.options import shown
from torch_utils.machine.devices import choose_device
from torch_utils.ops import describe_implementations
from torch_utils.processes.distributed import World
from training import memory
from training.config import TrainingConfig, load_config
from training.config.continuing import extend, open_unchanged
from training.config.resolve import resolve
from training.config.schema import SCALED
from training.dataset import ImageDataset
from training.dataset.builtin_faces import BUILTIN_FACES
from training.options import DEFAULTS, TrainingOptions
from training.run_dir import RunDir
from training.setup import count_parameters
from training.starting.opening import open_run_dir
from training.starting.rollback import roll_back


@dataclass(frozen=True)
class Session:
    """A locked run directory and what is to be trained in it.

    Attributes:
        dataset: the images, opened once for all of the run.
        extended: whether the options ask for more than the finished run has.
        introduction: lines for the log before the first step.
    """

    config: TrainingConfig
    dataset: ImageDataset
    run: RunDir
    extended: bool = False
    introduction: list[str] = field(default_factory=list)


def begin(options: TrainingOptions, world: World) -> Session:
    """Resolve the options and open the run directory; every process gets the same answer.

    Raises:
        UserError: an option, the data or the folder is not as it should be.
    """
    if options.continue_dir is not None:
        return _continue(Path(options.continue_dir), options, world)
    if options.rollback is not None:
        raise UserError("`rollback` goes back in a run that has begun; name it with `continue_dir`")
    config, dataset = world.together(lambda: resolve(options, world.size))
    config, eager = _fitting_graphs(config, options)
    outdir = Path(options.outdir or DEFAULTS.outdir)
    run_dir = Path(options.run_dir) if options.run_dir else None
    if options.dry_run:
        return Session(config, dataset, RunDir(run_dir or outdir))
    _check_same_everywhere(config, world)
    new = bool(options.new) and not _is_restart()
    opened: list[RunDir] = []

    def open_folder() -> tuple[str, list[str]]:
        run = open_run_dir(config, outdir=outdir, run_dir=run_dir, new=new)
        opened.append(run)
        return str(run.path), _take_over(run, config)

    # Only the main process makes and locks the folder; the others learn its name, or the error.
    path, notes = world.main_only(open_folder)
    run = opened[0] if opened else RunDir(Path(path))
    introduction = _introduction(config, run, dataset, graphs=config.uses_graphs and not options.nan_check)
    return Session(config, dataset, run, introduction=introduction + eager + notes)


def _continue(path: Path, options: TrainingOptions, world: World) -> Session:
    old = world.main_only(lambda: load_config(path))
    config, eager = _fitting_graphs(extend(old, options, world.size), options)
    dataset = world.together(lambda: open_unchanged(config))
    run = RunDir(path)
    extended = config.total_kimg > old.total_kimg

    def take() -> list[str]:
        if not run.can_continue:
            raise UserError(f"`continue_dir`={path}: there is no checkpoint yet; repeat the run's command")
        if options.dry_run:
            return []
        if not run.lock():
            raise UserError(f"`continue_dir`={path}: another process is training there; wait for it")
        if options.rollback is not None and not _is_restart():
            run.log(roll_back(run, options.rollback))
        if extended:
            # Before the new length is written: a finished run that is longer than it was would never go on.
            run.reopen()
        return _take_over(run, config)

    return Session(config, dataset, run, extended, [f"run directory: {path}", *eager, *world.main_only(take)])


def _fitting_graphs(config: TrainingConfig, options: TrainingOptions) -> tuple[TrainingConfig, list[str]]:
    """Without CUDA graphs where they may not fit and nobody insists, and a line about that."""
    # Several processes have graphs only where somebody has insisted.
    if options.cuda_graphs is True or not config.uses_graphs or config.num_gpus > 1:
        return config, []
    excess = memory.excess_of_graphs(config, count_parameters(config), choose_device(config.device, 0))
    return (config, []) if excess is None else (memory.without_graphs(config), [excess])


def _is_restart() -> bool:
    """Whether torchrun repeats the command after a failure: it is to go on with the run."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def _check_same_everywhere(config: TrainingConfig, world: World) -> None:
    """Refuse to train on other images on one machine than on another.

    Raises:
        UserError: the content differs; raised on every process.
    """
    hashes = world.gather_object(config.dataset_hash)
    others = [str(rank) for rank, value in enumerate(hashes) if value != hashes[0]]
    if others:
        raise UserError(
            f"`data`: rank {', '.join(others)} finds other images at {config.training_set_kwargs.path} than rank 0; "
            "give every machine the same copy"
        )


def _take_over(run: RunDir, config: TrainingConfig) -> list[str]:
    """Write down how the run goes on from now; notes where that is another way than before."""
    old = load_config(run.path)
    if config == old:
        return []
    run.write_options(config.to_dict())
    if not run.can_continue:
        return []
    changes = {
        "processes": (old.num_gpus, config.num_gpus),
        "images per micro-batch": (old.batch_gpu, config.batch_gpu),
        "device": (old.device, config.device),
        "precision": (old.precision.dtype, config.precision.dtype),
        "CUDA graphs": (shown(old.uses_graphs), shown(config.uses_graphs)),
    }
    listed = [f"{name} {now} instead of {before}" for name, (before, now) in changes.items() if now != before]
    if not listed:
        return []
    return [f"note: {', '.join(listed)}: the run goes on correctly, but not bit for bit as it would have"]


def _introduction(config: TrainingConfig, run: RunDir, dataset: ImageDataset, *, graphs: bool) -> list[str]:
    precision = config.precision.dtype + (" channels_last" if config.precision.channels_last else "")
    return [
        f"run directory: {run.path}",
        data_description(config.training_set_kwargs.path, dataset),
        *([f"warning: {dataset.left_out}"] if dataset.left_out else []),
        f"loss {config.loss.describe()}, batch {config.batch_size}, {config.total_kimg:g} kimg, "
        f"{config.device} x {config.num_gpus}, {precision}{', CUDA graphs' if graphs else ''}",
        describe_implementations(),
        *([f"warning: {config.loss.warning}"] if config.loss.warning else []),
        *_scaled_weights(config),
    ]


def _scaled_weights(config: TrainingConfig) -> list[str]:
    """A line about weights that are not used as they were given."""
    given, used = vars(config.loss_kwargs), vars(config.regularization)
    if given == used:
        return []
    changed = [f"{name} {used[name]:.4g}" for name in SCALED if used[name] != given[name]]
    return [f"weights divided by alpha^2 = {config.loss.for_discriminator.alpha**2:.4g}: {', '.join(changed)}"]


def data_description(path: str, dataset: ImageDataset) -> str:
    """One line that says what is trained on."""
    if path == BUILTIN_FACES:
        return (
            f"no `data` given: training on {len(dataset)} views of the 100 face photographs that come with "
            f"scikit-image ({dataset.size_text}, grey)"
        )
    labels = f", {dataset.label_dim} classes" if dataset.label_dim else ""
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(dataset.num_channels, f"{dataset.num_channels} channels")
    return f"training on {len(dataset)} images of {Path(path).name} ({dataset.size_text}, {kind}{labels})"
