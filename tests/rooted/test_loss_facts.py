"""The facts about the rooted losses that the theory page states, each against autograd or a closed form."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rooted.functional import rooted_binary_cross_entropy_with_logits as rooted_bce
from rooted.functional import rooted_cross_entropy as rooted_ce
from rooted.functional import rooted_nll

roots = st.floats(1.0, 50.0)
logits = st.floats(-20.0, 20.0)
signs = st.sampled_from([-1.0, 1.0])
FORMS = ["convex", "bounded"]


def derivatives(loss, z):
    """Value, first and second derivative of a scalar function at the float z, in float64."""
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = loss(z)
    (first,) = torch.autograd.grad(value, z, create_graph=True)
    (second,) = torch.autograd.grad(first, z)
    return value.item(), first.item(), second.item()


def binary(y, *, k, form="convex", multiplier=None, cap=None):
    def loss(z):
        target = torch.full_like(z, (1 + y) / 2)
        return rooted_bce(z, target, k=k, form=form, multiplier=multiplier, multiplier_cap=cap)

    return loss


@given(z=logits, y=signs, k=roots, form=st.sampled_from(FORMS))
@settings(max_examples=60)
def test_equals_the_printed_equations(z, y, k, form):
    p = 1 / (1 + math.exp(-y * z))
    expected = k * p ** (-1 / k) if form == "convex" else -k * p ** (1 / k)
    target = torch.tensor((1 + y) / 2, dtype=torch.float64)
    z = torch.tensor(z, dtype=torch.float64)
    plain = rooted_bce(z, target, k=k, form=form, centered=False, multiplier_cap=None)
    centred = rooted_bce(z, target, k=k, form=form, multiplier_cap=None)
    assert plain.item() == pytest.approx(expected, rel=1e-9)
    assert centred.item() == pytest.approx(expected - k if form == "convex" else expected + k, rel=1e-6, abs=1e-9)


@given(z=st.floats(-8.0, 8.0), form=st.sampled_from(FORMS))
@settings(max_examples=40)
def test_reaches_cross_entropy_as_one_over_k(z, form):
    z = torch.tensor(z, dtype=torch.float64)
    nll = F.softplus(-z)
    gaps = [abs(rooted_nll(nll, k=k, form=form) - nll).item() for k in (1e3, 1e4, 1e5)]
    half_square = nll.item() ** 2 / 2
    for k, gap in zip((1e3, 1e4, 1e5), gaps, strict=True):
        assert gap * k == pytest.approx(half_square, rel=0.02, abs=1e-6)


@given(z=st.floats(-10.0, 10.0), y=signs)
@settings(max_examples=30)
def test_convex_with_k_one_is_the_exponential_loss(z, y):
    value, _, _ = derivatives(binary(y, k=1.0), z)
    assert value == pytest.approx(math.exp(-y * z), rel=1e-9)


@given(z=logits, y=signs, k=roots, m=st.floats(0.1, 20.0))
@settings(max_examples=60)
def test_gradient_and_hessian_of_the_convex_form(z, y, k, m):
    _, first, second = derivatives(binary(y, k=k, multiplier=m), z)
    s = 1 / (1 + math.exp(y * z))
    root = (1 + math.exp(-y * z)) ** (1 / k)
    assert first == pytest.approx(-y * m / k * root * s, rel=1e-8)
    assert second == pytest.approx(m / k * root * s * (1 - s * (1 - 1 / k)), rel=1e-6)
    assert second > 0


@given(z=st.floats(-15.0, 15.0), k=st.floats(0.1, 50.0))
@settings(max_examples=60)
def test_lemma_2_holds_without_its_condition(z, k):
    """The Hessian of the rooted loss over that of the logistic loss: above 1 for every k > 0."""
    _, _, second = derivatives(binary(1.0, k=k), z)
    s = 1 / (1 + math.exp(z))
    ratio = second / (s * (1 - s))
    assert ratio == pytest.approx((1 + math.exp(-z)) ** (1 / k) * (1 - s * (1 - 1 / k)) / (1 - s), rel=1e-5)
    assert ratio > 1


@pytest.mark.parametrize("k", [1.5, 3, 11])
def test_the_bounded_form_is_not_convex(k):
    _, _, second = derivatives(binary(1.0, k=k, form="bounded"), -5.0)
    assert second < 0


@given(nll=st.floats(0.0, 60.0), k=st.floats(0.2, 50.0), m=st.floats(0.1, 20.0))
@settings(max_examples=60)
def test_bounds_of_value_and_slope(nll, k, m):
    """Bounded: value in [0, m], slope at most m/k. Convex: slope at least m/k."""
    x = torch.tensor(nll, dtype=torch.float64, requires_grad=True)
    low = rooted_nll(x, k=k, multiplier=m, form="bounded")
    high = rooted_nll(x, k=k, multiplier=m, form="convex")
    (low_slope,) = torch.autograd.grad(low, x)
    (high_slope,) = torch.autograd.grad(high, x)
    assert 0 <= low.item() <= m
    assert 0 <= low_slope.item() <= m / k * (1 + 1e-12)
    assert high_slope.item() >= m / k * (1 - 1e-12)


@pytest.mark.parametrize("k", [0.5, 2.0, 11.0])
def test_beyond_the_cap_the_convex_form_is_its_tangent(k):
    cap, edge = 1e3, k * math.log(1e3)
    x = torch.tensor([edge - 1e-9, edge + 1e-9, edge + 5.0, 1e4], dtype=torch.float64, requires_grad=True)
    value = rooted_nll(x, k=k, multiplier_cap=cap)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(slope, torch.full_like(slope, cap), rtol=1e-7, atol=0)  # continuous slope: C1
    torch.testing.assert_close(value[1] - value[0], torch.tensor(2e-9 * cap, dtype=torch.float64), rtol=1e-2, atol=0)
    torch.testing.assert_close(value[2] - value[1], torch.tensor(5 * cap, dtype=torch.float64), rtol=1e-6, atol=0)
    below = rooted_nll(x[0] - 1, k=k, multiplier_cap=cap)
    torch.testing.assert_close(below, rooted_nll(x[0] - 1, k=k, multiplier_cap=None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("k", [0.5, 1, 2, 3, 8, 11, 20])
@pytest.mark.parametrize("form", FORMS)
def test_extreme_logits_stay_finite(form, k, dtype):
    values = torch.tensor([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4])
    for target in (0.0, 1.0):
        z = values.to(dtype).requires_grad_(True)
        loss = rooted_bce(z, torch.full_like(z, target), k=k, form=form, reduction="none")
        (first,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.float().sum(), z)
        assert loss.dtype == torch.float32
        assert all(torch.isfinite(x).all() for x in (loss, first, second))
    z = torch.stack([values, -values, torch.zeros_like(values)], 1).to(dtype).requires_grad_(True)
    loss = rooted_ce(z, torch.zeros(len(z), dtype=torch.long), k=k, form=form, reduction="none")
    (first,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 0].float().sum(), z)
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(x).all() for x in (loss, first, second))


@pytest.mark.parametrize("form", FORMS)
def test_autocast_does_not_narrow_the_computation(form):
    z, target = 30 * torch.randn(64, 10), torch.randint(10, (64,))
    soft = torch.softmax(torch.randn(64, 10), 1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = [rooted_ce(z, t, k=3, form=form, label_smoothing=0.1) for t in (target, soft)]
    for t, value in zip((target, soft), inside, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, rooted_ce(z, t, k=3, form=form, label_smoothing=0.1))


@given(a=logits, b=logits, k=st.floats(0.5, 20.0), form=st.sampled_from(FORMS))
@settings(max_examples=40)
def test_two_classes_are_the_binary_loss_on_the_difference(a, b, k, form):
    pair = torch.tensor([[a, b]], dtype=torch.float64)
    many = rooted_ce(pair, torch.tensor([1]), k=k, form=form)
    one = rooted_bce(pair[:, 1] - pair[:, 0], torch.ones(1, dtype=torch.float64), k=k, form=form)
    torch.testing.assert_close(many, one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradcheck_and_gradgradcheck(form, smoothing):
    torch.manual_seed(0)
    z = (3 * torch.randn(5, 4, dtype=torch.float64)).requires_grad_(True)
    indices, soft = torch.tensor([0, 3, -100, 2, 1]), torch.softmax(torch.randn(5, 4, dtype=torch.float64), 1)
    weight = torch.rand(4, dtype=torch.float64) + 0.1
    for target in (indices, soft):

        def loss(x, target=target):
            return rooted_ce(x, target, k=2.5, form=form, weight=weight, label_smoothing=smoothing)

        assert torch.autograd.gradcheck(loss, z)
        assert torch.autograd.gradgradcheck(loss, z)
    d = torch.randn(6, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.0, 1.0, 0.3, 1.0, 0.0, 0.9], dtype=torch.float64)

    def loss(x):
        return rooted_bce(x, target, k=2.5, form=form, pos_weight=torch.tensor(2.0, dtype=torch.float64))

    assert torch.autograd.gradcheck(loss, d)
    assert torch.autograd.gradgradcheck(loss, d)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_compiled_equals_eager(form, backend):
    z, target = 10 * torch.randn(32, 10), torch.randint(10, (32,))

    def step(x):
        x = x.clone().requires_grad_(True)
        value = rooted_ce(x, target, k=3.0, form=form) + rooted_bce(x[:, 0], (target > 4).float(), k=3.0, form=form)
        return value, torch.autograd.grad(value, x)[0]

    def loss(x):
        return rooted_ce(x, target, k=3.0, form=form) + rooted_bce(x[:, 0], (target > 4).float(), k=3.0, form=form)

    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    x = z.clone().requires_grad_(True)
    value = compiled(x)
    (gradient,) = torch.autograd.grad(value, x)
    expected_value, expected_gradient = step(z)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_exact_to_float32_rounding(form):
    """The linear continuation must not cost digits where it is not in use."""
    nll = torch.linspace(0, 8, 200, requires_grad=True)
    (slope,) = torch.autograd.grad(rooted_nll(nll, k=3.0, form=form).sum(), nll)
    exact = torch.exp((1 if form == "convex" else -1) * nll.detach().double() / 3)
    torch.testing.assert_close(slope.double(), exact, rtol=1e-6, atol=0)
