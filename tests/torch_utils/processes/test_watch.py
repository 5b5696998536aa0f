"""A process that waits for another is not left waiting when that one hangs."""

import socket
import types
from pathlib import Path

import pytest

from torch_utils.processes import distributed
from torch_utils.processes.distributed import Activity

WORKER = Path(__file__).with_name("watch_worker.py")


@pytest.mark.parametrize(("watched", "statuses"), [(True, [1, 1]), (False, [0, 0])])
def test_a_stuck_step_ends_the_run_and_is_named_but_a_long_task_does_not(run_ranks, tmp_path, watched, statuses):
    output = tmp_path / "lines"
    output.touch()
    ranks = run_ranks(WORKER, 2, output, watched)
    assert [rank.status for rank in ranks] == statuses, ranks
    lines = output.read_text()
    if watched:
        assert f"rank 0 on {socket.gethostname()}: rank 1 on {socket.gethostname()} has been in the same step" in lines
    else:
        assert lines == ""


def test_activity_counts_waits_and_remembers_the_longest_step(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(distributed, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    activity = Activity()
    with activity.waits():
        assert activity.waiting
    assert (activity.count, activity.waiting, activity.longest) == (1, False, 0.0)
    activity.watched = True
    with activity.busy():
        clock.now += 50
        assert not activity.watched
    assert activity.watched
    clock.now += 3
    with activity.waits():
        clock.now += 7
    assert activity.longest == 3
    clock.now += 2
    with activity.waits():
        pass
    assert activity.longest == 3


def test_steps_of_another_length_are_measured_by_their_first(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(distributed, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    activity = Activity()
    activity.watched, activity.longest = True, 3.0
    with activity.busy(), activity.steps():
        assert not activity.watched
        clock.now += 40
        with activity.waits():
            pass
        assert (activity.watched, activity.longest) == (True, 40)
        clock.now += 50
        with activity.waits():
            pass
        assert activity.longest == 50
    assert (activity.watched, activity.longest) == (True, 3)
