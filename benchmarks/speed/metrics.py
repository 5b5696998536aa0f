"""What evaluation costs beyond the generator's and the detector's own time.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.metrics --images=10000 --out=docs/results/metrics-speed.json

A small generator of 64 x 64 images and a stand-in detector are timed on their own, then as parts of
`metrics.compute`, real features from the cache. The stand-in is far cheaper than Inception, so the share of everything
else is larger here than with the real one. With one thread the processor time says most on a busy machine.
"""

import itertools
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

import metrics
from dnnlib import write_json
from metrics.blocks import BLOCK
from metrics.detectors.registry import open_detector
from metrics.features.sampling import generator_unit
from metrics.measures.frechet import Moments, frechet_distance
from torch_utils.machine.environment import provenance
from torch_utils.media.images import to_uint8
from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig


class StandIn(torch.nn.Module):
    """Three strided convolutions and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [3, 32, 64, 128]
        self.layers = torch.nn.ModuleList([torch.nn.Conv2d(i, o, 3, 2, 1) for i, o in itertools.pairwise(widths)])
        self.last = torch.nn.Linear(128, width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Uint8 [N, 3, H, W] to [N, width]."""
        x = images.to(torch.float32) / 127.5 - 1
        for layer in self.layers:
            x = layer(x).relu()
        return self.last(x.mean(dim=(2, 3)))


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """(wall-clock, processor) seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


@click.command()
@click.option("--images", "count", default=10_000, help="How many images to evaluate.")
@click.option("--channels", default=2048, help="channel_base of the generator.")
@click.option("--features", default=2048, help="Width of the detector's features.")
@click.option("--out", type=Path, help="Write the result as JSON.")
def main(count: int, channels: int, features: int, out: Path | None) -> None:
    """Time generator, detector and evaluation."""
    load_before = round(os.getloadavg()[0], 1)
    torch.manual_seed(0)
    G = Generator(
        GeneratorConfig(
            z_dim=64, c_dim=0, w_dim=64, img_resolution=64, img_channels=3, channel_base=channels, channel_max=64
        )
    ).eval()
    G.requires_grad_(False)
    dataset = ImageDataset.from_arrays(np.random.RandomState(0).randint(0, 256, (1024, 3, 64, 64)).astype(np.uint8))
    unit = generator_unit(64)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        file = Path(folder) / "stand-in.pt"
        torch.jit.script(StandIn(features)).save(str(file))
        detector = open_detector("file", torch.device("cpu"), file=file)
        options = {"G": G, "dataset": dataset, "detector": file, "cache_dir": folder}
        metrics.compute([f"fid{BLOCK}_full"], **options)  # caches the real features, warms everything up

        def generate() -> None:
            for _ in range(0, count, unit):
                to_uint8(G.synthesis(G.mapping(torch.randn(unit, 64), None), noise_mode="random"))

        def detect() -> None:
            batch = torch.zeros(BLOCK, 3, 64, 64, dtype=torch.uint8)
            for _ in range(0, count, BLOCK):
                detector(batch)

        with torch.no_grad():
            generator_seconds, detector_seconds = seconds(generate), seconds(detect)
        total_seconds = seconds(lambda: metrics.compute([f"fid{count}_full"], **options))
    moments = [Moments.of(torch.randn(features + 1000, features)) for _ in range(2)]
    frechet_seconds = min((seconds(lambda: frechet_distance(*moments)) for _ in range(3)), key=lambda pair: pair[1])
    ratios = [total / (a + b) for total, a, b in zip(total_seconds, generator_seconds, detector_seconds, strict=True)]
    result = {
        "machine": {**provenance("cpu", "numpy", "scipy"), "load_before": load_before},
        "images": count,
        "unit": "seconds as [wall clock, processor]",
        "generator": generator_seconds,
        "detector": detector_seconds,
        "evaluation": total_seconds,
        "evaluation / (generator + detector)": ratios,
        "frechet_distance": frechet_seconds,
    }
    click.echo(json.dumps(result, indent=1))
    if out is not None:
        write_json(out, result)


if __name__ == "__main__":
    main()
