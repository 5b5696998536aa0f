"""The Inception score against public implementations and closed forms."""

import math

import pytest
import torch

from metrics.measures.inception_score import inception_score


def logits(count: int, classes: int = 20, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [200, 207])  # a multiple of the number of splits, and not
def test_torch_fidelity_agrees(count):
    metric_isc = pytest.importorskip("torch_fidelity.metric_isc")
    theirs = metric_isc.isc_features_to_metric(logits(count), splits=10, shuffle=False)
    expected = theirs["inception_score_mean"], theirs["inception_score_std"]
    assert inception_score(logits(count)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torchmetrics_agrees():
    """It shuffles, and divides by 9 instead of 10 under the root; one split leaves nothing to shuffle."""
    torchmetrics = pytest.importorskip("torchmetrics.image.inception")

    class Given(torch.nn.Module):
        num_features = 20

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    metric = torchmetrics.InceptionScore(feature=Given(), splits=1)
    metric.update(logits(200))
    mean, _ = metric.compute()
    assert inception_score(logits(200), splits=1)[0] == pytest.approx(float(mean), rel=1e-4)


def test_bounds_in_closed_form():
    """Certain of a class each: the number of classes; certain of nothing, or always of the same: 1."""
    certain = (1000 * torch.eye(10)).repeat(10, 1)
    assert inception_score(certain) == pytest.approx((10, 0))
    assert inception_score(torch.zeros(100, 10)) == pytest.approx((1, 0))
    assert inception_score(certain[:1].repeat(100, 1)) == pytest.approx((1, 0))
    # Two classes with probabilities p and 1 - p in turn: log 2 less the entropy of p.
    p = 0.9
    halves = torch.tensor([[p, 1 - p], [1 - p, p]]).log().repeat(50, 1)
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert inception_score(halves)[0] == pytest.approx(2 * math.exp(-entropy))


def test_fewer_images_than_splits_are_refused():
    with pytest.raises(ValueError, match="at least 10 images"):
        inception_score(logits(9))
