"""`compute` and `compare`: names in, results out; images are made once for all metrics that look at them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dnnlib import UserError
from metrics.detectors.detector import Detector, DetectorUnavailable
from metrics.detectors.pretrained import open_detector
from metrics.features.cache import FeatureCache
from metrics.features.passes import FeatureStore, PatchStore, StoredImages, run_pass
from metrics.features.real_images import RealImages, random_order
from metrics.features.sampling import GeneratedImages
from metrics.measures.measures import Inputs, check_counts, compute_numbers, needs_features
from metrics.measures.path_length import path_lengths
from metrics.names import MetricSpec, parse_metric
from metrics.precision import full_float32, statistics_device
from metrics.processes import barrier, main_only, together, world_size
from metrics.results import Result, installed_versions
from metrics.settings import Settings


def compute(names: Sequence[str], *, G: Any, dataset: Any, **options: Any) -> list[Result]:
    """Compute metrics of a generator; with a process group of `torch.distributed`, all processes call it together.

    The results are a function of the network, the data and the seed: neither `batch_size` (up to the rounding of
    the detector) nor the number of processes (exactly) changes them, nor the precision that the network or PyTorch
    is set to, as everything is in float32. torch's random state is left as it was.

    Args:
        names: see `list_names()`; any number and real set can be in a name.
        G: generator, images in [-1, 1]; psi 1 and random noise, as StyleGAN2-ADA evaluates it.
        dataset: the `ImageDataset` as training sees it; it gives the real images and the labels. None is enough for
            metrics without real images of an unconditional generator.
        **options: seed, device, batch_size, detector, bootstrap, ...: the fields of `Settings`.

    Returns:
        One `Result` per name, in their order, equal in all processes.

    Raises:
        DetectorUnavailable: see `Settings.mark_unavailable`; raised before anything is computed.
        UserError: unknown name, too few images, labels that do not fit, NaN in the images or features.
    """
    settings = Settings(**options)
    with full_float32():
        generated = GeneratedImages(G, dataset, settings.seed, settings.device)
        return _Evaluation(names, settings, dataset, generated, None).results()


def compare(names: Sequence[str], *, real: Any, fake: Any, **options: Any) -> list[Result]:
    """Compute metrics of two sets of stored images; returns and raises as `compute`.

    Where `fake` has fewer images than a name says, the result's name says how many there were. Where it has more,
    they are drawn by the seed, since folders are often sorted by class.

    Args:
        names: any but path lengths.
        real: an `ImageDataset`.
        fake: an `ImageDataset` of the same resolution and channels.
        **options: the fields of `Settings`.
    """
    settings = Settings(**options)
    drawn = StoredImages(fake, settings.device, random_order(len(fake), settings.seed))
    with full_float32():
        return _Evaluation(names, settings, real, drawn, fake).results()


class _Evaluation:
    """One call of `compute` (with a generator) or `compare` (with stored images, `fake`)."""

    def __init__(self, names: Sequence[str], settings: Settings, dataset: Any, source: Any, fake: Any | None) -> None:
        self._settings, self._source, self._fake = settings, source, fake
        self._real = RealImages(dataset, settings.device)
        self._cache = FeatureCache(settings.cache_dir)
        self._detectors: dict[str, Detector] = {}
        self._unavailable: dict[str, str] = {}
        self._specs = [self._adapted(parse_metric(name), dataset) for name in dict.fromkeys(names)]
        self._num_real = {spec.name: self._real.count(spec) for spec in self._specs if spec.real_set is not None}
        self._num_gen = {spec.name: self._gen_count(spec) for spec in self._specs}
        for spec in self._specs:
            check_counts(spec, self._num_real.get(spec.name), self._num_gen[spec.name], settings.bootstrap)

    def _adapted(self, spec: MetricSpec, dataset: Any) -> MetricSpec:
        """The spec for the detector and the images at hand; opens its detector."""
        settings = self._settings
        if spec.real_set is not None and dataset is None:
            raise UserError(f"{spec.name} compares with real images; give them with --data")
        if self._fake is not None:
            if spec.kind == "ppl":
                raise UserError(f"{spec.name} needs a generator (--network), not a folder of images")
            if spec.kind != "swd" and len(self._fake) < spec.num_gen:
                spec = spec.with_num_gen(len(self._fake))
        if spec.family == "none":
            return spec
        family = spec.family if settings.detector is None else "file"
        if family not in self._detectors and family not in self._unavailable:
            self._open(family, spec)
        return (
            spec
            if settings.detector is None
            else replace(spec.with_detector(self._detectors["file"].sha256), family="file")
        )

    def _open(self, family: str, spec: MetricSpec) -> None:
        settings = self._settings

        def open_it() -> Detector:
            return open_detector(
                family,
                settings.device,
                file=settings.detector,
                sha256=settings.detector_sha256,
                offline=settings.offline,
                cache_dir=settings.cache_dir,
            )

        try:
            if world_size() > 1:
                main_only(lambda: open_it().file)  # one process fetches the file, the others find it in the cache
            self._detectors[family] = together(open_it)
        except DetectorUnavailable as error:
            if not settings.mark_unavailable:
                raise
            self._unavailable[family] = f"{error}"

    def _gen_count(self, spec: MetricSpec) -> int:
        if spec.kind != "swd":
            return spec.num_gen
        # swd compares equally many images of both kinds
        fakes = spec.num_gen if self._fake is None else len(self._fake)
        return min(spec.num_gen, self._num_real[spec.name], fakes)

    def results(self) -> list[Result]:
        """Compute everything."""
        available = [spec for spec in self._specs if spec.family not in self._unavailable]
        started = time.time()
        stores, patches = self._generate(available)
        shared_seconds = time.time() - started
        real_stores = self._real_features(available)
        results = []
        for spec in self._specs:
            if spec.family in self._unavailable:
                results.append(Result(spec.name, {}, not_computed=self._unavailable[spec.family]))
                continue
            started = time.time()
            inputs = self._inputs(spec, stores, patches, real_stores)
            numbers, intervals = main_only(lambda spec=spec, inputs=inputs: compute_numbers(spec, inputs))
            seconds = main_only(lambda started=started: time.time() - started + shared_seconds)
            results.append(Result(spec.name, numbers, intervals, self._provenance(spec), seconds, world_size()))
        barrier()
        return results

    def _generate(self, specs: list[MetricSpec]) -> tuple[dict[str, FeatureStore], PatchStore | None]:
        """The features and patches of generated images that the metrics need."""
        counts: dict[str, list[int]] = {}
        keep: dict[str, bool] = {}
        for spec in specs:
            if spec.kind not in ("swd", "ppl"):
                counts.setdefault(spec.family, []).append(spec.num_gen)
                needed = needs_features(spec, self._settings.bootstrap)
                keep[spec.family] = keep.get(spec.family, False) or needed
        stores = {family: FeatureStore(numbers, keep=keep[family]) for family, numbers in counts.items()}
        most_patches = max((self._num_gen[spec.name] for spec in specs if spec.kind == "swd"), default=0)
        patches = PatchStore(most_patches, self._settings.seed) if most_patches else None
        self._pass(self._source, stores, patches, "generated images")
        return stores, patches

    def _real_features(self, specs: list[MetricSpec]) -> dict[tuple[str, str], FeatureStore]:
        """The features of real images, by (family, real set)."""
        wanted: dict[tuple[str, str], list[MetricSpec]] = {}
        for spec in specs:
            if spec.real_set is not None and spec.kind != "swd":
                wanted.setdefault((spec.family, spec.real_set), []).append(spec)
        return {
            (family, real_set): self._real.store(
                real_set,
                [self._num_real[spec.name] for spec in users],
                family,
                self._detectors[family],
                self._cache,
                keep=any(self._needs_real_features(spec) for spec in users),
                batch_size=self._settings.batch_size,
                progress=self._settings.progress,
            )
            for (family, real_set), users in wanted.items()
        }

    def _needs_real_features(self, spec: MetricSpec) -> bool:
        return needs_features(spec, self._settings.bootstrap) and (
            spec.kind != "fd_inf" or self._settings.bootstrap > 0
        )

    def _inputs(
        self,
        spec: MetricSpec,
        stores: dict[str, FeatureStore],
        patches: PatchStore | None,
        real_stores: dict[tuple[str, str], FeatureStore],
    ) -> Inputs:
        settings = self._settings
        inputs = Inputs(
            num_real=self._num_real.get(spec.name, 0),
            num_gen=self._num_gen[spec.name],
            generated=stores.get(spec.family),
            real=real_stores.get((spec.family, spec.real_set or "")),
            detector=self._detectors.get(spec.family),
            seed=settings.seed,
            resamples=settings.bootstrap,
            device=statistics_device(settings.device),
        )
        if spec.kind == "ppl":
            lengths = path_lengths(
                spec, self._source, self._detectors[spec.family], label=spec.name, progress=settings.progress
            )
            return replace(inputs, lengths=lengths)
        if spec.kind == "swd":
            count = self._num_gen[spec.name]
            real_patches = PatchStore(count, settings.seed)
            # Against stored images in the same order, so that equal images have patches at equal places.
            sample = self._real.sample(spec, count, settings.seed, sort=self._fake is None)
            self._pass(sample, {}, real_patches, "real images")
            return replace(inputs, num_real=count, real_patches=real_patches, generated_patches=patches)
        return inputs

    def _pass(self, source: Any, stores: dict[str, FeatureStore], patches: PatchStore | None, label: str) -> None:
        run_pass(
            source,
            stores,
            self._detectors,
            patches,
            batch_size=self._settings.batch_size,
            label=label,
            progress=self._settings.progress,
        )

    def _provenance(self, spec: MetricSpec) -> dict[str, Any]:
        """What a result was computed from, as JSON values."""
        settings = self._settings
        provenance: dict[str, Any] = {"num_gen": self._num_gen[spec.name], "seed": settings.seed}
        if spec.real_set is not None:
            count = self._num_gen[spec.name] if spec.kind == "swd" else self._num_real[spec.name]
            provenance.update(num_real=count, real_set=spec.real_set)
            provenance["dataset_hash"] = self._real.content_hash(spec.real_set)
            origin = getattr(self._real.dataset(spec.real_set), "meta", {}).get("resize_filter")
            provenance["dataset_resize_filter"] = origin
        if self._fake is not None:
            provenance["fake_hash"] = self._fake.content_hash()
        else:
            provenance["generator"] = "psi 1, random noise, float32, quantised to uint8"
        if spec.family != "none":
            provenance["detector"] = self._detectors[spec.family].describe()
        if settings.bootstrap:
            provenance["bootstrap"] = settings.bootstrap
        provenance["device"] = settings.device.type
        provenance["versions"] = installed_versions()
        return provenance
