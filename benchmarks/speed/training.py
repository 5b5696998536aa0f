"""Training steps of `auto` or of a preset against the convolution rate of the same machine, in one run.

    python -m benchmarks.speed.training --resolutions=32 --batch=16 --precisions=fp32,bf16 --json=step.json
    python -m benchmarks.speed.training --preset=demo --precisions=fp32

For every resolution and precision: the work of each phase (floating-point operations counted from the executed
operators), its time, the step's seconds per thousand images with all intervals, and the share of the rate that
3 x 3 convolutions of the same widths reach when timed alone (forward and backward). Augmentation is bgc at p = 0.2.
Each case runs in a process of its own, so that the peak of memory is its own.
"""

import itertools
import traceback
from pathlib import Path

import click
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.speed.measuring import (
    Stopwatch,
    cpu_time_option,
    device_option,
    in_own_process,
    json_option,
    threads_option,
    training_run,
)
from dnnlib import write_json
from dnnlib.cli import IntegerRanges, NameList, door
from torch_utils.machine.allocator import keep_freed_memory
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from training.config import TrainingConfig
from training.memory import peak_bytes
from training.options.presets import PRESETS
from training.phases import Batch
from training.training_loop import TrainingRun


class WorkCounter(TorchDispatchMode):
    """Floating-point operations of the convolutions and matrix products that are executed."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def convolution_rate(config: TrainingConfig, watch: Stopwatch) -> float:
    """FLOP/s of 3 x 3 convolutions, forward and backward, over the widths of the configuration's resolutions."""
    dtype = getattr(torch, config.precision.dtype)
    layout = torch.channels_last if config.precision.channels_last else torch.contiguous_format
    work = total = 0.0
    size = config.G_kwargs.img_resolution
    while size >= 8:
        width = config.G_kwargs.channels(size)
        x = torch.randn(config.batch_gpu, width, size, size, device=watch.device, dtype=dtype).to(memory_format=layout)
        w = torch.randn(width, width, 3, 3, device=watch.device, dtype=dtype).to(memory_format=layout)
        x.requires_grad_(), w.requires_grad_()
        grad = torch.randn_like(x)

        def both(x=x, w=w, grad=grad) -> None:
            torch.autograd.grad(torch.nn.functional.conv2d(x, w, padding=1), [x, w], grad)

        total += watch.seconds(both)
        work += 3 * 2 * config.batch_gpu * width * width * 9 * size * size
        size //= 2
    return work / total


def flop_of_phases(run: TrainingRun, real: Batch) -> dict[str, int]:
    """Floating-point operations of each phase by name."""
    work = {}
    for phase in run.phases:
        with WorkCounter() as counter:
            run.runner.run(phase, 0, real)
        work[phase.name] = counter.total
    return work


def measure(
    resolution: int | None,
    batch: int | None,
    precision: str,
    device: str,
    repeats: int,
    cuda_graphs: bool,
    cpu_time: bool,
    preset: str | None = None,
) -> dict:
    """Work and time of the phases of one configuration; without a resolution that of the built-in faces."""
    keep_freed_memory()
    options = {"precision": precision, "device": device, "batch": batch, "preset": preset, "aug": "fixed", "p": 0.2}
    with training_run(resolution, **options, cuda_graphs=cuda_graphs) as run:
        watch, config, real = Stopwatch(run.device, repeats, cpu_time), run.config, run.real_batch()
        phases = {}
        for phase in run.phases:
            taken = watch.seconds(lambda phase=phase: run.runner.run(phase, 0, real))
            phases[phase.name] = {"seconds": taken, "interval": phase.interval}
        average = watch.seconds(lambda: run.average.update(10**6, config.batch_size))
        peak, captured = peak_bytes(run.device), bool(run.runner.graphs)
        work_of = {} if captured else flop_of_phases(run, real)
    if captured:  # what a graph executes cannot be counted; an eager run does the same
        with training_run(resolution, **options, cuda_graphs=False) as run:
            work_of = flop_of_phases(run, real)
    rate = convolution_rate(config, watch._replace(repeats=max(repeats, 3)))
    for name, phase in phases.items():
        phase["gflop"] = work_of[name] / 1e9
    step = sum(phase["seconds"] / phase["interval"] for phase in phases.values()) + average
    work = sum(phase["gflop"] / phase["interval"] for phase in phases.values()) * 1e9
    return {
        "resolution": config.G_kwargs.img_resolution,
        "preset": preset,
        "batch": config.batch_size,
        "precision": config.precision.dtype,
        "cuda_graphs": captured,
        "channels_last": config.precision.channels_last,
        "phases": phases,
        "sec_per_kimg": step / config.batch_size * 1000,
        "gflop_per_image": work / config.batch_size / 1e9,
        "gflop_per_second": work / step / 1e9,
        "convolution_gflop_per_second": rate / 1e9,
        "share_of_convolution_rate": work / step / rate,
        "peak_memory_gib": peak / 2**30,
    }


@click.command()
@click.option("--resolutions", type=IntegerRanges(), default="32,64,128,256", show_default=True)
@click.option("--precisions", type=NameList(), default="fp32,bf16", show_default=True, help="fp32, bf16, fp16.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="train.py's, on the built-in faces.")
@click.option("--batch", type=int, help="Images per step [that of the configuration].")
@device_option()
@click.option("--repeats", default=3, show_default=True, help="Of each phase; the median counts.")
@click.option("--cuda-graphs", is_flag=True, help="Capture the phases (GPU only).")
@threads_option
@cpu_time_option
@json_option
@door
def main(
    resolutions: list[int],
    precisions: tuple[str, ...],
    preset: str | None,
    batch: int | None,
    device: str,
    repeats: int,
    cuda_graphs: bool,
    cpu_time: bool,
    json_path: Path | None,
) -> None:
    """Measure training steps; a table on stdout, and JSON."""
    device = choose_device(device).type
    results = {"machine": provenance(device), "cases": []}
    print(" res  precision  batch   s/kimg  GFLOP/img  GFLOP/s  conv alone  share  peak GiB")
    for resolution, precision in itertools.product([None] if preset else resolutions, precisions):
        try:
            one = in_own_process(measure, resolution, batch, precision, device, repeats, cuda_graphs, cpu_time, preset)
        except Exception as error:  # the other cases have their results all the same
            print(f"{resolution or preset:>6}  {precision}: failed")
            traceback.print_exception(error)
            continue
        results["cases"].append(one)
        print(
            f"{one['resolution']:>6}  {one['precision']:<9}  {one['batch']:>5}  {one['sec_per_kimg']:>6.1f}  "
            f"{one['gflop_per_image']:>9.1f}  {one['gflop_per_second']:>7.0f}  "
            f"{one['convolution_gflop_per_second']:>10.0f}  {one['share_of_convolution_rate']:>5.0%}  "
            f"{one['peak_memory_gib']:>8.2f}",
            flush=True,
        )
        if json_path is not None:  # after each case: a benchmark may run out of time
            write_json(json_path, results)


if __name__ == "__main__":
    main()
