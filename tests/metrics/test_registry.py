"""A metric is one file and a line in a registry, and so is a detector: these tests are such files."""

from pathlib import Path

import numpy as np
import pytest
import torch

import metrics
from dnnlib import UserError
from dnnlib.weights import WeightFile
from metrics.detectors.detector import Network
from metrics.detectors.pretrained import Pretrained
from metrics.detectors.registry import DETECTORS
from metrics.measures import registry
from metrics.measures.metric import COUNT, DETECTOR, REAL_SET, Metric


class MeanDistance(Metric):
    """Between the means of features; md<N>[...] on DINOv2's, md_<detector>[_<N>][...] on others."""

    grammar = (rf"md{COUNT}{REAL_SET}", rf"md_{DETECTOR}(_{COUNT})?{REAL_SET}")
    kind = stem = "md"
    home = "dinov2"
    listed = ("md5k_train",)
    least = 5

    def numbers(self, inputs):
        """One number."""
        real, generated = inputs.real_features(), inputs.generated_features()
        replicates = [float((real[r].mean(0) - generated[g].mean(0)).norm()) for r, g in inputs.resampled_rows()]
        value = float((real.mean(0) - generated.mean(0)).norm())
        return {self.name: value}, {self.name: np.array(replicates)}


class Brightness(Metric):
    """Of generated images, by no detector; bright[<N>]."""

    grammar = (rf"bright{COUNT}?",)
    kind = stem = "bright"
    has_real_set = False
    higher_is_better = True

    class Sum:
        """Of the images' means."""

        def __init__(self) -> None:
            self.count, self.total = 0, 0.0

        def compute(self, images, start):
            return {"mean": images.double().mean(dim=(1, 2, 3))}

        def add(self, start, values):
            self.total += float(values["mean"][: self.count - start].sum())

    def want(self, images, num_real, num_gen):
        images.store("brightness", self.Sum).count = num_gen

    def gather(self, images, num_real, num_gen):
        return None, images.store("brightness", self.Sum)

    def numbers(self, inputs):
        return {self.name: inputs.generated.total / inputs.num_gen}, {}


def build(weights, path, device) -> Network:
    return Network(features=lambda images: torch.nn.functional.avg_pool2d(images.float(), 8).flatten(1) @ weights["w"])


POOLED = Pretrained(
    key="pooled",
    title="Means of squares",
    preprocessing="none",
    weights=WeightFile("pooled.pth", "https://example.org/pooled.pth"),
    libraries=("torch",),
    build=build,
    in_names=True,
)


@pytest.fixture
def toys(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(registry, "METRICS", (*registry.METRICS, MeanDistance, Brightness))
    monkeypatch.setitem(DETECTORS, "pooled", POOLED)
    monkeypatch.setenv("ROOTED_DETECTOR_DIR", str(tmp_path))
    torch.save({"w": torch.eye(48)}, tmp_path / "pooled.pth")
    return tmp_path


def test_a_metric_in_one_file_needs_no_other_edit(toys, make_generator, dataset, detector_file):
    assert {"md5k_train", "md_dinov2"} <= set(metrics.list_names())
    assert not metrics.higher_is_better("md5k_train")
    assert metrics.higher_is_better("bright2k")
    with pytest.raises(UserError, match="nearest are md5k_train"):
        metrics.check_names(["md5k_trian"])

    options = {"G": make_generator(c_dim=3), "dataset": dataset, "detector": detector_file}
    distance, bright, kid = metrics.compute(["md100_train", "bright70", "kid150_full"], bootstrap=4, **options)
    assert distance.metric.startswith("md_")
    [(low, high)] = distance.intervals.values()
    assert low <= distance.results[distance.metric] <= high
    assert distance.provenance["num_real"] == 192
    assert 0 < bright.results["bright70"] < 255
    [alone] = metrics.compute(["kid150_full"], bootstrap=4, **options)
    assert kid.results == alone.results
    with pytest.raises(UserError, match="md4_train needs at least 5 images"):
        metrics.compute(["md4_train"], **{**options, "detector": None}, mark_unavailable=True, offline=True)
    [same] = metrics.compare(["md_pooled_train"], real=dataset, fake=dataset)
    assert same.results == {"md_pooled_192_train": 0.0}


def test_a_detector_in_one_file_serves_every_metric_of_features(toys, make_generator, dataset):
    names = ["fd_pooled", "fd_inf_pooled", "kd_pooled", "pr_pooled", "dc_pooled", "md_pooled"]
    assert set(names) <= set(metrics.list_names())
    small = ["fd_pooled_60_train", "pr_pooled_60_3_train", "dc_pooled_60_5", "kd_pooled_60", "fd_inf_pooled_60"]
    for result in metrics.compute(small, G=make_generator(c_dim=3), dataset=dataset):
        assert all(np.isfinite(value) for value in result.results.values())
        assert result.provenance["detector"]["name"] == "Means of squares"
        assert result.metric in small
