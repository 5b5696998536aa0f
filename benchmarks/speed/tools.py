"""Throughput of generation and projection, and start-up times.

python -m benchmarks.speed.tools --resolutions=32,256 --json=tools.json
"""

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.speed.measuring import Stopwatch, device_option, json_option
from dnnlib import write_json
from dnnlib.cli import IntegerRanges, NameList
from projection.optimization import project
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import SOURCE, provenance
from training.config.number_format import resolve_precision
from training.networks import Generator, GeneratorConfig, set_precision


def generator(resolution: int, precision: str, device: torch.device) -> Generator:
    """A network with random weights."""
    base = 32768 if resolution >= 512 else 16384
    G = Generator(GeneratorConfig(resolution, channel_base=base, mapping_layers=2))
    dtype, reduced, channels_last = resolve_precision(precision, device.type)
    set_precision(G, getattr(torch, dtype), reduced, channels_last)
    return G.to(device).eval().requires_grad_(False)


def generation(resolution: int, precision: str, device: torch.device, batch: int) -> dict:
    """Images per second."""
    G = generator(resolution, precision, device)
    z = torch.randn(batch, 512, device=device)
    with torch.no_grad():
        taken = Stopwatch(device, 5).seconds(lambda: G(z, None, noise_mode="const"))
    return {"resolution": resolution, "precision": precision, "batch": batch, "images_per_second": batch / taken}


def projecting(resolution: int, device: torch.device, steps: int = 10) -> dict:
    """Steps per second."""
    G = generator(resolution, "fp32", device)
    target = torch.zeros(1, 3, resolution, resolution)
    taken = Stopwatch(device, 1).seconds(lambda: project(G, target, num_steps=steps, distance="pixel"))
    return {"resolution": resolution, "steps_per_second": steps / taken}


def start_up(repeats: int = 5) -> dict:
    """Seconds: what `import rooted` adds to `import torch`, `train.py --help`, and the first training step."""
    watch = Stopwatch(torch.device("cpu"), repeats)

    def taken_by(*arguments: str) -> float:
        run = functools.partial(subprocess.check_output, [sys.executable, *arguments], cwd=SOURCE)
        return watch.seconds(run, warm_up=0)

    code = "import time, torch; t = time.perf_counter(); import rooted; print(time.perf_counter() - t)"
    added = [float(subprocess.check_output([sys.executable, "-c", code], cwd=SOURCE)) for _ in range(repeats)]
    found = {
        "import_torch": taken_by("-c", "import torch"),
        "import_torch_and_rooted": taken_by("-c", "import torch, rooted"),
        "import_rooted_adds": float(np.median(added)),
        "train_help": taken_by("train.py", "--help"),
    }
    watch = watch._replace(repeats=1)
    with tempfile.TemporaryDirectory() as folder:
        step = ("--preset=demo", "--metrics=none", f"--run-dir={folder}/run", "--kimg=0.016")
        return {**found, "one_step_and_exit": taken_by("train.py", *step)}


@click.command()
@click.option("--resolutions", type=IntegerRanges(), default="32,64,256", show_default=True)
@click.option("--precisions", type=NameList(), default="fp32,bf16", show_default=True)
@click.option("--batch", default=16, show_default=True)
@device_option()
@json_option
def main(resolutions: list[int], precisions: tuple[str, ...], batch: int, device: str, json_path: Path | None) -> None:
    """Measure the tools; JSON on stdout or in a file."""
    place = choose_device(device)
    results = {
        "machine": provenance(place),
        "start_up_seconds": start_up(),
        "generation": [generation(size, p, place, batch) for size in resolutions for p in precisions],
        "projection": [projecting(size, place) for size in resolutions],
    }
    print(json.dumps(results, indent=2))
    if json_path is not None:
        write_json(json_path, results)


if __name__ == "__main__":
    main()
