"""The kernel distance of features: an unbiased estimate of the squared maximum mean discrepancy.

Kernel (x . y / D + 1)^3; on Inception-v3 pool features it is the KID of Binkowski et al. 2018.
"""

import numpy as np
import torch

from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, DETECTOR, REAL_SET, Metric, Numbers, Replicates
from metrics.randomness import CHOICE, stream

SUBSETS = 100
SUBSET_SIZE = 1000


def polynomial_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(x_i . y_j / D + 1)^3 for rows of x [N, D] and y [M, D]: [N, M]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(
    real: torch.Tensor,
    generated: torch.Tensor,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
    multiplicities: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """The mean over random subsets of the unbiased estimate, as StyleGAN2-ADA averages it.

    Args:
        real: features [N, D].
        generated: features [M, D].
        subsets: how many subsets; one suffices where a subset is the whole set, and then one is used.
        subset_size: rows of each set in a subset, at most min(N, M).
        seed: which subsets.
        multiplicities: int [B, N] and [B, M]: how often each row occurs in B bootstrap resamples. Pairs of a
            row with itself never count, hence repeated rows leave the estimate unbiased.

    Returns:
        float64 [1], or [B] with multiplicities.
    """
    size = min(subset_size, len(real), len(generated))
    if size < 2:
        raise ValueError("the kernel distance needs two rows of each set")
    if size == len(real) == len(generated):
        subsets = 1
    random = stream(seed, CHOICE)
    if multiplicities is None:
        multiplicities = (np.ones((1, len(real))), np.ones((1, len(generated))))
    total = np.zeros(len(multiplicities[0]))
    for _ in range(subsets):
        gen_rows = random.choice(len(generated), size, replace=False)
        real_rows = random.choice(len(real), size, replace=False)
        total += _mmd(
            real[torch.from_numpy(real_rows)].double(),
            generated[torch.from_numpy(gen_rows)].double(),
            torch.from_numpy(multiplicities[0][:, real_rows]).double(),
            torch.from_numpy(multiplicities[1][:, gen_rows]).double(),
        )
    return total / subsets


def _mmd(x: torch.Tensor, y: torch.Tensor, weights_x: torch.Tensor, weights_y: torch.Tensor) -> np.ndarray:
    """Unbiased MMD^2 of rows with weights [B, N], [B, M]: [B] (Gretton et al. 2012, equation 3)."""
    weights_x, weights_y = weights_x.to(x.device), weights_y.to(y.device)
    across = ((weights_x @ polynomial_kernel(x, y)) * weights_y).sum(dim=1)
    across = across / (weights_x.sum(dim=1) * weights_y.sum(dim=1))
    return (_within(x, weights_x) + _within(y, weights_y) - 2 * across).cpu().numpy()


def _within(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    kernel = polynomial_kernel(x, x).fill_diagonal_(0)
    pairs = weights.sum(dim=1).square() - weights.square().sum(dim=1)
    return ((weights @ kernel) * weights).sum(dim=1) / pairs


class KernelDistance(Metric):
    """kid<N>[...] on Inception's features, kd_<detector>[_<N>][...] on others."""

    grammar = (rf"kid{COUNT}{REAL_SET}", rf"kd_{DETECTOR}(_{COUNT})?{REAL_SET}")
    kind, stem, home = "kd", "kid", "inception"
    listed = ("kid50k_full", "kid50k", "kid5k_train")
    most_real = 1_000_000  # as StyleGAN2-ADA limits it

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """One number."""
        real, generated = inputs.real_features(), inputs.generated_features()
        value = float(kernel_distance(real, generated, seed=inputs.seed)[0])
        if inputs.resamples == 0:
            return {self.name: value}, {}
        replicates = kernel_distance(real, generated, seed=inputs.seed, multiplicities=inputs.multiplicities())
        return {self.name: value}, {self.name: replicates}
