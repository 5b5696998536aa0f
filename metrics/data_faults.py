"""What small sets of pictures are full of: near duplicates, and pictures that are like no other one."""

from dataclasses import dataclass

import numpy as np
import torch

from metrics.copying.correlation import reduced
from metrics.copying.page import pairs_page
from metrics.copying.search import candidates, nearest
from metrics.detectors.detector import Detector
from training.dataset import ImageDataset

DUPLICATE = 0.9  # correlation from which on two pictures count as one; frames of one video reach it, siblings do not
NEIGHBOURS = 5
FAR_OUT = 3.0  # interquartile ranges above the upper quartile (Tukey 1977)
_SHOWN = 16
_BATCH = 64


@dataclass(frozen=True)
class Faults:
    """Findings in a set of N images.

    Attributes:
        duplicates: (image, the earlier one that it shows again, correlation), by image; of several the closest.
        outliers: (image, its nearest neighbour, distance to its fifth nearest in medians of that), the farthest first.
        duplicates_page, outliers_page: PNGs of the 16 clearest; None where there are none.
    """

    duplicates: list[tuple[int, int, float]]
    outliers: list[tuple[int, int, float]]
    duplicates_page: bytes | None
    outliers_page: bytes | None


def find_faults(dataset: ImageDataset, detector: Detector) -> Faults:
    """Look at all images of a data set, which is taken without mirroring; a mirrored picture is a duplicate, too."""
    plain, both = dataset.whole(xflip=False), dataset.whole(xflip=True)
    parts = np.array_split(np.arange(len(both)), -(-len(both) // _BATCH))
    features = torch.cat([detector(both.images(part)).cpu() for part in parts])
    duplicates, duplicates_page = _duplicates(plain, both, features)
    outliers, outliers_page = _outliers(plain, features[: len(plain)])
    return Faults(duplicates, outliers, duplicates_page, outliers_page)


def _small(dataset: ImageDataset, indices: torch.Tensor) -> torch.Tensor:
    return torch.cat([reduced(dataset.images(part)) for part in indices.split(256)])


def _duplicates(
    plain: ImageDataset, both: ImageDataset, features: torch.Tensor
) -> tuple[list[tuple[int, int, float]], bytes | None]:
    count = len(plain)
    if count < 2:
        return [], None
    own = torch.arange(count)[:, None]
    own = torch.cat([own, own + count], dim=1)
    best: dict[int, tuple[float, int, int]] = {}
    for start in range(0, count, _BATCH):
        rows = torch.arange(start, min(start + _BATCH, count))
        found = candidates(features[rows], _small(plain, rows), features, lambda i: _small(both, i), excluded=own[rows])
        for row, scores, indices in zip(rows.tolist(), *(table.tolist() for table in found), strict=True):
            for score, index in zip(scores, indices, strict=True):
                later, earlier = max(row, index % count), min(row, index % count)
                if score >= DUPLICATE and score > best.get(later, (0.0,))[0]:
                    # Both sides as they correlate: where the match is mirrored, the later one is shown mirrored.
                    mirrored = later + count * (index >= count)
                    best[later] = (score, earlier, mirrored)
    listed = [(later, earlier, score) for later, (score, earlier, _) in sorted(best.items())]
    if not listed:
        return [], None
    clearest = sorted(best.values(), reverse=True)[:_SHOWN]
    scores, earlier, shown = zip(*clearest, strict=True)
    page = pairs_page(
        f"{len(listed)} of {count} pictures show an earlier one again (correlation {DUPLICATE:g} or more)",
        "closest pairs: picture (mirrored where that is the match), earlier picture, difference",
        _small(both, torch.tensor(shown)),
        _small(plain, torch.tensor(earlier)),
        [f"{score:.3f}" for score in scores],
    )
    return listed, page


def _outliers(plain: ImageDataset, features: torch.Tensor) -> tuple[list[tuple[int, int, float]], bytes | None]:
    count = len(features)
    if count <= NEIGHBOURS:
        return [], None
    near = torch.cat(
        [
            nearest(features[part], features, NEIGHBOURS, excluded=part[:, None])
            for part in torch.arange(count).split(_BATCH)
        ]
    )
    distance = (features - features[near[:, -1]]).norm(dim=1)
    lower, median, upper = torch.quantile(distance, torch.tensor([0.25, 0.5, 0.75])).tolist()
    order = distance.argsort(descending=True)
    far = [i for i in order.tolist() if distance[i] > upper + FAR_OUT * (upper - lower)]
    listed = [(i, int(near[i, 0]), float(distance[i]) / median) for i in far]
    shown = order[: min(_SHOWN, count)]
    page = pairs_page(
        f"{len(far)} of {count} pictures are far from all others; the {len(shown)} farthest:",
        "picture, its nearest neighbour, difference; distance to the fifth nearest over the median of that distance",
        _small(plain, shown),
        _small(plain, near[shown, 0]),
        [f"{value:.2f}" for value in (distance[shown] / median).tolist()],
    )
    return listed, page
