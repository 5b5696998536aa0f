"""The Frechet distance between Gaussians fitted to features, and its extrapolation to infinite samples.

    FD = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr (S_1 S_2)^(1/2)        (Dowson and Landau 1982)

On Inception-v3 pool features it is the FID of Heusel et al. 2017. Covariances are divided by N, in float64.
"""

import numpy as np
import torch
from scipy.linalg.lapack import dsygst

from metrics.features.moments import Moments
from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, DETECTOR, REAL_SET, Metric, Numbers, Replicates
from metrics.randomness import CHOICE, stream


def frechet_distance(a: Moments, b: Moments) -> float:
    """The Frechet distance of two sets of moments; symmetric, right for singular covariances.

    Any F with S_1 = F F^T gives tr (S_1 S_2)^(1/2) = tr (F^T S_2 F)^(1/2), a symmetric matrix whose
    eigenvalues are real. S_1 is the covariance of fewer samples: if it is singular, F spans its range only
    and F^T S_2 F has no zero eigenvalues, whose rounding error of 1e-16 would become 1e-8 under the root.
    """
    first, second = (a, b) if a.count <= b.count else (b, a)
    covariance_1, covariance_2 = first.covariance(), second.covariance()
    # numpy's eigvalsh takes a third of the time of torch's at D = 2048 on the CPU.
    eigenvalues = np.linalg.eigvalsh(_inner(covariance_1, covariance_2))
    cross = float(np.sqrt(np.maximum(eigenvalues, 0)).sum())
    distance = (first.mean() - second.mean()).square().sum() + covariance_1.trace() + covariance_2.trace()
    return max(float(distance) - 2 * cross, 0.0)


def _inner(covariance_1: torch.Tensor, covariance_2: torch.Tensor) -> np.ndarray:
    """F^T S_2 F for some F [D, rank] with S_1 = F F^T; of the symmetric result at least the lower half is filled.

    F is Cholesky's factor where S_1 is well conditioned, else made of eigenvectors.
    """
    tolerance = covariance_1.shape[0] * torch.finfo(torch.float64).eps
    cholesky, failed = torch.linalg.cholesky_ex(covariance_1)
    pivots = cholesky.diagonal().square()
    if not failed and pivots.min() > 1e3 * tolerance * pivots.max():
        # A quarter of the operations of two products, as it knows that S_2 is symmetric and F triangular.
        return dsygst(covariance_2.numpy(), cholesky.numpy(), itype=3, lower=1)[0]
    values, vectors = torch.linalg.eigh(covariance_1)
    kept = values > tolerance * values.max().clamp(min=0)
    factor = vectors[:, kept] * values[kept].sqrt()
    return (factor.T @ covariance_2 @ factor).numpy()


def frechet_distance_of_features(real: torch.Tensor, generated: torch.Tensor) -> float:
    """The Frechet distance of features [N, D] and [M, D].

    Where a set has fewer rows than columns it goes by the small Gram matrix: with centred X [N, D] and
    Y [M, D], tr (S_x S_y)^(1/2) is the sum of the singular values of X Y^T / sqrt(N M).
    """
    if min(len(real), len(generated)) > real.shape[1]:
        return frechet_distance(Moments.of(real), Moments.of(generated))
    x, y = (rows.to("cpu", torch.float64) for rows in (real, generated))
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    x, y = (x - mean_x) / len(x) ** 0.5, (y - mean_y) / len(y) ** 0.5
    small, large = (x, y) if len(x) <= len(y) else (y, x)
    if len(large) > large.shape[1]:
        # Only the projection on the range of the smaller set matters; R of a QR has the same singular values.
        large = torch.linalg.qr(large, mode="r").R
    cross = torch.linalg.svdvals(small @ large.T).sum()
    distance = (mean_x - mean_y).square().sum() + x.square().sum() + y.square().sum() - 2 * cross
    return max(float(distance), 0.0)


def frechet_distance_to_features(real: Moments, generated: torch.Tensor) -> float:
    """The Frechet distance of moments and features [N, D]; fast for N < D, where the rows themselves are the factor F.

    With centred X [N, D], tr (S_x S)^(1/2) = tr (X S X^T / N)^(1/2), a matrix [N, N].
    """
    count, width = generated.shape
    if count >= width:
        return frechet_distance(real, Moments.of(generated))
    rows = generated.to("cpu", torch.float64)
    mean = rows.mean(dim=0)
    rows = (rows - mean) / count**0.5
    covariance = real.covariance()
    eigenvalues = np.linalg.eigvalsh((rows @ covariance @ rows.T).numpy())
    cross = float(np.sqrt(np.maximum(eigenvalues, 0)).sum())
    distance = (real.mean() - mean).square().sum() + covariance.trace() + rows.square().sum()
    return max(float(distance) - 2 * cross, 0.0)


def frechet_infinity(real: Moments, generated: torch.Tensor, *, seed: int = 0, points: int = 15) -> float:
    """The Frechet distance extrapolated to infinitely many generated samples (Chong and Forsyth 2020, section 3).

    The bias of FD at N samples is c / N to first order. FD is evaluated at `points` numbers of samples, evenly
    from N / 10 (5,000 of 50,000 in the paper) to N, each on a random subset; the line through FD over 1 / N
    meets 1 / N = 0 at the result. The real moments are taken as exact, and their own bias remains.

    Chong and Forsyth draw their latents quasi-randomly for a smaller variance; this is their plain variant.
    """
    total = len(generated)
    counts = np.unique(np.linspace(max(total // 10, 2), total, points).astype(int))
    random = stream(seed, CHOICE)
    values = []
    for count in counts:
        rows = torch.from_numpy(random.permutation(total)[:count]).to(generated.device)
        values.append(frechet_distance_to_features(real, generated[rows]))
    slope_and_limit = np.polyfit(1.0 / counts, values, deg=1)
    return float(slope_and_limit[1])


class FrechetDistance(Metric):
    """fid<N>[...] on Inception's features, fd_<detector>[_<N>][...] on others."""

    grammar = (rf"fid{COUNT}{REAL_SET}", rf"fd_{DETECTOR}(_{COUNT})?{REAL_SET}")
    kind, stem, home = "fd", "fid", "inception"
    listed = ("fid50k_full", "fid50k", "fid5k_train")
    keeps_generated = keeps_real = False

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """One number, of the moments; intervals resample the features."""
        value = frechet_distance(inputs.real.moments(inputs.num_real), inputs.generated.moments(inputs.num_gen))
        replicates = []
        if inputs.resamples:
            real, generated = inputs.real_features(), inputs.generated_features()
            replicates = [frechet_distance_of_features(real[r], generated[g]) for r, g in inputs.resampled_rows()]
        return {self.name: value}, {self.name: np.array(replicates)}


class FrechetInfinity(Metric):
    """fid_inf<N>[...], fd_inf_<detector>[_<N>][...]: extrapolated to infinitely many generated images."""

    grammar = (rf"fid_inf{COUNT}{REAL_SET}", rf"fd_inf_{DETECTOR}(_{COUNT})?{REAL_SET}")
    kind, stem, home = "fd_inf", "fid_inf", "inception"
    listed = ("fid_inf50k_full",)
    least = 20
    keeps_real = False

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """One number."""
        generated = inputs.generated_features()
        value = frechet_infinity(inputs.real.moments(inputs.num_real), generated, seed=inputs.seed)
        replicates = []
        if inputs.resamples:
            real = inputs.real_features()
            replicates = [
                frechet_infinity(Moments.of(real[r]), generated[g], seed=inputs.seed)
                for r, g in inputs.resampled_rows()
            ]
        return {self.name: value}, {self.name: np.array(replicates)}
