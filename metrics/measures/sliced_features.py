"""The sliced Wasserstein distance of features: how far two sets lie apart along random directions.

    SW = sqrt( mean over directions of the integral over q in [0, 1] of (F_r^-1(q) - F_g^-1(q))^2 ), times 1000

with the quantile functions F^-1 of the projections on 512 random unit vectors (Bonneel et al. 2015). It has no
covariance matrix to estimate, so that a few hundred images say more than with a Frechet distance (MIND, arXiv
2605.06797, is about that). `swd` is the same idea on patches of pixels.
"""

import numpy as np
import torch

from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, DETECTOR, REAL_SET, Metric, Numbers, Replicates
from metrics.measures.swd import NUM_DIRECTIONS, SCALE, random_directions, sorted_rows

RESAMPLED_DIRECTIONS = 64  # the same for all resamples, so that their spread suffers little


def sliced_wasserstein_of_features(
    real: torch.Tensor, generated: torch.Tensor, *, seed: int, directions: int = NUM_DIRECTIONS
) -> float:
    """The distance of features [N, D] and [M, D], in their unit times 1000; the seed determines the directions."""
    steps = Steps(len(real), len(generated))
    total = 0.0
    for axes in random_directions(real.shape[1], directions, seed):
        x, y = (axes.to(rows.device) @ rows.T for rows in (real, generated))
        total += steps.squared_distances(x, y)
    return SCALE * (total / directions) ** 0.5


class Steps:
    """The steps of two quantile functions with N and M values, merged."""

    def __init__(self, n: int, m: int) -> None:
        ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # where either has a step, times N M
        self._widths = torch.from_numpy(np.diff(ends, prepend=0) / (n * m))
        self._x, self._y = torch.from_numpy((ends - 1) // m), torch.from_numpy((ends - 1) // n)

    def squared_distances(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """The sum over directions K of the squared distance of projections [K, N] and [K, M], which it may sort."""
        difference = sorted_rows(x).cpu()[:, self._x] - sorted_rows(y).cpu()[:, self._y]
        return float((difference.double().square() @ self._widths).sum())


class SlicedFeatures(Metric):
    """sw_<detector>[_<N>][_full|_train], for any detector that can be named."""

    grammar = (rf"sw_{DETECTOR}(_{COUNT})?{REAL_SET}",)
    kind = stem = "sw"

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """One number."""
        real, generated = inputs.real_features(), inputs.generated_features()
        value = sliced_wasserstein_of_features(real, generated, seed=inputs.seed)
        if inputs.resamples == 0:
            return {self.name: value}, {}
        axes = torch.cat(random_directions(real.shape[1], RESAMPLED_DIRECTIONS, inputs.seed)).to(real.device)
        x, y = axes @ real.T, axes @ generated.T
        steps = Steps(len(real), len(generated))
        squares = [steps.squared_distances(x[:, r], y[:, g]) for r, g in inputs.resampled_rows()]
        return {self.name: value}, {self.name: SCALE * np.sqrt(np.array(squares) / RESAMPLED_DIRECTIONS)}
