"""Throughput of generation and projection, and start-up times.

python -m benchmarks.tools --resolutions=32,256 --json=tools.json
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.measuring import seconds
from projection import project
from torch_utils.devices import choose_device
from torch_utils.environment import SOURCE, provenance
from training.config.number_format import resolve_precision
from training.networks import Generator, GeneratorConfig, set_precision


def generator(resolution: int, precision: str, device: torch.device) -> Generator:
    base = 32768 if resolution >= 512 else 16384
    G = (
        Generator(GeneratorConfig(resolution, channel_base=base, mapping_layers=2))
        .to(device)
        .eval()
        .requires_grad_(False)
    )
    dtype, reduced, channels_last = resolve_precision(precision, device.type)
    set_precision(G, getattr(torch, dtype), reduced, channels_last)
    return G


def generation(resolution: int, precision: str, device: torch.device, batch: int) -> dict:
    G = generator(resolution, precision, device)
    z = torch.randn(batch, 512, device=device)
    with torch.no_grad():
        taken = seconds(lambda: G(z, None, noise_mode="const"), device, 5)
    return {"resolution": resolution, "precision": precision, "batch": batch, "images_per_second": batch / taken}


def projecting(resolution: int, device: torch.device, steps: int = 10) -> dict:
    G = generator(resolution, "fp32", device)
    target = torch.zeros(1, 3, resolution, resolution)
    taken = seconds(lambda: project(G, target, num_steps=steps, distance="pixel"), device, 1)
    return {"resolution": resolution, "steps_per_second": steps / taken}


def start_up(repeats: int = 5) -> dict:
    """Seconds: what `import rooted` adds to `import torch`, `train.py --help`, and the first training step."""
    alone, both = [], []
    for _ in range(repeats):
        for times, code in ((alone, "import torch"), (both, "import torch, rooted")):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], cwd=SOURCE, check=True)
            times.append(time.perf_counter() - start)
    code = "import time, torch; t = time.perf_counter(); import rooted; print(time.perf_counter() - t)"
    added = [
        float(
            subprocess.run([sys.executable, "-c", code], cwd=SOURCE, check=True, capture_output=True, text=True).stdout
        )
        for _ in range(repeats)
    ]
    helps = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "train.py", "--help"], cwd=SOURCE, check=True, capture_output=True)
        helps.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [
            sys.executable,
            "train.py",
            "--preset=demo",
            "--metrics=none",
            f"--run-dir={folder}/run",
            "--kimg=0.016",
        ]
        subprocess.run(command, cwd=SOURCE, check=True, capture_output=True)
        first = time.perf_counter() - start
    return {
        "import_torch": float(np.median(alone)),
        "import_torch_and_rooted": float(np.median(both)),
        "import_rooted_adds": float(np.median(added)),
        "train_help": float(np.median(helps)),
        "one_step_and_exit": first,
    }


@click.command()
@click.option("--resolutions", default="32,64,256", help="Comma-separated.")
@click.option("--precisions", default="fp32,bf16", help="Comma-separated.")
@click.option("--batch", default=16)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "json_path", help="Write the results here.")
def main(resolutions: str, precisions: str, batch: int, device: str, json_path: str | None) -> None:
    """Measure the tools; JSON on stdout or in a file."""
    place = choose_device(device)
    sizes = [int(size) for size in resolutions.split(",")]
    results = {
        "machine": provenance(place),
        "start_up_seconds": start_up(),
        "generation": [generation(size, p, place, batch) for size in sizes for p in precisions.split(",")],
        "projection": [projecting(size, place) for size in sizes],
    }
    text = json.dumps(results, indent=2)
    print(text)
    if json_path:
        Path(json_path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
