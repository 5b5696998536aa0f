"""What decides a run of image classification: the loss, the settings, the place."""

from dataclasses import dataclass, field

import torch
from torch import nn

from dnnlib import UserError
from rooted import FocalLoss, RootedCrossEntropyLoss
from torch_utils.processes.distributed import World


@dataclass(frozen=True)
class LossConfig:
    """Which loss: "ce", "focal" (gamma 3, alpha 0.25 as in the paper's code) or "rlo" with its settings."""

    name: str
    k: float | None = None
    form: str | None = None
    multiplier: float | None = None

    def describe(self) -> str:
        """A short name for folders and tables."""
        if self.name != "rlo":
            return self.name
        return f"rlo-k{self.k:g}-{self.form}" + (f"-m{self.multiplier:g}" if self.multiplier else "")

    def build(self, label_smoothing: float) -> nn.Module:
        """The loss module."""
        if self.name == "ce":
            return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        if self.name == "focal":
            return FocalLoss(gamma=3.0, alpha=0.25, label_smoothing=label_smoothing)
        return RootedCrossEntropyLoss(
            k=self.k, form=self.form, multiplier=self.multiplier, label_smoothing=label_smoothing
        )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run's result but the data.

    Attributes:
        flips: "random" draws anew in every epoch whether an image is mirrored; "turns" draws it in the first epoch and
            then mirrors and does not by turns, so that two epochs hold both of every image.
        evaluate_flips: whether logits are the mean of those of an image and of its mirror image.
    """

    loss: LossConfig
    model: str
    pretrained: bool
    epochs: int
    batch: int
    optimizer: str
    lr: float
    weight_decay: float
    warmup: float
    label_smoothing: float
    padding: int
    cutout: int
    ema: float
    precision: str
    seed: int
    momentum: float = 0.9
    flips: str = "random"
    evaluate_flips: bool = False


class DivergedError(UserError):
    """A loss or the logits are not finite: a mistake in the settings, but a result in a search for the rate."""

    def __init__(self, what: str, verb: str, config: TrainConfig) -> None:
        remedy = "lower --lr" + (" or raise --k" if config.loss.name == "rlo" else "")
        super().__init__(f"{what} of {config.loss.describe()} {verb} not finite at lr {config.lr:g}; {remedy}")


@dataclass(frozen=True)
class Runtime:
    """Where it runs; none of it decides what is computed, up to rounding."""

    device: torch.device
    compile: bool
    channels_last: bool
    world: World = field(default_factory=World)

    @property
    def layout(self) -> torch.memory_format:
        """In which images and weights lie."""
        return torch.channels_last if self.channels_last else torch.contiguous_format
