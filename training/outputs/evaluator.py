"""What a run expects of whoever measures its networks; the door hands it one, as training knows no metrics."""

from typing import Protocol

import torch

from training.dataset import ImageDataset


class Evaluator(Protocol):
    """Measures the networks of a run at its snapshots."""

    names: tuple[str, ...]
    """Those of `TrainingConfig.metrics`."""

    def compute(
        self, G_ema: torch.nn.Module, dataset: ImageDataset, device: torch.device, snapshot: str, nimg: int
    ) -> dict[str, float]:
        """Measure `G_ema`, as it was saved in the file `snapshot` after `nimg` images, and write the results down.

        All processes call it together.

        Returns:
            the values by name; the first one decides which snapshot is the best.
        """

    def higher_is_better(self, name: str) -> bool:
        """Whether larger values of that name are the better ones."""
