"""Whether `copies` measures the share of copies that it is shown: planted shares among photographs never seen.

    python -m benchmarks.copies --data=faces64.zip --out=docs/results/copies

In each split 200 photographs are the training images (with their mirrored ones), 400 are held out and set the
threshold, and the other 1,400 take part in neither. The "generated" images are the latter with a planted share of
changed training images among them, no photograph twice; so there are 1,400 without copies, and 2,000 from a third on.
The metrics themselves judge them, as `calc_metrics.py` would. `auth` and `ct` are in the table, too.

Photographs may be frames of one video. "random" splits ignore that, as `--subset` does; in "scene" splits no
photograph outside of the training images is, directly or through others, a near duplicate of one inside.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import scipy.sparse
import torch

from dnnlib import write_json
from dnnlib.cli import Command, door
from dnnlib.files import make_folder
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


@dataclass(frozen=True)
class Shown:
    """What metrics keep of images: features [N, D], and pictures uint8 RGB [N, 3, h, w] of at most 64 pixels."""

    features: torch.Tensor
    pictures: torch.Tensor

    @classmethod
    def of(cls, dataset: ImageDataset, detector: Detector) -> "Shown":
        """All images of a data set."""
        count = len(dataset)
        features, pictures = FeatureStore(detector, 64), PictureStore(count)
        features.want(count, rows=True)
        run_pass(StoredImages(dataset, CPU), [features, pictures], EvaluationSettings(), "features")
        return cls(features.features(count), pictures.pictures(count))

    def at(self, rows: torch.Tensor) -> "Shown":
        """Some of them."""
        return Shown(self.features[rows], self.pictures[rows])

    def followed_by(self, other: "Shown") -> "Shown":
        """These, then others."""
        return Shown(torch.cat([self.features, other.features]), torch.cat([self.pictures, other.pictures]))

    def stores(self, detector: Detector) -> tuple[FeatureStore, PictureStore]:
        """As metrics take them."""
        features, pictures = FeatureStore(detector, 64), PictureStore(len(self.pictures))
        features.want(len(self.pictures), rows=True)
        features.add(0, {"features": self.features})
        pictures.add(0, {"pictures": self.pictures})
        return features, pictures


def scenes(shown: Shown) -> np.ndarray:
    """The number of each photograph's scene: near duplicates have the same, directly or through others."""
    rows, pictures, count = shown.features, shown.pictures, len(shown.pictures)
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


def judged_rows(unseen: int, planted: int, share: float) -> torch.Tensor:
    """Indices into unseen images followed by planted copies: none twice, and as many as are planted if possible."""
    count = planted if share == 1 else min(planted, int(unseen / (1 - share)))
    copies = round(share * count)
    return torch.cat([torch.arange(count - copies), unseen + torch.arange(copies)])


def measure(dataset: ImageDataset, unseen: Shown, detector: Detector, seed: int, most: int) -> list[dict]:
    """The metrics of one split, a record for each share."""
    source = PlantedCopies(dataset, 1000 + seed, CPU)
    planted = Shown.of(ImageDataset.from_arrays(source.images(0, most)), detector)
    with tempfile.TemporaryDirectory() as cache:
        settings = EvaluationSettings(cache_dir=cache)
        images = Collection(source, RealImages(dataset, settings), {"lite0": detector}, settings, is_generated=False)
        kinds = [parse_metric(name) for name in METRICS]
        for kind in kinds:
            kind.want(images, len(dataset), most)
        images.read_real_images()
        real = [kind.gather(images, len(dataset), most)[0] for kind in kinds]
    records = []
    for share in SHARES:
        rows = judged_rows(len(unseen.pictures), most, share)
        features, pictures = unseen.followed_by(planted).at(rows).stores(detector)
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
    shown = Shown.of(photographs, detector)
    kinds = {"random": np.arange(len(photographs)), "scene": scenes(shown)}
    found = []
    for kind, scene in kinds.items():
        for seed in range(splits):
            training, held_out, others = split(scene, seed)
            dataset = training_set(photographs, training, held_out)
            records = measure(dataset, shown.at(torch.from_numpy(others)), detector, seed, generated)
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
    make_folder(path.parent, "--out")
    write_json(path, record, indent=1)
    click.echo(table(found))


if __name__ == "__main__":
    main()
