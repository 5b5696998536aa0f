"""What one call of `metrics.compute` or `metrics.compare` can be told beside the images."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from dnnlib import UserError
from metrics.blocks import BLOCK
from torch_utils.processes.distributed import World

ShowProgress = Callable[[str, int, int], None]
"""Called with (label, images done, images to do)."""


@dataclass(frozen=True)
class EvaluationSettings:
    """The options that `compute` and `compare` have in common.

    Attributes:
        seed: of latents, labels, noise, random subsets; 0 or more.
        device: of generator and detector.
        batch_size: images at a time in a detector, of the BLOCK = 64 that are made together.
        detector: a TorchScript file instead of the usual detectors; the names of the results carry its hash.
        detector_sha256: refuse a detector's file with another SHA-256 (hexadecimal, 8 digits or more of it). With
            metrics of several detectors it can fit one only.
        offline: never use the network; detectors must be in the cache or in `ROOTED_DETECTOR_DIR`.
        cache_dir: of detectors and real features; None for `DNNLIB_CACHE_DIR`, else `~/.cache/dnnlib`.
        bootstrap: number of resamples for 95 % intervals, 0 for none.
        progress: called with (label, images done, images to do).
        world: this process among those that make the same call and share the work (`processes.distributed.world`).
        mark_unavailable: give a `Result` with `not_computed` for a metric whose detector is not here, instead of
            raising `DetectorUnavailable`.

    Raises:
        UserError: a value that makes no sense.
    """

    seed: int = 0
    device: torch.device | str = "cpu"
    batch_size: int = BLOCK
    detector: str | os.PathLike | None = None
    detector_sha256: str | None = None
    offline: bool = False
    cache_dir: str | os.PathLike | None = None
    bootstrap: int = 0
    progress: ShowProgress | None = None
    world: World = field(default_factory=World)
    mark_unavailable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", torch.device(self.device))
        if self.seed < 0:
            raise UserError(f"`seed`={self.seed}: the seed of metrics is 0 or more")
        if self.bootstrap < 0 or self.bootstrap == 1:
            raise UserError(
                f"`bootstrap`={self.bootstrap}: give 0 for no intervals, or 2 and more resamples (100, say)"
            )
        if self.batch_size < 1:
            raise UserError(f"`batch_size`={self.batch_size}: give 1 or more")
        if self.detector_sha256 is not None and not re.fullmatch("[0-9a-fA-F]{8,64}", self.detector_sha256):
            raise UserError(
                f"`detector_sha256`={self.detector_sha256}: give 8 to 64 hexadecimal digits, as sha256sum prints them"
            )
