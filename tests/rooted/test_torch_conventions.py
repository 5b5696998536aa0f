"""The losses follow torch's own: shapes, weights, ignored labels, smoothing, reductions, modules, errors."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from rooted import FocalLoss, RootedBCEWithLogitsLoss, RootedCrossEntropyLoss
from rooted.functional import focal_cross_entropy, rooted_cross_entropy, rooted_nll
from rooted.functional import rooted_binary_cross_entropy_with_logits as rooted_bce

LARGE = 1e7
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=torch.float64)


def sample(shape, kind, seed=0):
    """Logits of (N, 4, ...) and targets: indices, some ignored, or probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    class_dim = 0 if len(shape) == 1 else 1
    if kind == "soft":
        return logits, torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), class_dim)
    target = torch.randint(4, shape[:class_dim] + shape[class_dim + 1 :], generator=generator)
    if kind == "ignored" and target.dim():
        target.view(-1)[::3] = 2
        target.view(-1)[1::3] = -7
    return logits, target


@pytest.mark.parametrize("shape", [(4,), (6, 4), (3, 4, 5), (2, 4, 3, 2)], ids=str)
@pytest.mark.parametrize("kind", ["indices", "ignored", "soft"])
@pytest.mark.parametrize("form", ["convex", "bounded", "focal"])
def test_limit_is_torch_cross_entropy_in_every_convention(shape, kind, form):
    logits, target = sample(shape, kind)
    for weight, reduction, smoothing in itertools.product((None, WEIGHT), ("none", "mean", "sum"), (0.0, 0.3)):
        options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
        if kind == "ignored":
            options["ignore_index"] = -7
        if form == "focal":
            actual = focal_cross_entropy(logits, target, gamma=0.0, **options)
        else:
            actual = rooted_cross_entropy(logits, target, k=LARGE, form=form, **options)
        torch.testing.assert_close(actual, F.cross_entropy(logits, target, **options), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["convex", "bounded"])
def test_smoothing_is_the_expectation_of_the_per_class_loss(form):
    logits, target = sample((6, 4), "indices")
    per_class = rooted_nll(-logits.log_softmax(1), k=3, form=form)
    distribution = 0.9 * F.one_hot(target, 4) + 0.1 / 4
    expected = (distribution * per_class).sum(1).mean()
    torch.testing.assert_close(rooted_cross_entropy(logits, target, k=3, form=form, label_smoothing=0.1), expected)
    torch.testing.assert_close(rooted_cross_entropy(logits, distribution, k=3, form=form), expected)


def test_ignored_samples_have_no_loss_and_no_gradient_even_uncentred():
    logits, target = sample((6, 4), "ignored")
    logits.requires_grad_(True)
    loss = rooted_cross_entropy(logits, target, k=3, ignore_index=-7, reduction="none", centered=False)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    ignored = target == -7
    assert ignored.any()
    assert (loss[ignored] == 0).all()
    assert (loss[~ignored] >= 3).all()
    assert (gradient[ignored] == 0).all()


@pytest.mark.parametrize("form", ["convex", "bounded"])
def test_binary_limit_is_torch_bce_in_every_convention(form):
    torch.manual_seed(0)
    logits, target = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    for weight, pos_weight, reduction in itertools.product(
        (None, torch.rand(3)), (None, torch.rand(3)), ("none", "mean", "sum")
    ):
        options = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction}
        actual = rooted_bce(logits, target, k=LARGE, form=form, **options)
        expected = F.binary_cross_entropy_with_logits(logits, target, **options)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_modules_equal_their_functions_and_keep_weights_as_buffers():
    logits, target = sample((6, 4), "indices")
    options = {"k": 5.0, "form": "bounded", "label_smoothing": 0.1, "multiplier": 2.0, "centered": False}
    module = RootedCrossEntropyLoss(WEIGHT, **options)
    torch.testing.assert_close(
        module(logits, target), rooted_cross_entropy(logits, target, weight=WEIGHT, **options), rtol=0, atol=0
    )
    assert list(module.state_dict()) == ["weight"]
    binary = RootedBCEWithLogitsLoss(k=5, pos_weight=torch.tensor(2.0))
    assert list(binary.state_dict()) == ["pos_weight"]
    assert "k=5" in repr(binary)
    focal = FocalLoss(gamma=3, alpha=0.25)
    torch.testing.assert_close(focal(logits, target), focal_cross_entropy(logits, target, gamma=3, alpha=0.25))


def test_focal_loss_by_its_formula_and_at_extremes():
    logits, target = sample((6, 4), "indices")
    p = logits.softmax(1)[torch.arange(6), target]
    expected = -(0.25 * (1 - p) ** 3 * p.log())
    torch.testing.assert_close(focal_cross_entropy(logits, target, gamma=3, alpha=0.25, reduction="none"), expected)
    for gamma in (0.0, 0.5, 1.0, 2.0, 3.0):
        z = torch.tensor([[1e4, 0.0], [-1e4, 0.0], [100.0, 0.0]], requires_grad=True)
        loss = focal_cross_entropy(z, torch.zeros(3, dtype=torch.long), gamma=gamma, reduction="none")
        (first,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), z)
        assert all(torch.isfinite(x).all() for x in (loss, first, second))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be"),
        ({"k": -1.0}, "k must be"),
        ({"k": float("inf")}, "k must be"),
        ({"k": float("nan")}, "k must be"),
        ({"k": 2, "multiplier": 0.0}, "multiplier must be"),
        ({"k": 2, "form": "concave"}, "form must be"),
        ({"k": 2, "multiplier_cap": 0.5}, "multiplier_cap must be"),
        ({"k": 2, "label_smoothing": 1.5}, "label_smoothing must be"),
        ({"k": 2, "reduction": "median"}, "reduction must be"),
    ],
)
def test_settings_out_of_range_are_refused_by_function_and_module(options, message):
    with pytest.raises(ValueError, match=message):
        rooted_cross_entropy(torch.zeros(1, 3), torch.tensor([0]), **options)
    with pytest.raises(ValueError, match=message):
        RootedCrossEntropyLoss(**options)


def test_wrong_labels_and_shapes_are_refused():
    with pytest.raises(IndexError):
        rooted_cross_entropy(torch.zeros(1, 3), torch.tensor([3]), k=2)
    with pytest.raises(ValueError, match="soft targets"):
        rooted_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4), k=2)
    with pytest.raises(ValueError, match="target has shape"):
        rooted_bce(torch.zeros(2), torch.zeros(3), k=2)
    with pytest.raises(ValueError, match="gamma"):
        FocalLoss(gamma=-1)(torch.zeros(1, 3), torch.tensor([0]))


@pytest.mark.parametrize("form", ["convex", "bounded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nothing_of_the_logits_size_is_kept_beyond_what_cross_entropy_keeps(form, dtype):
    n, classes = 64, 1000
    logits, target = torch.randn(n, classes).to(dtype).requires_grad_(True), torch.randint(classes, (n,))

    def saved(loss):
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss()
        return sum(size for size in kept.values() if size >= n * classes)

    plain = saved(lambda: F.cross_entropy(logits.float(), target))
    assert saved(lambda: rooted_cross_entropy(logits, target, k=8, form=form)) <= plain
    assert plain == n * classes * 4
