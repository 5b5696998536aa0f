"""The facts of the theory page about alpha, pairs of losses and what the default generator minimises."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from rooted import adversarial_loss
from rooted.players import player_loss

ALPHAS = [0.1, 0.5, 2 / 3, 0.7, 0.9, 11 / 12, 1.1, 11 / 10, 1.5, 2.0, 3.0, 6.0]
ORDERS = [0.5, 2 / 3, 0.9, 1.0, 1.1, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0]


def derivative(function, x):
    x = torch.as_tensor(x, dtype=torch.float64).clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return slope


def minimised(loss, u):
    """f(u) of the non-saturating generator at the density ratio u = a / b, where the best logit is alpha_D log u."""
    return loss.generator(loss.for_discriminator.alpha * u.log())


@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_member_is_the_alpha_loss(alpha):
    """Sypherd et al. 2019: alpha / (alpha - 1) (1 - p^((alpha - 1) / alpha)), value and gradient."""
    player = player_loss(alpha=alpha)
    most = 9.0 if alpha > 0.5 else 11 * player.k  # beyond, the convex form is continued linearly
    nll = torch.linspace(0.02, most, 120, dtype=torch.float64)

    def published(nll):
        return alpha / (alpha - 1) * -torch.expm1(-nll * (alpha - 1) / alpha)

    torch.testing.assert_close(player(nll, nll), published(nll), rtol=1e-12, atol=1e-12)
    slope = derivative(lambda x: player(x, x), nll)
    torch.testing.assert_close(slope, torch.exp(-nll * (alpha - 1) / alpha), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "form", "k"),
    [(0.7, "convex", 7 / 3), (0.5, "convex", 1.0), (2.0, "bounded", 2.0), (1.1, "bounded", 11.0)],
)
def test_alpha_is_another_way_to_say_form_and_root(alpha, form, k):
    player = player_loss(alpha=alpha)
    assert (player.name, player.form) == ("rlo", form)
    assert player.k == pytest.approx(k, rel=1e-12)
    assert player.alpha == pytest.approx(alpha, rel=1e-12)
    assert player.exponent == pytest.approx(1 - 1 / alpha, rel=1e-12)
    assert player_loss(alpha=1.0) == player_loss("ce")
    assert player_loss("ce").alpha == 1


@pytest.mark.parametrize("order_d", ORDERS)
@pytest.mark.parametrize("order_g", ORDERS)
def test_the_generator_minimises_a_divergence_iff_the_inverse_orders_sum_to_one(order_d, order_g):
    loss = adversarial_loss(alpha=order_d, generator=f"alpha={order_g}")
    u = torch.logspace(-3, 3, 400, dtype=torch.float64)
    u.requires_grad_(True)
    (first,) = torch.autograd.grad(minimised(loss, u).sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), u)
    sound = 1 / order_d + 1 / order_g >= 1 - 1e-9
    scale = second.abs().max().item()
    assert bool((second >= -1e-9 * scale).all()) == sound
    assert (loss.warning is None) == sound


def mixture(loss, share):
    """The generator's loss where `share` of its samples are off the data and the rest is distributed as the data."""
    on_data = minimised(loss, torch.tensor(1 / (1 - share), dtype=torch.float64)).item()
    off_data = 1 / loss.for_generator.exponent  # D = 0: the bounded form's largest value
    return share * off_data + (1 - share) * on_data


@pytest.mark.parametrize("k", [1.05, 1.2, 1.4, 1.49, 1.51, 1.7, 2.0, 5.0])
def test_a_share_of_samples_off_the_data_pays_below_a_root_of_three_halves(k):
    loss = adversarial_loss("rlo", k=k)
    pays = any(mixture(loss, share) < mixture(loss, 0.0) - 1e-12 for share in np.linspace(1e-3, 0.99, 300))
    assert pays == (k < 1.5)
    assert ("has a lower loss" in (loss.warning or "")) == pays


def test_the_numbers_of_the_theory_page():
    loss = adversarial_loss("rlo", k=1.2)
    assert mixture(loss, 0.0) == pytest.approx(0.526, abs=1e-3)
    assert mixture(loss, 0.2) == pytest.approx(0.409, abs=1e-3)

    def pull(loss):
        return derivative(loss.generator, [-10.0]).item()

    ce = pull(adversarial_loss("ce"))
    relative = {
        (form, k): pull(adversarial_loss("rlo", k=k, form=form)) / ce for form in ("bounded", "convex") for k in (2, 11)
    }
    assert relative["bounded", 2] == pytest.approx(0.0067, abs=5e-5)
    assert relative["bounded", 11] == pytest.approx(0.40, abs=5e-3)
    assert relative["convex", 11] == pytest.approx(2.5, abs=0.05)
    assert relative["convex", 2] == pytest.approx(148, abs=0.5)
    assert relative["convex", 2] / relative["bounded", 2] == pytest.approx(22_000, rel=0.01)


def test_two_bounded_roots_and_ce_for_one_player():
    for k_d, k_g in [(3, 1.5), (2, 2), (1.2, 6.0), (4, 1.5)]:
        assert adversarial_loss("rlo", k=k_d, generator=f"rlo:k={k_g}").warning is None
    for k_d, k_g in [(2.9, 1.5), (1.99, 2), (1.2, 5.9)]:
        assert "below 1" in adversarial_loss("rlo", k=k_d, generator=f"rlo:k={k_g}").warning
    for other in ("rlo:k=1.01", "rlo:k=30", "rlo:k=0.2:form=convex"):
        assert adversarial_loss("ce", generator=other).warning is None
    for k, form in [(1.01, "bounded"), (0.2, "convex")]:
        assert adversarial_loss("rlo", k=k, form=form, generator="ce").warning is None
    assert adversarial_loss("rlo", k=1.2, saturating=True).warning is None


@pytest.mark.parametrize(("order", "name"), [(2.0, "bounded"), (1.1, "bounded"), (0.5, "convex"), (11 / 12, "convex")])
def test_saturating_play_against_the_best_discriminator_is_the_arimoto_divergence(order, name):
    """Oesterreicher and Vajda's divergence of that order, up to its factor; half the squared Hellinger at 1/2."""
    loss = adversarial_loss(alpha=order, saturating=True)
    assert loss.form == name
    a, b = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])

    def integrand(x, y):
        def both(d):
            d = torch.tensor(d, dtype=torch.float64)
            return (x * loss.real(d) + y * loss.fake(d)).item()

        return minimize_scalar(both, bounds=(-40, 40), method="bounded", options={"xatol": 1e-11}).fun

    def gain(b):
        """What D gains by telling the two apart: its loss at a = b less its least loss."""
        return sum(integrand(x, x) for x in a) - sum(integrand(x, y) for x, y in zip(a, b, strict=True))

    arimoto = order / (order - 1) * (((a**order + b**order) ** (1 / order)).sum() - 2 ** (1 / order))
    assert gain(b) == pytest.approx(arimoto, rel=1e-6)
    if order == 0.5:
        assert gain(b) == pytest.approx(2 * (1 - np.sqrt(a * b).sum()), rel=1e-6)
    logits = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(loss.generator(logits), -loss.fake(logits))


@pytest.mark.parametrize("words", ["ce", "rlo:k=3", "rlo:k=2:form=convex", "rlo:k=3:g=ce", "alpha=0.7:g=alpha=2"])
def test_pairs_against_a_loop(words):
    from rooted.adversarial import parse_adversarial_loss

    loss = parse_adversarial_loss(words + ":pair")
    generator = torch.Generator().manual_seed(5)
    real = torch.randn(6, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    fake = torch.randn(6, 1, generator=generator, dtype=torch.float64, requires_grad=True)

    def member(player, margin):
        nll = math.log1p(math.exp(-margin))
        return nll if player.name == "ce" else (1 - math.exp(-nll * player.exponent)) / player.exponent

    d_loss, g_loss = loss.discriminator(real, fake), loss.generator(fake, real)
    for i in range(6):
        r, f = real[i, 0].item(), fake[i, 0].item()
        assert d_loss[i, 0].item() == pytest.approx(member(loss.for_discriminator, r - f), rel=1e-12)
        assert g_loss[i, 0].item() == pytest.approx(member(loss.for_generator, f - r), rel=1e-12)
    assert torch.autograd.gradcheck(loss.discriminator, (real, fake))
    assert torch.autograd.gradgradcheck(loss.generator, (fake, real))
    with pytest.raises(ValueError, match="needs real_logits"):
        loss.generator(fake)
    with pytest.raises(ValueError, match="no value"):
        loss.value(real, fake)
    assert loss.warning is None
