"""The options of `train.py`, each written once: type, default, help, unit.

The command line, its help, the defaults of `training.config` and the tables of docs/training.md
(`python -m training.options.document`) are made from it.
"""

from dataclasses import dataclass
from typing import Any

import click

from dnnlib.cli import AUTO, SEED, BoolOrAuto, NameList, Number, Size
from dnnlib.options import GivenOptions, check_choices, option
from training.options.keep import Keep, KeepRule
from training.options.presets import CFGS, PRESETS, BaseConfig

PIPES = ("blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc", "diffaug")
ADA_KIMG, ADA_KIMG_RESUMED = 500.0, 100.0
CFG = "from --cfg"
COUNT, NATURAL = click.IntRange(min=1), click.IntRange(min=0)
POSITIVE, NOT_NEGATIVE, PROBABILITY = Number(min=0, min_open=True), Number(min=0), Number(0, 1)

DATA, PLACE, LOSS, SIZE = "Data", "The run", "The loss", "Configuration, length, networks"
AUGMENTATION, TRANSFER, REPORTS, MACHINE = "Augmentation", "Transfer", "Reports", "The machine"


class Checkpoint(Number):
    """The word `best`, or thousands of images."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        """Parse one value; a wrong one is a usage error."""
        return value if value == "best" else super().convert(value, param, ctx)


# fmt: off
@dataclass(frozen=True)
class TrainingOptions(GivenOptions):
    """The options as they were given; None is not given."""

    data: str | None = option(DATA, "Training images: folder or zip.", unset="100 faces", unit="PATH", free=True)
    cond: bool | None = option(DATA, "Train with the labels of the data set.", bool, False)
    subset: int | None = option(DATA, "Use only so many images, chosen by the seed.", COUNT, unset="all", unit="IMAGES")
    mirror: bool | None = option(DATA, "Double the images by x-flips.", bool, False)
    workers: int | None = option(DATA, "Decoding threads.", NATURAL, 3, unit="THREADS", free=True)

    outdir: str | None = option(PLACE, "Parent of run directories.", str, "training-runs", unit="DIR", free=True)
    run_dir: str | None = option(PLACE, "This exact run directory; continued if it has begun.", unit="DIR", free=True)
    continue_dir: str | None = option(
        PLACE, "Continue the run in DIR exactly where it stopped.", unit="DIR", flags=("--continue",), free=True)
    rollback: str | float | None = option(
        PLACE, "With --continue: first go back to the checkpoint of the best networks, or the last up to KIMG.",
        Checkpoint(), unit="best|KIMG", free=True)
    new: bool | None = option(
        PLACE, "Begin a new run even if the same command has an unfinished one.", bool, False, free=True)
    desc: str | None = option(PLACE, "Appended to the run directory's name.", unit="TEXT")
    dry_run: bool | None = option(
        PLACE, "Print the configuration and stop.", bool, False, flags=("-n", "--dry-run"), free=True)

    loss: str | None = option(LOSS, "Logistic, or rooted logistic.", click.Choice(["ce", "rlo"]), "ce")
    k: float | None = option(LOSS, "Root; large k tends to ce.", Number(), only_with=("loss", "rlo"))
    rlo_form: str | None = option(
        LOSS, "Which rooted loss; docs/theory.md.", click.Choice(["bounded", "convex"]), "bounded",
        only_with=("loss", "rlo"))
    alpha: float | None = option(
        LOSS, "The rooted loss by its order, instead of k and form: below 1 convex, 1 ce, above 1 bounded.", POSITIVE)
    g_loss: str | None = option(
        LOSS, "Another loss for the generator: ce, rlo:k=2:form=convex, alpha=0.7.", unset="as D", unit="LOSS")
    pair: bool | None = option(LOSS, "Compare each generated image with a real one (relativistic).", bool, False)
    saturating: bool | None = option(LOSS, "Generator minimises the value literally.", bool, False)
    gamma: float | None = option(LOSS, "R1 weight.", NOT_NEGATIVE, unset=CFG, unit="WEIGHT")
    r2_gamma: float | None = option(LOSS, "R2 weight: as R1, on generated images.", NOT_NEGATIVE, 0.0, unit="WEIGHT")
    lecam: float | None = option(LOSS, "LeCam regularisation's weight, as 3e-7.", NOT_NEGATIVE, 0.0, unit="LAMBDA")
    gamma_scale: str | None = option(
        LOSS, "alpha: divide these three by alpha^2 of D's loss, for equal regularisation.",
        click.Choice(["none", "alpha"]), "none")
    pl_weight: float | None = option(
        LOSS, "Path-length weight.", NOT_NEGATIVE, unit="WEIGHT",
        unset=f"{BaseConfig.pl_weight:g}; cifar: {CFGS['cifar'].pl_weight:g}")
    style_mixing: float | None = option(
        LOSS, "Probability of style mixing.", PROBABILITY, unit="PROBABILITY",
        unset=f"{BaseConfig.style_mixing_prob:g}; cifar: {CFGS['cifar'].style_mixing_prob:g}")

    preset: str | None = option(SIZE, "Values for options not given.", click.Choice(list(PRESETS)))
    cfg: str | None = option(SIZE, "Base configuration.", click.Choice(["auto", *CFGS]), "auto")
    kimg: float | None = option(SIZE, "Length in thousands of images.", POSITIVE, unset=CFG, unit="KIMG", free=True)
    batch: int | None = option(SIZE, "Images per step over all processes.", COUNT, unset=CFG, unit="IMAGES")
    batch_gpu: int | None = option(
        SIZE, "Images at once per process; the rest is accumulated.", COUNT, unset=CFG, unit="IMAGES", free=True)
    cbase: int | None = option(SIZE, "Feature maps at resolution r: this divided by r.", COUNT, unset=CFG, unit="MAPS")
    cmax: int | None = option(SIZE, "Most feature maps at any resolution.", COUNT, 512, unit="MAPS")
    map_depth: int | None = option(SIZE, "Layers of the mapping network.", COUNT, unset=CFG, unit="LAYERS")
    mbstd_group: int | None = option(SIZE, "Images per minibatch-std group.", COUNT, unset=CFG, unit="IMAGES")
    glr: float | None = option(SIZE, "Learning rate of G.", NOT_NEGATIVE, unset=CFG, unit="RATE")
    dlr: float | None = option(SIZE, "Learning rate of D.", NOT_NEGATIVE, unset=CFG, unit="RATE")
    ema_kimg: float | None = option(
        SIZE, "Half-life of the generator's average.", NOT_NEGATIVE, unset=CFG, unit="KIMG")

    aug: str | None = option(AUGMENTATION, "Augmentation mode.", click.Choice(["noaug", "ada", "fixed", "apa"]), "ada")
    p: float | None = option(
        AUGMENTATION, "Probability of augmentations.", PROBABILITY, unit="PROBABILITY", only_with=("aug", "fixed"))
    target: float | None = option(
        AUGMENTATION, "What r_t is steered to.", PROBABILITY, 0.6, unit="R_T", only_with=("aug", "ada"))
    apa_target: float | None = option(
        AUGMENTATION, "What r_t is steered to.", PROBABILITY, 0.6, unit="R_T", only_with=("aug", "apa"))
    p_max: float | None = option(
        AUGMENTATION, "Bound of p; 0.8 guards against leaks.", PROBABILITY, 1.0, unit="PROBABILITY",
        only_with=("aug", "ada"))
    ada_kimg: float | None = option(
        AUGMENTATION, "Thousands of images for p to move by 1.", POSITIVE, unit="KIMG",
        unset=f"{ADA_KIMG:g}; {ADA_KIMG_RESUMED:g} with --resume", only_with=("aug", "ada"))
    augpipe: str | None = option(AUGMENTATION, "Which augmentations.", click.Choice(PIPES), "bgc",
                                 only_with=("aug", "ada", "fixed"))

    resume: str | None = option(
        TRANSFER, "Begin with these weights: ffhq256, ..., a snapshot, an official pickle.", unit="FILE|URL|NAME")
    resume_partial: bool | None = option(TRANSFER, "Take what fits, list the rest.", bool, False, only_with=("resume",))
    freezed: int | None = option(TRANSFER, "Freeze-D: layers of D that stay fixed.", NATURAL, 0, unit="LAYERS")

    tick: float | None = option(REPORTS, "From one report to the next.", POSITIVE, 4.0, unit="KIMG")
    snap: int | None = option(
        REPORTS, "Between network snapshots; 0: only the last.", NATURAL, 50, unit="TICKS", free=True)
    img_snap: int | None = option(
        REPORTS, "Between image grids.", NATURAL, unset="as --snap", unit="TICKS", free=True)
    grid: tuple[int, int] | None = option(
        REPORTS, "Size of the grids, such as 8x4.", Size(), unset="by resolution", unit="WxH")
    metrics: tuple[str, ...] | None = option(
        REPORTS, "At every snapshot: fid50k_full, swd2k, ..., or none.", NameList(none=True), unit="LIST",
        unset="fid50k_full on a GPU, else fd_lite0_2k,swd2k", free=True)
    keep: Keep | None = option(
        REPORTS, "Network snapshots that stay.", KeepRule(), unset="all", unit="last=N,best=M", free=True)
    checkpoint_minutes: float | None = option(
        REPORTS, "Between checkpoints.", NOT_NEGATIVE, 10.0, unit="MINUTES", free=True)
    max_hours: float | None = option(
        REPORTS, "Save and stop after this long, with status 75.", NOT_NEGATIVE, unit="HOURS", free=True)

    gpus: int | None = option(
        MACHINE, "Processes on this machine; torchrun for several machines.", COUNT, 1, unit="PROCESSES", free=True)
    device: str | None = option(
        MACHINE, "Where to compute.", click.Choice(["auto", "cpu", "cuda"]), "auto", free=True)
    precision: str | None = option(
        MACHINE, "Of the convolutions.", click.Choice(["auto", "fp32", "bf16", "fp16"]), "auto", free=True)
    fp32: bool | None = option(MACHINE, "Same as --precision=fp32.", bool, False)
    nhwc: bool | None = option(MACHINE, "Memory layout channels_last.", bool, unset="by --precision")
    allow_tf32: bool | None = option(MACHINE, "TF32 for float32 matrix products.", bool, False)
    nobench: bool | None = option(MACHINE, "Do not let cuDNN search for its fastest algorithms.", bool, False)
    ops: str | None = option(
        MACHINE, "Implementation of the operators.", click.Choice(["auto", "native", "torch"]), "auto")
    cuda_graphs: bool | str | None = option(
        MACHINE, "Run whole phases as CUDA graphs; auto: on one GPU whose memory suffices.", BoolOrAuto(), AUTO,
        unit="auto|BOOL", free=True)
    seed: int | None = option(MACHINE, "Of everything random.", SEED, 0, unit="SEED")
    nan_check: bool | None = option(
        MACHINE, "Stop at the first operation that makes a non-finite value (slow).", bool, False, free=True)

    def __post_init__(self) -> None:
        check_choices(self)

    def with_defaults(self) -> "TrainingOptions":
        """With the preset's values, then the defaults, for options that were not given."""
        return super().with_defaults(PRESETS[self.preset].options if self.preset else None)
# fmt: on


DEFAULTS = TrainingOptions().with_defaults()
"""The value of each option where nothing is given; None where it depends on the data, the machine or other options."""
