"""The networks that a run leaves: written, the best one kept apart, old ones removed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib import copy_whole, write_json
from torch_utils.machine.environment import versions
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.options.keep import Keep
from training.outputs.evaluator import Evaluator
from training.progress import Progress
from training.run_dir import SNAPSHOTS, RunDir, names
from training.snapshot import save_snapshot


class Snapshots:
    """Network snapshots of a run: written, measured, the best one kept apart, old ones removed.

    Args:
        keep: how many of the newest and of the best stay; None for all.
        evaluator: knows which of two values is the better one.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: ImageDataset,
        run: RunDir,
        progress: Progress,
        keep: Keep | None,
        evaluator: Evaluator | None,
    ) -> None:
        self._run, self._progress, self._metadata = run, progress, snapshot_metadata(config, dataset)
        self._keep, self._evaluator = keep or Keep(), evaluator

    def write(self, networks: Mapping[str, torch.nn.Module], p: float) -> Path:
        """Write the networks after `progress.nimg` images."""
        path = self._run.path / SNAPSHOTS.name(self._progress.nimg)
        metadata = {**self._metadata, "cur_nimg": self._progress.nimg, "augment_p": p}
        save_snapshot(path, **networks, metadata=metadata)
        self._progress.snapshots = [s for s in self._progress.snapshots if s["file"] != path.name]
        self._progress.snapshots.append({"file": path.name, "nimg": self._progress.nimg, "value": None})
        return path

    def judge(self, name: str, value: float) -> None:
        """Note the first metric's value of the newest snapshot; keep the snapshot as `best` if it is.

        Values of another metric, which was the first one before the run was continued, are forgotten.
        """
        newest, best = self._progress.snapshots[-1], self._progress.best
        if best.get("metric", name) != name:
            best = {}
            for entry in self._progress.snapshots:
                entry["value"] = None
        newest["value"] = value if np.isfinite(value) else None
        sign = -1 if self._evaluator.higher_is_better(name) else 1
        if newest["value"] is None or (best and sign * value >= sign * best["value"]):
            return
        best = {"metric": name, "value": value, "nimg": newest["nimg"], "file": SNAPSHOTS.name(newest["nimg"])}
        copy_whole(self._run.path / best["file"], self._run.path / names.BEST)
        write_json(self._run.path / names.BEST_RECORD, best)
        self._progress.best = best

    def prune(self, name: str | None) -> None:
        """Remove snapshots that are neither among the newest nor among the best."""
        if self._keep == Keep():
            return
        entries = self._progress.snapshots
        kept = entries[-(self._keep.last or 1) :]
        if self._keep.best and name is not None:
            measured = [entry for entry in entries if entry["value"] is not None]
            measured.sort(key=lambda entry: entry["value"], reverse=self._evaluator.higher_is_better(name))
            kept = kept + [entry for entry in measured[: self._keep.best] if entry not in kept]
        for entry in entries:
            if entry not in kept:
                # By the name that this program gives, whatever a checkpoint says.
                (self._run.path / SNAPSHOTS.name(entry["nimg"])).unlink(missing_ok=True)
        self._progress.snapshots = [entry for entry in entries if entry in kept]


def snapshot_metadata(config: TrainingConfig, dataset: ImageDataset) -> dict[str, Any]:
    """What every snapshot of a run carries; the same for the same run, so that snapshots are reproducible."""
    training_set = {**vars(config.training_set_kwargs), "content_hash": config.dataset_hash}
    if training_set["path"] is not None and Path(training_set["path"]).exists():
        training_set["path"] = str(Path(training_set["path"]).resolve())
    return {
        "loss": config.loss.to_dict(),
        "training_set": training_set,
        "class_names": dataset.class_names,
        "dataset_hash": config.dataset_hash,
        "versions": {"rooted-stylegan": "not installed", **versions("rooted-stylegan", "torch", "python")},
    }
