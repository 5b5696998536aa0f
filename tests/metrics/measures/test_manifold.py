"""Precision, recall, density, coverage."""

import numpy as np
import pytest
import torch

from metrics.measures import manifold
from metrics.measures.manifold import compare_manifolds, density_coverage, precision_recall, radii


def rows(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + shift


def test_published_numbers_exactly(fixtures_dir):
    data = np.load(fixtures_dir / "metrics_features.npz")
    found = compare_manifolds(torch.from_numpy(data["real"]), torch.from_numpy(data["gen"]), 3, recall=True)
    assert precision_recall(found) == (float(data["precision"]), float(data["recall"]))


def test_torch_fidelity_agrees_exactly():
    metric_prc = pytest.importorskip("torch_fidelity.metric_prc")
    real, generated = rows(200, 0), rows(150, 1, 0.8)
    theirs = metric_prc.calculate_precision_recall_full(generated.double(), real.double(), 3)
    ours = precision_recall(compare_manifolds(real, generated, 3, recall=True))
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_plain_loops(monkeypatch):
    real, generated = rows(40, 2).double(), rows(30, 3, 0.5).double()
    monkeypatch.setattr(manifold, "TILE_VALUES", 100)  # several tiles, the last one smaller
    distances = np.linalg.norm(generated.numpy()[:, None] - real.numpy(), axis=-1)
    among = np.sort(np.linalg.norm(real.numpy()[:, None] - real.numpy(), axis=-1), axis=1)
    inside = distances <= among[:, 5]
    found = compare_manifolds(real, generated, 5, recall=False)
    assert found.in_generated is None
    assert density_coverage(found, 5) == pytest.approx((inside.sum(axis=1).mean() / 5, inside.any(axis=0).mean()))
    assert np.allclose(radii(real, 5).numpy(), among[:, 5])


def test_same_set_and_far_sets():
    a = rows(50, 4)
    assert precision_recall(compare_manifolds(a, a, 3, recall=True)) == (1.0, 1.0)
    far = compare_manifolds(a, a + 1000, 3, recall=True)
    assert precision_recall(far) == (0.0, 0.0)
    assert density_coverage(far, 3) == (0.0, 0.0)


def test_copies_do_not_count_as_their_own_neighbour():
    """Each point twice: the first neighbour is at distance zero, the second is not."""
    a = rows(20, 5).double()
    twice = torch.cat([a, a])
    assert radii(twice, 1).max() < 1e-6
    assert radii(twice, 2).min() > 0.1


def test_order_does_not_matter():
    real, generated = rows(60, 6), rows(70, 7)
    found = compare_manifolds(real, generated, 3, recall=True)
    shuffled = compare_manifolds(real.flip(0), generated.roll(5, dims=0), 3, recall=True)
    assert precision_recall(found) == precision_recall(shuffled)
    assert density_coverage(found, 3) == density_coverage(shuffled, 3)
