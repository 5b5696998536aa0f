"""The Frechet distance against published numbers, public implementations, closed forms and its own symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.measures.frechet import (
    Moments,
    frechet_distance,
    frechet_distance_of_features,
    frechet_distance_to_features,
    frechet_infinity,
)


def features(count: int, width: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=random, dtype=torch.float64)
    return (torch.randn(count, width, generator=random, dtype=torch.float64) @ mixing + scale).float()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return frechet_distance(Moments.of(a), Moments.of(b))


def test_published_number(fixtures_dir):
    data = np.load(fixtures_dir / "metrics_features.npz")
    real, generated = torch.from_numpy(data["real"]), torch.from_numpy(data["gen"])
    assert distance(real, generated) == pytest.approx(float(data["fid"]), rel=1e-6)
    assert frechet_distance_of_features(real, generated) == pytest.approx(float(data["fid"]), rel=1e-6)


def test_torch_fidelity_and_torchmetrics_agree():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    torchmetrics_fid = pytest.importorskip("torchmetrics.image.fid")
    # Enough samples that the N and the N - 1 in the divisors of the implementations differ by less than 1e-4.
    real, generated = features(30_000, 16, 1), features(30_000, 16, 2)
    ours = distance(real, generated)
    theirs = metric_fid.fid_statistics_to_metric(
        metric_fid.fid_features_to_statistics(real), metric_fid.fid_features_to_statistics(generated), False
    )["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-4)
    moments = [(rows.double().mean(dim=0), rows.double().T.cov()) for rows in (real, generated)]
    (mean_1, covariance_1), (mean_2, covariance_2) = moments
    theirs = float(torchmetrics_fid._compute_fid(mean_1, covariance_1, mean_2, covariance_2))
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(("count", "width"), [(500, 20), (30, 100), (2, 5)])
def test_of_a_set_with_itself_is_zero(count, width):
    rows = features(count, width)
    shuffled = rows[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    scale = float(rows.double().square().sum(dim=1).mean())
    assert distance(rows, shuffled) <= 1e-6 * max(scale, 1)
    assert distance(rows / scale**0.5, shuffled / scale**0.5) <= 1e-6
    assert frechet_distance_of_features(rows, shuffled) <= 1e-6 * max(scale, 1)


@pytest.mark.parametrize("count", [200, 1000])
def test_of_large_identical_sets_is_zero_within_a_millionth(count):
    """Features like Inception's: not negative, a total variance above 50, and variances over six decades."""
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(768, 768, generator=random) * torch.logspace(0, -3, 768)[:, None]
    rows = torch.randn(count, 768, generator=random) @ mixing
    rows = (rows / rows.std() * 0.4 + 0.2).relu()
    moments = Moments.of(rows)
    assert moments.covariance().trace() > 50
    shuffled = rows[torch.randperm(count, generator=random)]
    for value in (
        frechet_distance(moments, moments),
        distance(rows, shuffled),
        frechet_distance_of_features(rows, shuffled),
        frechet_distance_to_features(moments, shuffled),
    ):
        assert value <= 1e-6


@settings(max_examples=25)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(1, 40), st.integers(0, 2**31))
def test_symmetric_nonnegative_and_the_same_by_all_routes(count_a, count_b, width, seed):
    a, b = features(count_a, width, seed), features(count_b, width, seed + 1, scale=2.0)
    forward, backward = distance(a, b), distance(b, a)
    by_gram = frechet_distance_of_features(a, b)
    scale = float(a.double().square().sum(dim=1).mean() + b.double().square().sum(dim=1).mean())
    assert forward >= 0
    assert forward == pytest.approx(backward, abs=1e-7 * scale)
    assert forward == pytest.approx(by_gram, abs=1e-7 * scale)
    assert forward == pytest.approx(frechet_distance_to_features(Moments.of(a), b), abs=1e-7 * scale)


def test_singular_covariances_in_closed_form():
    """Points on two orthogonal lines in 50 dimensions: tr (S_1 S_2)^(1/2) = 0; on one line: (sd_1 - sd_2)^2."""
    t = torch.linspace(-1, 1, 40, dtype=torch.float64)
    lines = torch.zeros(3, 40, 50, dtype=torch.float64)
    lines[0, :, 0], lines[1, :, 1], lines[2, :, 0] = t, 2 * t, 3 * t
    variance = float(t.square().mean())
    assert distance(lines[0], lines[1]) == pytest.approx(5 * variance, rel=1e-10)
    assert distance(lines[0], lines[2]) == pytest.approx(4 * variance, rel=1e-10)


def test_diagonal_gaussians_in_closed_form():
    random = np.random.default_rng(0)
    sd_1, sd_2, shift = random.uniform(0.1, 3, (3, 30))
    unit = np.concatenate([np.eye(30), -np.eye(30)]) * 30**0.5  # mean 0, covariance 1
    a, b = torch.from_numpy(unit * sd_1), torch.from_numpy(unit * sd_2 + shift)
    assert distance(a, b) == pytest.approx(((sd_1 - sd_2) ** 2 + shift**2).sum(), rel=1e-9)


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_order_and_batch_size_do_not_matter(step):
    rows, others = features(300, 10, 3), features(200, 10, 4)
    streamed = Moments(10)
    for part in rows.flip(0).split(step):
        streamed.add(part)
    assert streamed.count == 300
    assert frechet_distance(streamed, Moments.of(others)) == pytest.approx(distance(rows, others), rel=1e-10)


def test_moments_survive_a_round_trip():
    moments = Moments.of(features(50, 6))
    again = Moments.from_state(moments.state())
    assert torch.equal(moments.covariance(), again.covariance())
    assert torch.equal(moments.mean(), again.mean())


def test_float32_features_far_from_zero_lose_nothing():
    random = np.random.default_rng(1)
    rows = (random.standard_normal((4000, 5)) * 0.01 + 100).astype(np.float32)
    expected = np.cov(rows.astype(np.float64), rowvar=False, bias=True)
    assert np.allclose(Moments.of(torch.from_numpy(rows)).covariance().numpy(), expected, rtol=1e-6, atol=1e-12)


def test_extrapolation_takes_the_bias_away():
    """Two samples of one Gaussian: FD is about its bias, the extrapolated one about zero."""
    random = torch.Generator().manual_seed(7)
    real = Moments.of(torch.randn(50_000, 16, generator=random))
    biased, unbiased = [], []
    for _ in range(8):
        generated = torch.randn(1000, 16, generator=random)
        biased.append(frechet_distance(real, Moments.of(generated)))
        unbiased.append(frechet_infinity(real, generated))
    assert np.mean(biased) > 0.03
    assert abs(np.mean(unbiased)) < 0.25 * np.mean(biased)
    assert frechet_infinity(real, generated, seed=1) == frechet_infinity(real, generated, seed=1)
