"""The configuration of a run that is to go on: what may change, and that its images are still the same."""

import dataclasses

from dnnlib import UserError
from dnnlib.cli import AUTO
from dnnlib.options import options_of
from torch_utils.machine.devices import choose_device
from training.config.resolve import check_alone, data_path, open_dataset, resolve_computation, resolve_graphs
from training.config.schema import TrainingConfig, set_by
from training.dataset import ImageDataset
from training.options import DEFAULTS, TrainingOptions
from training.options.table import PLACE


def extend(config: TrainingConfig, given: TrainingOptions, gpus: int) -> TrainingConfig:
    """The configuration of a run to be continued, with the options that may change between sessions.

    Raises:
        UserError: an option that would make it another run.
    """
    check_alone(given)
    options = options_of(TrainingOptions)
    for name in given.given():
        if not options[name].free:
            can = ", ".join(f"`{other}`" for other, entry in options.items() if entry.free and entry.group != PLACE)
            raise UserError(
                f"`{name}` cannot change when a run is continued (only {can} can); start a new run with `resume`"
            )
    changes = set_by(TrainingConfig, given)
    if given.data is not None:  # where the images lie now; `open_unchanged` makes sure of them
        changes["training_set_kwargs"] = dataclasses.replace(config.training_set_kwargs, path=data_path(given.data))
    device = choose_device(given.device or config.device).type
    changes |= {"num_gpus": gpus, "device": device}
    # Whether there are graphs stays as it is, but on another kind of device or number of processes it is open again.
    moved = (device, gpus) != (config.device, config.num_gpus)
    chosen = dataclasses.replace(DEFAULTS, cuda_graphs=AUTO if moved else config.precision.cuda_graphs)
    chosen = dataclasses.replace(chosen, **given.given())
    changes["precision"] = (
        resolve_computation(chosen, device, gpus)
        if given.precision is not None
        else dataclasses.replace(config.precision, cuda_graphs=resolve_graphs(chosen, device, gpus))
    )
    share = config.batch_size // gpus
    if config.batch_size % gpus:
        raise UserError(
            f"the run's batch of {config.batch_size} is not divisible by {gpus} processes; choose a divisor"
        )
    if share % changes.get("batch_gpu", config.batch_gpu):
        changes["batch_gpu"] = share
    return dataclasses.replace(config, **changes)


def open_unchanged(config: TrainingConfig) -> ImageDataset:
    """The images that the run began with.

    Raises:
        UserError: the data is gone, or has another content.
    """
    # Of whatever resolution: the hash, which covers it, has the better message.
    dataset = open_dataset(config.training_set_kwargs)
    if dataset.content_hash() != config.dataset_hash:
        raise UserError(
            f"`data`: {config.training_set_kwargs.path} does not hold the images that this run began with; bring them "
            "back, say with `data` where they are, or start a new run with `resume`"
        )
    return dataset
