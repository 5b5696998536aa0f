"""copies: the share of generated images that show a training image again (Feng et al. 2021 on few images).

A generated image is called a copy if its score, see `metrics.copying`, passes a threshold that real images from
outside the training set hardly ever pass. The share found is corrected for these false alarms and for the copies that
the test misses, which copies made on purpose tell (Rogan and Gladen 1978).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch

from metrics.copying.correlation import reduced
from metrics.copying.page import pairs_page
from metrics.copying.planted import PlantedCopies
from metrics.copying.prevalence import Proportion, corrected_share
from metrics.copying.search import best_matches
from metrics.features.collection import Collection
from metrics.features.feature_store import FeatureStore
from metrics.features.passes import run_pass
from metrics.features.picture_store import PictureStore
from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, DETECTOR, Metric, Numbers, Outcome, Replicates

FALSE_ALARMS = 0.015  # at most, with this confidence
CONFIDENCE = 0.95
LOWEST_THRESHOLD = 0.75  # two pictures mixed in equal parts reach it with either of them, and a mean of five does not
LOWEST_RECALL = 0.95
WORRYING = 0.1  # the share from which on a warning is given
PLANTED = 300
MOST_LEFT_OUT = 1000  # training images that stand in for held-out ones
_BINS = np.linspace(-0.05, 1, 43)


@dataclass(frozen=True)
class Known:
    """Scores [N] of images of which it is known whether they are copies, and where the real ones come from."""

    real: np.ndarray
    planted: np.ndarray
    origin: str

    @property
    def threshold(self) -> float:
        """Above it an image is called a copy.

        What at most 1.5 % of real images pass, within bounds: the upper one keeps the test working where many
        images of the data are in it twice; without the lower one mere likeness would do where images differ a lot.
        """
        above_real = _tolerance_limit(self.real)
        below_planted = float(np.quantile(self.planted, 1 - LOWEST_RECALL, method="lower"))
        return max(min(above_real, below_planted), LOWEST_THRESHOLD)


class Copies(Metric):
    """copies[<N>] on EfficientNet-Lite0's features, copies_<detector>[_<N>] on others; 2,000 images without a count."""

    grammar = (rf"copies{COUNT}?", rf"copies_{DETECTOR}(_{COUNT})?")
    kind = stem = "copies"
    home = "lite0"
    listed = ("copies",)
    needs_one_size = True
    tells_copying = True
    only_set = "train"
    default_count = 2000
    most_real = 200_000

    def want(self, images: Collection, num_real: int | None, num_gen: int) -> None:
        """Features, small copies of the judged images, and features of held-out images."""
        super().want(images, num_real, num_gen)
        store = _pictures(images)
        store.count = max(store.count, num_gen)
        held_out = images.real.dataset("held_out")
        if held_out is not None:
            images.real_features(self.detector, "held_out").want(len(held_out), rows=True)

    def gather(self, images: Collection, num_real: int | None, num_gen: int) -> tuple[Any, Any]:
        """(features, their data set, known scores) of the training images; (features, pictures) of the judged ones."""
        features, judged = super().gather(images, num_real, num_gen)
        known = self._known(images, features, num_real)
        return (features, images.real.dataset("train"), known), (judged, _pictures(images))

    def _known(self, images: Collection, features: FeatureStore, num_real: int) -> Known:
        """The scores of real images and of copies made on purpose; computed once for a training set, then cached."""
        real, world, detector = images.real, images.settings.world, images.detectors[self.detector]
        held_out = real.dataset("held_out")
        origin = "held-out images" if held_out is not None else "training images, each against the others"
        content = real.content_hash("train") + ("" if held_out is None else real.content_hash("held_out"))
        key = real.cache_key(detector, hashlib.sha256(content.encode()).hexdigest(), num_real, "copies")
        found = world.main_only(lambda: real.cache.load(key))
        if found is not None:
            return Known(found["real"], found["planted"], origin)
        dataset = real.dataset("train")
        planted = FeatureStore(detector, images.settings.batch_size)
        planted.want(PLANTED, rows=True)
        pictures = PictureStore(PLANTED)
        source = PlantedCopies(dataset, 0, images.settings.device)
        run_pass(source, [planted, pictures], images.settings, "copies made on purpose")

        def scores() -> dict[str, np.ndarray]:
            rows, look = features.features(num_real), _reader(dataset)
            score = best_matches(planted.features(PLANTED), pictures.pictures(PLANTED), rows, look).score
            arrays = {"planted": score.numpy()}
            if held_out is not None:
                queries = images.real_features(self.detector, "held_out").features(len(held_out))
                shown = _reader(held_out)(torch.arange(len(held_out)))
                arrays["real"] = best_matches(queries, shown, rows, look).score.numpy()
            else:
                arrays["real"] = _left_out_scores(rows, dataset)
            real.cache.save(key, arrays)
            return arrays

        found = world.main_only(scores)
        return Known(found["real"], found["planted"], origin)

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """The corrected share; `outcome` adds its interval, which needs no resamples."""
        return self.outcome(inputs).numbers, {}

    def outcome(self, inputs: Inputs) -> Outcome:
        """The corrected share with its interval, what it was computed from, and a page of pictures."""
        (features, dataset, known), (judged, pictures) = inputs.real, inputs.generated
        shown, look = pictures.pictures(inputs.num_gen), _reader(dataset)
        matches = best_matches(judged.features(inputs.num_gen), shown, features.features(inputs.num_real), look)
        scores, threshold = matches.score.numpy(), known.threshold
        found, recall = (Proportion(int((values > threshold).sum()), len(values)) for values in (scores, known.planted))
        # With the image that set the threshold: that share of them is what others are expected to pass it in.
        alarms = Proportion(int((known.real >= threshold).sum()), len(known.real))
        value, low, high = corrected_share(found, recall, alarms)
        closest = matches.score.argsort(descending=True)[:16]
        histograms = {
            "generated": scores,
            known.origin: known.real,
            "copies made on purpose": known.planted,
        }
        facts = {
            "uncorrected": found.share,
            "threshold": threshold,
            "false_alarms": alarms.share,
            "recall": recall.share,
            "known_others": f"{alarms.count} {known.origin}",
            "known_copies": recall.count,
            "scores": {
                "edges": [round(float(edge), 3) for edge in _BINS],
                **{name: np.histogram(values, _BINS)[0].tolist() for name, values in histograms.items()},
            },
        }
        said = (
            f"{self.name}: {100 * value:.1f} % of {found.count} generated images show training images again "
            f"({100 * low:.1f} to {100 * high:.1f} %)"
        )
        page = pairs_page(
            said,
            "closest pairs: generated, training image, difference",
            shown[closest],
            look(matches.index[closest]),
            [f"{score:.3f}" for score in matches.score[closest].tolist()],
            histograms,
            threshold,
        )
        warning = (
            f"{said}: use more training images, `mirror`, a shorter run or an earlier snapshot"
            if value > WORRYING
            else None
        )
        return Outcome({self.name: value}, {self.name: (low, high)}, facts, page, warning)


def _tolerance_limit(scores: np.ndarray) -> float:
    """The lowest score that, with 95 % confidence, at most 1.5 % of such images pass; the highest of too few.

    The share above the k-th highest of n scores has the distribution Beta(k, n - k + 1), whatever that of the scores
    (Wilks 1941). It takes the 2nd of 400, the 19th of 1,800.
    """
    ranks = np.arange(1, len(scores) + 1)
    low_enough = scipy.stats.beta.ppf(CONFIDENCE, ranks, len(scores) - ranks + 1) <= FALSE_ALARMS
    return float(np.sort(scores)[-max(int(low_enough.sum()), 1)])


def _pictures(images: Collection) -> PictureStore:
    return images.store("pictures", PictureStore)


def _reader(dataset: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Small copies of a data set's images, uint8 RGB [N, 3, h, w], by their indices."""
    return lambda indices: torch.cat([reduced(dataset.images(part)) for part in indices.split(256)])


def _left_out_scores(features: torch.Tensor, dataset: Any) -> np.ndarray:
    """The scores of training images against all others but their own mirrored ones."""
    originals = min(len(dataset) // (2 if dataset.xflip else 1), len(features))
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(originals)[:MOST_LEFT_OUT])
    own = chosen[:, None]
    if dataset.xflip and len(features) == len(dataset):
        own = torch.cat([own, own + originals], dim=1)
    look = _reader(dataset)
    return best_matches(features[chosen], look(chosen), features, look, excluded=own).score.numpy()
