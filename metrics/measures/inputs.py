"""What the numbers of one metric and their bootstrap intervals are computed from.

An interval says how far a metric would scatter if images were drawn anew. Generated and real images are resampled
independently, with replacement. The interval is the reported value plus the 2.5 and 97.5 percentiles of the resampled
values' deviations from their mean. It speaks of the scatter at the given number of images; bias, such as FID's at few
images, is not part of it and shifts resamples further, which is why deviations from their own mean are taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from metrics.detectors.detector import Detector
from metrics.randomness import RESAMPLES, stream

LEVEL = 0.95


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
        """B pairs of index arrays with repeats (real [num_real], generated [num_gen])."""
        return zip(self._resamples(self.num_real, 0), self.resampled_generated(), strict=True)

    def resampled_generated(self) -> Iterator[np.ndarray]:
        """B index arrays [num_gen] of generated images alone."""
        return self._resamples(self.num_gen, 1)

    def multiplicities(self) -> tuple[np.ndarray, np.ndarray]:
        """How often each image occurs in the same resamples: int [B, num_real], [B, num_gen]."""
        real, generated = (
            np.stack([np.bincount(rows, minlength=size) for rows in self._resamples(size, which)])
            for which, size in enumerate((self.num_real, self.num_gen))
        )
        return real, generated

    def _resamples(self, size: int, which: int) -> Iterator[np.ndarray]:
        for index in range(self.resamples):
            yield stream(self.seed, RESAMPLES, 2 * index + which).integers(size, size=size)


def interval(value: float, replicates: np.ndarray) -> tuple[float, float]:
    """The interval around `value` from resampled values [B]."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    return float(value + low), float(value + high)
