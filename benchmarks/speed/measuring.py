"""What the benchmarks share: options of their command lines, timing, and a training run to measure."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from torch_utils.processes.distributed import World
from training.config.resolve import resolve
from training.options import TrainingOptions
from training.run_dir import RunDir
from training.training_loop import Housekeeping, TrainingRun


def _set_threads(context: click.Context, parameter: click.Parameter, count: int | None) -> None:
    if count is not None:
        torch.set_num_threads(count)
        os.environ["OMP_NUM_THREADS"] = str(count)  # for the processes that this one starts


def device_option(default: str = "auto") -> Callable:
    """`--device`, of which `torch_utils.machine.devices.choose_device` makes the device."""
    return click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default=default, show_default=True)


json_option = click.option("--json", "json_path", type=Path, help="Write the results here, too.")
cpu_time_option = click.option("--cpu-time", is_flag=True, help="Time by the processor, for a busy machine.")
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), callback=_set_threads, expose_value=False, help="CPU threads [all]."
)


_PROFILED_CALLS = 10


class Kernel(NamedTuple):
    """A kernel or operator by name: its seconds in a call, and how often a call launches it."""

    name: str
    seconds: float
    launches: float


class Stopwatch(NamedTuple):
    """How calls are timed.

    Attributes:
        device: waited for before and after.
        repeats: of which the median counts.
        cpu_time: processor time of this process rather than the clock on the wall: with one thread it is hardly moved
            by what else runs.
    """

    device: torch.device
    repeats: int = 9
    cpu_time: bool = False

    def seconds(self, run: Callable[[], object], warm_up: int = 1) -> float:
        """Median time of a call after some that are not counted; calls shorter than 0.2 ms are timed in groups."""
        for _ in range(warm_up):
            run()
        group = 1
        times: list[float] = []
        while len(times) < self.repeats:
            start = self.now()
            for _ in range(group):
                run()
            taken = self.now() - start
            if taken < 2e-4 and group < 100:
                group *= 10
                continue
            times.append(taken / group)
        return float(np.median(times))

    def device_seconds(self, run: Callable[[], object]) -> float:
        """Mean time of a call in the device's kernels alone, without the gaps between them; on the CPU as `seconds`."""
        if self.device.type != "cuda":
            return self.seconds(run)
        run()
        return sum(kernel.seconds for kernel in self.kernels(run, _PROFILED_CALLS))

    def kernels(self, run: Callable[[], object], calls: int) -> list[Kernel]:
        """What a call executes, as a mean over so many: a GPU's kernels, on the CPU operators by their own time."""
        on_gpu = self.device.type == "cuda"
        self.now()
        with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as prof:
            for _ in range(calls):
                run()
            self.now()
        found = []
        for event in prof.key_averages():
            microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            if microseconds > 0:
                found.append(Kernel(event.key, microseconds / calls / 1e6, event.count / calls))
        return found

    def now(self) -> float:
        """The time at which the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.cpu_time else time.perf_counter()


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a new process, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextlib.contextmanager
def training_run(resolution: int | None = None, parent: Path | None = None, **options: Any) -> Iterator[TrainingRun]:
    """A run in a temporary folder, closed and removed afterwards.

    Args:
        resolution: of the images, which are noise; without it the built-in faces.
        parent: of the folder.
        options: those of train.py.
    """
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        if resolution is not None:
            data = Path(folder) / "data"
            data.mkdir()
            noise = np.random.RandomState(0).randint(0, 256, (8, resolution, resolution, 3)).astype(np.uint8)
            for number, image in enumerate(noise):
                Image.fromarray(image).save(data / f"{number}.png")
            options["data"] = str(data)
        config, dataset = resolve(TrainingOptions(metrics=(), **options), 1)
        run = TrainingRun(config, dataset, RunDir(Path(folder)), World(), Housekeeping(progress_bar=False))
        with contextlib.closing(run.stream), contextlib.closing(run.reports):
            yield run
