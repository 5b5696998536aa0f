"""Where a snapshot comes from: the loss, the data and the versions that made it."""

from pathlib import Path
from typing import Any

from torch_utils.environment import versions
from training.config import TrainingConfig
from training.dataset import ImageDataset


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
