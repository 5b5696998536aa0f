"""From command line options to a `TrainingConfig`: checks, presets, the `--cfg` table, the run's description."""

import dataclasses
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import metrics as metrics_package
from dnnlib import UserError
from rooted import AdversarialLoss, adversarial_loss
from training.augment import AUGPIPES
from training.config import (
    AdamOptions,
    AugmentOptions,
    DatasetOptions,
    PrecisionOptions,
    RegularizationOptions,
    TrainingConfig,
)
from training.dataset import ImageDataset
from training.dataset.builtin_faces import BUILTIN_FACES
from training.networks import DiscriminatorConfig, GeneratorConfig
from training.precision import resolve_precision
from training.presets import PRESETS, BaseConfig, base_config, recommended_gamma
from training.resume import RESUME_SOURCES

DEFAULTS: dict[str, Any] = {
    "snap": 50, "seed": 0, "cond": False, "subset": None, "mirror": False, "cfg": "auto", "loss": "ce", "k": None,
    "rlo_form": "bounded", "saturating": False, "aug": "ada", "p": None, "target": 0.6, "p_max": 1.0, "augpipe": "bgc",
    "resume": None, "resume_partial": False, "freezed": 0, "nhwc": None, "allow_tf32": False, "nobench": False,
    "workers": 3, "tick": 4.0, "metrics": None, "device": "auto", "precision": "auto", "ops": "auto",
    "cuda_graphs": False,
    "cmax": 512, "desc": None, "grid": None, "data": None,
}  # fmt: skip
"""Options that neither the command line nor the preset gave; the rest comes from the `--cfg` table."""

NO_RESUME = "noresume"  # the reference's word for none
LONGEST_DESC, LARGEST_GRID = 100, 4096


def resolve(flags: dict[str, Any], gpus: int) -> tuple[TrainingConfig, ImageDataset]:
    """The configuration that the options describe, and the data that it was made for.

    Args:
        flags: options by name; None means not given.
        gpus: the number of processes.

    Raises:
        UserError: an option that contradicts another, the data or this machine; nothing has been written.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    preset = _preset(given.pop("preset", None))
    chosen = {**DEFAULTS, **preset, **given}
    if chosen["resume"] == NO_RESUME:
        chosen["resume"] = None
    _check_alone(chosen)
    if chosen["loss"] == "ce" and "k" not in given:
        chosen["k"] = None
    adversarial = _adversarial(chosen, given)
    dataset, dataset_options = _dataset(chosen)
    base = base_config(chosen["cfg"], dataset.resolution, gpus)
    batch, batch_gpu = _batches(chosen, base, gpus)
    is_auto = chosen["cfg"] == "auto"
    device = choose_device_type(chosen["device"])
    G, D = _networks(chosen, given, base, dataset, batch_gpu)
    augmentation = _augmentation(chosen, given)
    config = TrainingConfig(
        random_seed=chosen["seed"],
        num_gpus=gpus,
        device=device,
        training_set_kwargs=dataset_options,
        G_kwargs=G,
        D_kwargs=D,
        G_opt_kwargs=AdamOptions(lr=chosen.get("glr", base.lr)),
        D_opt_kwargs=AdamOptions(lr=chosen.get("dlr", base.lr)),
        loss=adversarial,
        loss_kwargs=RegularizationOptions(
            # The auto rule holds for the batch that is actually used.
            r1_gamma=chosen.get("gamma", recommended_gamma(dataset.resolution, batch) if is_auto else base.gamma),
            pl_weight=chosen.get("pl_weight", base.pl_weight),
            style_mixing_prob=chosen.get("style_mixing", base.style_mixing_prob),
        ),
        augment_kwargs=augmentation,
        precision=_precision(chosen, device),
        total_kimg=chosen.get("kimg", base.kimg),
        batch_size=batch,
        batch_gpu=batch_gpu,
        ema_kimg=chosen.get("ema_kimg", batch * 10 / 32 if is_auto else base.ema_kimg),
        # A network that is resumed needs no ramp-up: its average is meaningful from the start.
        ema_rampup=None if chosen["resume"] else base.ema_rampup,
        kimg_per_tick=chosen["tick"],
        image_snapshot_ticks=chosen.get("img_snap", chosen["snap"]),
        network_snapshot_ticks=chosen["snap"],
        metrics=_metrics(chosen["metrics"], device),
        grid=chosen["grid"],
        workers=chosen["workers"],
        resume=chosen["resume"],
        resume_partial=chosen["resume_partial"],
        dataset_hash=dataset.content_hash(),
    )
    return dataclasses.replace(
        config, description=describe(config, given, dataset.name, preset_name=flags.get("preset"))
    ), dataset


def describe(config: TrainingConfig, given: dict[str, Any], dataset_name: str, preset_name: str | None = None) -> str:
    """The run directory's name after its number: the reference's parts, then the loss."""
    data = config.training_set_kwargs
    cfg = given.get("cfg", "auto")
    parts = [dataset_name]
    parts += ["cond"] if data.use_labels else []
    parts += [f"subset{data.max_size}"] if data.max_size is not None else []
    parts += ["mirror"] if data.xflip else []
    parts += [preset_name] if preset_name else []
    parts += [f"{cfg}{config.num_gpus}" if cfg == "auto" else cfg]
    parts += [f"gamma{given['gamma']:g}"] if "gamma" in given else []
    parts += [f"kimg{given['kimg']:g}"] if "kimg" in given else []
    parts += [f"batch{given['batch']}"] if "batch" in given else []
    parts += [given["aug"]] if "aug" in given else []
    parts += [f"p{given['p']:g}"] if "p" in given else []
    parts += [f"target{given['target']:g}"] if "target" in given else []
    parts += [given["augpipe"]] if "augpipe" in given else []
    if config.resume is not None:
        parts += [f"resume{config.resume}" if config.resume in RESUME_SOURCES else "resumecustom"]
    parts += [f"freezed{given['freezed']}"] if given.get("freezed") else []
    parts += [config.loss.describe()]
    parts += [given["desc"]] if given.get("desc") else []
    return "-".join(parts)


def _preset(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in PRESETS:
        raise UserError(f"--preset={name} is unknown; choose one of {', '.join(PRESETS)}")
    return PRESETS[name].options


def _check_alone(chosen: dict[str, Any]) -> None:
    """Refuse what is wrong before the data is looked at."""
    desc, grid = chosen["desc"] or "", chosen["grid"]
    # It becomes part of a folder's name, of which file systems take 255 bytes.
    if "/" in desc or "\\" in desc or not desc.isprintable():
        raise UserError(f"--desc={desc!r} becomes part of a folder's name; leave out slashes and control characters")
    if len(desc.encode()) > LONGEST_DESC:
        raise UserError(f"--desc has {len(desc.encode())} bytes; give {LONGEST_DESC} at most")
    if grid is not None and grid[0] * grid[1] > LARGEST_GRID:
        raise UserError(
            f"--grid={grid[0]}x{grid[1]} is {grid[0] * grid[1]} pictures; give {LARGEST_GRID} at most, such as 32x32"
        )
    if chosen["resume_partial"] and not chosen["resume"]:
        raise UserError("--resume-partial says how to --resume; give --resume=FILE or leave it out")


def _adversarial(chosen: dict[str, Any], given: dict[str, Any]) -> AdversarialLoss:
    name = chosen["loss"]
    if name == "ce":
        for flag in ("k", "rlo_form"):
            if flag in given:
                raise UserError(f"--{flag.replace('_', '-')} belongs to --loss=rlo; give --loss=rlo or leave it out")
    if name == "rlo" and chosen["k"] is None:
        raise UserError("--loss=rlo needs --k, for example --k=11")
    try:
        return adversarial_loss(
            name, k=chosen["k"] if name == "rlo" else None, form=chosen["rlo_form"], saturating=chosen["saturating"]
        )
    except ValueError as error:
        raise UserError(f"--loss={name} --k={chosen['k']:g} --rlo-form={chosen['rlo_form']}: {error}") from error


def _dataset(chosen: dict[str, Any]) -> tuple[ImageDataset, DatasetOptions]:
    options = DatasetOptions(
        path=_data_path(chosen["data"]),
        use_labels=chosen["cond"],
        max_size=chosen["subset"],
        xflip=chosen["mirror"],
        random_seed=chosen["seed"],
    )
    dataset = ImageDataset(**{**vars(options), "resolution": None})
    if dataset.resolution < 16:
        raise UserError(
            f"--data: images of {dataset.resolution} pixels are too small; 16 is the least, "
            "enlarge them with dataset_tool.py"
        )
    return dataset, dataclasses.replace(options, resolution=dataset.resolution)


def _data_path(data: str | None) -> str:
    """Absolute, so that a run can be continued from another folder; or the name of the built-in faces."""
    return BUILTIN_FACES if not data or data == BUILTIN_FACES else os.path.abspath(data)


def _batches(chosen: dict[str, Any], base: BaseConfig, gpus: int) -> tuple[int, int]:
    """The batch over all processes, and the micro-batch of one."""
    batch = chosen.get("batch", base.batch)
    if batch % gpus:
        raise UserError(f"--batch={batch} is not divisible by the number of processes, {gpus}; give a multiple of it")
    share = batch // gpus
    if "batch_gpu" in chosen:
        batch_gpu = chosen["batch_gpu"]
    elif "batch" in chosen or chosen["cfg"] == "auto":
        batch_gpu = share
    else:
        batch_gpu = min(base.batch // base.ref_gpus, share)
    if share % batch_gpu:
        raise UserError(
            f"--batch-gpu={batch_gpu} does not divide the {share} images of each process; give a divisor of it"
        )
    return batch, batch_gpu


def _networks(
    chosen: dict[str, Any], given: dict[str, Any], base: BaseConfig, dataset: ImageDataset, batch_gpu: int
) -> tuple[GeneratorConfig, DiscriminatorConfig]:
    group = chosen.get("mbstd_group", min(base.mbstd, batch_gpu))
    if batch_gpu % group:
        raise UserError(
            f"--mbstd-group={group} does not divide the micro-batch of {batch_gpu} images; "
            "choose a divisor or change --batch-gpu"
        )
    shared = {
        "img_resolution": dataset.resolution,
        "img_channels": dataset.num_channels,
        "c_dim": dataset.label_dim,
        "channel_base": chosen.get("cbase", round(32768 * base.fmaps)),
        "channel_max": chosen["cmax"],
    }
    mapping = chosen.get("map_depth", base.mapping_layers)
    G = GeneratorConfig(**shared, mapping_layers=mapping)
    D = DiscriminatorConfig(**shared, architecture=base.architecture, mbstd_group_size=group)
    if given.get("freezed", 0) > D.num_freezable:
        raise UserError(
            f"--freezed={given['freezed']}: D has {D.num_freezable} layers that can be frozen at "
            f"{dataset.resolution} x {dataset.resolution}; give {D.num_freezable} at most"
        )
    # The number of a preset is meant for larger images.
    return G, dataclasses.replace(D, freeze_layers=min(chosen["freezed"], D.num_freezable))


def _augmentation(chosen: dict[str, Any], given: dict[str, Any]) -> AugmentOptions:
    mode = chosen["aug"]
    for flag in ("target", "p_max", "ada_kimg"):
        if mode != "ada" and flag in given:
            raise UserError(
                f"--{flag.replace('_', '-')} belongs to --aug=ada, not to --aug={mode}; leave one of them out"
            )
    if mode != "fixed" and "p" in given:
        raise UserError(f"--p belongs to --aug=fixed, not to --aug={mode}; give --aug=fixed or leave it out")
    if mode == "fixed" and chosen["p"] is None:
        raise UserError("--aug=fixed needs --p, for example --p=0.2")
    if mode == "noaug" and "augpipe" in given:
        raise UserError("--augpipe says which augmentations; it cannot be given with --aug=noaug")
    if chosen["augpipe"] not in AUGPIPES:
        raise UserError(f"--augpipe={chosen['augpipe']} is unknown; choose one of {', '.join(AUGPIPES)}")
    return AugmentOptions(
        mode=mode,
        pipe=chosen["augpipe"],
        p=chosen["p"] if mode == "fixed" else 0.0,
        target=chosen["target"],
        p_max=chosen["p_max"],
        kimg=chosen.get("ada_kimg", 100.0 if chosen["resume"] else 500.0),
    )


def choose_device_type(choice: str | None) -> str:
    """`cpu` or `cuda`; None and `auto` take the GPU where there is one.

    Raises:
        UserError: `cuda` without a GPU.
    """
    if choice in (None, "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device=cuda, but PyTorch finds no GPU; check the driver with nvidia-smi or give --device=cpu"
        )
    return choice


def _precision(chosen: dict[str, Any], device: str) -> PrecisionOptions:
    if chosen.get("fp32"):
        if chosen["precision"] not in ("auto", "fp32"):
            raise UserError(f"--fp32 contradicts --precision={chosen['precision']}; leave one of them out")
        chosen["precision"] = "fp32"
    dtype, num_reduced, channels_last = resolve_precision(chosen["precision"], device)
    return PrecisionOptions(
        dtype=dtype,
        num_fp16_res=num_reduced,
        channels_last=channels_last if chosen["nhwc"] is None else chosen["nhwc"],
        allow_tf32=chosen["allow_tf32"],
        cudnn_benchmark=not chosen["nobench"],
        ops=chosen["ops"],
        cuda_graphs=chosen["cuda_graphs"],
    )


def _metrics(names: tuple[str, ...] | None, device: str) -> tuple[str, ...]:
    """FID needs a detector and 50,000 images; where that is out of reach, SWD needs neither."""
    if names is None:
        names = ("fid50k_full",) if device == "cuda" and find_spec("torch_fidelity") else ("swd2k",)
    for name in names:
        metrics_package.check_name(name)
    return tuple(names)


def extend(config: TrainingConfig, flags: dict[str, Any], gpus: int) -> TrainingConfig:
    """The configuration of a run to be continued, with the options that may change between sessions.

    Raises:
        UserError: an option that would make it another run.
    """
    allowed = {
        "kimg": "total_kimg",
        "snap": "network_snapshot_ticks",
        "img_snap": "image_snapshot_ticks",
        "metrics": "metrics",
        "batch_gpu": "batch_gpu",
        "workers": "workers",
    }
    elsewhere = ("data", "device", "precision")
    given = {name: value for name, value in flags.items() if value is not None and name not in elsewhere}
    for name in given:
        if name not in allowed:
            raise UserError(
                f"--{name.replace('_', '-')} cannot change when a run is continued "
                f"(only --{', --'.join(n.replace('_', '-') for n in (*allowed, *elsewhere))} can); "
                "start a new run with --resume"
            )
    changes = {allowed[name]: value for name, value in given.items()}
    if flags.get("data") is not None:  # where the images lie now; `check_dataset_unchanged` makes sure of them
        changes["training_set_kwargs"] = dataclasses.replace(config.training_set_kwargs, path=_data_path(flags["data"]))
    device = choose_device_type(flags.get("device") or config.device)
    changes |= {"num_gpus": gpus, "device": device}
    if flags.get("precision"):
        changes["precision"] = _precision({**DEFAULTS, "precision": flags["precision"]}, device)
    share = config.batch_size // gpus
    if config.batch_size % gpus:
        raise UserError(
            f"the run's batch of {config.batch_size} is not divisible by {gpus} processes; choose a divisor"
        )
    if share % changes.get("batch_gpu", config.batch_gpu):
        changes["batch_gpu"] = share
    return dataclasses.replace(config, **changes)


def check_dataset_unchanged(config: TrainingConfig) -> None:
    """Refuse to continue on other images than the run began with.

    Raises:
        UserError: the data is gone, or has another content.
    """
    # Of whatever resolution: the hash, which covers it, has the better message.
    dataset = ImageDataset(**{**vars(config.training_set_kwargs), "resolution": None})
    if dataset.content_hash() != config.dataset_hash:
        raise UserError(
            f"--data: {config.training_set_kwargs.path} does not hold the images that this run began with; bring them "
            "back, say with --data where they are, or start a new run with --resume"
        )


def data_description(path: str, dataset: ImageDataset) -> str:
    """One line that says what is trained on."""
    if path == BUILTIN_FACES:
        return (
            f"no --data given: training on {len(dataset)} views of the 100 face photographs that come with "
            f"scikit-image ({dataset.resolution} x {dataset.resolution}, grey)"
        )
    labels = f", {dataset.label_dim} classes" if dataset.label_dim else ""
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(dataset.num_channels, f"{dataset.num_channels} channels")
    size = f"{dataset.resolution} x {dataset.resolution}"
    return f"training on {len(dataset)} images of {Path(path).name} ({size}, {kind}{labels})"
