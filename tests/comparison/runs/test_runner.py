"""The runner with a stand-in for train.py that behaves as told, so that every ending can be seen."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from comparison.runs import runner
from comparison.runs.collect import failure_file, gave_up, read_run
from comparison.runs.runner import Job, pending, run_jobs
from training.run_dir import State

STAND_IN = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
folder, behaviour = Path(sys.argv[1]), sys.argv[2]
folder.mkdir(parents=True, exist_ok=True)
def stop(signum, frame):
    (folder / "asked-to-stop").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
lock = open(folder / ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
(folder / "training_options.json").write_text(json.dumps({"total_kimg": 1}))
finished = sorted(path.parent.name for path in folder.parent.glob("*/finished.json"))
start = {"after": finished, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": os.environ.get("OMP_NUM_THREADS")}
(folder / "starting").write_text(json.dumps(start))
os.rename(folder / "starting", folder / "start.json")
if behaviour == "fail":
    sys.exit("error: no such thing")
if behaviour == "fail-and-go-on":
    print("error: no such thing", flush=True)
    sys.exit("[rank 0] the process group was not destroyed")
if behaviour == "crash":
    sys.exit("MemoryError")
if behaviour == "diverge":
    (folder / "diverged.json").write_text("{}")
    sys.exit("error: whatever it is called today")
if behaviour == "speak-of-divergence":
    sys.exit("error: 25 steps in a row had gradients that are not finite, at 1.0 kimg")
if behaviour == "sleep":
    time.sleep(600)
if behaviour.startswith("with "):
    while not (folder.parent / behaviour[5:] / "start.json").exists():
        time.sleep(0.01)
(folder / "finished.json").write_text("{}")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(runner, "train_command", lambda: [sys.executable, str(script)])
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)

    def job(name, behaviour):
        folder = tmp_path / "runs" / name
        return Job(name=name, folder=folder, flags=[str(folder), behaviour], kimg=1.0)

    return job


def start_of(job):
    return json.loads((job.folder / "start.json").read_text())


def test_jobs_run_side_by_side_and_share_the_cores(stand_in, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(runner.torch.cuda, "is_available", lambda: False)
    jobs = [stand_in("run0", "with run1"), stand_in("run1", "with run0"), stand_in("run2", "finish")]
    assert run_jobs(jobs, 2, lambda text: None) == []
    assert all(job.run.state is State.FINISHED for job in jobs)
    assert [len(start_of(job)["after"]) > 0 for job in jobs] == [False, False, True]
    assert {start_of(job)["threads"] for job in jobs} == {"4"}
    assert pending(jobs, retry_diverged=False) == []


def test_every_job_gets_a_gpu_of_its_own(stand_in, monkeypatch):
    monkeypatch.setattr(runner.torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    jobs = [stand_in(f"run{i}", "finish") for i in range(2)]
    run_jobs(jobs, 2, lambda text: None)
    assert [start_of(job)["gpu"] for job in jobs] == ["4", "6"]


def test_a_failure_is_reported_and_stops_nothing(stand_in):
    jobs = [stand_in("bad", "fail"), stand_in("good", "finish")]
    said = []
    failures = run_jobs(jobs, 1, said.append)
    assert failures == ["bad ended with status 1: no such thing"]
    assert jobs[1].run.state is State.FINISHED
    assert pending(jobs, retry_diverged=False) == [jobs[0]]  # the next call tries it again
    assert "no such thing" in jobs[0].console.read_text()


def test_the_error_is_told_even_when_something_else_is_printed_last(stand_in):
    job = stand_in("bad", "fail-and-go-on")
    assert run_jobs([job], 1, lambda text: None) == ["bad ended with status 1: no such thing"]
    # The console keeps what the first attempt said, which is not what ended the second.
    again = stand_in("bad", "crash")
    assert run_jobs([again], 1, lambda text: None) == ["bad ended with status 1: MemoryError"]
    assert "no such thing" in again.console.read_text()


def test_divergence_is_a_result_and_not_run_again(stand_in):
    job = stand_in("wild", "diverge")
    assert run_jobs([job], 1, lambda text: None) == []
    assert gave_up(job.folder)
    assert read_run(job.folder).diverged
    assert pending([job], retry_diverged=False) == []
    assert pending([job], retry_diverged=True) == [job]
    # Run again, it fails for another reason, which is then told.
    again = stand_in("wild", "fail")
    assert run_jobs([again], 1, lambda text: None) == ["wild ended with status 1: no such thing"]
    assert not gave_up(job.folder)


def test_divergence_is_not_what_a_message_says(stand_in):
    job = stand_in("words", "speak-of-divergence")
    assert len(run_jobs([job], 1, lambda text: None)) == 1
    assert not gave_up(job.folder)
    assert pending([job], retry_diverged=False) == [job]


def test_sigterm_asks_the_runs_to_save(stand_in, wait_until):
    job = stand_in("long", "sleep")

    def interrupt():
        wait_until((job.folder / "start.json").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job], 1, lambda text: None)
    assert (job.folder / "asked-to-stop").exists()
    assert not failure_file(job.folder).exists()


def test_a_process_that_is_still_saving_is_waited_for(stand_in):
    job = stand_in("busy", "finish")
    job.folder.mkdir(parents=True)
    said = []
    with open(job.folder / ".lock", "w") as lock:  # the stand-in fails where it is held
        fcntl.flock(lock, fcntl.LOCK_EX)

        def say(text):
            said.append(text)
            if "waiting for a process" in text:
                fcntl.flock(lock, fcntl.LOCK_UN)

        assert run_jobs([job], 1, say) == []
    assert any("waiting for a process" in text for text in said)
    assert job.run.state is State.FINISHED


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
def test_runs_end_when_the_runner_is_killed(tmp_path, wait_until):
    script, folder = tmp_path / "stand_in.py", tmp_path / "runs" / "orphan"
    script.write_text(STAND_IN)
    code = (
        "from pathlib import Path; from comparison.runs import runner; import sys\n"
        "runner.train_command = lambda: [sys.executable, sys.argv[1]]\n"
        "folder = Path(sys.argv[2])\n"
        "runner.run_jobs([runner.Job('orphan', folder, [str(folder), 'sleep'], 1.0)], 1, print)\n"
    )
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen([sys.executable, "-c", code, str(script), str(folder)], cwd=root)
    wait_until((folder / "start.json").exists, process)
    process.kill()
    process.wait()
    wait_until((folder / "asked-to-stop").exists)
    with open(folder / ".lock", "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # free as soon as the run has ended
