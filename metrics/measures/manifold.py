"""Precision and recall, density and coverage: does each set lie in the neighbourhoods of the other?

The manifold of a set is the union of balls around its points, each with the distance to the point's k-th
nearest neighbour in the set as its radius. Distances are in float64 and computed in tiles.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from metrics.measures.inputs import Inputs
from metrics.measures.metric import DETECTOR, REAL_SET, Metric, Numbers, Replicates, format_count

TILE_VALUES = 2**25  # distances held at a time, 256 MiB


@dataclass(frozen=True)
class Manifold:
    """Per-point values whose means are the measures; a bootstrap resamples them.

    Attributes:
        in_real: [M] how many real balls hold each generated point.
        in_generated: [N] whether any generated ball holds each real point, 0 or 1; None if not asked for.
        real_ball_used: [N] whether each real ball holds any generated point, 0 or 1.
    """

    in_real: torch.Tensor
    in_generated: torch.Tensor | None
    real_ball_used: torch.Tensor


def compare_manifolds(real: torch.Tensor, generated: torch.Tensor, k: int, *, recall: bool) -> Manifold:
    """Count which points lie in which balls, for features [N, D] and [M, D].

    Args:
        real: features, more than k rows.
        generated: features, more than k rows.
        k: the neighbour that gives the radius.
        recall: whether to build the manifold of the generated points, too.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(f"radii of the {k}th neighbour need more than {k} rows")
    real, generated = real.double(), generated.double()
    inside, used = _points_in_balls(generated, real, radii(real, k))
    in_generated = None
    if recall:
        in_generated = (_points_in_balls(real, generated, radii(generated, k))[0] > 0).double().cpu()
    return Manifold(inside.double().cpu(), in_generated, used.double().cpu())


def precision_recall(manifold: Manifold) -> tuple[float, float]:
    """Fraction of generated points in the real manifold, and the reverse (Kynkaanniemi et al. 2019)."""
    return float((manifold.in_real > 0).double().mean()), float(manifold.in_generated.mean())


def density_coverage(manifold: Manifold, k: int) -> tuple[float, float]:
    """Mean number of real balls around a generated point over k; fraction of real balls in use (Naeem et al. 2020)."""
    return float(manifold.in_real.mean()) / k, float(manifold.real_ball_used.mean())


def radii(points: torch.Tensor, k: int) -> torch.Tensor:
    """The distance of each row of [N, D] to its k-th nearest other row: [N]."""
    values = []
    for start, distances in _distance_tiles(points, points):
        rows = torch.arange(len(distances), device=points.device)
        distances[rows, rows + start] = torch.inf
        values.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(values)


def _points_in_balls(points: torch.Tensor, centres: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(how many balls hold each point [N], whether each ball holds a point [M])."""
    counts, used = [], torch.zeros(len(centres), dtype=torch.bool, device=points.device)
    for _, distances in _distance_tiles(points, centres):
        inside = distances <= radius
        counts.append(inside.sum(dim=1))
        used |= inside.any(dim=0)
    return torch.cat(counts), used


def _distance_tiles(x: torch.Tensor, y: torch.Tensor):
    """(first row, distances [rows, M]) over x [N, D] against y [M, D]."""
    squares = y.square().sum(dim=1)
    step = max(1, TILE_VALUES // len(y))
    for start in range(0, len(x), step):
        rows = x[start : start + step]
        squared = torch.addmm(rows.square().sum(dim=1, keepdim=True) + squares, rows, y.T, alpha=-2)
        yield start, squared.clamp_(min=0).sqrt_()


_COUNT_AND_K = r"(?P<count>[1-9]\d*k|[1-9]\d*(?=_))_?(?P<k>[1-9]\d?)"


@dataclass(frozen=True)
class ManifoldMetric(Metric):
    """`k`: the neighbour whose distance is the radius."""

    k: int = 0

    home = "vgg16"
    higher_is_better = True
    most_real = 200_000  # as StyleGAN2-ADA limits it
    default_k: ClassVar[int]

    @classmethod
    def own_parts(cls, parts: dict[str, str | None]) -> dict[str, Any]:
        """K."""
        return {"k": int(parts["k"] or cls.default_k)}

    @property
    def least(self) -> int:
        """Radii need k other images."""
        return self.k + 1

    def count_in_name(self) -> str:
        """`50k3`, `800_3`."""
        count = format_count(self.num_gen)
        return f"{count}{self.k}" if count.endswith("k") else f"{count}_{self.k}"

    def named(
        self,
        parts: tuple[str, str],
        numbers: tuple[float, float],
        values: tuple[torch.Tensor, torch.Tensor],
        inputs: Inputs,
    ) -> tuple[Numbers, Replicates]:
        """Two numbers, whose values per generated [M] and per real image [N] are resampled while the balls stay."""
        keys = [f"{self.name}_{part}" for part in parts]
        replicates: Replicates = {}
        if inputs.resamples:
            real, generated = inputs.multiplicities()
            means = (times @ v.numpy() / len(v) for v, times in zip(values, (generated, real), strict=True))
            replicates = dict(zip(keys, means, strict=True))
        return dict(zip(keys, numbers, strict=True)), replicates


class PrecisionRecall(ManifoldMetric):
    """pr<N><k>[...] on VGG16's features, pr_<detector>[_<N><k>][...] on others."""

    grammar = (rf"pr{_COUNT_AND_K}{REAL_SET}", rf"pr_{DETECTOR}(_{_COUNT_AND_K})?{REAL_SET}")
    kind = stem = "pr"
    listed = ("pr50k3_full", "pr50k3", "pr5k3_train")
    default_k = 3

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """`_precision` and `_recall`."""
        manifold = compare_manifolds(inputs.real_features(), inputs.generated_features(), self.k, recall=True)
        values = (manifold.in_real > 0).double(), manifold.in_generated
        return self.named(("precision", "recall"), precision_recall(manifold), values, inputs)


class DensityCoverage(ManifoldMetric):
    """dc<N><k>[...] on VGG16's features, dc_<detector>[_<N><k>][...] on others."""

    grammar = (rf"dc{_COUNT_AND_K}{REAL_SET}", rf"dc_{DETECTOR}(_{_COUNT_AND_K})?{REAL_SET}")
    kind = stem = "dc"
    listed = ("dc", "dc10k5_full")
    aliases: ClassVar[dict[str, str]] = {"dc": "dc10k5_full"}
    default_count, default_k = 10_000, 5

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """`_density` and `_coverage`."""
        manifold = compare_manifolds(inputs.real_features(), inputs.generated_features(), self.k, recall=False)
        values = manifold.in_real / self.k, manifold.real_ball_used
        return self.named(("density", "coverage"), density_coverage(manifold, self.k), values, inputs)
