"""The fast recipe of image classification: its network, its flips, its evaluation, its continuation."""

from dataclasses import asdict, replace

import pytest
import torch

from dnnlib import UserError
from rooted.experiments.classification import evaluation, image_training
from rooted.experiments.classification.config import LossConfig, Runtime, TrainConfig
from rooted.experiments.classification.fast_model import FastNet
from rooted.experiments.classification.image_data import flips_by_turns
from rooted.experiments.classification.image_models import create
from torch_utils.checkpoint import list_checkpoints, unpack

RUNTIME = Runtime(torch.device("cpu"), compile=False, channels_last=True)
CONFIG = TrainConfig(
    loss=LossConfig("rlo", 8.0, "bounded"), model="fast", pretrained=False, epochs=3, batch=16, optimizer="sgd",
    lr=0.1, weight_decay=1e-3, warmup=0.2, label_smoothing=0.2, padding=2, cutout=0, ema=0.9, precision="fp32",
    seed=0, momentum=0.85, flips="turns", evaluate_flips=True,
)  # fmt: skip


def test_whitened_patches_are_uncorrelated_and_of_equal_size():
    torch.manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.randn(50, 3, 36, 36), 5, stride=1) * 4 + 1  # neighbours are alike
    model = FastNet((4, 4, 4), 3)
    model.whiten(x)
    out = model.whitening(x).transpose(0, 1).flatten(1)
    covariance = torch.cov(out[:12])
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.05, rtol=0)
    torch.testing.assert_close(out[:12], -out[12:])
    assert not model.whitening.weight.requires_grad


def test_flips_take_turns_so_that_two_epochs_hold_both():
    first, second, third = (flips_by_turns(1000, epoch, seed=3) for epoch in range(3))
    assert first.float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (first ^ second).all()
    assert torch.equal(first, third)
    assert not torch.equal(first, flips_by_turns(1000, 0, seed=4))


def test_a_mirrored_test_set_scores_the_same_where_flips_are_averaged(small):
    torch.manual_seed(0)
    model, loss = create("fast", 3, 32, False).eval(), torch.nn.CrossEntropyLoss()
    mirrored = replace(small, x=small.x.flip(3))
    for config, same in ((CONFIG, True), (replace(CONFIG, evaluate_flips=False), False)):
        values = [
            evaluation.evaluate(model, data, loss, RUNTIME, config)["cross_entropy"] for data in (small, mirrored)
        ]
        assert (values[0] == pytest.approx(values[1], rel=1e-6)) is same


def test_it_learns_and_an_interrupted_run_continues_exactly(small, tmp_path, monkeypatch):
    whole = image_training.train(CONFIG, small, small, RUNTIME, tmp_path / "whole")
    assert whole["history"][-1]["train_accuracy"] > 0.6
    assert whole["history"][-1]["processor_seconds"] > 0
    evaluate = image_training.evaluate
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(image_training, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        image_training.train(CONFIG, small, small, RUNTIME, tmp_path / "parts")
    continued = image_training.train(CONFIG, small, small, RUNTIME, tmp_path / "parts")
    assert continued["data"] == whole["data"]
    assert continued["environment"]["torch"]
    with pytest.raises(UserError, match="other images or labels"):
        image_training.train(CONFIG, replace(small, y=small.y.flip(0)), small, RUNTIME, tmp_path / "parts")
    assert continued["cross_entropy"] == whole["cross_entropy"]
    [last], [other] = (list_checkpoints(tmp_path / name) for name in ("whole", "parts"))
    for part in ("model", "averaged"):
        pairs = zip(unpack(last)[part].values(), unpack(other)[part].values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_records_from_before_these_settings_are_still_read():
    earlier = {
        key: value for key, value in asdict(CONFIG).items() if key not in ("momentum", "flips", "evaluate_flips")
    }
    plain = replace(CONFIG, momentum=0.9, flips="random", evaluate_flips=False)
    image_training._check_same(earlier, plain, "it")
    with pytest.raises(UserError, match="made with flips"):
        image_training._check_same(earlier | {"momentum": 0.85, "flips": "random"}, CONFIG, "it")


def test_there_are_no_weights_to_fine_tune():
    with pytest.raises(UserError, match="--pretrained"):
        create("fast-wide", 10, 32, True)
