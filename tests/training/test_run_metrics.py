"""The metrics of a run are those of its snapshots."""

import json

import pytest
import torch

import metrics
from training.networks.precision import ResolutionBlock
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
