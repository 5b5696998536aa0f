"""The benchmark of planted copies: its splits, its sets and its table, with a detector that means nothing."""

import warnings

import numpy as np
import pytest
import torch

from benchmarks import copies
from metrics.detectors.registry import open_detector
from training.dataset import ImageDataset


class Downscaled(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)


@pytest.fixture
def detector(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(Downscaled()).save(str(tmp_path / "detector.pt"))
    return open_detector("file", torch.device("cpu"), file=tmp_path / "detector.pt")


def photographs(count: int) -> ImageDataset:
    return ImageDataset.from_arrays(np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16)).astype(np.uint8))


def test_no_scene_of_the_training_images_is_left_outside():
    scene = np.arange(900) // 3
    training, held_out, others = copies.split(scene, seed=1)
    assert (len(training), len(held_out)) == (copies.TRAINING, copies.HELD_OUT)
    parts = [set(part) for part in (training, held_out, others)]
    assert len(set.union(*parts)) == sum(map(len, parts)), "nothing is in two parts"
    assert not set(scene[training]) & set(scene[np.concatenate([held_out, others])])
    assert not np.array_equal(training, copies.split(scene, seed=2)[0])


def test_frames_of_a_scene_are_found(detector):
    images = photographs(30).images(range(30))
    images[20:] = images[:10].roll(1, dims=3)
    scene = copies.scenes(copies.Shown.of(ImageDataset.from_arrays(images), detector))
    assert scene[20:].tolist() == scene[:10].tolist()
    assert len(set(scene)) == 20


def test_planted_shares_are_measured(detector):
    everything = photographs(200)
    dataset = copies.training_set(everything, np.arange(50, 90), np.arange(90, 130))
    assert torch.equal(dataset.images(range(40)), everything.images(range(50, 90)))
    assert torch.equal(dataset.held_out(100).images(range(40)), everything.images(range(90, 130)))
    unseen = copies.Shown.of(ImageDataset.from_arrays(everything.images(range(130, 200))), detector)
    records = copies.measure(dataset, unseen, detector, seed=0, most=80)
    assert [record["generated"] for record in records] == [70, 73, 80, 80, 80]
    for record in records:
        assert record["copies"] == pytest.approx(record["share"], abs=0.03)
    lines = copies.table([{"split": "random", **record} for record in records]).splitlines()
    assert lines[2].startswith("| random | 0 % | 70 | 0.00 % | 0.00 | 1 of 1 |")
    assert len(lines) == 2 + len(copies.SHARES)
