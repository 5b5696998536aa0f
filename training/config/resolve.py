"""From options to a `TrainingConfig`: what was given, then the preset, the base configuration and the defaults."""

import dataclasses
import math
import os
from importlib.util import find_spec

from dnnlib import UserError, renamed
from dnnlib.cli import AUTO
from dnnlib.options import check_together
from dnnlib.weights import offline_judges
from rooted import AdversarialLoss
from rooted.players import parse_player, player_loss
from torch_utils.machine.devices import choose_device
from training.config.number_format import resolve_precision
from training.config.schema import (
    AdamOptions,
    AugmentOptions,
    DatasetOptions,
    PrecisionOptions,
    RegularizationOptions,
    TrainingConfig,
    set_by,
)
from training.dataset import ImageDataset
from training.dataset.builtin_faces import BUILTIN_FACES
from training.networks import DiscriminatorConfig, GeneratorConfig
from training.options import TrainingOptions
from training.options.presets import BaseConfig, base_config, recommended_gamma
from training.options.table import ADA_KIMG, ADA_KIMG_RESUMED
from training.snapshot.resume import RESUME_SOURCES

NO_RESUME = "noresume"  # the reference's word for none
LONGEST_DESC, LARGEST_GRID = 100, 4096


def resolve(given: TrainingOptions, gpus: int) -> tuple[TrainingConfig, ImageDataset]:
    """The configuration that the options describe, and the data that it was made for.

    Args:
        given: the options.
        gpus: the number of processes.

    Raises:
        UserError: an option that contradicts another, the data or this machine; nothing has been written.
    """
    if given.resume == NO_RESUME:
        given = dataclasses.replace(given, resume=None)
    chosen = given.with_defaults()
    check_together(given, chosen)
    check_alone(given)
    loss = _adversarial(given, chosen)
    _check_discriminator_is_trained(chosen)
    chosen = _augmentation(given, chosen)
    options = DatasetOptions(**set_by(DatasetOptions, chosen), path=data_path(chosen.data))
    dataset = open_dataset(options)
    base = base_config(chosen.cfg, dataset.resolution, gpus)
    chosen = _filled_from(base, chosen, dataset, gpus)
    G, D = _networks(chosen, given, base, dataset)
    device = choose_device(chosen.device).type
    config = TrainingConfig(
        **set_by(TrainingConfig, dataclasses.replace(chosen, metrics=_metrics(chosen.metrics, device))),
        num_gpus=gpus,
        device=device,
        training_set_kwargs=dataclasses.replace(options, resolution=dataset.resolution),
        G_kwargs=G,
        D_kwargs=D,
        G_opt_kwargs=AdamOptions(lr=chosen.glr),
        D_opt_kwargs=AdamOptions(lr=chosen.dlr),
        loss=loss,
        loss_kwargs=RegularizationOptions(**set_by(RegularizationOptions, chosen)),
        augment_kwargs=AugmentOptions(
            **set_by(AugmentOptions, chosen), p=chosen.p if chosen.aug == "fixed" else AugmentOptions.p
        ),
        precision=resolve_computation(chosen, device, gpus),
        # A network that is resumed needs no ramp-up: its average is meaningful from the start.
        ema_rampup=None if chosen.resume else base.ema_rampup,
        dataset_hash=dataset.content_hash(),
    )
    return dataclasses.replace(config, description=describe(config, given, dataset.name)), dataset


def describe(config: TrainingConfig, given: TrainingOptions, dataset_name: str) -> str:
    """The run directory's name after its number: the reference's parts, then the loss."""
    data = config.training_set_kwargs
    parts = [dataset_name]
    parts += ["cond"] if data.use_labels else []
    parts += [f"subset{data.max_size}"] if data.max_size is not None else []
    parts += ["mirror"] if data.xflip else []
    parts += [given.preset] if given.preset else []
    parts += [given.cfg] if given.cfg not in (None, "auto") else [f"auto{config.num_gpus}"]
    for name, prefix in NAMED.items():
        value = getattr(given, name)
        if value is not None:
            parts.append(f"{prefix}{value:g}" if isinstance(value, float | int) else f"{prefix}{value}")
    if config.resume is not None:
        parts += [f"resume{config.resume}" if config.resume in RESUME_SOURCES else "resumecustom"]
    parts += [f"freezed{given.freezed}"] if given.freezed else []
    parts += [config.loss.describe()]
    parts += [given.desc] if given.desc else []
    return "-".join(parts)


NAMED = {"gamma": "gamma", "r2_gamma": "r2gamma", "lecam": "lecam", "gamma_scale": "gammascale", "kimg": "kimg",
         "batch": "batch", "aug": "", "p": "p", "target": "target", "apa_target": "target", "augpipe": ""}  # fmt: skip
"""Options that a run directory's name mentions where they were given, and what it calls them."""


def check_alone(given: TrainingOptions) -> None:
    """Refuse what is wrong before the data is looked at.

    Raises:
        UserError: names the option.
    """
    desc, grid = given.desc or "", given.grid
    # It becomes part of a folder's name, of which file systems take 255 bytes.
    if "/" in desc or "\\" in desc or not desc.isprintable():
        raise UserError(f"`desc`={desc!r} becomes part of a folder's name; leave out slashes and control characters")
    if len(desc.encode()) > LONGEST_DESC:
        raise UserError(f"`desc` has {len(desc.encode())} bytes; give {LONGEST_DESC} at most")
    if grid is not None and grid[0] * grid[1] > LARGEST_GRID:
        raise UserError(
            f"`grid`={grid[0]}x{grid[1]} is {grid[0] * grid[1]} pictures; give {LARGEST_GRID} at most, such as 32x32"
        )
    if given.keep is not None and given.keep.best is not None and given.metrics == ():
        raise UserError(
            f"`keep`=best={given.keep.best} needs a metric to judge by; leave it out or name one with `metrics`"
        )


def _adversarial(given: TrainingOptions, chosen: TrainingOptions) -> AdversarialLoss:
    for other in ("g_loss", "pair"):
        if chosen.saturating and getattr(chosen, other):
            raise UserError(f"`{other}` has no saturating game; leave `{other}` or `saturating` out")
    if given.alpha is not None:  # instead of what a preset says, but not beside what the user says
        member = {"loss": given.loss, "k": given.k, "rlo_form": given.rlo_form, "alpha": given.alpha}
    elif chosen.loss == "ce":
        member = {"loss": "ce"}
    elif chosen.k is None:
        raise UserError(f"`loss`={chosen.loss} needs `k`, for example `k`=11")
    else:
        member = {"loss": chosen.loss, "k": chosen.k, "rlo_form": chosen.rlo_form}
    words = " ".join(f"`{name}`={value}" for name, value in member.items() if value is not None)
    form = member.pop("rlo_form", None)
    try:
        player = player_loss(member.pop("loss"), form=form, **member)
    except ValueError as error:
        raise UserError(f"{words}: {error}") from error
    try:
        generator = parse_player(chosen.g_loss) if chosen.g_loss is not None else player
    except ValueError as error:
        raise UserError(f"`g_loss`: {error}") from error
    return AdversarialLoss(player, generator, chosen.saturating, chosen.pair)


def _check_discriminator_is_trained(chosen: TrainingOptions) -> None:
    for name in ("lecam", "r2_gamma"):
        if getattr(chosen, name) and chosen.dlr == 0:
            raise UserError(f"`{name}` regularises the discriminator, which `dlr`=0 leaves as it is; leave one out")


def _augmentation(given: TrainingOptions, chosen: TrainingOptions) -> TrainingOptions:
    """The options with mode, probability and target of the augmentation that they mean together."""
    steered = any(getattr(given, name) is not None for name in ("aug", "target", "p_max", "ada_kimg"))
    if chosen.augpipe == "diffaug" and not steered:
        chosen = dataclasses.replace(chosen, aug="fixed")
    if chosen.aug == "fixed" and chosen.p is None:
        if chosen.augpipe != "diffaug":
            raise UserError("`aug`=fixed needs `p`, for example `p`=0.2")
        chosen = dataclasses.replace(chosen, p=1.0)
    return dataclasses.replace(chosen, target=chosen.apa_target) if chosen.aug == "apa" else chosen


def open_dataset(options: DatasetOptions) -> ImageDataset:
    """The training set, of whatever resolution.

    Raises:
        UserError: there are no such images, or they are too small to train on.
    """
    with renamed(path="data", use_labels="cond", max_size="subset", random_seed="seed"):
        dataset = ImageDataset(**{name: value for name, value in vars(options).items() if name != "resolution"})
    if min(dataset.image_shape[1:]) < 16:
        raise UserError(
            f"`data`: images of {dataset.size_text} pixels are too small; 16 is the least, "
            "enlarge them with dataset_tool.py"
        )
    return dataset


def data_path(data: str | None) -> str:
    """Absolute, so that a run can be continued from another folder; or the name of the built-in faces."""
    return BUILTIN_FACES if not data or data == BUILTIN_FACES else os.path.abspath(data)


def _filled_from(base: BaseConfig, chosen: TrainingOptions, dataset: ImageDataset, gpus: int) -> TrainingOptions:
    """The options with the base configuration's values in place of those that neither user nor preset chose."""
    is_auto = chosen.cfg == "auto"
    batch = base.batch if chosen.batch is None else chosen.batch
    if batch % gpus:
        raise UserError(f"`batch`={batch} is not divisible by the number of processes, {gpus}; give a multiple of it")
    share = batch // gpus
    of_base = share if is_auto or chosen.batch is not None else min(base.batch // base.ref_gpus, share)
    batch_gpu = of_base if chosen.batch_gpu is None else chosen.batch_gpu
    if share % batch_gpu:
        raise UserError(
            f"`batch_gpu`={batch_gpu} does not divide the {share} images of each process; give a divisor of it"
        )
    return chosen.filled(
        batch=batch,
        batch_gpu=batch_gpu,
        mbstd_group=min(base.mbstd, batch_gpu),
        kimg=base.kimg,
        glr=base.lr,
        dlr=base.lr,
        # The auto rules hold for the batch that is actually used.
        gamma=recommended_gamma(math.prod(dataset.image_shape[1:]), batch) if is_auto else base.gamma,
        ema_kimg=batch * 10 / 32 if is_auto else base.ema_kimg,
        pl_weight=base.pl_weight,
        style_mixing=base.style_mixing_prob,
        cbase=round(32768 * base.fmaps),
        map_depth=base.mapping_layers,
        img_snap=chosen.snap,
        ada_kimg=ADA_KIMG_RESUMED if chosen.resume else ADA_KIMG,
    )


def _networks(
    chosen: TrainingOptions, given: TrainingOptions, base: BaseConfig, dataset: ImageDataset
) -> tuple[GeneratorConfig, DiscriminatorConfig]:
    group = chosen.mbstd_group
    if chosen.batch_gpu % group:
        raise UserError(
            f"`mbstd_group`={group} does not divide the micro-batch of {chosen.batch_gpu} images; "
            "choose a divisor or change `batch_gpu`"
        )
    shared = {
        "img_resolution": dataset.resolution,
        "base_size": dataset.base_size,
        "img_channels": dataset.num_channels,
        "c_dim": dataset.label_dim,
        "channel_base": chosen.cbase,
        "channel_max": chosen.cmax,
    }
    G = GeneratorConfig(**shared, mapping_layers=chosen.map_depth)
    D = DiscriminatorConfig(**shared, architecture=base.architecture, mbstd_group_size=group)
    most = D.num_freezable
    if given.freezed is not None and given.freezed > most:
        raise UserError(
            f"`freezed`={given.freezed}: D has {most} layers that can be frozen at "
            f"{dataset.size_text}; give {most} at most"
        )
    # The number of a preset is meant for larger images.
    return G, dataclasses.replace(D, freeze_layers=min(chosen.freezed, most))


def resolve_computation(chosen: TrainingOptions, device: str, gpus: int) -> PrecisionOptions:
    """How numbers are computed on a device by so many processes, from options with their defaults.

    Raises:
        UserError: options that contradict each other.
    """
    if chosen.fp32 and chosen.precision not in ("auto", "fp32"):
        raise UserError(f"`fp32` contradicts `precision`={chosen.precision}; leave one of them out")
    dtype, num_reduced, channels_last = resolve_precision("fp32" if chosen.fp32 else chosen.precision, device)
    return PrecisionOptions(
        dtype=dtype,
        num_fp16_res=num_reduced,
        channels_last=channels_last if chosen.nhwc is None else chosen.nhwc,
        narrow_channels_last=chosen.nhwc is not False,
        cudnn_benchmark=not chosen.nobench,
        cuda_graphs=resolve_graphs(chosen, device, gpus),
        **set_by(PrecisionOptions, chosen),
    )


def resolve_graphs(chosen: TrainingOptions, device: str, gpus: int) -> bool:
    """Whether phases run as CUDA graphs if the memory suffices.

    `auto` is on a GPU, but not with several processes, beside whose communication no capture has been tried.
    """
    return device == "cuda" and gpus == 1 if chosen.cuda_graphs == AUTO else bool(chosen.cuda_graphs)


def _metrics(names: tuple[str, ...] | None, device: str) -> tuple[str, ...]:
    """FID needs a detector that is fetched, and 50,000 images; where that is out of reach, others need neither."""
    if names is not None:
        return tuple(names)
    if device == "cuda" and find_spec("torch_fidelity"):
        return ("fid50k_full",)
    return ("fd_lite0_2k", "swd2k") if offline_judges() else ("swd2k",)
