"""The metrics of a run are those of its snapshots."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

import metrics
from dnnlib import UserError
from training.networks.precision import ResolutionBlock
from training.options.keep import Keep
from training.outputs.snapshots import Snapshots
from training.progress import Progress
from training.run_dir import RunDir
from training.snapshot import load_snapshot


def test_values_during_training_are_those_of_the_snapshot(tiny):
    """Though the run computes in bfloat16, and a snapshot is loaded in float32."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    session = tiny.train(metrics=("swd32",), precision="bf16", kimg=0.016, snap=0)
    blocks = [module for module in session.G_ema.modules() if isinstance(module, ResolutionBlock)]
    assert any(block.precision.dtype is torch.bfloat16 for block in blocks)

    folder = tiny.folder / "run"
    record = json.loads((folder / "metric-swd32.jsonl").read_text().splitlines()[-1])
    snapshot = load_snapshot(folder / record["snapshot_pkl"])
    [result] = metrics.compute(["swd32"], G=snapshot.generator, dataset=session.dataset)
    assert result.results == record["results"]


class StandIn:
    """An evaluator whose values are 1, 3, 2."""

    names = ("value",)

    def __init__(self, higher: bool) -> None:
        self.values, self.higher = [2.0, 3.0, 1.0], higher

    def compute(self, G_ema, dataset, device, snapshot, nimg):
        return {"value": self.values.pop(), "another": 0.0}

    def higher_is_better(self, name):
        return self.higher


@pytest.mark.parametrize(("higher", "best"), [(True, 3.0), (False, 1.0)])
def test_a_run_takes_any_evaluator_and_its_direction(tiny, higher, best):
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    tiny.train(metrics=("value",), evaluator=StandIn(higher), kimg=0.016, tick=0.008)
    record = json.loads((tiny.folder / "run" / "best.json").read_text())
    assert (record["metric"], record["value"]) == ("value", best)


def test_values_of_another_metric_do_not_judge(tiny):
    """`--metrics` may change when a run is continued."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    run, progress = RunDir(tiny.folder), Progress()
    dataset = SimpleNamespace(class_names=None)
    snapshots = Snapshots(tiny.config(), dataset, run, progress, Keep(last=1, best=1), StandIn(higher=False))
    best = []
    for kimg, (name, value) in enumerate(
        [("a", 3.0), ("a", 2.0), ("b", 9.0), ("b", math.nan), ("b", 8.0), ("b", 10.0)]
    ):
        progress.nimg = kimg * 1000
        snapshots.write({"G": None, "D": None, "G_ema": None}, 0.0)
        snapshots.judge(name, value)
        snapshots.prune(name)
        best.append((progress.best["metric"], progress.best["value"], progress.best["nimg"] // 1000))
        assert json.loads((tiny.folder / "best.json").read_text()) == progress.best
    assert best == [("a", 3.0, 0), ("a", 2.0, 1), ("b", 9.0, 2), ("b", 9.0, 2), ("b", 8.0, 4), ("b", 8.0, 4)]
    assert [entry["nimg"] // 1000 for entry in progress.snapshots] == [4, 5]


def test_a_name_that_is_no_metric_is_refused_before_the_run(tiny):
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    with pytest.raises(UserError, match="no metric is called 'swd_32'"):
        tiny.open(metrics=("swd_32",))
