"""Image files of any size, shape and mode, for those who look at one image at a time."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torch_utils.media.pictures import in_mode, left_out, open_picture, upright
from training.dataset.files import image_names, no_images, open_files
from training.dataset.images import decoding


class MixedImages:
    """The images of a folder or zip as RGB, upright and on white, each of its own size.

    Where an `ImageDataset` gives batches this gives lists. There are no labels.

    Args:
        path: folder or `.zip`.
        xflip: add a mirrored copy of every image, as the second half.

    Raises:
        UserError: as `open_files`, or no images.
    """

    image_shape, num_channels, label_dim = None, 3, 0

    def __init__(self, path: str | os.PathLike, *, xflip: bool = False) -> None:
        self._files = open_files(path)
        self._names = image_names(self._files.names)
        if not self._names:
            raise no_images(path, "path", self._files.names)
        self.path, self.name, self.xflip = str(path), Path(path).stem, xflip
        self.left_out = left_out(self._files.names)
        self.meta: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._names) * (2 if self.xflip else 1)

    def images(self, indices: Sequence[int] | np.ndarray) -> list[torch.Tensor]:
        """Images as uint8 [3, H, W] on the CPU. Raises UserError if a file is damaged or gone."""
        return [self._image(int(i)) for i in indices]

    def _image(self, i: int) -> torch.Tensor:
        name = self._names[i % len(self._names)]
        with decoding(f"{self.path}: {name}"), open_picture(self._files.read(name)) as picture:
            pixels = np.asarray(in_mode(upright(picture), "RGB")).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1] if i >= len(self._names) else pixels))

    def whole(self, *, xflip: bool) -> "MixedImages":
        """The same images, mirrored or not."""
        return MixedImages(self.path, xflip=xflip)

    def held_out(self, most: int) -> None:
        """None, as no image is left out."""

    def content_hash(self) -> str:
        """SHA-256 (hex) of names, sizes and CRC-32 of the files, and mirroring."""
        hasher = hashlib.sha256(f"any size xflip={self.xflip}\n".encode())
        for name in self._names:
            size, crc = self._files.checksum(name)
            hasher.update(f"{name}\t{size}\t{crc:08x}\n".encode(errors="surrogateescape"))
        return hasher.hexdigest()
