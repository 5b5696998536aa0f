"""Running training commands as processes: skipped when done, continued when interrupted, several at a time."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import torch
from tqdm import tqdm

from comparison.runs.collect import failure_file, gave_up
from comparison.runs.jobs import Job
from dnnlib import make_folder, write_json
from dnnlib.cli import CONTINUE_STATUS
from torch_utils.machine.environment import COMMAND
from training.run_dir import State

if sys.platform == "win32":  # where SIGTERM ends a process at once
    _OWN_GROUP, _ASK_TO_STOP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}, signal.CTRL_BREAK_EVENT
else:  # in a group of its own Ctrl-C reaches this process alone, which then asks the runs to stop, once
    _OWN_GROUP, _ASK_TO_STOP = {"start_new_session": True}, signal.SIGTERM
POLL_SECONDS = 1.0
STOP_SECONDS = 120.0  # for training to end its step and save, after which it is killed


def pending(jobs: Sequence[Job], retry_diverged: bool) -> list[Job]:
    """The jobs that are neither finished nor given up as diverged."""
    return [job for job in jobs if job.run.state is not State.FINISHED and (retry_diverged or not gave_up(job.folder))]


def run_jobs(jobs: Sequence[Job], parallel: int, say: Callable[[str], None]) -> list[str]:
    """Run all jobs, `parallel` at a time, each on its own GPU or its share of the processor cores.

    A failing job does not stop the others. After SIGINT or SIGTERM the training processes are asked to save and
    leave; they are asked to as well when this process is killed (on Linux).

    Returns:
        one line for each job that failed.

    Raises:
        KeyboardInterrupt: after a signal, when all processes have ended.
    """
    queue, running, failures = list(jobs), {}, []
    free_slots = list(range(parallel))
    start_of = {job.name: job.run.nimg() / 1000 for job in jobs}
    with (
        _signals_as_interrupt(),
        tqdm(total=sum(job.kimg for job in jobs), initial=sum(start_of.values()), unit="kimg", disable=None) as bar,
    ):
        try:
            while queue or running:
                while queue and free_slots:
                    job, slot = queue.pop(0), free_slots.pop(0)
                    say(f"{job.name}: {'continuing' if start_of[job.name] else 'starting'}")
                    running[job.name] = (job, slot, *_start(job, slot, parallel, say))
                time.sleep(POLL_SECONDS)
                for job, slot, process, console, begin in list(running.values()):
                    if process.poll() is None:
                        continue
                    del running[job.name]
                    free_slots.append(slot)
                    console.close()
                    failures += _finish(job, process.returncode, begin, say)
                _show(bar, jobs)
        finally:
            _stop([process for _, _, process, _, _ in running.values()])
            for _, _, _, console, _ in running.values():
                console.close()
    return failures


def _start(job: Job, slot: int, parallel: int, say: Callable[[str], None]) -> tuple[subprocess.Popen, IO, int]:
    """The process, the file of what it prints, and how long that file was before (it keeps earlier attempts)."""
    make_folder(job.folder.parent, "`outdir`")
    _wait_for_lock(job, say)
    if job.run.state is State.DIVERGED:
        job.run.reopen()  # so that its end says how this attempt went
    failure_file(job.folder).unlink(missing_ok=True)
    console = open(job.console, "a", encoding="utf-8")  # noqa: SIM115 - closed when the process has ended
    begin = job.console.stat().st_size
    process = subprocess.Popen(
        [*train_command(), *job.flags],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=subprocess.STDOUT,
        env=_environment(slot, parallel),
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        **_OWN_GROUP,
    )
    return process, console, begin


def train_command() -> list[str]:
    """The words that start training with this Python, in the checkout or installed."""
    return [sys.executable, str(COMMAND), "train"]


def _die_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent dies, so that no run goes on unsupervised after SIGKILL."""
    parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def _environment(slot: int, parallel: int) -> dict[str, str]:
    environment = dict(os.environ)
    if parallel == 1:
        return environment
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        devices = [d for d in visible.split(",") if d] or [str(i) for i in range(torch.cuda.device_count())]
        environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    else:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // parallel)))
    return environment


def _wait_for_lock(job: Job, say: Callable[[str], None]) -> None:
    """Wait until no process trains in the folder: one whose parent was killed needs a moment to save."""
    told, run = False, job.run
    while run.path.is_dir() and not run.lock():
        if not told:
            say(f"{job.name}: waiting for a process that is still training there to save and end")
            told = True
        time.sleep(POLL_SECONDS)
    run.unlock()


def _finish(job: Job, status: int, begin: int, say: Callable[[str], None]) -> list[str]:
    state = job.run.state
    if state is State.FINISHED:
        say(f"{job.name}: finished")
        return []
    if status == CONTINUE_STATUS:
        say(f"{job.name}: stopped and saved")
        return [f"{job.name} was stopped before its end"]
    lines = job.console.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]  # of several processes others may speak last
    message = (errors or lines or ["it printed nothing"])[-1].removeprefix("error: ")
    write_json(failure_file(job.folder), {"status": status, "message": message, "diverged": state is State.DIVERGED})
    if state is State.DIVERGED:
        say(f"{job.name}: diverged and was given up: {message}")
        return []
    say(f"{job.name}: failed with status {status}: {message}")
    return [f"{job.name} ended with status {status}: {message}"]


def _show(bar: tqdm, jobs: Sequence[Job]) -> None:
    if not bar.disable:
        bar.n = round(sum(min(job.run.nimg() / 1000, job.kimg) for job in jobs), 3)
        bar.refresh()


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(_ASK_TO_STOP)
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the block as SIGINT does."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
