"""One pass over the blocks of images feeds everything that metrics want to keep of them."""

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from metrics.blocks import BLOCK, blocks_in_order
from metrics.settings import EvaluationSettings


class ImageSource(Protocol):
    """Images 0, 1, 2, ... that can be computed block by block."""

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Uint8 [stop - start, C, R, R]; start is the start of a block."""


class StoredImages:
    """Images of a dataset, all or those at `indices` [N]."""

    def __init__(self, dataset, device: torch.device, indices: np.ndarray | None = None) -> None:
        self._dataset, self._device = dataset, device
        self._indices = np.arange(len(dataset)) if indices is None else indices

    def images(self, start: int, stop: int) -> torch.Tensor | list[torch.Tensor]:
        """Uint8 [stop - start, C, H, W] on the device; a list of [C, H, W] where the dataset has any sizes."""
        images = self._dataset.images(self._indices[start:stop])
        return [image.to(self._device) for image in images] if isinstance(images, list) else images.to(self._device)


class Store(Protocol):
    """What is kept of images 0 ... count - 1; features of a detector (`FeatureStore`) or anything else."""

    count: int

    def compute(self, images: torch.Tensor, start: int) -> dict[str, torch.Tensor]:
        """Of images start, start + 1, ... of one block: tensors [n, ...], alike in shape and dtype for all blocks."""

    def add(self, start: int, values: dict[str, torch.Tensor]) -> None:
        """Keep what `compute` gave for images start, start + 1, ...; called in the order of the blocks."""


def run_pass(source: ImageSource, stores: Sequence[Store], settings: EvaluationSettings, label: str) -> None:
    """Fill the stores (in the main process) from one pass over the images; `label` is for `settings.progress`."""
    total = max((store.count for store in stores), default=0)
    # All blocks of one stretch feed the same stores; a stretch ends where a store has enough.
    ends = sorted({min(-(-store.count // BLOCK) * BLOCK, total) for store in stores})
    for low, high in itertools.pairwise([0, *ends]):
        active = [(f"{index}:", store) for index, store in enumerate(stores) if store.count > low]

        def compute(start: int, stop: int, active: list[tuple[str, Store]] = active) -> dict[str, torch.Tensor]:
            images = source.images(start, stop)
            return {
                prefix + name: values
                for prefix, store in active
                for name, values in store.compute(images, start).items()
            }

        for start, results in blocks_in_order(settings.world, low, high, compute):
            if settings.world.is_main:
                for prefix, store in active:
                    values = {n.removeprefix(prefix): v for n, v in results.items() if n.startswith(prefix)}
                    store.add(start, values)
            if settings.progress is not None:
                settings.progress(label, min(start + BLOCK, total), total)
