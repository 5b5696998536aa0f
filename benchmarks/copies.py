"""Whether `copies` measures the share of copies that it is shown: planted shares among photographs never seen.

    python -m benchmarks.copies --data=faces64.zip --out=docs/results/copies

In each split 200 photographs are the training images (with their mirrored ones), 400 are held out and set the
threshold, and the other 1,400 take part in neither. The "generated" images are the latter with a planted share of
changed training images among them, no photograph twice; so there are 1,400 without copies, and 2,000 from a third on.
The metrics themselves judge them, as `calc_metrics.py` would. `auth` and `ct` are in the table, too.

Photographs may be frames of one video. "random" splits ignore that, as `--subset` does; in "scene" splits no
photograph outside of the training images is, directly or through others, a near duplicate of one inside.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import scipy.sparse
import torch

from dnnlib.cli import Command, door
from metrics.copying.correlation import reduced
from metrics.copying.planted import PlantedCopies
from metrics.copying.search import candidates
from metrics.detectors.detector import Detector
from metrics.detectors.registry import open_detector
from metrics.features.collection import Collection
from metrics.features.feature_store import FeatureStore
from metrics.features.passes import StoredImages, run_pass
from metrics.features.picture_store import PictureStore
from metrics.features.real_images import RealImages
from metrics.measures.inputs import Inputs
from metrics.names import parse_metric
from metrics.settings import EvaluationSettings
from torch_utils.machine.environment import provenance
from training.dataset import ImageDataset

TRAINING, HELD_OUT, GENERATED = 200, 400, 2000
SHARES = (0.0, 0.05, 0.2, 0.5, 1.0)
SCENE = 0.6  # correlation above which two photographs count as frames of one scene
METRICS = ("copies", "auth", "ct")
CPU = torch.device("cpu")


def scenes(photographs: ImageDataset, detector: Detector) -> np.ndarray:
    """The number of each photograph's scene: near duplicates have the same, directly or through others."""
    count = len(photographs)
    features = FeatureStore(detector, 64)
    features.want(count, rows=True)
    run_pass(StoredImages(photographs, CPU), [features], EvaluationSettings(), "scenes")
    rows, pictures = features.features(count), reduced(photographs.images(np.arange(count)))
    scores, near = candidates(rows, pictures, rows, lambda i: pictures[i], excluded=torch.arange(count)[:, None])
    first, column = (scores > SCENE).nonzero(as_tuple=True)
    joined = (np.ones(len(first)), (first.numpy(), near[first, column].numpy()))
    graph = scipy.sparse.coo_matrix(joined, shape=(count, count))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def split(scene: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of training, held-out and other photographs; none of the latter two in a scene of the first."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(scene))
    order = order[np.argsort(random.permutation(scene.max() + 1)[scene[order]], kind="stable")]
    training = order[:TRAINING]
    rest = random.permutation(np.setdiff1d(order, np.flatnonzero(np.isin(scene, scene[training]))))
    return training, rest[:HELD_OUT], rest[HELD_OUT:]


def training_set(photographs: ImageDataset, training: np.ndarray, held_out: np.ndarray) -> ImageDataset:
    """A data set whose `max_size` chooses `training`, mirrored, and leaves out `held_out`."""
    order = np.random.RandomState(0).permutation(len(training) + len(held_out))
    places = np.empty_like(order)
    places[np.sort(order[: len(training)])], places[np.sort(order[len(training) :])] = training, held_out
    images = photographs.images(places)
    dataset = ImageDataset.from_arrays(images, max_size=len(training), random_seed=0, xflip=True)
    assert torch.equal(dataset.images(range(len(training))), photographs.images(training))
    return dataset


class Judged:
    """Unseen photographs and planted copies, of which sets with any share of copies are drawn."""

    def __init__(self, images: Collection, unseen: int, planted: int) -> None:
        self._images, self._unseen, self._planted = images, unseen, planted

    def rows(self, share: float) -> torch.Tensor:
        """Indices: no photograph twice, `GENERATED` images if that many can be had so."""
        count = self._planted if share == 1 else min(self._planted, int(self._unseen / (1 - share)))
        copies = round(share * count)
        return torch.cat([torch.arange(count - copies), self._unseen + torch.arange(copies)])

    def stores(self, rows: torch.Tensor) -> tuple[FeatureStore, PictureStore]:
        """What metrics keep of the images at `rows`."""
        total = self._unseen + self._planted
        kept = self._images.features("lite0")
        features, pictures = FeatureStore(kept.detector, 64), PictureStore(len(rows))
        features.want(len(rows), rows=True)
        features.add(0, {"features": kept.features(total)[rows]})
        pictures.add(0, {"pictures": self._images.store("pictures", PictureStore).pictures(total)[rows]})
        return features, pictures


def measure(dataset: ImageDataset, unseen: torch.Tensor, detector: Detector, seed: int, most: int) -> list[dict]:
    """The metrics of one split, a record for each share."""
    planted = PlantedCopies(dataset, 1000 + seed, CPU).images(0, most)
    bank = ImageDataset.from_arrays(torch.cat([unseen, planted]))
    with tempfile.TemporaryDirectory() as cache:
        settings = EvaluationSettings(cache_dir=cache)
        images = Collection(
            StoredImages(bank, CPU), RealImages(dataset, settings), {"lite0": detector}, settings, is_generated=False
        )
        kinds = [parse_metric(name) for name in METRICS]
        for kind in kinds:
            kind.want(images, len(dataset), len(bank))
        images.make_images()
        images.read_real_images()
        real = [kind.gather(images, len(dataset), len(bank))[0] for kind in kinds]
    judged, records = Judged(images, len(unseen), most), []
    for share in SHARES:
        rows = judged.rows(share)
        features, pictures = judged.stores(rows)
        record = {"share": share, "generated": len(rows)}
        for kind, known in zip(kinds, real, strict=True):
            shown = (features, pictures) if kind.stem == "copies" else features
            outcome = kind.outcome(Inputs(len(dataset), len(rows), known, shown, detector, seed, 0, CPU))
            record[kind.name] = round(outcome.numbers[kind.name], 5)
            if kind.name in outcome.intervals:
                record["interval"] = [round(bound, 5) for bound in outcome.intervals[kind.name]]
            record |= {
                key: round(outcome.facts[key], 5)
                for key in ("uncorrected", "threshold", "false_alarms", "recall")
                if key in outcome.facts
            }
        records.append(record)
    return records


def table(found: Sequence[dict]) -> str:
    """Markdown: for each kind of split and share what the metrics say, mean and range over the splits."""
    head = ["splits", "planted", "generated", "copies", "furthest off", "in the interval", "before correction",
            "auth", "ct"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for kind in dict.fromkeys(record["split"] for record in found):
        for share in SHARES:
            some = [record for record in found if (record["split"], record["share"]) == (kind, share)]
            values = {key: np.array([record[key] for record in some]) for key in (*METRICS, "uncorrected")}
            inside = sum(record["interval"][0] <= share <= record["interval"][1] for record in some)
            cells = [
                kind,
                f"{100 * share:g} %",
                f"{np.mean([record['generated'] for record in some]):.0f}",
                f"{100 * values['copies'].mean():.2f} %",
                f"{100 * np.abs(values['copies'] - share).max():.2f}",
                f"{inside} of {len(some)}",
                f"{100 * values['uncorrected'].mean():.2f} ({100 * values['uncorrected'].max():.2f}) %",
                f"{values['auth'].mean():.3f}",
                f"{values['ct'].mean():.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command(cls=Command)
@click.option("--data", required=True, metavar="PATH", help="2,000 photographs of one subject, 64 x 64, RGB.")
@click.option("--out", required=True, metavar="STEM", help="Writes STEM.json; the table is printed.")
@click.option("--splits", default=10, show_default=True, type=click.IntRange(min=1), help="Of each kind.")
@click.option("--generated", default=GENERATED, show_default=True, type=click.IntRange(min=100), help="At most.")
@door
def main(data: str, out: str, splits: int, generated: int) -> None:
    """Measure; write the record and print the table."""
    photographs = ImageDataset(data)
    detector = open_detector("lite0", CPU, offline=True)
    kinds = {"random": np.arange(len(photographs)), "scene": scenes(photographs, detector)}
    found = []
    for kind, scene in kinds.items():
        for seed in range(splits):
            training, held_out, others = split(scene, seed)
            dataset = training_set(photographs, training, held_out)
            records = measure(dataset, photographs.images(others), detector, seed, generated)
            found += [{"split": kind, "seed": seed, "unseen": len(others), **record} for record in records]
            click.echo(f"{kind} split {seed + 1} of {splits}: {[record['copies'] for record in records]}", err=True)
    record = {
        "data": {"name": photographs.name, "content_hash": photographs.content_hash()},
        "scenes": int(kinds["scene"].max()) + 1,
        "detector": detector.describe(),
        "machine": provenance("cpu", "numpy", "scipy", "pillow", "timm"),
        "found": found,
    }
    path = Path(out).with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    click.echo(table(found))


if __name__ == "__main__":
    main()
