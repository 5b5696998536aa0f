"""Images to features: one pass over the blocks feeds every metric that needs features or patches of them."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import torch

from metrics.detectors.detector import Detector
from metrics.measures.frechet import Moments
from metrics.processes import BLOCK, blocks_in_order, rank
from metrics.settings import Progress


class ImageSource(Protocol):
    """Images 0, 1, 2, ... that can be computed block by block."""

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Uint8 [stop - start, C, R, R]; start is the start of a block."""


class StoredImages:
    """Images of a dataset, all or those at `indices` [N]."""

    def __init__(self, dataset, device: torch.device, indices: np.ndarray | None = None) -> None:
        self._dataset, self._device = dataset, device
        self._indices = np.arange(len(dataset)) if indices is None else indices

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Uint8 [stop - start, C, R, R] on the device."""
        return self._dataset.images(self._indices[start:stop]).to(self._device)


class FeatureStore:
    """What is kept of the features of images 0 ... count - 1: the rows, or streamed moments only.

    Args:
        counts: the numbers of first images of which metrics want features.
        keep: keep the rows; otherwise only the moments at `counts`.
    """

    def __init__(self, counts: Iterable[int], *, keep: bool) -> None:
        self.counts = sorted(set(counts))
        self.keep = keep
        self._rows: list[torch.Tensor] = []
        self._moments: dict[int, Moments] = {}

    @property
    def count(self) -> int:
        """How many images it wants."""
        return self.counts[-1]

    def add(self, start: int, features: torch.Tensor) -> None:
        """Add the features [n, D] of images start, start + 1, ..."""
        if self.keep:
            self._rows.append(features[: self.count - start].cpu())
            return
        for count in self.counts:
            if count > start:
                moments = self._moments.setdefault(count, Moments(features.shape[1], features.device))
                moments.add(features[: count - start])

    def set_moments(self, moments: Moments) -> None:
        """Take moments from the cache."""
        self._moments[moments.count] = moments

    def features(self, count: int) -> torch.Tensor:
        """Float32 [count, D] on the CPU."""
        if len(self._rows) > 1:
            self._rows = [torch.cat(self._rows)]
        return self._rows[0][:count]

    def moments(self, count: int) -> Moments:
        """The moments of the first `count` images."""
        if count not in self._moments:
            self._moments[count] = Moments.of(self.features(count))
        return self._moments[count]


class PatchStore:
    """The patches of images 0 ... count - 1 by level, for the sliced Wasserstein distance."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._levels: dict[str, list[torch.Tensor]] = {}

    def add(self, start: int, descriptors: Mapping[str, torch.Tensor]) -> None:
        """Add the patches of images start, start + 1, ..."""
        for level, rows in descriptors.items():
            self._levels.setdefault(level, []).append(rows[: self.count - start].cpu())

    def levels(self) -> list[int]:
        """The levels' resolutions, the largest first."""
        return sorted((int(level) for level in self._levels), reverse=True)

    def level(self, level: int, count: int) -> torch.Tensor:
        """The patches of the first `count` images, float16 [count, 128, C, 7, 7] on the CPU."""
        return torch.cat(self._levels[str(level)])[:count]


def run_pass(
    source: ImageSource,
    stores: Mapping[str, FeatureStore],
    detectors: Mapping[str, Detector],
    patches: PatchStore | None,
    *,
    batch_size: int,
    label: str,
    progress: Progress | None,
) -> None:
    """Fill the stores (in the main process) from one pass over the images.

    Args:
        source: where the images come from.
        stores: by detector family.
        detectors: by family.
        patches: filled if given.
        batch_size: images at a time in a detector, at most BLOCK of them.
        label: what `progress` shows.
        progress: called with (label, images done, images to do).
    """
    from metrics.measures.swd import patch_descriptors

    wanted = {family: store.count for family, store in stores.items()}
    if patches is not None:
        wanted["swd"] = patches.count
    total = max(wanted.values(), default=0)
    # All blocks of one stretch feed the same stores; a stretch ends where a store has enough.
    ends = sorted({min(-(-count // BLOCK) * BLOCK, total) for count in wanted.values()})
    for low, high in zip([0, *ends], ends, strict=False):
        active = [name for name, count in wanted.items() if count > low]

        def compute(start: int, stop: int, active: list[str] = active) -> dict[str, torch.Tensor]:
            images = source.images(start, stop)
            results = {}
            for name in active:
                if name == "swd":
                    results.update({f"swd {k}": v for k, v in patch_descriptors(images, start, patches.seed).items()})
                else:
                    results[name] = torch.cat([detectors[name](part) for part in images.split(batch_size)])
            return results

        for start, results in blocks_in_order(low, high, compute):
            if rank() == 0:
                for name in active:
                    if name == "swd":
                        prefix = "swd "
                        found = {k[len(prefix) :]: v for k, v in results.items() if k.startswith(prefix)}
                        patches.add(start, found)
                    else:
                        stores[name].add(start, results[name])
            if progress is not None:
                progress(label, min(start + BLOCK, total), total)
