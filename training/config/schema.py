"""The typed configuration of a run: what `training_options.json` holds and `--dry-run` prints.

Top-level keys are those of the reference's `training_options.json` where the two agree; docs/architecture.md lists
where they differ. What an option sets has the option's default, which stands in `training.options`.
"""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnnlib import UserError
from dnnlib.typed import fits, type_name
from rooted import AdversarialLoss
from training.networks import DiscriminatorConfig, GeneratorConfig
from training.options import DEFAULTS, TrainingOptions
from training.options.presets import BaseConfig
from training.options.table import ADA_KIMG
from training.run_dir import RunDir


def _of(option: str, **default: Any) -> Any:
    """A field that the option of that name sets, with its default if it has one."""
    value = getattr(DEFAULTS, option)
    return field(**{"default": value} if value is not None else default, metadata={"option": option})


def set_by(cls: type, options: TrainingOptions) -> dict[str, Any]:
    """The fields of a part of the configuration that the options set."""
    names = {entry.name: entry.metadata["option"] for entry in dataclasses.fields(cls) if entry.metadata}
    return {name: value for name, option in names.items() if (value := getattr(options, option)) is not None}


@dataclass(frozen=True)
class DatasetOptions:
    """Which images: arguments of `training.dataset.ImageDataset`; None as path is the built-in faces."""

    path: str | None = None
    use_labels: bool = _of("cond")
    max_size: int | None = _of("subset", default=None)
    xflip: bool = _of("mirror")
    resolution: int = 32
    random_seed: int = _of("seed")


@dataclass(frozen=True)
class AdamOptions:
    """Adam before the correction for lazy regularisation."""

    lr: float
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8


@dataclass(frozen=True)
class RegularizationOptions:
    """What the phases add to the adversarial loss (Karras et al. 2020, appendix B; Mescheder et al. 2018).

    Attributes:
        r1_gamma: weight of R1, on real images; r2_gamma: of the same on generated ones; 0 switches them off.
        lecam: weight of LeCam regularisation; 0 for none.
        gamma_scale: "alpha" divides the three by alpha^2 of the discriminator's loss, whose best logit is alpha
            times the log density ratio; "none" takes them as they are.
        pl_weight, pl_decay, pl_batch_shrink: path-length regularisation; weight 0 switches it off.
        style_mixing_prob: probability that a micro-batch mixes two latents.
        G_reg_interval, D_reg_interval: steps from one regularisation phase to the next.
    """

    r1_gamma: float = _of("gamma")
    pl_weight: float = _of("pl_weight", default=BaseConfig.pl_weight)
    pl_decay: float = 0.01
    pl_batch_shrink: int = 2
    style_mixing_prob: float = _of("style_mixing", default=BaseConfig.style_mixing_prob)
    G_reg_interval: int = 4
    D_reg_interval: int = 16
    r2_gamma: float = _of("r2_gamma")
    lecam: float = _of("lecam")
    gamma_scale: str = _of("gamma_scale")


SCALED = ("r1_gamma", "r2_gamma", "lecam")
"""The weights of `RegularizationOptions` that `gamma_scale` changes: it weighs squares of logits."""


@dataclass(frozen=True)
class AugmentOptions:
    """Augmentation of what the discriminator sees (Karras et al. 2020a), or generated images among the real (APA).

    Attributes:
        mode: "ada", "fixed", "apa" or "noaug".
        pipe: the name of an augmentation, see `training.augment.build_pipe`; without meaning for "apa".
        p: the initial probability.
        target: the r_t that ADA and APA steer to.
        p_max: the bound of p; 0.8 keeps augmentations from leaking into the generated images.
        interval: steps from one adjustment to the next.
        kimg: thousands of images in which p can move by 1.
    """

    mode: str = _of("aug")
    pipe: str = _of("augpipe")
    p: float = 0.0
    target: float = _of("target")
    p_max: float = _of("p_max")
    interval: int = 4
    kimg: float = _of("ada_kimg", default=ADA_KIMG)


@dataclass(frozen=True)
class PrecisionOptions:
    """How numbers are computed, not what is computed.

    Attributes:
        dtype: "float32", "bfloat16" or "float16" for the convolutions of the `num_fp16_res` highest
            resolutions.
        channels_last: memory layout of these layers.
        narrow_channels_last: on a CPU, that of narrow float32 blocks, whatever the others have.
        allow_tf32, cudnn_benchmark: as in PyTorch.
        ops: "auto", "native" or "torch".
        cuda_graphs: run whole phases as CUDA graphs; no effect on the CPU.
    """

    dtype: str = "float32"
    num_fp16_res: int = 4
    channels_last: bool = False
    narrow_channels_last: bool = True
    allow_tf32: bool = _of("allow_tf32")
    cudnn_benchmark: bool = not DEFAULTS.nobench
    ops: str = _of("ops")
    cuda_graphs: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that determines a run. One instance describes it completely, with the data's content.

    Attributes:
        G_kwargs, D_kwargs: the networks' architectures.
        total_kimg: length in thousands of real images shown to the discriminator.
        batch_size: images per step over all processes; batch_gpu: images per micro-batch.
        ema_kimg: half-life of the generator's average; ema_rampup: its limit relative to the progress,
            None for no limit.
        kimg_per_tick: progress report interval; *_snapshot_ticks in ticks, 0 for only the last.
        resume: a snapshot whose weights the run starts from.
        dataset_hash: content hash of the images, so that a continued run notices changed data.
    """

    G_kwargs: GeneratorConfig
    D_kwargs: DiscriminatorConfig
    description: str = ""
    random_seed: int = _of("seed")
    num_gpus: int = DEFAULTS.gpus
    device: str = "cpu"
    training_set_kwargs: DatasetOptions = field(default_factory=DatasetOptions)
    G_opt_kwargs: AdamOptions
    D_opt_kwargs: AdamOptions
    loss: AdversarialLoss
    loss_kwargs: RegularizationOptions
    augment_kwargs: AugmentOptions = field(default_factory=AugmentOptions)
    precision: PrecisionOptions = field(default_factory=PrecisionOptions)
    total_kimg: float = _of("kimg")
    batch_size: int = _of("batch")
    batch_gpu: int = _of("batch_gpu")
    ema_kimg: float = _of("ema_kimg")
    ema_rampup: float | None
    kimg_per_tick: float = _of("tick")
    image_snapshot_ticks: int = _of("img_snap", default=DEFAULTS.snap)
    network_snapshot_ticks: int = _of("snap")
    metrics: tuple[str, ...] = _of("metrics", default=())
    grid: tuple[int, int] | None = _of("grid", default=None)
    workers: int = _of("workers")
    resume: str | None = _of("resume", default=None)
    resume_partial: bool = _of("resume_partial")
    dataset_hash: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As nested dictionaries of JSON values."""
        return json.loads(json.dumps({**dataclasses.asdict(self), "loss": self.loss.to_dict()}))

    @property
    def uses_graphs(self) -> bool:
        """Whether phases run as CUDA graphs; on a CPU there are none."""
        return self.precision.cuda_graphs and self.device == "cuda"

    @property
    def regularization(self) -> RegularizationOptions:
        """`loss_kwargs` with the weights that are used: `gamma_scale` is worked in."""
        options = self.loss_kwargs
        if options.gamma_scale == "none":
            return options
        scaled = {name: getattr(options, name) / self.loss.for_discriminator.alpha**2 for name in SCALED}
        return dataclasses.replace(options, **scaled, gamma_scale="none")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """The inverse of `to_dict`; an unknown key is a `UserError`."""
        return _build(cls, values, "")

    def same_run_as(self, other: "TrainingConfig") -> bool:
        """Whether both describe the same training, whatever it is computed on.

        The number of processes and the micro-batch may differ; the sum of their gradients does not. So may the place
        of the images if their content is the same.
        """
        ours, theirs = (dataclasses.replace(config, **FREE_TO_CHANGE) for config in (self, other))
        if self.dataset_hash and self.dataset_hash == other.dataset_hash:
            # The same images, wherever they lie.
            moved = dataclasses.replace(theirs.training_set_kwargs, path=ours.training_set_kwargs.path)
            theirs = dataclasses.replace(theirs, training_set_kwargs=moved)
        return ours == theirs


FREE_TO_CHANGE = {"num_gpus": 0, "device": "", "batch_gpu": 0, "workers": 0, "precision": PrecisionOptions()}
"""What a run is computed on, with a value to put in its place when two runs are compared."""


def load_config(run_dir: Path) -> TrainingConfig:
    """Read `training_options.json` of a run directory.

    Raises:
        UserError: no such file, or not one that this program wrote.
    """
    values = RunDir(run_dir).options()
    return TrainingConfig.from_dict({key: value for key, value in values.items() if key != "run_dir"})


def _build(cls: type, values: Any, where: str) -> Any:
    """Build the dataclass `cls` from nested dictionaries, refusing unknown keys."""
    if not isinstance(values, dict):
        raise UserError(f"training_options.json: '{where or 'the file'}' should be an object")
    types = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    arguments = {}
    for name, value in values.items():
        if name not in names:
            raise UserError(
                f"training_options.json: unknown key '{where}{name}' (written by another program or version?)"
            )
        if types[name] is AdversarialLoss:
            value = _loss(value)
        elif dataclasses.is_dataclass(types[name]):
            value = _build(types[name], value, f"{where}{name}.")
        elif not fits(value, types[name]):
            raise UserError(f"training_options.json: '{where}{name}' should be {type_name(types[name])}")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    missing = [
        entry.name
        for entry in dataclasses.fields(cls)
        if entry.default is entry.default_factory is dataclasses.MISSING and entry.name not in arguments
    ]
    if missing:
        raise UserError(f"training_options.json: '{where}{missing[0]}' is missing")
    return cls(**arguments)


def _loss(values: Any) -> AdversarialLoss:
    try:
        return AdversarialLoss.from_dict(values)
    except ValueError as error:
        raise UserError(f"training_options.json: loss: {error}") from error
