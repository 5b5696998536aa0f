"""Where the time of a training step goes, kernel by kernel.

    python -m benchmarks.speed.kernels --device=cuda --resolution=256 --json=kernels.json

Every phase of the `auto` configuration runs under PyTorch's profiler; on a GPU from CUDA graphs unless `--eager`. The
table has the device's time by kernel, and what is left of the clock's time: the device waiting for the processor. On
the CPU it has the operators by their own time.
"""

import re
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.speed.measuring import Stopwatch, device_option, json_option, training_run
from dnnlib import write_json
from dnnlib.cli import door
from torch_utils.machine.allocator import keep_freed_memory
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance

ROWS = 25
KINDS = {
    "convolutions and products": r"cudnn|cutlass|gemm|xmma|wgrad|dgrad|fprop|conv|nvjet|addmm|aten::mm|bmm",
    "upfirdn2d": r"upfirdn2d",
    "bias_act": r"bias_act",
    "scaling": r"^(scale|products)_(last|planes)_",
    "optimizer": r"multi_tensor|adam|lerp",
    "random numbers": r"distribution|philox|random|normal_|uniform_",
    "sums": r"reduce|sum|norm",
    "copies and layouts": r"copy|cat|transpose|nchw|nhwc|memcpy|permute",
    "grid_sample": r"grid_sampler",
}
"""Kinds of kernels by what their names hold; the first that fits."""
OTHER = "other element by element"


def kind_of(kernel: str) -> str:
    """The kind of a kernel or operator by its name."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, kernel, re.IGNORECASE)), OTHER)


def profiled(run: Any, watch: Stopwatch, repeats: int) -> dict[str, Any]:
    """Milliseconds of a call by the clock, and by kernel with the number of launches."""
    clock = watch.seconds(run, warm_up=2)
    found = watch.kernels(run, repeats)
    rows = [{"name": kernel.name[:150], "ms": kernel.seconds * 1e3, "launches": kernel.launches} for kernel in found]
    rows.sort(key=lambda row: -row["ms"])
    kinds: dict[str, float] = {}
    for row in rows:
        kinds[kind_of(row["name"])] = kinds.get(kind_of(row["name"]), 0.0) + row["ms"]
    return {
        "clock_ms": clock * 1e3,
        "kernels_ms": sum(row["ms"] for row in rows),
        "launches": sum(row["launches"] for row in rows),
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "kernels": rows[:ROWS],
    }


def text_of(phase: str, found: dict[str, Any]) -> str:
    """The table of a phase."""
    lines = [
        f"{phase}: {found['clock_ms']:.2f} ms by the clock, {found['kernels_ms']:.2f} ms in "
        f"{found['launches']:.0f} kernels"
    ]
    lines += [f"  {ms:8.3f} ms  {kind}" for kind, ms in found["kinds"].items()]
    lines += [f"    {row['ms']:8.3f} ms  {row['launches']:6.1f} x  {row['name'][:110]}" for row in found["kernels"]]
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
@device_option()
@click.option("--resolution", default=256, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), help="Images per step [that of the configuration].")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="bf16", show_default=True)
@click.option("--eager", is_flag=True, help="Without CUDA graphs.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@json_option
@door
def main(
    device: str, resolution: int, batch: int | None, precision: str, eager: bool, repeats: int, json_path: Path | None
) -> None:
    place = choose_device(device)
    keep_freed_memory()
    options = {"precision": precision, "device": place.type, "batch": batch, "aug": "fixed", "p": 0.2}
    report: dict[str, Any] = {"machine": provenance(place.type), "resolution": resolution, "phases": {}}
    with training_run(resolution, **options, cuda_graphs=place.type == "cuda" and not eager) as run:
        watch, real = Stopwatch(torch.device(run.device), repeats), run.real_batch()
        for phase in run.phases:
            found = profiled(lambda phase=phase: run.runner.run(phase, 0, real), watch, repeats)
            report["phases"][phase.name] = found
            click.echo(text_of(phase.name, found))
        report |= {"batch": run.config.batch_size, "cuda_graphs": bool(run.runner.graphs)}
    if json_path is not None:
        write_json(json_path, report)


if __name__ == "__main__":
    main()
