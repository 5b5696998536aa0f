"""The Frechet distance between Gaussians fitted to features, and its extrapolation to infinite samples.

    FD = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr (S_1 S_2)^(1/2)        (Dowson and Landau 1982)

On Inception-v3 pool features it is the FID of Heusel et al. 2017. Covariances are divided by N, in float64.
"""

import numpy as np
import torch
from scipy.linalg.lapack import dsygst

from metrics.randomness import CHOICE, stream


class Moments:
    """Count, sum and second moments of rows added block by block, in float64.

    Sums are taken about the mean of the rows added first, so that a common offset costs no digits.

    Args:
        num_features: D.
        device: where to accumulate; the CPU where the device has no float64.
    """

    def __init__(self, num_features: int, device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        self._device = torch.device("cpu") if device.type == "mps" else device
        self.count = 0
        self._origin = torch.zeros(num_features, dtype=torch.float64, device=self._device)
        self._sum = torch.zeros(num_features, dtype=torch.float64, device=self._device)
        self._outer = torch.zeros(num_features, num_features, dtype=torch.float64, device=self._device)

    @classmethod
    def of(cls, features: torch.Tensor) -> "Moments":
        """The moments of features [N, D]."""
        moments = cls(features.shape[1], features.device)
        for rows in features.split(4096):
            moments.add(rows)
        return moments

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "Moments":
        """The inverse of `state`."""
        moments = cls(len(state["sum"]))
        moments.count = int(state["count"][0])
        moments._origin, moments._sum, moments._outer = (
            torch.from_numpy(state[key]) for key in ("origin", "sum", "outer")
        )
        return moments

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the cache: count, and float64 origin [D], sum [D] and sum of outer products [D, D]."""
        sums = {"origin": self._origin, "sum": self._sum, "outer": self._outer}
        return {"count": np.array([self.count]), **{key: tensor.cpu().numpy() for key, tensor in sums.items()}}

    def add(self, features: torch.Tensor) -> None:
        """Add rows [N, D]."""
        rows = features.to(self._device, torch.float64)
        if self.count == 0:
            self._origin = rows.mean(dim=0)
        rows = rows - self._origin
        self.count += rows.shape[0]
        self._sum += rows.sum(dim=0)
        self._outer.addmm_(rows.T, rows)

    def mean(self) -> torch.Tensor:
        """Mean [D], float64, on the CPU."""
        return (self._origin + self._sum / self.count).cpu()

    def covariance(self) -> torch.Tensor:
        """Covariance [D, D] divided by N, float64, on the CPU."""
        offset = (self._sum / self.count).cpu()
        return self._outer.cpu() / self.count - torch.outer(offset, offset)


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
