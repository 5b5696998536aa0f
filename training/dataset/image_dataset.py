"""Images and labels for training and metrics: a folder, a zip, arrays, or the built-in faces, behind one class."""

import concurrent.futures
import copy
import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
import torch

from dnnlib import UserError
from training.dataset.images import ArrayImages
from training.dataset.source import ArraySource, FileSource, open_source
from training.networks.config import nominal_resolution

Indices = Sequence[int] | np.ndarray | torch.Tensor

_AUTO_CACHE_BYTES = 1 << 30
_DECODE_THREADS = 8


class ImageDataset:
    """Uint8 images of one size, with or without labels, from a folder, a `.zip` or the built-in faces.

    With `xflip` the second half of the images is the first half mirrored. Labels come from a `dataset.json` at the
    top of the folder or zip (see `DatasetJson`). Objects are safe for threads and can be sent to other processes.

    Args:
        path: folder, `.zip` file, or "builtin:faces" (or None): 100 grey faces of 32 x 32 pixels; or what
            `open_source` opened before.
        resolution: expected side in pixels, or height and width; None accepts what is there.
        use_labels: read labels; it is an error if there are none. (What is open already knows its labels.)
        max_size: use a random subset of that many images, drawn by `random_seed` before mirroring, in the files' order.
        xflip: add a mirrored copy of every image.
        random_seed: seed of the subset.
        cache: "memory" decodes everything once, "none" decodes whenever an image is asked for, "auto" chooses
            memory up to 1 GiB of pixels that take no more than a quarter of the free memory.

    Attributes:
        path, name (for run directories: the file's stem), num_channels, image_shape (C, H, W),
        resolution (the side of square images; of others what their networks call so, see `base_size`),
        base_size (height and width before all doublings, (4, 4) for squares of a power of two),
        size_text ("width x height"), label_dim (0 without labels), has_labels, class_names (list of str or None),
        meta (dict: `dataset.json` without labels and classes), left_out (a line about pictures
        that are not read, or "").

    Raises:
        UserError: for whatever a user can fix (see docs/data.md); all images' headers are checked here.
    """

    def __init__(
        self,
        path: str | os.PathLike | FileSource | ArraySource | None,
        *,
        resolution: int | tuple[int, int] | None = None,
        use_labels: bool = False,
        max_size: int | None = None,
        xflip: bool = False,
        random_seed: int = 0,
        cache: str = "auto",
    ):
        if cache not in ("auto", "memory", "none"):
            raise UserError(f"cache must be auto, memory or none, not {cache!r}")
        source = path if isinstance(path, FileSource | ArraySource) else open_source(path, use_labels)
        self.path, self.name, self.meta, self.class_names = source.path, source.name, source.meta, source.class_names
        self.left_out = source.left_out
        chosen = _subset(len(source.labels), max_size, random_seed, source.path)
        self._source, self._chosen = source, chosen
        self._images, self._labels, self._xflip = source.choose(chosen), source.labels[chosen], xflip
        self.image_shape = self._images.shape
        self.num_channels, height, width = self.image_shape
        self.resolution, self.base_size = nominal_resolution(height, width)
        self.size_text = f"{width} x {height}"
        self.label_dim = self._labels.shape[1]
        self.has_labels = self.label_dim > 0
        rows, columns = resolution if isinstance(resolution, tuple) else (resolution, resolution)
        if resolution is not None and (rows, columns) != (height, width):
            raise UserError(
                f"{self.path} has images of {self.size_text}, but {columns} x {rows} is asked for; "
                f"resize them with dataset_tool.py --resolution={columns}x{rows}"
            )
        self._cache = cache
        self._keep = (
            isinstance(self._images, ArrayImages)
            or cache == "memory"
            or (cache == "auto" and _fits_in_memory(len(chosen) * int(np.prod(self.image_shape))))
        )
        self._pixels: torch.Tensor | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray | torch.Tensor,
        labels: np.ndarray | Sequence | None = None,
        *,
        name: str = "arrays",
        classes: list[str] | None = None,
        **selection: Any,
    ) -> "ImageDataset":
        """Make a data set from images in memory.

        Args:
            images: uint8 [N, C, H, W]; both sides are 2 to 7 times a power of two, the same for both.
            labels: None, class numbers [N] or vectors [N, label_dim].
            name: what to call it in run directories and messages.
            classes: the classes' names.
            selection: `max_size`, `xflip`, `random_seed`, as in the constructor.
        """
        return cls(ArraySource(np.asarray(images), labels, name=name, classes=classes), **selection)

    def __len__(self) -> int:
        return len(self._images) * (2 if self._xflip else 1)

    def image(self, i: int) -> np.ndarray:
        """Return image `i` as uint8 [C, H, W]. Raises UserError if its file is damaged or gone."""
        place, flipped = self._place(i)
        pixels = self._loaded()
        image = pixels[place].numpy() if pixels is not None else self._decode(place)
        return np.ascontiguousarray(image[:, :, ::-1]) if flipped else image.copy()

    def label(self, i: int) -> np.ndarray:
        """Return the label of image `i` as float32 [label_dim]."""
        return self._labels[self._place(i)[0]].copy()

    def images(self, indices: Indices) -> torch.Tensor:
        """Return images as uint8 [N, C, H, W] on the CPU. Raises UserError if a file is damaged or gone."""
        indices = self._check(indices)
        pixels = self._loaded()
        if pixels is None:
            return torch.from_numpy(np.stack([self.image(int(i)) for i in indices]))
        count = len(self._images)
        batch = pixels[torch.from_numpy(indices % count)]
        flipped = torch.from_numpy(indices >= count)
        if flipped.any():
            batch[flipped] = batch[flipped].flip(-1)
        return batch

    def labels(self, indices: Indices) -> torch.Tensor:
        """Return labels as float32 [N, label_dim] on the CPU."""
        return torch.from_numpy(self._labels[self._check(indices) % len(self._images)])

    def to_tensor(self, *, mirrored: bool = True) -> torch.Tensor:
        """Return all images as one new uint8 tensor [len(ds), C, H, W] on the CPU.

        With `mirrored=False` and `xflip` only the first half of them, which are those before mirroring.
        """
        pixels = self._loaded()
        if pixels is None:
            pixels = self._decode_all()
        return torch.cat([pixels, pixels.flip(-1)]) if self._xflip and mirrored else pixels.clone()

    @property
    def xflip(self) -> bool:
        """Whether the second half of the images is the first half mirrored."""
        return self._xflip

    def whole(self, *, xflip: bool) -> "ImageDataset":
        """Return the same images without a subset, mirrored or not; metrics compare with those."""
        if len(self._chosen) < len(self._source.labels):
            return ImageDataset(self._source, xflip=xflip, cache=self._cache)
        other = copy.copy(self)
        other._xflip = xflip
        return other

    def subset(self, max_size: int, random_seed: int, *, xflip: bool) -> "ImageDataset":
        """Return a random subset of all the images, as the constructor would choose it; nothing is opened again.

        Raises:
            UserError: there are not as many.
        """
        return ImageDataset(self._source, max_size=max_size, random_seed=random_seed, xflip=xflip, cache=self._cache)

    def held_out(self, most: int) -> "ImageDataset | None":
        """Return at most `most` of the images that a subset leaves out, not mirrored; None where it leaves out none."""
        rest = np.setdiff1d(np.arange(len(self._source.labels)), self._chosen)
        if len(rest) == 0:
            return None
        other = copy.copy(self)
        other._chosen = np.sort(np.random.RandomState(0).permutation(rest)[:most])
        other._images, other._labels = self._source.choose(other._chosen), self._source.labels[other._chosen]
        other._xflip, other._pixels, other._lock = False, None, threading.Lock()
        return other

    @property
    def in_memory(self) -> bool:
        """Whether images are kept decoded, so that reading them costs next to nothing after the first."""
        return self._keep

    def content_hash(self) -> str:
        """Return a SHA-256 (hex) of what is selected: names, sizes and CRC-32 of the files, labels if used, mirroring.

        A folder and a zip of the same files have the same hash. It does not depend on where the data lies.
        """
        hasher = hashlib.sha256(f"{self.image_shape} xflip={self._xflip}\n".encode())
        for i in range(len(self._images)):
            hasher.update(self._images.digest(i))
        hasher.update(f"labels {self._labels.shape}\n".encode())
        hasher.update(self._labels.astype("<f4").tobytes())
        return hasher.hexdigest()

    def _place(self, i: int) -> tuple[int, bool]:
        if not 0 <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}")
        return i % len(self._images), i >= len(self._images)

    def _check(self, indices: Indices) -> np.ndarray:
        array = np.asarray(indices, dtype=np.int64).reshape(-1)
        if array.size and not 0 <= array.min() <= array.max() < len(self):
            raise IndexError(f"images {array.min()} to {array.max()} of {len(self)}")
        return array

    def _loaded(self) -> torch.Tensor | None:
        if not self._keep:
            return None
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode_all()
            return self._pixels

    def _decode_all(self) -> torch.Tensor:
        if isinstance(self._images, ArrayImages):
            return torch.from_numpy(self._images.array)
        pixels = np.empty((len(self._images), *self.image_shape), dtype=np.uint8)

        def fill(place: int) -> None:
            pixels[place] = self._decode(place)

        with concurrent.futures.ThreadPoolExecutor(min(_DECODE_THREADS, os.cpu_count() or 1)) as pool:
            for _ in pool.map(fill, range(len(pixels)), chunksize=64):
                pass
        return torch.from_numpy(pixels)

    def _decode(self, place: int) -> np.ndarray:
        image = self._images.decode(place)
        if image.shape != self.image_shape:  # the file was exchanged, or a PNG has EXIF data behind its pixels
            raise UserError(
                f"{self._images.label(place)} has changed its size since the start, or tells behind its pixels how to "
                "turn them; make the data set again with dataset_tool.py"
            )
        return image

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key not in ("_pixels", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._pixels, self._lock = None, threading.Lock()


def _subset(count: int, max_size: int | None, seed: int, where: str) -> np.ndarray:
    """Return the sorted indices of the chosen images; equal seeds choose the reference's images."""
    if max_size is None:
        return np.arange(count)
    if not 1 <= max_size <= count:
        raise UserError(f"`max_size`={max_size}: {where} has {count} images; give a number from 1 to {count}")
    order = np.arange(count)
    if max_size < count:
        np.random.RandomState(seed % 2**31).shuffle(order)
    return np.sort(order[:max_size])


def _fits_in_memory(size: int) -> bool:
    return size <= min(_AUTO_CACHE_BYTES, psutil.virtual_memory().available // 4)
