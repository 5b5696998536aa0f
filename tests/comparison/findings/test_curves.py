import math

import pytest

from comparison.findings.curves import (
    average_value,
    band,
    best_value,
    better_direction,
    collapsed,
    final_value,
    first_reached,
)
from comparison.runs.collect import Curve

CURVE = Curve((0, 1000, 2000, 4000), (0.0, 10.0, 20.0, 40.0), (100.0, 50.0, 20.0, 30.0), (0.0, 8.0, 16.0, 32.0))


def test_values_read_off_a_curve():
    assert final_value(CURVE) == 30.0
    assert best_value(CURVE, "lower") == (20.0, 2000)
    assert best_value(CURVE, "higher") == (100.0, 0)
    assert average_value(CURVE) == pytest.approx((75 * 1000 + 35 * 1000 + 25 * 2000) / 4000)


def test_images_and_seconds_to_reach_a_value():
    assert first_reached(CURVE, 50.0, "lower") == (1000.0, 10.0, 8.0)
    assert first_reached(CURVE, 35.0, "lower") == (1500.0, 15.0, 12.0)
    assert first_reached(CURVE, 100.0, "lower") == (0.0, 0.0, 0.0)
    assert first_reached(CURVE, 19.0, "lower") is None
    rising = Curve((0, 1000), (0.0, 2.0), (0.1, 0.5))
    assert first_reached(rising, 0.3, "higher") == pytest.approx((500.0, 1.0, math.inf))


def test_collapse_is_twice_the_own_best():
    assert not collapsed(CURVE, "swd")
    assert collapsed(Curve((0, 1, 2), (0, 1, 2), (90.0, 20.0, 41.0)), "swd")
    assert collapsed(Curve((0, 1), (0, 1), (0.8, 0.3)), "pr50k3_recall")
    assert not collapsed(Curve((0, 1), (0, 1), (0.0, 0.3)), "copies200"), "an untrained network copies nothing"


def test_band_covers_the_common_image_counts():
    other = Curve((0, 2000, 3000, 4000), (0.0, 22.0, 33.0, 44.0), (110.0, 10.0, 5.0, 50.0))
    both = band([CURVE, other])
    assert both.nimg == [0, 2000, 4000]
    assert both.mean == [105.0, 15.0, 40.0]
    assert both.low == [100.0, 10.0, 30.0]
    assert both.high == [110.0, 20.0, 50.0]
    assert both.seconds == [0.0, 21.0, 42.0]
    assert both.n == 2
    assert band([]) is None
    assert band([CURVE]).sd == [None] * 4


def test_direction_of_metrics():
    assert better_direction("fid50k_full") == "lower"
    assert better_direction("swd2k") == "lower"
    assert better_direction("pr50k3_full_recall") == "higher"
    assert better_direction("dc10k5_full_coverage") == "higher"
    assert better_direction("is50k_mean") == "higher"
