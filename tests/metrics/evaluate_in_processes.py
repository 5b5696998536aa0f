"""What each process of test_processes.py does that evaluates the stand-in generator with the stand-in detector."""

import json
from pathlib import Path

import conftest
import numpy as np
import torch

import metrics
from dnnlib import UserError
from torch_utils.processes.distributed import World, world
from training.dataset import ImageDataset

NAMES = [
    *("fid150_train", "fid_inf150_full", "kid150_full", "pr150_3_full", "dc150_5_train", "is150"),
    *("ppl2_wend_70", "ppl_zfull_70", "swd70_train", "copies70", "auth70"),
]


def main(folder: Path) -> None:
    """Write `folder/<size>-<rank>.json`."""
    with world("cpu") as here:
        evaluate(folder, here)


def evaluate(folder: Path, here: World) -> None:
    size, rank = here.size, here.rank
    dataset = ImageDataset.from_arrays(conftest.coloured_images(96), labels=np.arange(96) % 3, xflip=True)
    options = {
        "dataset": dataset,
        "detector": folder / "stand-in.pt",
        "cache_dir": folder / f"cache-{size}",
        "bootstrap": 2,
        "world": here,
    }
    results = metrics.compute(NAMES, G=conftest.StandInGenerator(c_dim=3), seed=4, **options)
    del options["dataset"]
    fake = ImageDataset.from_arrays(conftest.coloured_images(150, seed=1))
    results += metrics.compare(["fid100_train", "kid100_full", "swd70"], real=dataset, fake=fake, seed=4, **options)
    options["dataset"] = dataset

    unavailable = None
    try:
        # One process has no such file, as where the machines share no folder.
        missing = {**options, "detector": folder / ("stand-in.pt" if rank < size - 1 else "missing.pt")}
        metrics.compute(["fid100_train"], G=conftest.StandInGenerator(c_dim=3), **missing)
    except UserError as error:
        unavailable = (f"{error}", error.everywhere)

    failing = conftest.StandInGenerator(c_dim=3)
    if rank == size - 1:
        with torch.no_grad():
            failing.to_img[0, 0] = float("nan")
    try:
        metrics.compute(["fid100_train"], G=failing, **options)
        failure = None
    except UserError as error:
        failure = str(error)
    outcome = {r.metric: {"results": r.results, "intervals": r.intervals} for r in results}
    (folder / f"{size}-{rank}.json").write_text(
        json.dumps({"outcome": outcome, "failure": failure, "unavailable": unavailable})
    )
