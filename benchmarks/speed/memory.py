"""Measure the memory of the first training step, which has every phase, beside the estimate of training/memory.py.

    python -m benchmarks.speed.memory

Every configuration runs in a process of its own; on the CPU the peak is that of the process (VmHWM).
"""

from typing import Any

import click

from benchmarks.speed.measuring import device_option, in_own_process, training_run
from torch_utils.machine.allocator import keep_freed_memory
from training import memory
from training.setup import count_parameters

CONFIGURATIONS = [
    {"resolution": 32, "cbase": 1024, "cmax": 128, "batch": 16},
    {"resolution": 32, "cbase": 1024, "cmax": 128, "batch": 128},
    {"resolution": 32, "cbase": 16384, "cmax": 512, "batch": 16},
    {"resolution": 64, "cbase": 4096, "cmax": 256, "batch": 8},
    {"resolution": 64, "cbase": 4096, "cmax": 256, "batch": 32},
    {"resolution": 64, "cbase": 16384, "cmax": 512, "batch": 8},
    {"resolution": 128, "cbase": 4096, "cmax": 256, "batch": 4},
    {"resolution": 128, "cbase": 4096, "cmax": 256, "batch": 16},
    {"resolution": 256, "cbase": 4096, "cmax": 128, "batch": 4},
    {"resolution": 256, "cbase": 8192, "cmax": 512, "batch": 4},
    {"resolution": 64, "cbase": 4096, "cmax": 256, "batch": 32, "precision": "bf16"},
    {"resolution": 128, "cbase": 4096, "cmax": 256, "batch": 8, "precision": "bf16"},
    {"resolution": 64, "cbase": 4096, "cmax": 256, "batch": 32, "aug": "noaug"},
]
"""Resolution and options of `train.py`; the batch is one micro-batch."""


def measure(options: dict[str, Any], device: str = "cpu") -> dict[str, float]:
    """Bytes of the first step, in a process of its own: `measured`, `estimated`, and the estimate's parts."""
    return in_own_process(_one_step, options, device)


def _one_step(options: dict[str, Any], device: str) -> dict[str, float]:
    keep_freed_memory()
    defaults = {"precision": "fp32", "grid": (1, 1), "kimg": 1, "device": device, "cuda_graphs": False}
    with training_run(**defaults | options) as training:
        config = training.config
        parameters = count_parameters(config)
        if options.get("aug") != "noaug":
            training.augment.p.fill_(0.5)
        training.step()
        expected = memory.estimate(config, parameters)
        return {
            "measured": memory.peak_bytes(training.device),
            "estimated": expected.total(config.batch_gpu),
            "fixed": expected.fixed,
            "per_image": expected.per_image,
            "parameters": float(parameters),
        }


@click.command()
@device_option("cpu")
@click.option("--cuda-graphs", is_flag=True, help="With the phases as graphs (GPU only).")
def main(device: str, cuda_graphs: bool) -> None:
    """Print a table of measured and estimated GiB."""
    click.echo("| configuration | measured GiB | estimated GiB | estimate / measured |\n|---|---|---|---|")
    for options in CONFIGURATIONS:
        result = measure({**options, "cuda_graphs": cuda_graphs}, device)
        name = " ".join(f"{key}={value}" for key, value in options.items())
        measured, estimated = result["measured"] / 2**30, result["estimated"] / 2**30
        click.echo(f"| {name} | {measured:.2f} | {estimated:.2f} | {estimated / measured:.2f} |")


if __name__ == "__main__":
    main()
