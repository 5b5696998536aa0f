import json

import pytest

from comparison.report.style import line_styles
from comparison.runs.losses import LossSpec, parse_losses
from dnnlib import UserError


def test_the_issues_example():
    losses = parse_losses("ce,rlo:k=2,rlo:k=11,rlo:k=2:form=convex")
    assert [loss.key for loss in losses] == ["ce", "rlo-k2-bounded", "rlo-k11-bounded", "rlo-k2-convex"]
    assert [loss.label for loss in losses] == ["CE", "RLO-2 bounded", "RLO-11 bounded", "RLO-2 convex"]
    assert losses[3].train_flags() == ["--loss=rlo", "--k=2", "--rlo-form=convex"]
    assert [loss.is_reference for loss in losses] == [True, False, False, False]


def test_ranges_and_rates():
    assert [loss.loss.k for loss in parse_losses("rlo:k=2..32")] == list(range(2, 33))
    assert [loss.loss.k for loss in parse_losses("rlo:k=2..32/10:form=convex")] == [2, 12, 22, 32]
    (loss,) = parse_losses("rlo:k=2.5:glr=0.001:dlr=2e-3")
    assert loss.train_flags()[-2:] == ["--glr=0.001", "--dlr=0.002"]
    assert loss.having(glr=0.1, dlr=0.1) == loss
    (plain,) = parse_losses("ce:saturating=yes")
    assert plain.having(glr=0.1, dlr=None).train_flags() == ["--loss=ce", "--saturating=true", "--glr=0.1"]


def test_a_loss_for_each_player_alpha_and_pairs():
    losses = parse_losses("ce,rlo:k=2:form=convex:g=ce,alpha=0.5,ce:pair,ce:g=rlo:k=2..3,ce:gamma=3")
    assert [loss.label for loss in losses] == [
        "CE", "RLO-2 convex, G: CE", "RLO-1 convex", "CE paired", "CE, G: RLO-2 bounded", "CE, G: RLO-3 bounded",
        "CE (gamma 3)",
    ]  # fmt: skip
    assert losses[1].train_flags() == ["--loss=rlo", "--k=2", "--rlo-form=convex", "--g-loss=ce"]
    assert losses[1].family == "RLO convex, G: CE"
    assert losses[2].train_flags() == ["--loss=rlo", "--k=1", "--rlo-form=convex"]
    assert losses[3].train_flags() == ["--loss=ce", "--pair=true"]
    assert losses[4].train_flags() == ["--loss=ce", "--g-loss=rlo:k=2:form=bounded"]
    assert [loss.is_reference for loss in losses] == [True, False, False, False, False, False, True]


def test_baselines_are_settings_of_a_loss():
    losses = parse_losses("ce,ce:lecam=3e-7,ce:augpipe=diffaug,ce:aug=apa,rlo:k=2:gamma-scale=alpha:r2-gamma=1")
    assert [loss.key for loss in losses] == [
        "ce", "ce-lecam3e-07", "ce-diffaug", "ce-apa", "rlo-k2-bounded-gamma-scalealpha-r2-gamma1",
    ]  # fmt: skip
    assert losses[1].label == "CE (lecam 3e-07)"
    assert losses[1].train_flags() == ["--loss=ce", "--lecam=3e-07"]
    assert losses[4].train_flags()[-2:] == ["--gamma-scale=alpha", "--r2-gamma=1"]
    assert [loss.is_reference for loss in losses] == [True, False, False, False, False]
    for loss in losses:
        assert LossSpec.from_dict(json.loads(json.dumps(loss.to_dict()))) == loss


@pytest.mark.parametrize("text", ["ce", "alpha=0.7:g=ce:glr=0.01", "rlo:k=3:saturating", "ce:pair:gamma=2"])
def test_records_restore_a_loss(text):
    (loss,) = parse_losses(text)
    assert LossSpec.from_dict(json.loads(json.dumps(loss.to_dict()))) == loss


def test_a_record_from_before_there_were_pairs():
    old = {"name": "rlo", "k": 2.0, "form": "convex", "saturating": False, "glr": 0.001, "dlr": None}
    (same,) = parse_losses("rlo:k=2:form=convex:glr=0.001")
    assert LossSpec.from_dict(old) == same
    assert same.to_dict() == old


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a loss"),
        ("mse", "'mse' is not a loss"),
        ("rlo", "needs its root k"),
        ("rlo:k=1", "bounded form needs a finite k > 1"),
        ("rlo:k=0:form=convex", "convex form needs a finite k > 0"),
        ("rlo:k=two", "k=two is not a number"),
        ("rlo:k=nan", "not finite"),
        ("rlo:k=5..2", "is empty"),
        ("rlo:k=2:form=round", "form 'round'"),
        ("rlo:k=2:speed=9", "'speed=9'"),
        ("ce:k=2", "gives k to ce"),
        ("ce:glr=fast", "glr=fast is not a number"),
        ("rlo:k=2..100000", "has more than 200 values"),
        ("rlo:k=2..1e300/1e-300", "has more than 200 values"),
        ("rlo:k=2..150,rlo:k=2..150:form=convex", "names 298 losses; give 200 at most"),
        ("ce,ce", "names ce twice"),
        ("alpha=2,rlo:k=2", "names rlo-k2-bounded twice"),
        ("ce:glr=0", "not positive"),
        ("ce:saturating=maybe", "neither yes nor no"),
        ("ce:saturating:pair", "leave one of them out"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_losses(text)
    assert str(caught.value).startswith("`losses`")


def test_every_loss_has_a_style_of_its_own():
    for text in ("ce,rlo:k=2", "ce,rlo:k=2..32"):
        losses = parse_losses(text)
        styles = line_styles(losses)
        assert list(styles) == [loss.key for loss in losses]
        assert len({(s.light, s.dash) for s in styles.values()}) == len(losses)
