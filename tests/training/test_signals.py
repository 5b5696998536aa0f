"""What asks a run to stop: it saves, and its exit status says 'continue me'."""

import os
import signal
import time

import pytest

from benchmarks.kill_test import TINY, differences, start, state
from dnnlib.cli import CONTINUE_STATUS
from torch_utils.checkpoint import list_checkpoints
from training.progress import StopRequest

LONG = (*TINY, "--kimg=50", "--checkpoint-minutes=60", "--snap=0", "--img-snap=0")


def _wait_for_steps(process, run_dir) -> None:
    """Until the first line of statistics: the run is inside its loop."""
    while process.is_alive() and not (run_dir / "stats.jsonl").exists():
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_step_saves_and_exits_with_75(tmp_path, number):
    run_dir = tmp_path / "run"
    process = start(run_dir, LONG)
    _wait_for_steps(process, run_dir)
    assert not list_checkpoints(run_dir)
    os.kill(process.pid, number)
    process.join(timeout=60)
    assert process.exitcode == CONTINUE_STATUS == 75
    assert state(run_dir)["progress"]["nimg"] > 0
    last = (run_dir / "log.txt").read_text().splitlines()[-1]
    assert last.startswith(f"stopped (received {number.name}); the same command, or --continue=")


def test_a_signal_in_the_middle_changes_nothing(tmp_path):
    options = (*TINY, "--checkpoint-minutes=60")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start(whole, options).join()
    process = start(parts, options)
    _wait_for_steps(process, parts)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 75
    start(parts, options).join()
    assert differences(parts, whole) == []


def test_max_hours_saves_and_exits_with_75(tmp_path):
    run_dir = tmp_path / "run"
    process = start(run_dir, (*LONG, "--max-hours=0.0003"))
    process.join(timeout=60)
    assert process.exitcode == 75
    assert state(run_dir)["progress"]["nimg"] > 0
    assert "stopped (--max-hours reached)" in (run_dir / "log.txt").read_text()


def test_a_second_signal_exits_at_once(tmp_path):
    """The first one is never answered here: the process sleeps inside a step, as in a long computation."""
    import multiprocessing

    ready = tmp_path / "ready"
    process = multiprocessing.get_context("forkserver").Process(target=exec, args=(_SLEEPER, {"ready": str(ready)}))
    process.start()
    while not ready.exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    process.join(timeout=1.0)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGTERM)
    process.join(timeout=10)
    assert process.exitcode == 128 + signal.SIGTERM


_SLEEPER = """
import pathlib, time
from training.progress import StopRequest
with StopRequest():
    pathlib.Path(ready).touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.05)
"""


def test_two_signals_at_once_are_one():
    """A terminal and a launcher may both deliver it."""
    with StopRequest() as stop:
        assert not stop.is_set
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set
        assert stop.reason == "received SIGINT"


def test_the_handlers_are_put_back():
    before = [signal.getsignal(number) for number in StopRequest.SIGNALS]
    with StopRequest():
        assert [signal.getsignal(number) for number in StopRequest.SIGNALS] != before
    assert [signal.getsignal(number) for number in StopRequest.SIGNALS] == before


def test_a_time_limit_counts_from_the_start():
    with StopRequest(max_hours=0.05 / 3600) as stop:
        assert not stop.is_set
        time.sleep(0.1)
        assert stop.is_set
    with StopRequest(max_hours=None) as stop:
        assert not stop.is_set
