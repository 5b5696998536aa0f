"""Losses as words on command lines and in records."""

import json

import pytest
import torch

from rooted import AdversarialLoss, adversarial_loss, parse_adversarial_loss
from rooted.players import player_loss

WORDS = {
    "ce": "ce",
    "rlo:k=11": "rlo-k11-bounded",
    "rlo:k=2:form=convex": "rlo-k2-convex",
    "rlo:form=convex:k=2": "rlo-k2-convex",
    "alpha=0.5": "rlo-k1-convex",
    "rlo:alpha=2": "rlo-k2-bounded",
    "alpha=1": "ce",
    "rlo:k=2:form=convex:g=ce": "rlo-k2-convex-g-ce",
    "ce:g=rlo:k=2:form=convex:pair": "ce-g-rlo-k2-convex-pair",
    "ce:g=alpha=2": "ce-g-rlo-k2-bounded",
    "rlo:k=2:g=rlo:k=2": "rlo-k2-bounded",
    "ce:pair": "ce-pair",
    "ce:pair=no": "ce",
    "rlo:k=11:saturating": "rlo-k11-bounded-saturating",
    "ce:saturating=1": "ce-saturating",
}


@pytest.mark.parametrize(("words", "name"), WORDS.items())
def test_words_name_a_loss_and_records_restore_it(words, name):
    loss = parse_adversarial_loss(words)
    assert loss.describe() == name
    record = json.loads(json.dumps(loss.to_dict()))
    assert AdversarialLoss.from_dict(record) == adversarial_loss(**record) == loss
    assert parse_adversarial_loss(loss.words()) == loss


def test_numbers_in_words_are_exact():
    loss = adversarial_loss(alpha=0.7, generator="alpha=1.3")
    assert parse_adversarial_loss(loss.words()) == AdversarialLoss.from_dict(loss.to_dict()) == loss
    assert loss.k == 0.7 / (1 - 0.7)


def test_a_record_of_four_keys_is_a_loss_without_the_others():
    old = {"name": "ce", "k": None, "form": "bounded", "saturating": False}
    assert AdversarialLoss.from_dict(old) == adversarial_loss("ce")
    with pytest.raises(ValueError, match="not the settings"):
        AdversarialLoss.from_dict({"name": "ce", "margin": 1})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("hinge", "'hinge' is not a loss; write ce, rlo:k=K"),
        ("", "'' is not a loss"),
        ("rlo", "needs its root k"),
        ("ce:k=2", "gives k to ce"),
        ("rlo:k=2:form=flat", "unknown form 'flat'"),
        ("rlo:k=1", "finite k > 1"),
        ("rlo:k=two", "k=two is not a number"),
        ("rlo:k=nan", "k=nan is not finite"),
        ("rlo:k=2:k=3", "k is given twice"),
        ("rlo:k=2:margin=1", "'margin=1' in 'rlo:k=2:margin=1' is not k="),
        ("alpha=0.7:k=2", "leave k or alpha out"),
        ("alpha=0.7:form=convex", "leave form or alpha out"),
        ("ce:alpha=0.7", "gives alpha to ce"),
        ("alpha=0", "alpha = 0 is out of range"),
        ("alpha=-1", "alpha = -1 is out of range"),
        ("alpha=inf", "alpha=inf is not finite"),
        ("alpha=1e30", "not to be told from infinity"),
        ("ce:g=", "'' is not a loss"),
        ("ce:g=rlo", "needs its root k"),
        ("ce:g=ce:g=ce", "g is given twice"),
        ("ce:saturating:g=ce", "leave generator or saturating out"),
        ("ce:pair:saturating", "leave one of them out"),
        ("ce:pair=maybe", "pair=maybe is neither yes nor no"),
    ],
)
def test_what_is_not_a_loss_is_refused_in_one_line(words, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_adversarial_loss(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.7, "name": "ce"}, "which is alpha = 1"),
        ({"alpha": 0.7, "k": 2}, "leave k or alpha out"),
        ({"alpha": 0.7, "name": "hinge"}, "unknown loss 'hinge'"),
        ({}, "unknown loss None"),
        ({"name": "ce", "generator": "hinge"}, "is not a loss"),
    ],
)
def test_contradicting_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        adversarial_loss(**arguments)


def test_the_generators_loss_can_be_given_as_an_object():
    loss = adversarial_loss("rlo", k=2, form="convex", generator=player_loss("ce"))
    logits = torch.linspace(-5, 5, 11)
    torch.testing.assert_close(loss.generator(logits), adversarial_loss("ce").generator(logits))
    torch.testing.assert_close(loss.real(logits), adversarial_loss("rlo", k=2, form="convex").real(logits))


def test_half_precision_pairs_have_a_gradient_that_half_precision_can_hold():
    loss = adversarial_loss("rlo", k=2, form="convex", pair=True)
    fake = torch.full([4], -500.0, dtype=torch.float16, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss.generator(fake, torch.full_like(fake, 500.0)).sum(), fake)
    assert torch.isfinite(gradient).all()
