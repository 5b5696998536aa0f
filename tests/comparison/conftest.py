"""A finished comparison made of invented numbers, in the files that training runs leave behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comparison.runs.design import Design, save_design
from comparison.runs.jobs import run_folder
from comparison.runs.losses import parse_losses

CELL, COLUMNS, ROWS = 16, 7, 4


def make_run(
    folder: Path, seed: int, values: list[float], kimg: float = 40.0, metric: str = "swd", loss_offset: int = 0
):
    """A run directory of `kimg` thousand images with `values` of a metric, evenly spaced over it from 0 on."""
    folder.mkdir(parents=True)
    counts = [round(i * kimg * 1000 / (len(values) - 1)) for i in range(len(values))]
    options = {
        "total_kimg": kimg,
        "dataset_hash": f"{seed:064x}",
        "training_set_kwargs": {"path": "faces.zip", "resolution": CELL, "max_size": 200, "xflip": False},
    }
    (folder / "training_options.json").write_text(json.dumps(options))
    stats, metrics = [], []
    for i, (nimg, value) in enumerate(zip(counts, values, strict=True)):
        stats.append(
            {
                "Loss/G/loss": {"num": 8, "mean": 0.7, "std": 0.1},
                "Progress/kimg": {"num": 1, "mean": nimg / 1000, "std": 0},
                "Timing/sec_per_tick": {"num": 1, "mean": 0.5 if i == 0 else 12.0, "std": 0},
                "Timing/processor_sec_per_tick": {"num": 1, "mean": 10.0, "std": 0},
                "timestamp": 1.0,
            }
        )
        name = f"network-snapshot-{nimg // 1000:06d}.safetensors"
        metrics.append({"results": {metric: value}, "metric": metric, "snapshot_pkl": name, "timestamp": 1.0})
        picture = np.full((ROWS * CELL, COLUMNS * CELL, 3), (nimg // 1000 * 5 % 256, loss_offset, seed * 40), np.uint8)
        picture[::CELL, :] = 255
        picture[:, ::CELL] = 255
        Image.fromarray(picture).save(folder / f"fakes{nimg // 1000:06d}.png")
    (folder / "finished.json").write_text(json.dumps({"kimg": kimg, "elapsed_sec": 1.0, "best": {}}))
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stats))
    (folder / f"metric-{metric}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))


def make_comparison(
    outdir: Path, losses: str = "ce,rlo:k=2:form=convex,rlo:k=11", seeds: int = 5, effect: float = -6.0
):
    """A comparison whose RLO-11 runs end `effect` away from CE's, and whose RLO-2 runs do not differ."""
    design = Design(
        losses=tuple(parse_losses(losses)), seeds=tuple(range(seeds)), kimg=40.0, data="faces.zip", subset=200,
        metrics=("swd",), evaluations=8,
    )  # fmt: skip
    outdir.mkdir(parents=True, exist_ok=True)
    save_design(outdir, design)
    rng = np.random.default_rng(3)
    for seed in design.seeds:
        level = rng.normal(0, 3)
        for i, loss in enumerate(design.losses):
            progress = np.linspace(0, 1, 9)
            shift = effect if loss.loss.k == 11 else 0.0
            curve = 40 + level + 160 * np.exp(-4 * progress) + shift * progress + rng.normal(0, 1, 9)
            make_run(run_folder(outdir, loss, seed), seed, curve.tolist(), loss_offset=80 * i)
    return design


@pytest.fixture(scope="session")
def comparison_folder(tmp_path_factory):
    """A folder as `compare.py` leaves it before the report, and its design."""
    outdir = tmp_path_factory.mktemp("comparison")
    return outdir, make_comparison(outdir)


@pytest.fixture(scope="session")
def write_comparison():
    """The function that writes a comparison and returns its design."""
    return make_comparison


@pytest.fixture(scope="session")
def write_run():
    """The function that writes one run directory."""
    return make_run
