"""What asks a run to stop: it saves, and its exit status says 'continue me'."""

import multiprocessing
import os
import signal
import time
import types

import pytest

from benchmarks.kill_test import TINY, differences, state
from dnnlib.cli import CONTINUE_STATUS
from torch_utils.checkpoint import list_checkpoints
from training import progress
from training.progress import StopRequest

LONG = (*TINY, "--kimg=50", "--checkpoint-minutes=60", "--snap=0", "--img-snap=0")


@pytest.fixture
def start_and_signal(start, wait_until):
    """Starts a run, and sends it a signal when its first line of statistics shows that it is inside its loop."""

    def begin(run_dir, options, number):
        process = start(run_dir, options)
        wait_until((run_dir / "stats.jsonl").exists, process)
        os.kill(process.pid, number)
        process.join()
        return process

    return begin


@pytest.fixture
def clock(monkeypatch):
    """The time as `StopRequest` sees it: `clock.now`, in seconds."""
    fake = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: fake.now))
    return fake


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_step_saves_and_exits_with_75(start_and_signal, tmp_path, number):
    run_dir = tmp_path / "run"
    process = start_and_signal(run_dir, LONG, number)
    assert process.exitcode == CONTINUE_STATUS == 75
    assert len(list_checkpoints(run_dir)) == 1
    assert state(run_dir)["progress"]["nimg"] > 0
    last = (run_dir / "log.txt").read_text().splitlines()[-1]
    assert last.startswith(f"stopped (received {number.name}); the same command, or --continue=")


def test_a_signal_in_the_middle_changes_nothing(start, start_and_signal, whole_command, tmp_path):
    options = (*TINY, "--checkpoint-minutes=60")
    assert start_and_signal(tmp_path / "parts", options, signal.SIGTERM).exitcode == 75
    start(tmp_path / "parts", options).join()
    assert differences(tmp_path / "parts", whole_command) == []


def test_max_hours_saves_and_exits_with_75(start, tmp_path):
    run_dir = tmp_path / "run"
    process = start(run_dir, (*LONG, "--max-hours=0"))
    process.join()
    assert process.exitcode == 75
    assert state(run_dir)["progress"]["nimg"] > 0
    assert "stopped (--max-hours reached)" in (run_dir / "log.txt").read_text()


def test_a_second_signal_exits_at_once(wait_until, tmp_path):
    """The process has seen the first one and goes on, as in a long computation."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=exec, args=(_SLEEPER, {"folder": str(tmp_path)}), daemon=True)
    process.start()
    wait_until((tmp_path / "ready").exists, process)
    os.kill(process.pid, signal.SIGTERM)
    wait_until((tmp_path / "seen").exists, process)
    time.sleep(0.6)  # signals within half a second count as one
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM


_SLEEPER = """
import pathlib, time
from training.progress import StopRequest
with StopRequest() as stop:
    pathlib.Path(folder, "ready").touch()
    while True:
        time.sleep(0.01)
        if stop.is_set:
            pathlib.Path(folder, "seen").touch()
"""


def test_two_signals_at_once_are_one(clock):
    """A terminal and a launcher may both deliver it."""
    with StopRequest() as stop:
        assert not stop.is_set
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set
        assert stop.reason == "received SIGINT"


def test_what_a_signal_does_is_said_at_once(clock, capfd):
    """In the middle of a metric nothing else would be to be seen for minutes."""
    for tell, lines in ((True, 1), (False, 0)):
        with StopRequest(tell=tell):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err.count("SIGINT: ending after the step or metric in progress, and saving") == lines


def test_the_handlers_are_put_back():
    before = [signal.getsignal(number) for number in StopRequest.SIGNALS]
    with StopRequest():
        assert [signal.getsignal(number) for number in StopRequest.SIGNALS] != before
    assert [signal.getsignal(number) for number in StopRequest.SIGNALS] == before


def test_a_time_limit_counts_from_the_start(clock):
    with StopRequest(max_hours=2) as stop, StopRequest(max_hours=None) as unlimited:
        clock.now += 2 * 3600 - 1
        assert not stop.is_set
        clock.now += 2
        assert stop.is_set
        assert not unlimited.is_set
