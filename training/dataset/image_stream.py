"""Training images in their order, decoded ahead of time by threads."""

import concurrent.futures

import numpy as np
import torch

from training.dataset import ImageDataset
from training.dataset.sampler import image_index


class ImageStream:
    """Serves the images numbered n0, n0 + 1, ... of a training run, and decodes the coming ones meanwhile.

    Image number n is image `image_index(n, len(dataset), seed)` of the data set. What is served depends on the
    requested numbers alone, so a stream can start at any number and does not depend on `workers`. Threads do the
    work (decoding releases Python's lock); a data set that is in memory needs none.

    Use it as a context manager, or call `close()`.

    Args:
        dataset: where the images come from.
        seed: which order.
        workers: number of decoding threads; 0 decodes when asked.
        ahead: how many requests to decode in advance.
        device: keep the whole data set on this device if it is in memory (see `ImageDataset.in_memory`), and serve
            images and labels there; otherwise, and with None, they are served from the CPU, for a CUDA device in
            pinned memory, from which they can be copied while it computes.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        seed: int,
        workers: int = 3,
        ahead: int = 2,
        device: torch.device | str | None = None,
    ):
        assert workers >= 0
        assert ahead >= 1
        self._dataset = dataset
        self._seed = seed
        self._ahead = ahead
        self._last: np.ndarray | None = None
        self._pending: dict[int, concurrent.futures.Future[np.ndarray]] = {}
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._resident: tuple[torch.Tensor, torch.Tensor] | None = None
        self._pinned = device is not None and torch.device(device).type == "cuda"
        if dataset.in_memory and device is not None and torch.device(device).type != "cpu":
            pixels = dataset.to_tensor(mirrored=False)
            self._resident = pixels.to(device), dataset.labels(range(len(pixels))).to(device)
        elif not dataset.in_memory and workers > 0:
            self._pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def batch(self, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images numbered `first` ... `first + count - 1`: uint8 [N, C, H, W], float32 [N, label_dim].

        Of several processes each asks for its share of every batch. The next requests are expected to lie as far ahead
        of this one as this one lies ahead of the last; if they do not, nothing but speed is lost.

        Raises:
            UserError: an image file is damaged or gone; the message names it.
        """
        wanted = np.arange(first, first + count)
        indices = image_index(wanted, len(self._dataset), self._seed)
        if self._resident is not None:
            return pick(*self._resident, torch.from_numpy(indices))
        if self._pool is None:
            return self._served(self._dataset.images(indices), indices)
        self._expect(wanted)
        images = [self._pending[int(number)].result() for number in wanted]
        return self._served(torch.from_numpy(np.stack(images)), indices)

    def _served(self, images: torch.Tensor, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        labels = self._dataset.labels(indices)
        return (images.pin_memory(), labels.pin_memory()) if self._pinned else (images, labels)

    def _expect(self, wanted: np.ndarray) -> None:
        """Start decoding what is wanted now and what will probably be wanted next; forget the rest."""
        span = int(wanted.max() - wanted.min()) + 1
        stride = int(wanted[0] - self._last[0]) if self._last is not None else span
        self._last = wanted
        requests = [wanted + stride * step for step in range(self._ahead + 1)] if stride > 0 else [wanted]
        coming = [int(number) for request in requests for number in request]
        for number in set(self._pending).difference(coming):
            self._pending.pop(number).cancel()
        fresh = [number for number in dict.fromkeys(coming) if number not in self._pending]
        indices = image_index(np.array(fresh, dtype=np.int64), len(self._dataset), self._seed)
        for number, index in zip(fresh, indices, strict=True):
            self._pending[number] = self._pool.submit(self._dataset.image, int(index))

    def close(self) -> None:
        """End the threads. Requests that are being decoded are finished, the others dropped."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "ImageStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pick(pixels: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels on the device of `pixels` [N, C, H, W]; indices from N on mean mirrored images."""
    indices = indices.to(pixels.device, non_blocking=True)
    rows, flipped = indices % len(pixels), indices >= len(pixels)
    images = pixels[rows]
    # Mirrored by choosing, not by masked assignment, which would make the host wait for the device.
    return torch.where(flipped[:, None, None, None], images.flip(-1), images), labels[rows]
