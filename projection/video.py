"""The film of an optimisation: target beside projection, as the reference's proj.mp4."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torch_utils.media.images import to_pil, to_uint8
from torch_utils.media.video import write_video

FPS = 10
SMALLEST = 256  # pixels; smaller images are enlarged by a whole factor


class Film:
    """Collects the images of one target, compressed without loss, until the film is written.

    Args:
        target: uint8 [C, R, R], the left half of every frame.
    """

    def __init__(self, target: torch.Tensor) -> None:
        self._target = target
        self._images: list[bytes] = []

    def add(self, image: torch.Tensor) -> None:
        """Append a frame with `image` [C, R, R] in [-1, 1] on the right."""
        buffer = io.BytesIO()
        to_pil(to_uint8(image)).save(buffer, "PNG", compress_level=1)
        self._images.append(buffer.getvalue())

    def write(self, path: Path) -> None:
        """Write the film, 10 frames per second.

        Raises:
            UserError: ffmpeg missing or failing, or a folder that cannot be written.
        """
        write_video(path, self._frames(), fps=FPS)

    def _frames(self) -> Iterator[torch.Tensor]:
        factor = max(1, SMALLEST // max(self._target.shape[1:]))
        for data in self._images:
            with Image.open(io.BytesIO(data)) as picture:
                array = np.atleast_3d(np.asarray(picture))
            image = torch.from_numpy(array.copy()).permute(2, 0, 1)
            frame = torch.cat([self._target, image], dim=2)
            yield frame.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
