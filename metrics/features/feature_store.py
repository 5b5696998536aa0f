"""What is kept of a detector's features: the rows, or their moments only."""

import torch

from metrics.detectors.detector import Detector
from metrics.features.moments import Moments


class FeatureStore:
    """The features of images 0 ... count - 1, as far as metrics want them.

    Attributes:
        detector: whose features.
        counts: the numbers of first images that are wanted.
        rows: whether the features themselves are kept, not only their moments at `counts`.
    """

    def __init__(self, detector: Detector, batch_size: int) -> None:
        self.detector = detector
        self.counts: set[int] = set()
        self.rows = False
        self._batch_size = batch_size
        self._rows: list[torch.Tensor] = []
        self._moments: dict[int, Moments] = {}

    def want(self, count: int, *, rows: bool) -> None:
        """Ask for the features of the first `count` images, before any is added."""
        self.counts.add(count)
        self.rows |= rows

    @property
    def count(self) -> int:
        """How many images it wants."""
        return max(self.counts)

    def compute(self, images: torch.Tensor | list[torch.Tensor], start: int) -> dict[str, torch.Tensor]:
        """The features [n, D] of uint8 images [n, C, H, W], a few at a time, or of a list of [C, H, W], one by one."""
        parts = [image[None] for image in images] if isinstance(images, list) else images.split(self._batch_size)
        return {"features": torch.cat([self.detector(part) for part in parts])}

    def add(self, start: int, values: dict[str, torch.Tensor]) -> None:
        """Add the features [n, D] of images start, start + 1, ..."""
        features = values["features"]
        if self.rows:
            self._rows.append(features[: self.count - start].cpu())
            return
        for count in sorted(self.counts):
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
