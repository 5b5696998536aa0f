"""From features, patches or path lengths to the numbers of one metric, with their bootstrap replicates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dnnlib import UserError
from metrics.detectors.detector import Detector
from metrics.features.passes import FeatureStore, PatchStore
from metrics.measures import bootstrap, swd
from metrics.measures.frechet import Moments, frechet_distance, frechet_distance_of_features, frechet_infinity
from metrics.measures.inception_score import SPLITS, inception_score
from metrics.measures.kernel import kernel_distance
from metrics.measures.manifold import compare_manifolds, density_coverage, precision_recall
from metrics.measures.path_length import mean_path_length
from metrics.names import MetricSpec

LEAST_RESAMPLED = 10

Numbers = dict[str, float]
Replicates = dict[str, np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """What one metric is computed from.

    Attributes:
        num_real, num_gen: counts.
        real, generated: features, where the metric needs them.
        real_patches, generated_patches: patches, for swd.
        lengths: path lengths [num_gen].
        detector: whose features they are.
        seed: of random subsets, directions and resamples.
        resamples: B, 0 for no intervals.
        device: where to compute; it has float64.
    """

    num_real: int
    num_gen: int
    real: FeatureStore | None = None
    generated: FeatureStore | None = None
    real_patches: PatchStore | None = None
    generated_patches: PatchStore | None = None
    lengths: np.ndarray | None = None
    detector: Detector | None = None
    seed: int = 0
    resamples: int = 0
    device: torch.device | str = "cpu"

    def real_features(self) -> torch.Tensor:
        """[num_real, D] on the device."""
        return self.real.features(self.num_real).to(self.device)

    def generated_features(self) -> torch.Tensor:
        """[num_gen, D] on the device."""
        return self.generated.features(self.num_gen).to(self.device)

    def resampled_rows(self):
        """Pairs of index arrays (real [num_real], generated [num_gen])."""
        pairs = (bootstrap.resamples(self.resamples, n, self.seed, i) for i, n in enumerate(self._counts()))
        return zip(*pairs, strict=True)

    def multiplicities(self) -> tuple[np.ndarray, np.ndarray]:
        """The same resamples as counts [B, num_real], [B, num_gen]."""
        real, generated = (
            bootstrap.multiplicities(self.resamples, n, self.seed, i) for i, n in enumerate(self._counts())
        )
        return real, generated

    def _counts(self) -> tuple[int, int]:
        return self.num_real, self.num_gen


def needs_features(spec: MetricSpec, resamples: int) -> bool:
    """Whether a metric needs the features themselves, not only their moments."""
    return resamples > 0 or spec.kind != "fd"


def check_counts(spec: MetricSpec, num_real: int | None, num_gen: int, resamples: int = 0) -> None:
    """Refuse sets too small for the metric's definition, or for intervals.

    Raises:
        UserError: with the number that it needs.
    """
    least = {"fd": 2, "fd_inf": 20, "kd": 2, "pr": spec.k + 1, "dc": spec.k + 1, "is": SPLITS, "ppl": 2, "swd": 2}
    # Of fewer images a resample may repeat a single one, of which no distance can be computed.
    needed = max(least[spec.kind], LEAST_RESAMPLED if resamples else 0)
    if num_gen < needed or (num_real is not None and num_real < needed):
        shown = f"{num_gen} generated" + ("" if num_real is None else f" and {num_real} real")
        raise UserError(
            f"{spec.name}{' with --bootstrap' if resamples else ''} needs at least {needed} images of each kind, there "
            f"are {shown}; give more, or choose another of --metrics"
        )


def compute_numbers(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, dict[str, tuple[float, float]]]:
    """The numbers of a metric by key, and their intervals if `inputs.resamples` > 0."""
    numbers, replicates = _MEASURES[spec.kind](spec, inputs)
    if inputs.resamples == 0:
        return numbers, {}
    return numbers, {key: bootstrap.interval(numbers[key], values) for key, values in replicates.items()}


def _frechet(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    value = frechet_distance(inputs.real.moments(inputs.num_real), inputs.generated.moments(inputs.num_gen))
    replicates = []
    if inputs.resamples:
        real, generated = inputs.real_features(), inputs.generated_features()
        replicates = [frechet_distance_of_features(real[r], generated[g]) for r, g in inputs.resampled_rows()]
    return {spec.name: value}, {spec.name: np.array(replicates)}


def _frechet_infinity(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    generated = inputs.generated_features()
    value = frechet_infinity(inputs.real.moments(inputs.num_real), generated, seed=inputs.seed)
    replicates = []
    if inputs.resamples:
        real = inputs.real_features()
        replicates = [
            frechet_infinity(Moments.of(real[r]), generated[g], seed=inputs.seed) for r, g in inputs.resampled_rows()
        ]
    return {spec.name: value}, {spec.name: np.array(replicates)}


def _kernel(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    real, generated = inputs.real_features(), inputs.generated_features()
    value = float(kernel_distance(real, generated, seed=inputs.seed)[0])
    replicates = np.array([])
    if inputs.resamples:
        replicates = kernel_distance(real, generated, seed=inputs.seed, multiplicities=inputs.multiplicities())
    return {spec.name: value}, {spec.name: replicates}


def _precision_recall(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    manifold = compare_manifolds(inputs.real_features(), inputs.generated_features(), spec.k, recall=True)
    precision, recall = precision_recall(manifold)
    keys = f"{spec.name}_precision", f"{spec.name}_recall"
    replicates = {}
    if inputs.resamples:
        real, generated = inputs.multiplicities()
        replicates = {
            keys[0]: _means((manifold.in_real > 0).double().numpy(), generated),
            keys[1]: _means(manifold.in_generated.numpy(), real),
        }
    return {keys[0]: precision, keys[1]: recall}, replicates


def _density_coverage(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    manifold = compare_manifolds(inputs.real_features(), inputs.generated_features(), spec.k, recall=False)
    density, coverage = density_coverage(manifold, spec.k)
    keys = f"{spec.name}_density", f"{spec.name}_coverage"
    replicates = {}
    if inputs.resamples:
        real, generated = inputs.multiplicities()
        replicates = {
            keys[0]: _means(manifold.in_real.numpy() / spec.k, generated),
            keys[1]: _means(manifold.real_ball_used.numpy(), real),
        }
    return {keys[0]: density, keys[1]: coverage}, replicates


def _inception_score(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    logits = inputs.detector.logits(inputs.generated_features()).to(inputs.device)
    mean, deviation = inception_score(logits)
    replicates = [
        inception_score(logits[torch.from_numpy(rows)])
        for rows in bootstrap.resamples(inputs.resamples, inputs.num_gen, inputs.seed, 1)
    ]
    columns = np.array(replicates).reshape(-1, 2).T
    keys = f"{spec.name}_mean", f"{spec.name}_std"
    return dict(zip(keys, (mean, deviation), strict=True)), dict(zip(keys, columns, strict=True))


def _path_length(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    replicates = [
        mean_path_length(inputs.lengths[rows])
        for rows in bootstrap.resamples(inputs.resamples, inputs.num_gen, inputs.seed, 1)
    ]
    return {spec.name: mean_path_length(inputs.lengths)}, {spec.name: np.array(replicates)}


def _sliced_wasserstein(spec: MetricSpec, inputs: Inputs) -> tuple[Numbers, Replicates]:
    numbers: Numbers = {}
    replicates: Replicates = {}
    for level in inputs.generated_patches.levels():
        key = f"{spec.name}_{level}"
        real, generated = (
            patches.level(level, inputs.num_gen).to(inputs.device)
            for patches in (inputs.real_patches, inputs.generated_patches)
        )
        numbers[key] = swd.sliced_wasserstein(real, generated, seed=inputs.seed)
        if inputs.resamples:
            replicates[key] = swd.resampled_distances(real, generated, inputs.multiplicities(), seed=inputs.seed)
    average = float(np.mean(list(numbers.values())))
    if inputs.resamples:
        replicates[spec.name] = np.mean(list(replicates.values()), axis=0)
    return {spec.name: average, **numbers}, replicates


def _means(values: np.ndarray, multiplicity: np.ndarray) -> np.ndarray:
    """The mean of per-image values [N] in each resample [B, N]: [B]."""
    return multiplicity @ values / len(values)


_MEASURES: dict[str, Callable[[MetricSpec, Inputs], tuple[Numbers, Replicates]]] = {
    "fd": _frechet,
    "fd_inf": _frechet_infinity,
    "kd": _kernel,
    "pr": _precision_recall,
    "dc": _density_coverage,
    "is": _inception_score,
    "ppl": _path_length,
    "swd": _sliced_wasserstein,
}
