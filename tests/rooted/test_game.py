"""What the rooted game minimises: the closed forms of the theory page, checked by numerical optimisation.

At a point with data density a and generator density b the discriminator faces a * real(d) + b * fake(d).
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from rooted import adversarial_loss
from rooted.functional import rooted_nll

densities = st.floats(0.02, 5.0)
FORMS = {"bounded": st.floats(1.1, 30.0), "convex": st.floats(0.3, 30.0)}


def kappa(form, k):
    return k / (k - 1) if form == "bounded" else k / (k + 1)


def best_logit(loss, a, b):
    """The discriminator's best logit at a point, by golden-section search on its loss."""

    def objective(d):
        d = torch.tensor(d, dtype=torch.float64)
        return (a * loss.real(d) + b * loss.fake(d)).item()

    return minimize_scalar(objective, bounds=(-80, 80), method="bounded", options={"xatol": 1e-10}).x


def value_at(loss, a, b, d):
    """The integrand of the game's value: a * k D^(+-1/k) + b * k (1 - D)^(+-1/k)."""
    d = torch.tensor(d, dtype=torch.float64)
    sign = -1 if loss.form == "bounded" else 1
    return (a * (loss.k + sign * loss.real(d)) + b * (loss.k + sign * loss.fake(d))).item()


@pytest.mark.parametrize("form", ["bounded", "convex"])
@given(data=st.data(), a=densities, b=densities)
@settings(max_examples=30)
def test_best_discriminator_and_value_at_a_point(form, data, a, b):
    k = data.draw(FORMS[form])
    kp = kappa(form, k)
    expected_logit = kp * math.log(a / b)
    assume(abs(expected_logit) < 18)  # beyond, the loss is flat to within float64 rounding
    loss = adversarial_loss("rlo", k=k, form=form)
    d = best_logit(loss, a, b)
    assert d == pytest.approx(expected_logit, abs=2e-3 * max(1, abs(expected_logit)))
    expected = k * (a**kp + b**kp) ** (1 / kp)
    assert value_at(loss, a, b, d) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", ["bounded", "convex"])
@given(data=st.data(), seed=st.integers(0, 10_000))
@settings(max_examples=30)
def test_the_optimum_is_at_equal_distributions(form, data, seed):
    """Discrete distributions: the value at the best D is extreme, k 2^(1/kappa), exactly where a = b."""
    k = data.draw(FORMS[form])
    kp = kappa(form, k)
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(5), size=2)
    loss = adversarial_loss("rlo", k=k, form=form)

    def game(a, b):
        return sum(value_at(loss, x, y, kp * math.log(x / y)) for x, y in zip(a, b, strict=True))

    extreme = k * 2 ** (1 / kp)
    assert game(a, a) == pytest.approx(extreme, rel=1e-6)
    if form == "bounded":
        assert game(a, b) > extreme
    else:
        assert game(a, b) < extreme


def test_value_of_the_object_at_the_optimum():
    """With d = 0 everywhere: k 2^(1 - 1/k), k 2^(1 + 1/k) and -log 4."""
    zero = torch.zeros(7, dtype=torch.float64)
    assert adversarial_loss("rlo", k=11).value(zero, zero).item() == pytest.approx(11 * 2 ** (1 - 1 / 11))
    convex = adversarial_loss("rlo", k=2, form="convex")
    assert convex.value(zero, zero).item() == pytest.approx(2 * 2**1.5)
    assert adversarial_loss("ce").value(zero, zero).item() == pytest.approx(-math.log(4))


def test_bounded_k_one_is_total_variation_with_a_hard_threshold():
    a, b = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    d = torch.linspace(-40, 40, 161, dtype=torch.float64)
    nll_real, nll_fake = -torch.nn.functional.logsigmoid(d), -torch.nn.functional.logsigmoid(-d)
    total = 0.0
    for x, y in zip(a, b, strict=True):
        loss = x * rooted_nll(nll_real, k=1, form="bounded") + y * rooted_nll(nll_fake, k=1, form="bounded")
        total += x + y - loss.min().item()
        if x != y:
            assert abs(d[loss.argmin()].item()) > 30
    assert total == pytest.approx(1 + 0.5 * np.abs(a - b).sum(), abs=1e-9)


def test_convex_k_one_is_the_squared_hellinger_distance():
    a, b = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    loss = adversarial_loss("rlo", k=1, form="convex")
    game = sum(value_at(loss, x, y, best_logit(loss, x, y)) for x, y in zip(a, b, strict=True))
    squared_hellinger = 0.5 * ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert game == pytest.approx(4 - 2 * squared_hellinger, rel=1e-6)


@pytest.mark.parametrize("form", ["bounded", "convex"])
def test_large_k_is_the_jensen_shannon_game(form):
    a, b = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    middle = (a + b) / 2
    jensen_shannon = 0.5 * (a * np.log(a / middle)).sum() + 0.5 * (b * np.log(b / middle)).sum()
    k = 1e6
    loss = adversarial_loss("rlo", k=k, form=form)
    game = sum(value_at(loss, x, y, best_logit(loss, x, y)) for x, y in zip(a, b, strict=True))
    gain = (game - 2 * k) * (1 if form == "bounded" else -1)
    assert gain == pytest.approx(2 * jensen_shannon - math.log(4), abs=1e-4)


@pytest.mark.parametrize("saturating", [False, True])
@pytest.mark.parametrize(("name", "k", "form"), [("ce", None, None), ("rlo", 3, "bounded"), ("rlo", 2, "convex")])
def test_alternating_play_brings_the_generator_to_the_data(name, k, form, saturating):
    """A generator over five points against the best D: its distribution moves to the data's."""
    loss = adversarial_loss(name, k=k, form=form, saturating=saturating)
    data = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    theta = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0], dtype=torch.float64, requires_grad=True)
    power = 1.0 if name == "ce" else kappa(form, k)
    for _ in range(400):
        q = theta.softmax(0)
        d = power * (data / q).log().detach()
        (gradient,) = torch.autograd.grad((q * loss.generator(d)).sum(), theta)
        theta.data -= gradient
    torch.testing.assert_close(theta.softmax(0).detach(), data, rtol=0, atol=5e-3)
