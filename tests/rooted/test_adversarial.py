"""The adversarial objectives: their terms, their limit, their value, their settings."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rooted import adversarial_loss

D = torch.linspace(-12, 12, 49, dtype=torch.float64)


def test_ce_is_stylegan2s_logistic_loss():
    loss = adversarial_loss("ce")
    torch.testing.assert_close(loss.real(D), F.softplus(-D))
    torch.testing.assert_close(loss.fake(D), F.softplus(D))
    torch.testing.assert_close(loss.generator(D), F.softplus(-D))
    torch.testing.assert_close(adversarial_loss("ce", saturating=True).generator(D), -F.softplus(D))


@given(k=st.floats(1.05, 40.0))
@settings(max_examples=30)
def test_bounded_is_equation_9(k):
    loss, saturating = adversarial_loss("rlo", k=k), adversarial_loss("rlo", k=k, saturating=True)
    p = torch.sigmoid(D)
    v = (k * p ** (1 / k)).mean() + (k * torch.sigmoid(-D) ** (1 / k)).mean()
    torch.testing.assert_close(loss.value(D, D), v)
    torch.testing.assert_close(2 * k - loss.real(D).mean() - loss.fake(D).mean(), v)
    torch.testing.assert_close(loss.generator(D), loss.real(D))
    torch.testing.assert_close(saturating.generator(D) + k, k * torch.sigmoid(-D) ** (1 / k))


@given(k=st.floats(0.5, 40.0))
@settings(max_examples=30)
def test_convex_is_the_released_gan_codes_form(k):
    loss = adversarial_loss("rlo", k=k, form="convex")
    torch.testing.assert_close(loss.real(D[16:]) + k, k * torch.sigmoid(D[16:]) ** (-1 / k), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss.fake(-D[16:]) + k, k * torch.sigmoid(D[16:]) ** (-1 / k), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss.generator(D), loss.real(D))


@pytest.mark.parametrize("form", ["bounded", "convex"])
@pytest.mark.parametrize("saturating", [False, True])
def test_large_k_is_ce(form, saturating):
    rlo = adversarial_loss("rlo", k=1e7, form=form, saturating=saturating)
    ce = adversarial_loss("ce", saturating=saturating)
    for term in ("real", "fake", "generator"):
        torch.testing.assert_close(getattr(rlo, term)(D), getattr(ce, term)(D), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("options", [{"form": "bounded"}, {"form": "convex"}, {"form": "convex", "saturating": True}])
def test_terms_keep_the_shape_and_stay_finite(dtype, options):
    loss = adversarial_loss("rlo", k=2, **options)
    logits = torch.tensor([[-1e4], [-88.0], [0.0], [88.0], [1e4]], dtype=dtype, requires_grad=True)
    for term in (loss.real, loss.fake, loss.generator):
        value = term(logits)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.shape == logits.shape
        assert value.dtype == torch.float32
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "hinge"}, "unknown loss 'hinge'; choose ce or rlo"),
        ({"name": "ce", "k": 2}, "given with the loss ce"),
        ({"name": "rlo"}, "needs its root k"),
        ({"name": "rlo", "k": 1}, "bounded form needs a finite k > 1"),
        ({"name": "rlo", "k": 0, "form": "convex"}, "convex form needs a finite k > 0"),
        ({"name": "rlo", "k": float("inf")}, "out of range"),
        ({"name": "rlo", "k": float("nan"), "form": "convex"}, "out of range"),
        ({"name": "rlo", "k": 2, "form": "flat"}, "unknown form 'flat'"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        adversarial_loss(**options)


def test_records_name_the_loss_and_restore_it():
    loss = adversarial_loss("rlo", k=11, form="convex", saturating=True)
    assert loss.describe() == "rlo-k11-convex-saturating"
    assert loss.to_dict() == {"name": "rlo", "k": 11.0, "form": "convex", "saturating": True}
    assert adversarial_loss(**loss.to_dict()) == loss
    ce = adversarial_loss("ce")
    assert ce.describe() == "ce"
    assert adversarial_loss(**ce.to_dict()) == ce
    with pytest.raises(AttributeError):
        loss.k = 3.0
