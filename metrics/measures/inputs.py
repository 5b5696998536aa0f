"""What the numbers of one metric are computed from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from metrics.detectors.detector import Detector
from metrics.measures import bootstrap


@dataclass(frozen=True)
class Inputs:
    """Stores of images and what a bootstrap needs.

    Attributes:
        num_real, num_gen: counts; `num_real` is 0 without real images.
        real, generated: what the metric's `gather` gave; `FeatureStore`s unless the metric has its own.
        detector: whose features they are, if any.
        seed: of random subsets, directions and resamples.
        resamples: B, 0 for no intervals.
        device: where to compute; it has float64.
    """

    num_real: int
    num_gen: int
    real: Any
    generated: Any
    detector: Detector | None
    seed: int
    resamples: int
    device: torch.device

    def real_features(self) -> torch.Tensor:
        """[num_real, D] on the device."""
        return self.real.features(self.num_real).to(self.device)

    def generated_features(self) -> torch.Tensor:
        """[num_gen, D] on the device."""
        return self.generated.features(self.num_gen).to(self.device)

    def resampled_rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of index arrays (real [num_real], generated [num_gen])."""
        real = bootstrap.resamples(self.resamples, self.num_real, self.seed, 0)
        return zip(real, self.resampled_generated(), strict=True)

    def resampled_generated(self) -> Iterator[np.ndarray]:
        """Index arrays [num_gen] of generated images alone."""
        return bootstrap.resamples(self.resamples, self.num_gen, self.seed, 1)

    def multiplicities(self) -> tuple[np.ndarray, np.ndarray]:
        """The same resamples as counts [B, num_real], [B, num_gen]."""
        counts = (self.num_real, self.num_gen)
        real, generated = (bootstrap.multiplicities(self.resamples, n, self.seed, i) for i, n in enumerate(counts))
        return real, generated
