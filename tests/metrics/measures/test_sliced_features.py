"""The sliced Wasserstein distance of features, against plain definitions."""

import numpy as np
import pytest
import scipy.stats
import torch

from metrics.measures.sliced_features import Steps, sliced_wasserstein_of_features


def rows(count: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + shift


def test_a_shift_is_measured_in_the_unit_of_the_features():
    # Along a unit vector u a shift by s moves every value by s . u; the mean square of that is |s|^2 / 6.
    a = rows(50)
    shift = torch.tensor([3.0, 0, 0, 0, 0, 0])
    found = sliced_wasserstein_of_features(a, a + shift, seed=1, directions=4000)
    assert found == pytest.approx(1000 * 3 / 6**0.5, rel=0.03)


def test_repeated_and_shuffled_rows_are_the_same_set():
    a = rows(30)
    assert sliced_wasserstein_of_features(a, a[torch.randperm(30)], seed=0) == 0
    assert sliced_wasserstein_of_features(a, a.repeat(3, 1), seed=0) == 0


@pytest.mark.parametrize(("n", "m"), [(7, 7), (12, 5), (4, 9), (1, 3)])
def test_unequal_counts_go_by_the_quantile_functions(n, m):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(1, n)), random.normal(size=(1, m)) + 1
    q = (np.arange(n * m * 50) + 0.5) / (n * m * 50)
    quantiles = [np.sort(v[0])[np.floor(q * v.shape[1]).astype(int)] for v in (x, y)]
    expected = np.mean((quantiles[0] - quantiles[1]) ** 2)
    assert Steps(n, m).squared_distances(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected)


def test_more_difference_is_more_distance():
    a, seen = rows(300), []
    for shift in (0.0, 0.2, 0.4, 0.8):
        seen.append(sliced_wasserstein_of_features(a, rows(200, shift, seed=2), seed=0))
    assert scipy.stats.spearmanr(range(4), seen).statistic == 1
