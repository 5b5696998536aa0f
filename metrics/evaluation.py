"""`compute` and `compare`: names in, results out; images are made once for all metrics that look at them."""

import time
from collections.abc import Sequence
from typing import Any

from dnnlib import UserError
from metrics.detectors.detector import Detector, DetectorUnavailable
from metrics.detectors.registry import open_detector
from metrics.features.collection import Collection
from metrics.features.passes import StoredImages
from metrics.features.real_images import RealImages, random_order
from metrics.features.sampling import GeneratedImages
from metrics.float32 import full_float32
from metrics.measures.metric import Metric
from metrics.names import parse_metric
from metrics.results import Result
from metrics.settings import EvaluationSettings
from torch_utils.machine.environment import versions

_LIBRARIES = (
    "rooted-stylegan", "torch", "numpy", "scipy", "pillow", "torch-fidelity", "torchvision", "lpips", "timm",
)  # fmt: skip

OVER_WHITE = "composed over white for the detector"


def compute(names: Sequence[str], *, G: Any, dataset: Any, **options: Any) -> list[Result]:
    """Compute metrics of a generator; with a `world` of several processes, all of them call it together.

    The results are a function of the network, the data and the seed: neither `batch_size` (up to the rounding of
    the detector) nor the number of processes (exactly) changes them, nor the precision that the network or PyTorch
    is set to, as everything is in float32. torch's random state is left as it was.

    Args:
        names: see `list_names()`; any number and real set can be in a name.
        G: generator, images in [-1, 1]; psi 1 and random noise, as StyleGAN2-ADA evaluates it.
        dataset: the `ImageDataset` as training sees it; it gives the real images and the labels. None is enough for
            metrics without real images of an unconditional generator.
        **options: seed, device, batch_size, detector, bootstrap, ...: the fields of `EvaluationSettings`.

    Returns:
        One `Result` per name, in their order, equal in all processes.

    Raises:
        DetectorUnavailable: see `EvaluationSettings.mark_unavailable`; raised before anything is computed.
        UserError: unknown name, too few images, labels that do not fit, NaN in the images or features.
    """
    settings = EvaluationSettings(**options)
    with full_float32():
        generated = GeneratedImages(G, dataset, settings.seed, settings.device)
        return _Evaluation(names, settings, dataset, generated, None, G.img_channels).results()


def compare(names: Sequence[str], *, real: Any, fake: Any, **options: Any) -> list[Result]:
    """Compute metrics of two sets of stored images; returns and raises as `compute`.

    Where `fake` has fewer images than a name says, the result's name says how many there were. Where it has more,
    they are drawn by the seed, since folders are often sorted by class.

    Args:
        names: any but path lengths.
        real: an `ImageDataset`.
        fake: an `ImageDataset` too. Where they differ in size or channels, or are `MixedImages`, only metrics of
            detectors can be computed, which resize each image by itself.
        **options: the fields of `EvaluationSettings`.
    """
    settings = EvaluationSettings(**options)
    drawn = StoredImages(fake, settings.device, random_order(len(fake), settings.seed))
    with full_float32():
        return _Evaluation(names, settings, real, drawn, fake, fake.num_channels).results()


class _Evaluation:
    """One call of `compute` (with a generator) or `compare` (with stored images, `fake`)."""

    def __init__(
        self,
        names: Sequence[str],
        settings: EvaluationSettings,
        dataset: Any,
        source: Any,
        fake: Any | None,
        channels: int,
    ) -> None:
        self._settings, self._fake, self._channels = settings, fake, channels
        self._detectors: dict[str, Detector] = {}
        self._unavailable: dict[str, str] = {}
        self._metrics = [self._adapted(parse_metric(name), dataset) for name in dict.fromkeys(names)]
        real = RealImages(dataset, settings)
        self._images = Collection(source, real, self._detectors, settings, is_generated=fake is None)
        self._counts = [
            metric.counts(
                None if metric.real_set is None else real.count(metric.real_set, metric.max_real),
                None if fake is None else len(fake),
            )
            for metric in self._metrics
        ]
        for metric, counts in zip(self._metrics, self._counts, strict=True):
            metric.check_counts(*counts, settings.bootstrap)

    def _adapted(self, metric: Metric, dataset: Any) -> Metric:
        """The metric for the detector and the images at hand; opens its detector."""
        if metric.real_set is not None and dataset is None:
            raise UserError(f"{metric.name} compares with real images; give them with `data`")
        if self._fake is not None:
            if metric.needs_generator:
                raise UserError(f"{metric.name} needs a generator (`network`), not a folder of images")
            if metric.needs_one_size and not self._alike(dataset):
                raise UserError(
                    f"{metric.name} compares pixels, and the images of `real` and `fake` have not all one size and "
                    "mode; bring them to one with dataset_tool.py, or leave it out"
                )
            if len(self._fake) < metric.num_gen:
                metric = metric.with_num_gen(len(self._fake))
        if metric.detector is None:
            return metric
        key = metric.detector if self._settings.detector is None else "file"
        if key not in self._detectors and key not in self._unavailable:
            self._open(key)
        return metric.with_file(self._detectors[key].sha256) if key == "file" else metric

    def _alike(self, dataset: Any) -> bool:
        return dataset.image_shape is not None and dataset.image_shape == self._fake.image_shape

    def _open(self, key: str) -> None:
        settings = self._settings

        def open_it() -> Detector:
            return open_detector(
                key,
                settings.device,
                file=settings.detector,
                sha256=settings.detector_sha256,
                offline=settings.offline,
                cache_dir=settings.cache_dir,
            )

        try:
            if settings.world.size > 1:
                # One process fetches the file, the others find it in the cache.
                settings.world.main_only(lambda: open_it().file)
            self._detectors[key] = settings.world.together(open_it)
        except DetectorUnavailable as error:
            if not settings.mark_unavailable:
                raise
            self._unavailable[key] = f"{error}"

    def results(self) -> list[Result]:
        """Compute everything."""
        world = self._settings.world
        available = [
            (metric, counts)
            for metric, counts in zip(self._metrics, self._counts, strict=True)
            if metric.detector not in self._unavailable
        ]
        for metric, counts in available:
            metric.want(self._images, *counts)
        started = time.time()
        self._images.make_images()
        shared_seconds = time.time() - started
        self._images.read_real_images()
        results = {}
        for metric, counts in available:
            started = time.time()
            inputs = metric.inputs(self._images, *counts)
            outcome = world.main_only(lambda metric=metric, inputs=inputs: metric.outcome(inputs))
            seconds = world.main_only(lambda started=started: time.time() - started + shared_seconds)
            results[metric] = Result(
                metric.name,
                outcome.numbers,
                outcome.intervals,
                {**self._provenance(metric, *counts), **outcome.facts},
                seconds,
                world.size,
                picture=outcome.picture,
                warning=outcome.warning,
            )
        world.barrier()
        return [
            results[metric]
            if metric in results
            else Result(metric.name, {}, not_computed=self._unavailable[metric.detector])
            for metric in self._metrics
        ]

    def _provenance(self, metric: Metric, num_real: int | None, num_gen: int) -> dict[str, Any]:
        """What a result was computed from, as JSON values."""
        settings, real = self._settings, self._images.real
        provenance: dict[str, Any] = {"num_gen": num_gen, "seed": settings.seed}
        if metric.real_set is not None:
            provenance.update(num_real=num_real, real_set=metric.real_set)
            provenance["dataset_hash"] = real.content_hash(metric.real_set)
            origin = getattr(real.dataset(metric.real_set), "meta", {}).get("resize_filter")
            provenance["dataset_resize_filter"] = origin
        if self._fake is not None:
            provenance["fake_hash"] = self._fake.content_hash()
            if metric.detector is not None and not self._alike(real.dataset("train")):
                provenance["sizes"] = f"any; each image by itself: {self._detectors[metric.detector].preprocessing}"
        else:
            provenance["generator"] = "psi 1, random noise, float32, quantised to uint8"
        if metric.detector is not None:
            provenance["detector"] = self._detectors[metric.detector].describe()
            if self._channels in (2, 4):
                provenance["alpha"] = OVER_WHITE
        if settings.bootstrap:
            provenance["bootstrap"] = settings.bootstrap
        provenance["device"] = settings.device.type
        provenance["versions"] = versions(*_LIBRARIES)
        return provenance
