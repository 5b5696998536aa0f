"""Statistics for a handful of paired runs: intervals for a mean, a permutation test, Holm's correction.

A comparison has few seeds (3 to 10), so everything here is chosen for small samples, and what small
samples cannot show is said by `smallest_p`.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.stats

EXACT_BOOTSTRAP = 9  # up to this many values every resample is enumerated: C(17, 9) = 24310 multisets
EXACT_FLIPS = 16  # up to this many pairs every assignment of signs is enumerated: 65536
DRAWS = 20_000


def bootstrap_interval(values: Sequence[float], level: float = 0.95, seed: int = 0) -> tuple[float, float] | None:
    """Confidence interval for the mean of `values` [n], by the bootstrap with the small-sample expansion.

    The percentile bootstrap of n values is too narrow by about sqrt((n - 1) / n) z / t(n - 1): 0.37 for n = 3. As
    Hesterberg proposes (What Teachers Should Know About the Bootstrap, 2015, section 3.4) the interval is expanded
    to correct for it; here by scaling its two arms, because with few values the tails of the resampling distribution
    hold nothing to move the percentiles into. All resamples are enumerated up to n = 9, so that no seed is involved.

    Returns None for fewer than two values, for which there is no spread to estimate.
    """
    sample = _finite(values)
    n = len(sample)
    if n < 2:
        return None
    means, weights = _resampled_means(sample, seed)
    tail = (1 - level) / 2
    low, high = _weighted_quantile(means, weights, tail), _weighted_quantile(means, weights, 1 - tail)
    expansion = math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(1 - tail, n - 1) / scipy.stats.norm.ppf(1 - tail)
    center = float(sample.mean())
    return center - expansion * (center - low), center + expansion * (high - center)


def sign_flip_test(differences: Sequence[float], seed: int = 0) -> float | None:
    """Two-sided p value of the paired permutation test of "no difference", for paired `differences` [n].

    Without a difference each pair could as well have come the other way round, so all 2^n signs are equally
    likely; p is the share of them whose |sum| is at least the one seen. Exact up to n = 16, then 20 000 random
    assignments, with the observed one counted in (Phipson and Smyth 2010), so that the level holds in both cases.
    """
    sample = _finite(differences)
    if len(sample) < 2:
        return 1.0 if len(sample) else None
    size = np.abs(sample).sum() or 1.0

    def distance(values: np.ndarray, axis: int) -> np.ndarray:
        return np.round(np.abs(values.sum(axis=axis)) / size, 9)  # the same sum in another order must count as a tie

    result = scipy.stats.permutation_test(
        (sample,), distance, permutation_type="samples", alternative="greater", vectorized=True,
        n_resamples=2**EXACT_FLIPS if len(sample) <= EXACT_FLIPS else DRAWS, random_state=np.random.default_rng(seed),
    )  # fmt: skip
    return float(result.pvalue)


def smallest_p(n: int) -> float | None:
    """The smallest p value that `sign_flip_test` can give for n pairs, whatever the differences: 2^(1 - n)."""
    if n == 0:
        return None
    return 2.0 ** (1 - n) if n <= EXACT_FLIPS else 1 / (1 + DRAWS)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (1979) of a family of p values; None stays None and is not counted in the family."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[i] = running
    return adjusted


def _finite(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError("a non-finite value among the runs; exclude and count diverged runs first")
    return sample


@cache
def _all_resamples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Every multiset of n draws from n values as counts [m, n], with its multinomial probability [m]."""
    counts = np.zeros((math.comb(2 * n - 1, n), n))
    for row, draws in enumerate(itertools.combinations_with_replacement(range(n), n)):
        counts[row] = np.bincount(draws, minlength=n)
    factorials = np.array([math.factorial(i) for i in range(n + 1)], dtype=np.float64)
    ways = math.factorial(n) / factorials[counts.astype(int)].prod(axis=1)
    return counts / n, ways / float(n) ** n


def _resampled_means(sample: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(sample)
    if n <= EXACT_BOOTSTRAP:
        shares, weights = _all_resamples(n)
        return shares @ sample, weights
    means = np.random.default_rng(seed).choice(sample, size=(DRAWS, n)).mean(axis=1)
    return means, np.full(DRAWS, 1 / DRAWS)


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """The quantile of a weighted sample, interpolated between the midpoints of the steps of its distribution."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    middle = np.cumsum(weights) - weights / 2
    return float(np.interp(q, middle, values))
