"""The real images that a metric's name asks for, and their features from the cache or computed."""

from typing import Any, Literal

import numpy as np
import torch

from metrics.detectors.detector import Detector
from metrics.features.cache import CacheKey, FeatureCache
from metrics.features.feature_store import FeatureStore
from metrics.features.moments import Moments
from metrics.features.passes import StoredImages, run_pass
from metrics.randomness import CHOICE, stream
from metrics.settings import EvaluationSettings

RealSet = Literal["full", "train", "first", "held_out"]
"""full: the whole dataset, without --subset and without flips; train: the images as training sees them,
with the subset and the flips; first (no suffix): the first 50,000 of the whole dataset, with flips if the
training data is mirrored; held_out (in no name): images that the subset leaves out."""

MOST_HELD_OUT = 2000


def random_order(count: int, seed: int) -> np.ndarray:
    """The indices 0 ... count - 1 in an order that the seed determines."""
    return stream(seed, CHOICE, 1).permutation(count)


class RealImages:
    """The training data in the forms that metrics ask for.

    Args:
        training_set: the dataset as training sees it.
        settings: of the evaluation.
    """

    def __init__(self, training_set: Any, settings: EvaluationSettings) -> None:
        self._settings = settings
        self.cache = FeatureCache(settings.cache_dir)
        self._sets: dict[RealSet, Any] = {"train": training_set}
        self._hashes: dict[str, str] = {}

    def dataset(self, real_set: RealSet) -> Any:
        """The dataset of a real set; None for "held_out" where all images were used."""
        if real_set not in self._sets:
            training_set = self._sets["train"]
            self._sets[real_set] = (
                training_set.held_out(MOST_HELD_OUT)
                if real_set == "held_out"
                else training_set.whole(xflip=real_set == "first" and training_set.xflip)
            )
        return self._sets[real_set]

    def count(self, real_set: RealSet, most: int | None) -> int:
        """How many images a set has, of which metrics want `most` at most."""
        available = len(self.dataset(real_set))
        return available if most is None else min(available, most)

    def content_hash(self, real_set: RealSet) -> str:
        """The hash of the set's content, computed by the main process; all processes call this."""
        if real_set not in self._hashes:
            self._hashes[real_set] = self._settings.world.main_only(self.dataset(real_set).content_hash)
        return self._hashes[real_set]

    def images(self, real_set: RealSet, indices: np.ndarray | None = None) -> StoredImages:
        """The images of a set, all or those at `indices`."""
        return StoredImages(self.dataset(real_set), self._settings.device, indices)

    def fill(self, store: FeatureStore, real_set: RealSet, label: str) -> None:
        """Give `store` the features of a set's first images: from the cache, else computed and cached."""
        detector = store.detector
        kind = "features" if store.rows else "moments"
        keys = [
            self.cache_key(detector, self.content_hash(real_set), count, kind)
            for count in ([store.count] if store.rows else sorted(store.counts))
        ]

        def load() -> bool:
            found = [self.cache.load(key) for key in keys]
            if any(arrays is None for arrays in found):
                return False
            for arrays in found:
                if store.rows:
                    store.add(0, {"features": torch.from_numpy(arrays["features"])})
                else:
                    store.set_moments(Moments.from_state(arrays))
            return True

        def save() -> None:
            for key in keys:
                if store.rows:
                    self.cache.save(key, {"features": store.features(key.count).numpy()})
                else:
                    self.cache.save(key, store.moments(key.count).state())

        if not self._settings.world.main_only(load):
            run_pass(self.images(real_set), [store], self._settings, label)
            self._settings.world.main_only(save)

    def cache_key(self, detector: Detector, content_hash: str, count: int, kind: str) -> CacheKey:
        """Under which something computed from a detector's features of `count` images is kept."""
        preprocessing = f"{detector.name}: {detector.preprocessing}"
        device = self._settings.device.type
        return CacheKey(content_hash, count, detector.sha256, preprocessing, detector.libraries, device, kind)
