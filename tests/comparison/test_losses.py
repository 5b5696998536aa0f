import pytest

from comparison.report.style import line_styles
from comparison.runs.losses import parse_losses
from dnnlib import UserError


def test_the_issues_example():
    losses = parse_losses("ce,rlo:k=2,rlo:k=11,rlo:k=2:form=convex")
    assert [loss.key for loss in losses] == ["ce", "rlo-k2-bounded", "rlo-k11-bounded", "rlo-k2-convex"]
    assert [loss.label for loss in losses] == ["CE", "RLO-2 bounded", "RLO-11 bounded", "RLO-2 convex"]
    assert losses[3].train_flags() == ["--loss=rlo", "--k=2", "--rlo-form=convex"]
    assert [loss.is_reference for loss in losses] == [True, False, False, False]


def test_ranges_and_rates():
    assert [loss.k for loss in parse_losses("rlo:k=2..32")] == list(range(2, 33))
    assert [loss.k for loss in parse_losses("rlo:k=2..32/10:form=convex")] == [2, 12, 22, 32]
    (loss,) = parse_losses("rlo:k=2.5:glr=0.001:dlr=2e-3")
    assert loss.train_flags()[-2:] == ["--glr=0.001", "--dlr=0.002"]
    assert loss.with_rates(0.1, 0.1) == loss
    (plain,) = parse_losses("ce:saturating=yes")
    assert plain.with_rates(0.1, None).train_flags() == ["--loss=ce", "--saturating=true", "--glr=0.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a loss"),
        ("mse", "'mse' is not a loss"),
        ("rlo", "needs a k"),
        ("rlo:k=1", "needs k > 1 in the bounded form"),
        ("rlo:k=0:form=convex", "needs k > 0 in the convex form"),
        ("rlo:k=two", "not a number"),
        ("rlo:k=nan", "not finite"),
        ("rlo:k=5..2", "is empty"),
        ("rlo:k=2:form=round", "form=round"),
        ("rlo:k=2:speed=9", "'speed=9'"),
        ("ce:k=2", "gives k or form to cross-entropy"),
        ("rlo:k=2..100000", "has more than 200 values"),
        ("rlo:k=2..1e300/1e-300", "has more than 200 values"),
        ("rlo:k=2..150,rlo:k=2..150:form=convex", "names 298 losses; give 200 at most"),
        ("ce,ce", "names ce twice"),
        ("ce:glr=0", "not positive"),
        ("ce:saturating=maybe", "neither true nor false"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UserError, match=message):
        parse_losses(text)


def test_every_loss_has_a_style_of_its_own():
    for text in ("ce,rlo:k=2", "ce,rlo:k=2..32"):
        losses = parse_losses(text)
        styles = line_styles(losses)
        assert list(styles) == [loss.key for loss in losses]
        assert len({(s.light, s.dash) for s in styles.values()}) == len(losses)
