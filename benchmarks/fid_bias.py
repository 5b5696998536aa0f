"""How far Frechet and kernel distances are off at few images: measured on photographs, with the truth known.

    python -m benchmarks.fid_bias --data=faces64.zip --out=docs/results/fid-bias
    python -m benchmarks.fid_bias --data=faces64.zip --out=fid-bias-inception --detector=inception

The real set is all photographs. A "generator" draws n of them at random with replacement: it is perfect, and its
true distance is 0. A second one draws them slightly blurred; its true distance is that of all blurred photographs.
By default features stand in for Inception's, whose weights need a download: those are Frechet distances (FD), not FIDs.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F

from dnnlib import read_json, write_json
from dnnlib.cli import Command, door
from dnnlib.files import make_folder
from metrics.detectors.registry import open_detector
from metrics.features.moments import Moments
from metrics.measures.frechet import frechet_distance, frechet_distance_to_features, frechet_infinity
from metrics.measures.kernel import kernel_distance
from metrics.measures.swd import _smooth
from torch_utils.machine.environment import provenance
from training.dataset import ImageDataset

COUNTS = (100, 200, 500, 1000, 1500, 2000)
STAND_IN = "stand-in"
BATCH = 64

Extractor = Callable[[torch.Tensor], torch.Tensor]


def random_convolutions(images: torch.Tensor, width: int) -> torch.Tensor:
    """Features [N, width] of a fixed random network: three strided convolutions with ReLU, pooled over the image."""
    random = torch.Generator().manual_seed(0)
    features = []
    weights = [
        torch.randn(out, into, 5, 5, generator=random) * (2 / (into * 25)) ** 0.5
        for into, out in ((3, 32), (32, 64), (64, width))
    ]
    for batch in images.split(100):
        x = batch.float() / 127.5 - 1
        for weight in weights:
            x = F.conv2d(x, weight, stride=2, padding=2).relu()
        features.append(x.mean(dim=(2, 3)))
    return torch.cat(features)


def principal_components(images: torch.Tensor, basis_of: torch.Tensor, width: int) -> torch.Tensor:
    """Coordinates [N, width] on the leading principal components of the pixels of `basis_of` at half resolution."""
    pixels, basis = (F.avg_pool2d(x.float() / 127.5 - 1, 2).flatten(1) for x in (images, basis_of))
    mean = basis.mean(dim=0)
    _, _, axes = torch.svd_lowrank(basis - mean, q=width, niter=4)
    return (pixels - mean) @ axes


def extractors(detector: str, faces: torch.Tensor, width: int) -> tuple[dict[str, Extractor], dict[str, Any]]:
    """Functions from uint8 images [N, 3, H, W] to features [N, D] by name, and what they are, for the record.

    Raises:
        UserError: the detector is neither "stand-in" nor "inception" nor a TorchScript file, or is missing.
    """
    if detector == STAND_IN:
        stand_ins = {
            "64 pixel PCs": lambda images: principal_components(images, faces, 64),
            f"{width} random-CNN features": lambda images: random_convolutions(images, width),
        }
        return stand_ins, {"name": STAND_IN}
    family, file = ("inception", None) if detector == "inception" else ("file", detector)
    network = open_detector(family, torch.device("cpu"), file=file)
    features = {network.name: lambda images: torch.cat([network(part) for part in images.split(BATCH)])}
    return features, network.describe()


def measure(real: torch.Tensor, population: torch.Tensor, seed: int, draws: int) -> dict[str, list]:
    """Distances at each count, over draws, of samples of `population` [N, D] from `real` [N, D]."""
    moments = Moments.of(real)
    found: dict[str, list] = {"truth": frechet_distance(moments, Moments.of(population)), "fd": [], "fd_inf": []}
    found["kd"] = []
    random = np.random.default_rng(seed)
    for count in COUNTS:
        values = []
        for draw in range(draws):
            rows = population[torch.from_numpy(random.integers(len(population), size=count))]
            values.append(
                (
                    frechet_distance_to_features(moments, rows),
                    frechet_infinity(moments, rows),
                    float(kernel_distance(real, rows, subsets=10, seed=draw)[0]),
                )
            )
        for key, column in zip(("fd", "fd_inf", "kd"), zip(*values, strict=True), strict=True):
            found[key].append(list(column))
    found["kd_truth"] = population_kernel_distance(real, population)
    return found


def population_kernel_distance(real: torch.Tensor, population: torch.Tensor) -> float:
    """What `kernel_distance` gives on average for samples drawn with replacement from `population`.

    A hair below the distance of the populations (0 for equal ones), as the real images are drawn without.
    """
    x, y = real.double(), population.double()
    kernels = {name: (a @ b.T / a.shape[1] + 1) ** 3 for name, a, b in (("xx", x, x), ("yy", y, y), ("xy", x, y))}
    off_diagonal = (kernels["xx"].sum() - kernels["xx"].trace()) / (len(x) * (len(x) - 1))
    return float(off_diagonal + kernels["yy"].mean() - 2 * kernels["xy"].mean())


def plot(results: dict, path: Path) -> None:
    """Mean and two standard deviations over draws, by count."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    features = list(results["features"])
    detector = results.get("detector", {}).get("name", STAND_IN)
    name = "FID" if detector.startswith("Inception") else "FD"
    figure, axes = plt.subplots(2, len(features) + 1, figsize=(4.2 * (len(features) + 1), 6.6), sharex=True)
    for row, generator in enumerate(("perfect", "blurred")):
        for column, feature in enumerate(features):
            found = results["features"][feature][generator]
            axis = axes[row, column]
            draw_band(axis, found["fd"], "C3", f"{name} at n images")
            draw_band(axis, found["fd_inf"], "C0", f"{name} extrapolated from n images")
            axis.axhline(found["truth"], color="black", linestyle="--", linewidth=1, label=f"true {name}")
            axis.set_title(f"{generator} generator, {feature}", fontsize=9)
            axis.set_ylabel("Frechet distance")
        found = results["features"][features[-1]][generator]
        axis = axes[row, -1]
        draw_band(axis, found["kd"], "C2", "kernel distance at n images")
        axis.axhline(found["kd_truth"], color="black", linestyle="--", linewidth=1, label="its true value")
        axis.set_title(f"{generator} generator, {features[-1]}", fontsize=9)
        axis.set_ylabel("kernel distance")
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.set_xticks(COUNTS, [str(count) for count in COUNTS], fontsize=7)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("n, generated images")
    shown = {STAND_IN: "Stand-in features: not FID."}.get(detector, f"Features: {detector}.")
    figure.suptitle(
        f"Distances to {results['data']['images']:,} photographs; mean and 2 sd of {results['draws']} draws. {shown}"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_band(axis, values: list[list[float]], colour: str, label: str) -> None:
    array = np.array(values)
    mean, deviation = array.mean(axis=1), array.std(axis=1, ddof=1)
    axis.plot(COUNTS, mean, color=colour, marker="o", markersize=3, label=label)
    axis.fill_between(COUNTS, mean - 2 * deviation, mean + 2 * deviation, color=colour, alpha=0.2, linewidth=0)


@click.command(cls=Command)
@click.option("--data", required=True, metavar="PATH", help="Photographs: folder or zip.")
@click.option("--out", required=True, metavar="STEM", help="Writes STEM.json and STEM.png.")
@click.option("--detector", default=STAND_IN, metavar="NAME", help="inception, a TorchScript file [stand-in].")
@click.option("--width", default=256, help="Width of the stand-in random network's features.")
@click.option("--draws", default=10, type=click.IntRange(min=2), help="Draws at each number of images.")
@click.option("--redraw", is_flag=True, help="Only draw STEM.png again from STEM.json.")
@door
def main(data: str, out: str, detector: str, width: int, draws: int, redraw: bool) -> None:
    """Measure and plot."""
    stem = Path(out)
    if redraw:
        plot(read_json(stem.with_suffix(".json")), stem.with_suffix(".png"))
        return
    started = time.time()
    torch.manual_seed(0)
    dataset = ImageDataset(data)
    faces = dataset.images(range(len(dataset)))
    blurred = _smooth(faces.float()).round().clamp(0, 255).to(torch.uint8)
    by_name, described = extractors(detector, faces, width)
    flags = f"--detector={Path(detector).name} --width={width} --draws={draws}"
    results = {
        "command": f"python -m benchmarks.fid_bias --data={Path(data).name} --out={out} {flags}",
        "data": {"name": dataset.name, "images": len(dataset), "content_hash": dataset.content_hash()},
        "detector": described,
        "counts": COUNTS,
        "draws": draws,
        "seed": 0,
        "machine": provenance("cpu", "numpy", "scipy", "torch-fidelity"),
        "features": {},
    }
    with torch.no_grad():
        for name, extract in by_name.items():
            real, degraded = extract(faces), extract(blurred)
            # Of no consequence but for readable axes; a detector's distances are in units that people know.
            scale = real.std() if detector == STAND_IN else 1.0
            results["features"][name] = {
                "perfect": measure(real / scale, real / scale, 0, draws),
                "blurred": measure(real / scale, degraded / scale, 1, draws),
            }
            click.echo(f"{name}: {time.time() - started:.0f} s", err=True)
    results["seconds"] = time.time() - started
    make_folder(stem.parent, "--out")
    write_json(stem.with_suffix(".json"), results, indent=1)
    plot(results, stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
