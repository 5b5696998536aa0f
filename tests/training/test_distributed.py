"""Several processes compute what one does, and none is left alone when another is lost."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks.kill_test import TINY, state, statistics
from torch_utils.checkpoint import list_checkpoints
from training.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[2]
LONG = (*TINY, "--kimg=50")
WORKER = Path(__file__).with_name("distributed_worker.py")
HOST = re.escape(socket.gethostname())


@pytest.fixture
def compute(run_ranks, tmp_path) -> Callable[..., dict[str, torch.Tensor]]:
    """What a function of `distributed_worker.py` gives on the main one of several processes."""

    def in_processes(task: str, processes: int, **flags: Any) -> dict[str, torch.Tensor]:
        output = tmp_path / f"{processes}.pt"
        for rank in run_ranks(WORKER, processes, output, task, flags):
            assert rank.status == 0, rank.stderr
        return torch.load(output, weights_only=True)

    return in_processes


@pytest.mark.parametrize(
    ("processes", "options"),
    [
        (2, {"batch_gpu": 2}),
        (3, {"batch_gpu": 4}),
        (2, {"batch_gpu": 2, "pair": True, "lecam": 0.5, "r2_gamma": 1.0, "augpipe": "diffaug"}),
        (2, {"batch_gpu": 2, "alpha": 0.7, "g_loss": "ce", "lecam": 0.5, "aug": "apa", "p": None}),
    ],
)
def test_gradients_do_not_depend_on_the_number_of_processes(compute, processes, options):
    """Every phase, within 1e-5 relative; minibatch-std groups are the same, as is the size of a micro-batch."""
    one = compute("gradients", 1, mbstd_group=2, **options)
    several = compute("gradients", processes, mbstd_group=2, **options)
    assert {"Gmain", "Greg", "Dmain", "Dreg"} <= set(one)
    for name in ("Gmain", "Greg", "Dmain", "Dreg"):
        assert one[name].norm() > 0
        difference = (several[name] - one[name]).norm() / one[name].norm()
        assert difference < 1e-5, f"{name}: {difference:.1e}"
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=1e-3, atol=1e-3, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize(
    ("processes", "batch_gpu", "steps"),
    [(1, 4, 100), (1, 2, 20), (2, 2, 20), (2, 1, 20), pytest.param(2, 1, 100, marks=pytest.mark.slow)],
)
def test_w_avg_moves_at_each_phase_that_generates_images(compute, processes, batch_gpu, steps):
    """Gmain and Dmain in each step, Greg in every fourth; one move each, however the work is split."""
    flags = {
        "data": str(Path(__file__).parent / "data/earlier_runs/labelled.zip"), "aug": "noaug", "p": None, "gamma": 0.0,
        "batch": 4, "batch_gpu": batch_gpu, "mbstd_group": 1, "kimg": steps * 0.004, "tick": 1.0, "snap": 0,
    }  # fmt: skip
    found = compute("w_averages", processes, **flags)
    assert found["updates"] == steps * 2.25
    torch.testing.assert_close(found["w_avg"], found["expected"], rtol=1e-4, atol=1e-6)
    assert found["w_avg"].norm() > 1e-3 * steps


def _ready(run_dir: Path) -> bool:
    return run_dir.exists() and len(list_checkpoints(run_dir)) == 2


@pytest.fixture
def two_workers(start, rank_environments, wait_until, tmp_path):
    """Two processes that train in `run`, with checkpoints written."""
    workers = [start(tmp_path / "run", LONG, environment) for environment in rank_environments(2)]
    wait_until(lambda: _ready(tmp_path / "run"), *workers)
    return workers


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_worker_ends_the_run_and_is_named(start, two_workers, tmp_path, lost):
    run_dir = tmp_path / "run"
    two_workers[lost].kill()
    two_workers[1 - lost].join()
    assert two_workers[1 - lost].exitcode == 1
    log = (run_dir / "log.txt").read_text()
    assert re.search(rf"rank {1 - lost} on {HOST}", log)
    if lost == 1:
        assert "RuntimeError" in log
        assert re.search(rf"lost rank 1 on {HOST}", log)
    nimg = state(run_dir)["progress"]["nimg"]
    assert nimg > 0
    # Nothing before the last checkpoint is lost: it goes on from there, on one process too, which it says.
    again = start(run_dir, (*TINY, f"--kimg={(nimg + 16) / 1000}"))
    again.join()
    # Another length is another run: refused for the same directory.
    assert again.exitcode == 2
    assert "holds a run with other settings (total_kimg" in Path(f"{run_dir}.out").read_text()


@pytest.mark.slow
def test_a_stopped_worker_ends_the_run(two_workers, tmp_path):
    os.kill(two_workers[1].pid, signal.SIGSTOP)
    two_workers[0].join()
    assert two_workers[0].exitcode == 1
    log = (tmp_path / "run" / "log.txt").read_text()
    assert re.search(rf"rank 0 on {HOST}: rank 1 on {HOST} has been silent for 20 s \(stopped", log)


def test_a_signal_to_one_of_two_stops_both_and_another_number_continues(start, two_workers, tmp_path):
    run_dir = tmp_path / "run"
    os.kill(two_workers[1].pid, signal.SIGTERM)
    for worker in two_workers:
        worker.join()
    assert [worker.exitcode for worker in two_workers] == [75, 75]
    assert "stopped (another process was asked to)" in (run_dir / "log.txt").read_text()
    nimg = state(run_dir)["progress"]["nimg"]
    alone = start(run_dir, (*LONG, "--max-hours=0"))
    alone.join()
    assert alone.exitcode == 75
    assert "processes 1 instead of 2" in (run_dir / "log.txt").read_text()
    assert "not bit for bit" in (run_dir / "log.txt").read_text()
    assert state(run_dir)["progress"]["nimg"] == nimg + 8
    ticks = [line["Progress/tick"]["mean"] for line in statistics(run_dir)]
    assert ticks == list(range(len(ticks)))


def test_an_error_of_the_main_process_alone_ends_all_with_one_line(start, rank_environments, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    holder = RunDir(run_dir)
    assert holder.lock()
    workers = [start(run_dir, TINY, environment) for environment in rank_environments(2)]
    for worker in workers:
        worker.join()
    holder.unlock()
    assert [worker.exitcode for worker in workers] == [2, 2]
    assert not (run_dir / "log.txt").exists()
    assert "is training" in Path(f"{run_dir}.out").read_text()


def _torchrun(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *arguments]


def _workers_of(agent: subprocess.Popen) -> list[int]:
    children = psutil.Process(agent.pid).children(recursive=True)
    found = [(int(child.environ()["RANK"]), child.pid) for child in children if "RANK" in child.environ()]
    return [pid for _, pid in sorted(found)]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen]:
    """The process of a command; it and its children are killed at the end."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=_environment(), text=True, **pipes) as agent:
        try:
            yield agent
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(agent.pid).children(recursive=True):
                    child.kill()
            agent.kill()


def _agent(
    run_dir: Path, *arguments: str, options: tuple[str, ...] = LONG
) -> contextlib.AbstractContextManager[subprocess.Popen]:
    return _running([*_torchrun(*arguments), str(ROOT / "train.py"), f"--run-dir={run_dir}", *options])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_torchrun_ends_with_a_lost_worker(wait_until, tmp_path, how):
    run_dir = tmp_path / "run"
    with _agent(run_dir, "--standalone", "--nproc-per-node=2") as agent:
        wait_until(lambda: _ready(run_dir), agent)
        os.kill(_workers_of(agent)[1], how)
        agent.communicate()
    assert agent.returncode == 1
    log = (run_dir / "log.txt").read_text()
    assert re.search(rf"rank 1 on {HOST}", log), log


@pytest.mark.slow
def test_torchrun_restarts_from_the_checkpoint(wait_until, tmp_path):
    run_dir = tmp_path / "run"
    options = (*TINY, "--kimg=0.4")
    with _agent(run_dir, "--standalone", "--nproc-per-node=2", "--max-restarts=1", options=options) as agent:
        wait_until(lambda: _ready(run_dir), agent)
        os.kill(_workers_of(agent)[0], signal.SIGKILL)
        _, errors = agent.communicate()
    log = (run_dir / "log.txt").read_text()
    assert agent.returncode == 0, errors + log
    assert log.count("continuing") == 1
    assert (run_dir / "finished.json").exists()
    # Bit for bit what two processes compute that nobody disturbs.
    with _agent(tmp_path / "whole", "--standalone", "--nproc-per-node=2", options=options) as undisturbed:
        undisturbed.communicate()
    assert statistics(run_dir) == statistics(tmp_path / "whole")


@pytest.mark.slow
def test_two_machines(rank_environments, tmp_path):
    """Two torchrun agents that meet at an address, as on two machines (docs/running.md)."""
    run_dir = tmp_path / "run"
    (environment, _) = rank_environments(2)
    shared = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=7",
              f"--rdzv-endpoint=127.0.0.1:{environment['MASTER_PORT']}")  # fmt: skip
    with _agent(run_dir, *shared, options=TINY) as first, _agent(run_dir, *shared, options=TINY) as second:
        for agent in (first, second):
            agent.communicate()
            assert agent.returncode == 0
    assert "cpu x 2" in (run_dir / "log.txt").read_text()
    assert (run_dir / "finished.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_gpus_passes_signals_on_and_ends_with_75(wait_until, tmp_path, number):
    run_dir = tmp_path / "run"
    command = [sys.executable, str(ROOT / "train.py"), f"--run-dir={run_dir}", "--gpus=2", *LONG]
    with _running(command) as agent:
        wait_until(lambda: _ready(run_dir), agent)
        agent.send_signal(number)
        agent.communicate()
        assert agent.returncode == 75
    log = (run_dir / "log.txt").read_text()
    assert "stopped (received SIG" in log
    assert state(run_dir)["progress"]["nimg"] > 0


def test_gpus_hands_on_a_mistake_as_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), f"--run-dir={tmp_path / 'run'}", "--gpus=2", *TINY, "--batch=9"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "--batch=9 is not divisible by the number of processes, 2" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
