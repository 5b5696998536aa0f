"""auth and ct: whether generated images lie closer to the training images than they should, by distances of features.

Both see copying where it shifts many distances; which pictures are copies is what `copies` tells.
"""

from typing import Any

import numpy as np
import scipy.cluster.vq
import scipy.stats
import torch

from dnnlib import UserError
from metrics.copying.search import nearest
from metrics.features.collection import Collection
from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, DETECTOR, Metric, Numbers, Replicates

IMAGES_PER_CELL = 50
MOST_CELLS = 20
LEAST_IN_CELL = 20  # generated images, as in the paper's experiments


class Authenticity(Metric):
    """auth[<N>], auth_<detector>[_<N>]: the share of generated images that are no noisy copies (Alaa et al. 2022).

    Such is an image that lies closer to its nearest training image than that one to its own nearest other one.
    """

    grammar = (rf"auth{COUNT}?", rf"auth_{DETECTOR}(_{COUNT})?")
    kind = stem = "auth"
    home = "lite0"
    listed = ("auth",)
    tells_copying = True
    higher_is_better = True
    only_set = "train"
    default_count = 2000
    most_real = 200_000

    def gather(self, images: Collection, num_real: int | None, num_gen: int) -> tuple[Any, Any]:
        """(features, number of images before mirroring) of the training images; features of the judged ones."""
        real, judged = super().gather(images, num_real, num_gen)
        dataset = images.real.dataset("train")
        return (real, len(dataset) // 2 if dataset.xflip else None), judged

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """One number; resamples are of the generated images."""
        store, originals = inputs.real
        real, generated = store.features(inputs.num_real), inputs.generated.features(inputs.num_gen)
        authentic = authenticity(real, generated, originals).double().numpy()
        replicates = [authentic[rows].mean() for rows in inputs.resampled_generated()]
        return {self.name: float(authentic.mean())}, {self.name: np.array(replicates)}


class CopyTest(Metric):
    """ct[<N>], ct_<detector>[_<N>]: the three-sample test of Meehan et al. 2020; well below 0 means copying.

    Far above 0 the generated images are farther from the training images than held-out ones: underfitting.
    """

    grammar = (rf"ct{COUNT}?", rf"ct_{DETECTOR}(_{COUNT})?")
    kind = stem = "ct"
    home = "lite0"
    listed = ("ct",)
    tells_copying = True
    higher_is_better = True  # as far as copying goes
    only_set = "train"
    least = LEAST_IN_CELL
    default_count = 2000
    most_real = 200_000

    def want(self, images: Collection, num_real: int | None, num_gen: int) -> None:
        """Features of held-out images, too.

        Raises:
            UserError: there are none.
        """
        held_out = images.real.dataset("held_out")
        if held_out is None:
            raise UserError(
                f"{self.name} needs images that were not trained on (`subset` leaves some); choose copies instead"
            )
        super().want(images, num_real, num_gen)
        images.real_features(self.detector, "held_out").want(len(held_out), rows=True)

    def gather(self, images: Collection, num_real: int | None, num_gen: int) -> tuple[Any, Any]:
        """Features of the training images and of the held-out ones; features of the judged images."""
        real, judged = super().gather(images, num_real, num_gen)
        held_out = images.real_features(self.detector, "held_out")
        return (real, held_out.features(held_out.count) if images.settings.world.is_main else None), judged

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """One number; resamples are of the generated and the held-out images."""
        store, held_out = inputs.real
        real, generated = store.features(inputs.num_real), inputs.generated.features(inputs.num_gen)
        distances, cells = _nearest_in_cells(real, [held_out, generated], inputs.seed)
        value = copy_test(distances, cells)
        replicates = []
        random = np.random.default_rng(inputs.seed)
        for rows in inputs.resampled_generated():
            drawn = (random.integers(len(held_out), size=len(held_out)), rows)
            replicates.append(
                copy_test(
                    [d[i] for d, i in zip(distances, drawn, strict=True)],
                    [c[i] for c, i in zip(cells, drawn, strict=True)],
                )
            )
        return {self.name: value}, {self.name: np.array(replicates)}


def authenticity(real: torch.Tensor, generated: torch.Tensor, originals: int | None = None) -> torch.Tensor:
    """Whether each of [M, D] is farther from its nearest row of [N, D] than that one from its nearest other: bool [M].

    `originals`: row i + originals is row i mirrored, and does not count as another one; None without such rows.
    """
    closest = nearest(generated, real, 1)[:, 0]
    own = torch.arange(len(real))[:, None]
    if originals is not None:
        own = torch.cat([own, (own + originals) % (2 * originals)], dim=1).clamp(max=len(real) - 1)
    used, place = closest.unique(return_inverse=True)
    neighbour = nearest(real[used], real, 1, own[used])[:, 0]
    spacing = (real[used] - real[neighbour]).norm(dim=1)
    return (generated - real[closest]).norm(dim=1) > spacing[place]


def copy_test(distances: list[np.ndarray], cells: list[np.ndarray]) -> float:
    """C_T of Meehan et al. 2020, equation 3: the mean over cells of Mann-Whitney's z, weighted by held-out images.

    Args:
        distances: to the nearest training image, of held-out [N] and of generated images [M].
        cells: in which cell each lies. Cells with fewer than 20 generated images say nothing; if
            all are such, they count as one.
    """
    total, weight = 0.0, 0
    for cell in np.unique(cells[0]):
        held_out, generated = (d[c == cell] for d, c in zip(distances, cells, strict=True))
        if len(generated) >= LEAST_IN_CELL:
            total += len(held_out) * mann_whitney_z(generated, held_out)
            weight += len(held_out)
    return total / weight if weight else mann_whitney_z(distances[1], distances[0])


def mann_whitney_z(x: np.ndarray, y: np.ndarray) -> float:
    """Standardised number of pairs in which a value of x [M] is larger than one of y [N]; ties count half."""
    m, n = len(x), len(y)
    ranks = scipy.stats.rankdata(np.concatenate([x, y]))
    wins = ranks[:m].sum() - m * (m + 1) / 2
    return float((wins - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12))


def _nearest_in_cells(
    real: torch.Tensor, sets: list[torch.Tensor], seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each set the distances to the nearest training image, and the cell of a k-means of the training images."""
    count = min(max(min(len(real), *map(len, sets)) // IMAGES_PER_CELL, 1), MOST_CELLS)
    centres, _ = scipy.cluster.vq.kmeans2(real.double().numpy(), count, minit="++", rng=seed)
    centres = torch.from_numpy(centres).float()
    distances, cells = [], []
    for rows in sets:
        distances.append((rows - real[nearest(rows, real, 1)[:, 0]]).norm(dim=1).double().numpy())
        cells.append(nearest(rows, centres, 1)[:, 0].numpy())
    return distances, cells
