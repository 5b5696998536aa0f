"""Training steps of the `auto` configuration against the convolution rate of the same machine, in one run.

    python -m benchmarks.training --resolutions=32 --batch=16 --precisions=fp32,bf16 --json=step.json

For every resolution and precision: the work of each phase (floating-point operations counted from the executed
operators), its time, the step's seconds per thousand images with all intervals, and the share of the rate that
3 x 3 convolutions of the same widths reach when timed alone (forward and backward). Augmentation is bgc at p = 0.2.
Each case runs in a process of its own, so that the peak of memory is its own.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.measuring import seconds
from torch_utils.devices import choose_device
from torch_utils.environment import provenance


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


def convolution_rate(config, device: torch.device, repeats: int, cpu_time: bool) -> float:
    """FLOP/s of 3 x 3 convolutions, forward and backward, over the widths of the configuration's resolutions."""
    dtype = getattr(torch, config.precision.dtype)
    layout = torch.channels_last if config.precision.channels_last else torch.contiguous_format
    work = total = 0.0
    size = config.G_kwargs.img_resolution
    while size >= 8:
        width = config.G_kwargs.channels(size)
        x = torch.randn(config.batch_gpu, width, size, size, device=device, dtype=dtype).to(memory_format=layout)
        w = torch.randn(width, width, 3, 3, device=device, dtype=dtype).to(memory_format=layout)
        x.requires_grad_(), w.requires_grad_()
        grad = torch.randn_like(x)

        def both(x=x, w=w, grad=grad) -> None:
            torch.autograd.grad(torch.nn.functional.conv2d(x, w, padding=1), [x, w], grad)

        total += seconds(both, device, repeats, cpu_time)
        work += 3 * 2 * config.batch_gpu * width * width * 9 * size * size
        size //= 2
    return work / total


def build(resolution: int, batch: int | None, precision: str, device: str, cuda_graphs: bool):
    """A training run of the `auto` configuration on random images."""
    from torch_utils.distributed import World
    from training.config.resolve import resolve
    from training.dataset import ImageDataset
    from training.options import TrainingOptions
    from training.run_dir import RunDir
    from training.training_loop import Housekeeping, TrainingRun

    images = np.random.RandomState(0).randint(0, 255, (64, 3, resolution, resolution), np.uint8)
    dataset = ImageDataset.from_arrays(images, name="noise")
    flags = {"precision": precision, "device": device, "metrics": (), "aug": "fixed", "p": 0.2, "batch": batch}
    flags["cuda_graphs"] = cuda_graphs
    config, _ = resolve(TrainingOptions(**flags), 1)
    networks = {
        name: dataclasses.replace(getattr(config, name), img_resolution=resolution, img_channels=3)
        for name in ("G_kwargs", "D_kwargs")
    }
    if batch is None:
        from training.options.presets import auto_config

        size = auto_config(resolution, 1).batch
        config = dataclasses.replace(config, batch_size=size, batch_gpu=size)
    config = dataclasses.replace(config, **networks)
    return TrainingRun(config, dataset, RunDir(Path(tempfile.mkdtemp())), World(), Housekeeping(progress_bar=False))


def measure(
    resolution: int, batch: int | None, precision: str, device: str, repeats: int, cuda_graphs: bool, cpu_time: bool
) -> dict:
    from torch_utils.allocator import keep_freed_memory
    from training.memory import peak_bytes
    from training.phases import Batch

    keep_freed_memory()
    run = build(resolution, batch, precision, device, cuda_graphs)
    config = run.config
    real: Batch = run.real_batch()
    # What a captured graph executes cannot be counted; an eager run does the same work.
    eager = build(resolution, batch, precision, device, cuda_graphs=False) if cuda_graphs else run
    phases = {}
    for counted, phase in zip(eager.phases, run.phases, strict=True):
        with WorkCounter() as counter:
            eager.runner.run(counted, 0, real)
        work = counter.total
        taken = seconds(lambda phase=phase: run.runner.run(phase, 0, real), run.device, repeats, cpu_time)
        phases[phase.name] = {"seconds": taken, "gflop": work / 1e9, "interval": phase.interval}
    average = seconds(lambda: run.average.update(10**6, config.batch_size), run.device, repeats, cpu_time)
    peak = peak_bytes(run.device)
    rate = convolution_rate(config, run.device, max(repeats, 3), cpu_time)
    step = sum(phase["seconds"] / phase["interval"] for phase in phases.values()) + average
    work = sum(phase["gflop"] / phase["interval"] for phase in phases.values()) * 1e9
    return {
        "resolution": resolution,
        "batch": config.batch_size,
        "precision": config.precision.dtype,
        "cuda_graphs": bool(run.runner._graphs),
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
@click.option("--resolutions", default="32,64,128,256", help="Comma-separated.")
@click.option("--precisions", default="fp32,bf16", help="Comma-separated: fp32, bf16, fp16.")
@click.option("--batch", type=int, help="Images per step [that of the auto configuration].")
@click.option("--device", default="auto", show_default=True)
@click.option("--repeats", default=3, help="Timed repetitions of each phase; the median counts.")
@click.option("--cuda-graphs", is_flag=True, help="Capture the phases (GPU only).")
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch on the CPU [all].")
@click.option("--cpu-time", is_flag=True, help="Time by the processor, with --threads=1 on a busy machine.")
@click.option("--json", "json_path", help="Write the results here.")
@click.option("--case", hidden=True, help="One case, in this process: resolution,precision.")
def main(
    resolutions: str,
    precisions: str,
    batch: int | None,
    device: str,
    repeats: int,
    cuda_graphs: bool,
    threads: int | None,
    cpu_time: bool,
    json_path: str | None,
    case: str | None,
) -> None:
    """Measure training steps; a table on stdout, and JSON."""
    if threads:
        torch.set_num_threads(threads)
    device = choose_device(device).type
    if case:
        resolution, precision = case.split(",")
        print(json.dumps(measure(int(resolution), batch, precision, device, repeats, cuda_graphs, cpu_time)))
        return
    results = {"machine": provenance(device), "cases": []}
    print(" res  precision  batch   s/kimg  GFLOP/img  GFLOP/s  conv alone  share  peak GiB")
    for resolution in resolutions.split(","):
        for precision in precisions.split(","):
            command = [
                sys.executable,
                "-m",
                "benchmarks.training",
                f"--case={resolution},{precision}",
                f"--device={device}",
                f"--repeats={repeats}",
            ]
            command += [f"--batch={batch}"] if batch else []
            command += ["--cuda-graphs"] if cuda_graphs else []
            command += [f"--threads={threads}"] if threads else []
            command += ["--cpu-time"] if cpu_time else []
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
            if finished.returncode:
                print(f"{resolution:>6}  {precision}: failed\n{finished.stderr[-2000:]}")
                continue
            one = json.loads(finished.stdout.splitlines()[-1])
            results["cases"].append(one)
            print(
                f"{resolution:>6}  {one['precision']:<9}  {one['batch']:>5}  {one['sec_per_kimg']:>6.1f}  "
                f"{one['gflop_per_image']:>9.1f}  {one['gflop_per_second']:>7.0f}  "
                f"{one['convolution_gflop_per_second']:>10.0f}  {one['share_of_convolution_rate']:>5.0%}  "
                f"{one['peak_memory_gib']:>8.2f}",
                flush=True,
            )
            if json_path:  # after each case: a benchmark may run out of time
                Path(json_path).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
