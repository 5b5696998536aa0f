"""What all metrics of one evaluation want to keep of the images, so that these are made once for all of them."""

from collections.abc import Callable, Hashable, Mapping

from metrics.detectors.detector import Detector
from metrics.features.feature_store import FeatureStore
from metrics.features.passes import ImageSource, Store, run_pass
from metrics.features.real_images import RealImages, RealSet
from metrics.settings import EvaluationSettings


class Collection:
    """Stores of judged and of real images: metrics ask for them first, then they are filled, then metrics read them.

    Attributes:
        source: the images that are judged: `GeneratedImages`, or `StoredImages` of a folder.
        is_generated: whether they come from a generator.
        real: the real images.
        detectors: by key.
        settings: of the evaluation.
    """

    def __init__(
        self,
        source: ImageSource,
        real: RealImages,
        detectors: Mapping[str, Detector],
        settings: EvaluationSettings,
        *,
        is_generated: bool,
    ) -> None:
        self.source, self.real, self.detectors, self.settings = source, real, detectors, settings
        self.is_generated = is_generated
        self._stores: dict[Hashable, Store] = {}
        self._real_stores: dict[tuple[str, RealSet], FeatureStore] = {}

    def store(self, key: Hashable, make: Callable[[], Store]) -> Store:
        """The store of judged images under `key`; the first who asks for it makes it."""
        if key not in self._stores:
            self._stores[key] = make()
        return self._stores[key]

    def features(self, detector: str) -> FeatureStore:
        """The store of a detector's features of judged images."""
        return self.store(detector, lambda: FeatureStore(self.detectors[detector], self.settings.batch_size))

    def real_features(self, detector: str, real_set: RealSet) -> FeatureStore:
        """The store of a detector's features of a set of real images."""
        key = (detector, real_set)
        if key not in self._real_stores:
            self._real_stores[key] = FeatureStore(self.detectors[detector], self.settings.batch_size)
        return self._real_stores[key]

    def make_images(self) -> None:
        """Fill the stores of judged images, in one pass; all processes call it."""
        run_pass(self.source, list(self._stores.values()), self.settings, "generated images")

    def read_real_images(self) -> None:
        """Fill the stores of real features; all processes call it."""
        for (detector, real_set), store in self._real_stores.items():
            self.real.fill(store, real_set, f"{detector} features of real images")
