"""Copies made on purpose, to know which share of copies is found: shifted, mirrored, brighter or darker, compressed."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from torch_utils.media.images import rgb_on_white

SHIFT = 3 / 64  # of the side, at most
BRIGHTNESS = 0.1
JPEG_QUALITY = 70


def planted_copy(image: np.ndarray, random: np.random.Generator, *, mirrored: bool) -> np.ndarray:
    """A changed copy of a picture, uint8 RGB [3, H, W]: moved by up to 3 of 64 pixels (edges repeated), its
    brightness by up to 10 %, JPEG of quality 70, and with `mirrored` every second one mirrored.
    """
    if mirrored and random.random() < 0.5:
        image = image[:, :, ::-1]
    most = max(1, round(SHIFT * min(image.shape[1:])))
    down, right = random.integers(0, 2 * most + 1, 2)
    height, width = image.shape[1:]
    image = np.pad(image, ((0, 0), (most, most), (most, most)), mode="edge")
    image = image[:, down : down + height, right : right + width] * (1 + random.uniform(-BRIGHTNESS, BRIGHTNESS))
    return _compressed(image.clip(0, 255).round().astype(np.uint8))


def _compressed(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as picture:
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


class PlantedCopies:
    """Copies 0, 1, 2, ... of randomly chosen images of a data set, as a source of images for `run_pass`.

    Args:
        dataset: with `xflip` among its images mirrored ones, and then among the copies too.
        seed: copy i is a function of the seed and i.
        device: where images go.
    """

    def __init__(self, dataset: Any, seed: int, device: torch.device) -> None:
        self._dataset, self._seed, self._device = dataset, seed, device
        self._originals = len(dataset) // (2 if dataset.xflip else 1)

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Uint8 RGB [stop - start, 3, H, W] on the device."""
        return torch.stack([self._copy(i) for i in range(start, stop)]).to(self._device)

    def _copy(self, i: int) -> torch.Tensor:
        random = np.random.default_rng((self._seed, i))
        original = self._dataset.images([int(random.integers(self._originals))])
        image = rgb_on_white(original)[0].numpy()
        return torch.from_numpy(np.ascontiguousarray(planted_copy(image, random, mirrored=self._dataset.xflip)))
