"""The picture of a set that a query shows again, in two stages: near in feature space, then by correlation.

Distances of features alone do not tell a copy from another picture of the same person.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from metrics.copying.correlation import LARGEST, fine_structure, largest_correlation

_CANDIDATES = 10  # of pictures of 64 pixels; features of smaller ones tell less, and their correlation costs less
_QUERIES = 64  # at a time


@dataclass(frozen=True)
class Matches:
    """For each query: `score` [N], the largest correlation, and `index` [N] of the picture that has it."""

    score: torch.Tensor
    index: torch.Tensor


def best_matches(
    features: torch.Tensor,
    pictures: torch.Tensor,
    set_features: torch.Tensor,
    set_pictures: Callable[[torch.Tensor], torch.Tensor],
    *,
    excluded: torch.Tensor | None = None,
) -> Matches:
    """Compare each query with its nearest pictures of a set.

    Args:
        features: of the queries, float32 [N, D].
        pictures: the queries, uint8 RGB [N, 3, h, w], see `metrics.copying.correlation.reduced`.
        set_features: float32 [M, D].
        set_pictures: from indices [K] to the set's reduced pictures [K, 3, h, w].
        excluded: indices [N, E] of what each query is not compared with, such as itself.
    """
    scores, indices = candidates(features, pictures, set_features, set_pictures, excluded=excluded)
    best = scores.argmax(dim=1, keepdim=True)
    return Matches(scores.gather(1, best)[:, 0], indices.gather(1, best)[:, 0])


def candidates(
    features: torch.Tensor,
    pictures: torch.Tensor,
    set_features: torch.Tensor,
    set_pictures: Callable[[torch.Tensor], torch.Tensor],
    *,
    excluded: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [N, K] and indices [N, K] of the pictures of the set that are near each query; see `best_matches`."""
    count = round(_CANDIDATES * (LARGEST / min(pictures.shape[2:])) ** 2)
    scores, indices = [], []
    for start in range(0, len(features), _QUERIES):
        part = slice(start, start + _QUERIES)
        near = nearest(features[part], set_features, count, None if excluded is None else excluded[part])
        wanted, place = near.unique(return_inverse=True)
        structures = fine_structure(set_pictures(wanted))
        queries = fine_structure(pictures[part])
        scores.append(torch.stack([largest_correlation(queries, structures[column]) for column in place.T], dim=1))
        indices.append(near)
    return torch.cat(scores), torch.cat(indices)


def nearest(
    features: torch.Tensor, set_features: torch.Tensor, count: int, excluded: torch.Tensor | None = None
) -> torch.Tensor:
    """Indices [N, count or fewer] of the rows [M, D] nearest to each of [N, D], the nearest first."""
    distances = torch.cdist(features, set_features)
    left = len(set_features)
    if excluded is not None:
        distances.scatter_(1, excluded, torch.inf)
        left -= excluded.shape[1]
    return distances.topk(min(count, left), dim=1, largest=False).indices
