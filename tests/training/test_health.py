"""Warnings about a run's health: each with a remedy, each once until its cause has gone."""

import pytest

from torch_utils.statistics import Summary
from training.health import HealthMonitor

NORMAL = {"stats": {}, "p": 0.1, "pl_mean": 1.0, "skipped": 0.0}


def _tick(monitor: HealthMonitor, **values) -> list[str]:
    values = {**NORMAL, **values}
    return monitor.tick(values.pop("stats"), **values)


def _scores(real: float, fake: float) -> dict[str, Summary]:
    return {"Loss/scores/real": Summary(8, real, 1.0, 0), "Loss/scores/fake": Summary(8, fake, 1.0, 0)}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("count", "warned"), [(99, True), (100, False)])
def test_fewer_than_100_images(count, warned, mirrored):
    warnings = HealthMonitor(1.0, count, mirrored=mirrored).start()
    assert bool(warnings) == warned
    if warned:
        assert "99 training images" in warnings[0]
        assert "`preset`=few-shot" in warnings[0]
        assert ("`mirror`=1" in warnings[0]) != mirrored


def test_p_at_its_bound_for_20_ticks():
    monitor = HealthMonitor(0.8, 1000)
    for _ in range(19):
        assert _tick(monitor, p=0.8) == []
    (warning,) = _tick(monitor, p=0.8)
    assert "bound 0.8 for 20 ticks" in warning
    assert "`gamma`" in warning
    assert _tick(monitor, p=0.8) == []
    # It comes again only after p has left the bound.
    assert _tick(monitor, p=0.5) == []
    assert [_tick(monitor, p=0.8) for _ in range(19)] == [[]] * 19
    assert len(_tick(monitor, p=0.8)) == 1


def test_p_that_nothing_adapts_is_no_cause():
    monitor = HealthMonitor(None, 1000)
    assert not any(_tick(monitor, p=1.0) for _ in range(40))


@pytest.mark.parametrize(("real", "fake", "warned"), [(3.0, -3.0, False), (30.0, -30.0, True), (-30.0, 30.0, True)])
def test_logits_that_drift_apart(real, fake, warned):
    warnings = _tick(HealthMonitor(1.0, 1000), stats=_scores(real, fake))
    assert bool(warnings) == warned
    if warned:
        assert "drift apart" in warnings[0]
        assert "`dlr`" in warnings[0]


def test_logits_without_a_finite_value_are_no_drift_but_non_finite():
    stats = {name: Summary(0, float("nan"), float("nan"), 8) for name in _scores(0, 0)}
    (warning,) = _tick(HealthMonitor(1.0, 1000), stats=stats, skipped=3.0)
    assert "Loss/scores/real: 8" in warning
    assert "3 steps skipped" in warning
    assert "`nan_check`" in warning


def test_a_path_length_that_explodes():
    monitor = HealthMonitor(1.0, 1000)
    assert _tick(monitor, pl_mean=0.0) == []
    assert _tick(monitor, pl_mean=2.0) == []
    assert _tick(monitor, pl_mean=90.0) == []
    (warning,) = _tick(monitor, pl_mean=150.0)
    assert "path length explodes (mean 150)" in warning
    assert "`glr`" in warning
    assert len(_tick(HealthMonitor(1.0, 1000), pl_mean=float("nan"))) == 1


def test_skipped_steps_with_finite_losses():
    (warning,) = _tick(HealthMonitor(1.0, 1000), skipped=1.0)
    assert "the losses are finite; 1 steps skipped" in warning


def test_what_lasted_before_a_stop_counts_after_it():
    monitor = HealthMonitor(1.0, 1000)
    for _ in range(15):
        _tick(monitor, p=1.0, stats=_scores(50, -50))
    continued = HealthMonitor(1.0, 1000)
    continued.load_state_dict(monitor.state_dict())
    for _ in range(4):
        assert _tick(continued, p=1.0, stats=_scores(50, -50)) == []
    assert len(_tick(continued, p=1.0, stats=_scores(50, -50))) == 1


def test_a_metric_that_has_been_twice_its_best_three_times():
    monitor = HealthMonitor(1.0, 1000)

    def evaluated(value, best=10.0, higher=False):
        return monitor.evaluated("fid", value, {"value": best, "nimg": 4000}, higher_is_better=higher)

    assert not any(evaluated(value) for value in (10.0, 21.0, 30.0, 19.0, 21.0, 22.0))
    continued = HealthMonitor(1.0, 1000)
    continued.load_state_dict(monitor.state_dict())
    monitor = continued
    (warning,) = evaluated(23.0)
    assert "fid is 23, for 3 evaluations" in warning
    assert "(10 at 4 kimg)" in warning
    assert "`rollback`=best" in warning
    assert evaluated(24.0) == []
    assert evaluated(10.0) == []
    assert not any(evaluated(6.0, higher=True) for _ in range(5))
    assert [len(evaluated(4.0, higher=True)) for _ in range(4)] == [0, 0, 1, 0]
    # Without an order of magnitude, as estimates around zero have none.
    assert not any(evaluated(1.0, best=-0.1) for _ in range(4))


def test_pictures_that_become_alike():
    monitor = HealthMonitor(1.0, 1000)
    assert monitor.drawn(0.01) == []  # before training they are
    assert monitor.drawn(0.9) == []
    (warning,) = monitor.drawn(0.2)
    assert "become alike (mean distance 0.2 of the real images')" in warning
    assert "`rollback`" in warning
    assert monitor.drawn(0.1) == []
    assert monitor.drawn(0.5) == []
    assert len(monitor.drawn(0.1)) == 1
