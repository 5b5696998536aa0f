"""Projections of real pictures with the first and the last snapshot of every loss (Fig. 5 of the paper)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from comparison.findings.model import Projected, Projection
from comparison.runs.collect import Run, Runs, data_options
from comparison.runs.design import Design
from dnnlib import UserError, make_folder, read_json, write_json
from dnnlib.typed import fits
from projection.distance import Distance, load_distance
from projection.optimization import project
from projection.targets import find_targets, load_target
from torch_utils.media.images import save_image, to_uint8
from training.dataset import ImageDataset
from training.snapshot import load_snapshot

FOLDER = "projections"
LABELS_NEEDED = "`targets`: these networks need labels; use `projections`, which knows them"


@dataclass(frozen=True)
class Target:
    """A picture to project: uint8 [C, R, R], its label [label_dim] where there are labels, and what it is."""

    name: str
    image: torch.Tensor
    label: torch.Tensor | None


def choose_targets(design: Design, run: Run, count: int) -> list[Target]:
    """Pictures of the data set, not among those that the run was trained on where it used a subset."""
    options = data_options(run)
    labelled = bool(options.get("use_labels"))
    everything = ImageDataset(options["path"], use_labels=labelled)
    seen: set[bytes] = set()
    if design.subset is not None and design.subset < len(everything):
        subset = everything.subset(design.subset, options.get("random_seed", 0), xflip=False)
        seen = {_digest(subset.image(i)) for i in range(len(subset))}
    targets: list[Target] = []
    for i in np.random.RandomState(0).permutation(len(everything)):
        if len(targets) == count:
            break
        if _digest(image := everything.image(int(i))) in seen:
            continue
        label = torch.from_numpy(everything.label(int(i))) if labelled else None
        kind = "held-out" if seen else "training"
        targets.append(Target(f"{kind} image {i}", torch.from_numpy(image.copy()), label))
    return targets


def load_targets(paths: Sequence[str], run: Run) -> list[Target]:
    """Pictures from files and folders, in the size and channels of the run."""
    if data_options(run).get("use_labels"):
        raise UserError(LABELS_NEEDED)
    snapshot = load_snapshot(next(iter(run.snapshots.values())))
    G = snapshot.generator
    return [
        Target(target.name, load_target(target.path, G.img_channels, *G.config.img_size), None)
        for target in find_targets(paths)
    ]


def check_targets(paths: Sequence[str]) -> None:
    """Refuse targets that are missing or no pictures.

    Raises:
        UserError: names `targets`.
    """
    for target in find_targets(paths) if paths else []:
        load_target(target.path, channels=3, height=16)


def check_distance(name: str) -> None:
    """Refuse a distance that there is not.

    Raises:
        UserError: names `distance`.
    """
    if name != "auto":
        load_distance(name, "cpu")


def project_all(
    outdir: Path,
    runs: Runs,
    targets: Sequence[Target],
    distance: Distance,
    steps: int,
    device: torch.device,
    say: Callable[[str], None],
) -> list[Projection]:
    """Project `targets` with the first and last snapshot of every loss's first finished seed; kept and not repeated."""
    seed = first_common_seed(runs)
    if seed is None or not targets:
        return []
    folder = outdir / FOLDER
    make_folder(folder, "`outdir`")
    found: list[Projection] = []
    for i, target in enumerate(targets):
        save_image(folder / f"target{i}.png", target.image)
        found.append(Projection(target.name, f"{FOLDER}/target{i}.png", distance.name, seed))
    for key, by_seed in runs.items():
        snapshots = by_seed[seed].snapshots
        for which, nimg in (("first", min(snapshots)), ("last", max(snapshots))):
            say(f"projecting with the {which} snapshot of {by_seed[seed].folder.name}")
            stem = f"{by_seed[seed].folder.name}-{which}"
            numbers = _project_one(outdir, stem, snapshots[nimg], targets, distance, steps, device)
            for projection, measured in zip(found, numbers, strict=True):
                projection.losses.setdefault(key, {})[which] = Projected(nimg, **measured)
    return found


def first_common_seed(runs: Runs) -> int | None:
    """The lowest seed with which every loss has finished and left at least two snapshots."""
    ready = [{s for s, run in by_seed.items() if run.finished and len(run.snapshots) > 1} for by_seed in runs.values()]
    common = set.intersection(*ready) if ready else set()
    return min(common) if common else None


def why_no_seed(runs: Runs) -> str:
    """What `first_common_seed` lacks, by the example of one run."""
    for run in (run for by_seed in runs.values() for run in by_seed.values()):
        if not run.finished:
            return f"they need a seed that every loss has finished, and {run.folder.name} has not"
        if len(run.snapshots) < 2:
            return (
                f"they need a first and a last snapshot of every loss, and {run.folder.name} "
                f"left {len(run.snapshots)}; `kimg` below 1 leaves only one"
            )
    return "there are no runs"


def _project_one(
    outdir: Path,
    stem: str,
    snapshot_path: Path,
    targets: Sequence[Target],
    distance: Distance,
    steps: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    snapshot = load_snapshot(snapshot_path)
    identity = {
        "network": snapshot.hash,
        "targets": [_digest(target.image.numpy()).hex() for target in targets],
        "distance": distance.name,
        "steps": steps,
    }
    record = outdir / FOLDER / f"{stem}.json"
    if record.is_file():
        kept = read_json(record)
        if fits(kept, dict[str, Any]) and kept.get("identity") == identity:
            if not fits(kept.get("measured"), list[dict[str, str | float]]):
                raise UserError(f"{record} is damaged; delete it to measure again")
            return kept["measured"]
    labels = torch.stack([t.label for t in targets]) if targets[0].label is not None else None
    result = project(
        snapshot.generator, torch.stack([t.image for t in targets]), c=labels, num_steps=steps, distance=distance,
        device=device,
    )  # fmt: skip
    measured = []
    for i in range(len(targets)):
        picture = f"{FOLDER}/{stem}-target{i}.png"
        save_image(outdir / picture, to_uint8(result.images[i]))
        values = {"distance": float(result.distance[i]), "psnr": float(result.psnr[i])}
        measured.append({"picture": picture, **values})
    write_json(record, {"identity": identity, "measured": measured})
    return measured


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
