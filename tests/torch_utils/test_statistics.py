"""Statistics between two reports, against NumPy, and their state; several processes are in test_distributed.py."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_utils.statistics import Statistics, Summary


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), st.integers(1, 5))
def test_moments_are_those_of_all_values(values, parts):
    statistics = Statistics()
    for part in np.array_split(np.array(values, np.float32), parts):
        statistics.report("x", torch.from_numpy(part))
    summary = statistics.summaries()["x"]
    assert summary.num == len(values)
    assert summary.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert summary.std == pytest.approx(np.std(values), rel=1e-4, abs=1e-2)


def test_values_that_are_not_finite_are_counted_and_left_out():
    statistics = Statistics()
    statistics.report("x", torch.tensor([1.0, float("nan"), 3.0, float("inf"), -float("inf")]))
    assert statistics.summaries()["x"] == Summary(num=2, mean=2.0, std=1.0, nonfinite=3)


def test_nothing_finite_has_no_mean():
    statistics = Statistics()
    statistics.report("x", float("nan"))
    summary = statistics.summaries()["x"]
    assert (summary.num, summary.nonfinite) == (0, 1)
    assert math.isnan(summary.mean)


def test_an_interval_ends_with_its_summaries():
    statistics = Statistics()
    statistics.report("x", 1.0)
    statistics.summaries()
    statistics.report("y", 2.0)
    assert {name: summary.num for name, summary in statistics.summaries().items() if summary.num} == {"y": 1}
    assert not any(summary.num for summary in statistics.summaries().values())


def test_names_keep_the_order_of_their_first_report():
    statistics = Statistics()
    for name in ("z", "a", "m", "a"):
        statistics.report(name, 0.0)
    assert list(statistics.summaries()) == ["z", "a", "m"]


def test_large_means_do_not_cost_the_deviation():
    statistics = Statistics()
    statistics.report("x", torch.tensor([10000.0, 10001.0, 10002.0]))
    assert statistics.summaries()["x"].std == pytest.approx(np.std([0, 1, 2]), rel=1e-6)


def test_reports_do_not_keep_the_graph():
    value = torch.ones(3, requires_grad=True)
    statistics = Statistics()
    statistics.report("x", value * 2)
    assert not any(tensor.requires_grad for tensor in statistics.tensors())


def test_state_in_the_middle_of_an_interval():
    whole, first, second = Statistics(), Statistics(), Statistics()
    values = torch.randn(10, generator=torch.Generator().manual_seed(0))
    for statistics, part in ((whole, values[:4]), (first, values[:4])):
        statistics.report("x", part)
    second.load_state_dict(first.state_dict())
    whole.report("x", values[4:])
    second.report("x", values[4:])
    assert second.summaries() == whole.summaries()


def test_state_of_more_processes_is_added_up():
    """Continued on one process, the sums of all that there were count."""
    statistics = Statistics()
    statistics.load_state_dict({"by_rank": [{"x": [2.0, 4.0, 10.0, 0.0]}, {"x": [1.0, 1.0, 1.0, 1.0], "y": [1.0] * 4}]})
    summaries = statistics.summaries()
    assert summaries["x"].num == 3
    assert summaries["x"].mean == pytest.approx(5 / 3)
    assert summaries["y"].nonfinite == 1
