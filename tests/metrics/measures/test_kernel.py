"""The kernel distance against published numbers, public implementations and a plain double loop."""

import numpy as np
import pytest
import torch

from metrics.measures.kernel import kernel_distance


def rows(count: int, width: int = 8, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def value(a: torch.Tensor, b: torch.Tensor, **options) -> float:
    return float(kernel_distance(a, b, **options)[0])


def test_published_number(fixtures_dir):
    data = np.load(fixtures_dir / "metrics_features.npz")
    real, generated = (torch.from_numpy(data[name][:500]) for name in ("real", "gen"))
    assert value(real, generated) == pytest.approx(float(data["kid_first500"]), rel=1e-6)


def test_torch_fidelity_and_torchmetrics_agree():
    torch_fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    torchmetrics = pytest.importorskip("torchmetrics.image.kid")
    real, generated = rows(300, 16, 1).double(), rows(300, 16, 2, shift=0.2).double()
    ours = value(real, generated)
    theirs = torch_fidelity.kernel_mmd(real.numpy(), generated.numpy())
    assert ours == pytest.approx(float(theirs), rel=1e-4)
    assert ours == pytest.approx(float(torchmetrics.poly_mmd(real, generated)), rel=1e-4)


def test_plain_double_loop():
    x, y = rows(7, 3).double(), rows(7, 3, 1, 0.5).double()

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    xx = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(7) for j in range(7) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert value(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-10)


def test_unbiased_at_any_count():
    """The mean over many draws from one distribution is zero even at 10 samples."""
    values = [value(rows(10, 4, 2 * i), rows(10, 4, 2 * i + 1)) for i in range(2000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 2000**0.5


def test_subsets_are_a_function_of_the_seed():
    a, b = rows(150), rows(120, seed=1)
    assert value(a, b, subset_size=50, seed=3) == value(a, b, subset_size=50, seed=3)
    assert value(a, b, subset_size=50, seed=3) != value(a, b, subset_size=50, seed=4)
    whole = value(a[:120], b)
    assert value(a[:120], b, subset_size=60, subsets=400) == pytest.approx(whole, abs=0.1)


def test_repeated_rows_of_a_resample_do_not_bias():
    """Resampling with pairs of a row with itself left out keeps the mean; counting them would raise it."""
    a, b = rows(60), rows(60, seed=1)
    random = np.random.default_rng(0)
    drawn = [np.stack([np.bincount(random.integers(60, size=60), minlength=60) for _ in range(4000)]) for _ in "ab"]
    replicates = kernel_distance(a, b, multiplicities=(drawn[0], drawn[1]))
    assert replicates.shape == (4000,)
    assert replicates.mean() == pytest.approx(value(a, b), abs=4 * replicates.std() / 4000**0.5 + 1e-3)
    once = np.ones((1, 60), dtype=int)
    assert kernel_distance(a, b, multiplicities=(once, once))[0] == pytest.approx(value(a, b), rel=1e-12)
