"""Measure the memory of the first training step, which has every phase, beside the estimate of training/memory.py.

    python -m benchmarks.memory

Every configuration runs in a process of its own; on the CPU the peak is that of the process (VmHWM).
"""

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

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
"""Options of `train.py`; the batch is one micro-batch."""


def measure(options: dict[str, Any], device: str = "cpu") -> dict[str, float]:
    """Bytes of the first step, in a process of its own: `measured`, `estimated`, and the estimate's parts."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_one_step, args=(options, device, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _one_step(options: dict[str, Any], device: str, sender: Any) -> None:
    from torch_utils.allocator import keep_freed_memory
    from torch_utils.distributed import World
    from training import memory
    from training.config.resolve import resolve
    from training.options import TrainingOptions
    from training.run_dir import RunDir
    from training.setup import count_parameters
    from training.training_loop import Housekeeping, TrainingRun

    keep_freed_memory()
    options = dict(options)
    resolution = options.pop("resolution")
    flags = {"precision": "fp32", "grid": (1, 1), "metrics": (), "kimg": 1, "device": device, **options}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        random = np.random.RandomState(0)
        for number in range(8):
            Image.fromarray(random.randint(0, 256, (resolution, resolution, 3), np.uint8)).save(data / f"{number}.png")
        config, dataset = resolve(TrainingOptions(**flags, data=str(data)), 1)
        training = TrainingRun(config, dataset, RunDir(Path(folder)), World(), Housekeeping(progress_bar=False))
        parameters = count_parameters(config)
        if options.get("aug") != "noaug":
            training.augment.p.fill_(0.5)
        training.step()
        expected = memory.estimate(config, parameters)
        sender.send(
            {
                "measured": memory.peak_bytes(training.device),
                "estimated": expected.total(config.batch_gpu),
                "fixed": expected.fixed,
                "per_image": expected.per_image,
                "parameters": float(parameters),
            }
        )
        training._close()


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def main(device: str) -> None:
    """Print a table of measured and estimated GiB."""
    click.echo("| configuration | measured GiB | estimated GiB | estimate / measured |\n|---|---|---|---|")
    for options in CONFIGURATIONS:
        result = measure(options, device)
        name = " ".join(f"{key}={value}" for key, value in options.items())
        measured, estimated = result["measured"] / 2**30, result["estimated"] / 2**30
        click.echo(f"| {name} | {measured:.2f} | {estimated:.2f} | {estimated / measured:.2f} |")


if __name__ == "__main__":
    main()
