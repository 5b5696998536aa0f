"""Grids of real and of generated images."""

import functools

import numpy as np
import torch

from torch_utils.media.images import make_grid, save_image, to_uint8
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.run_dir import RunDir, names

_LEAST_COMPARED, _MOST_COMPARED = 8, 64


class Grids:
    """Pictures of real and generated images with the same latents in the same place for the whole run.

    With labels, each row shows one class, in turn. Latents depend on the run's seed only.
    """

    def __init__(self, config: TrainingConfig, run: RunDir, dataset: ImageDataset, device: torch.device) -> None:
        self._run, self._dataset, self._device = run, dataset, device
        self._batch = config.batch_gpu
        self._columns, rows = config.grid or grid_size(*dataset.image_shape[1:])
        count = self._columns * rows
        generator = torch.Generator().manual_seed(config.random_seed)
        self._z = torch.randn(count, config.G_kwargs.z_dim, generator=generator)
        self._indices = grid_indices(dataset, self._columns, rows)
        self._c = dataset.labels(self._indices)

    def reals(self) -> None:
        """Write `reals.png`."""
        images = self._dataset.images(self._indices)
        save_image(self._run.path / names.REALS, make_grid(images, self._columns))

    @torch.no_grad()
    def fakes(self, G_ema: torch.nn.Module, name: str) -> float | None:
        """Write the generated images as `name`, with constant noise, in small batches.

        Returns their `spread` relative to that of the real images; None for grids too small to tell.
        """
        parts = [
            to_uint8(G_ema(z.to(self._device), c.to(self._device), noise_mode="const")).cpu()
            for z, c in zip(self._z.split(self._batch), self._c.split(self._batch), strict=True)
        ]
        images = torch.cat(parts)
        save_image(self._run.path / name, make_grid(images, self._columns))
        return spread(images) / self._real_spread if self._real_spread else None

    @functools.cached_property
    def _real_spread(self) -> float:
        some = self._indices[:_MOST_COMPARED]
        return spread(self._dataset.images(some)) if len(some) >= _LEAST_COMPARED else 0.0


def spread(images: torch.Tensor) -> float:
    """The mean distance between two of the first images [N, C, H, W] uint8, brought to 32 x 32 pixels."""
    small = [torch.nn.functional.adaptive_avg_pool2d(image.float(), 32) for image in images[:_MOST_COMPARED]]
    return float(torch.pdist(torch.stack(small).flatten(1)).mean())


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Columns and rows that fill about 1920 x 1080 pixels: 4 to 20 by 2 to 10 images."""
    return int(np.clip(1920 // width, 4, 20)), int(np.clip(1080 // height, 2, 10))


def grid_indices(dataset: ImageDataset, columns: int, rows: int) -> np.ndarray:
    """Which images a grid shows: without labels a fixed sample, with labels one class per row, in turn."""
    random = np.random.RandomState(0)
    order = random.permutation(len(dataset))
    if not dataset.has_labels or dataset.label_dim == 0:
        return np.resize(order, columns * rows)
    groups: dict[tuple, list[int]] = {}
    for index in order:
        groups.setdefault(tuple(dataset.label(int(index))), []).append(int(index))
    keys = sorted(groups, reverse=True)
    rows_of_images = []
    for row in range(rows):
        members = groups[keys[row % len(keys)]]
        start = row // len(keys) * columns
        rows_of_images.append([members[(start + i) % len(members)] for i in range(columns)])
    return np.concatenate(rows_of_images).astype(np.int64)
