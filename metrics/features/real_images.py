"""The real images that a metric's name asks for, and their features from the cache or computed."""

from typing import Any

import numpy as np
import torch

from metrics.detectors.detector import Detector
from metrics.features.cache import CacheKey, FeatureCache
from metrics.features.passes import FeatureStore, StoredImages, run_pass
from metrics.measures.frechet import Moments
from metrics.names import MetricSpec
from metrics.processes import main_only
from metrics.randomness import CHOICE, stream
from metrics.settings import Progress


def random_order(count: int, seed: int) -> np.ndarray:
    """The indices 0 ... count - 1 in an order that the seed determines."""
    return stream(seed, CHOICE, 1).permutation(count)


class RealImages:
    """The training data in the three forms that names ask for: "train", "full" and "first".

    Args:
        training_set: the dataset as training sees it.
        device: where detectors run.
    """

    def __init__(self, training_set: Any, device: torch.device) -> None:
        self._device = device
        self._sets = {"train": training_set}
        self._hashes: dict[str, str] = {}

    def dataset(self, real_set: str) -> Any:
        """The dataset of a name's suffix, see `metrics.names.RealSet`."""
        if real_set not in self._sets:
            training_set = self._sets["train"]
            self._sets[real_set] = training_set.whole(xflip=real_set == "first" and training_set.xflip)
        return self._sets[real_set]

    def count(self, spec: MetricSpec) -> int:
        """How many real images a metric compares with; for swd before it is limited by the generated ones."""
        available = len(self.dataset(spec.real_set))
        return available if spec.max_real is None else min(available, spec.max_real)

    def content_hash(self, real_set: str) -> str:
        """The hash of the set's content, computed by the main process; all processes call this."""
        if real_set not in self._hashes:
            self._hashes[real_set] = main_only(self.dataset(real_set).content_hash)
        return self._hashes[real_set]

    def sample(self, spec: MetricSpec, count: int, seed: int, *, sort: bool) -> StoredImages:
        """`count` different real images, chosen by the seed; in the order of the dataset if `sort`, else as drawn."""
        indices = random_order(self.count(spec), seed)[:count]
        return StoredImages(self.dataset(spec.real_set), self._device, np.sort(indices) if sort else indices)

    def store(
        self,
        real_set: str,
        counts: list[int],
        family: str,
        detector: Detector,
        cache: FeatureCache,
        *,
        keep: bool,
        batch_size: int,
        progress: Progress | None,
    ) -> FeatureStore:
        """The features of the first images of a set: from the cache, else computed and cached."""
        store = FeatureStore(counts, keep=keep)
        keys = [
            CacheKey(
                self.content_hash(real_set),
                count,
                detector.sha256,
                f"{detector.name}: {detector.preprocessing}",
                detector.libraries,
                self._device.type,
                "features" if keep else "moments",
            )
            for count in ([store.count] if keep else store.counts)
        ]

        def load() -> bool:
            found = [cache.load(key) for key in keys]
            if any(arrays is None for arrays in found):
                return False
            for arrays in found:
                if keep:
                    store.add(0, torch.from_numpy(arrays["features"]))
                else:
                    store.set_moments(Moments.from_state(arrays))
            return True

        if main_only(load):
            return store
        run_pass(
            StoredImages(self.dataset(real_set), self._device),
            {family: store},
            {family: detector},
            None,
            batch_size=batch_size,
            label=f"{family} features of real images",
            progress=progress,
        )

        def save() -> None:
            for key in keys:
                if keep:
                    cache.save(key, {"features": store.features(key.count).numpy()})
                else:
                    cache.save(key, store.moments(key.count).state())

        main_only(save)
        return store
