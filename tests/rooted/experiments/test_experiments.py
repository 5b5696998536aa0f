"""The mathematics inside the experiments: batched solvers, Hessians, margins, augmentation, continuation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import requests
import torch

pytest.importorskip("sklearn")
pytest.importorskip("timm")
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression

from dnnlib import UserError
from rooted.experiments import spirals
from rooted.experiments.classification import evaluation, image_data, image_training
from rooted.experiments.classification.config import LossConfig, Runtime, TrainConfig
from rooted.experiments.regression import linear, tabular
from rooted.experiments.regression.cross_validation import Grid, Scores, standardised
from rooted.experiments.reporting import corrected_interval, seed_interval
from torch_utils.checkpoint import list_checkpoints, unpack

INF = float("inf")


def problem(load):
    x, y = load(return_X_y=True)
    (x,) = standardised(x)
    return linear.with_intercept(torch.from_numpy(x)), torch.from_numpy(y), 1 if y.max() == 1 else 3


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_closed_form_gradient_equals_autograd(load):
    x, y, outputs = problem(load)
    problems = linear.Problems.grid([INF, 1.0, 3.0], [0.0, 0.1], [0.1], torch.float64)
    torch.manual_seed(0)
    w = (0.3 * torch.randn(len(problems), x.shape[1], outputs, dtype=torch.float64)).requires_grad_(True)
    value, gradient = linear.objective(w, x, y, problems)
    (expected,) = torch.autograd.grad(value.sum(), w)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_batched_lbfgs_finds_scikit_learns_optimum(load):
    x, y, outputs = problem(load)
    strengths = [0.1, 0.01]
    problems = linear.Problems.grid([INF, 3.0], strengths, [0.0], torch.float64)
    w = linear.lbfgs(x, y, problems, outputs, 500, tolerance=1e-8)
    _, gradient = linear.objective(w, x, y, problems)
    assert gradient.abs().max() < 1e-6
    for i, strength in enumerate(strengths):
        theirs = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=5000).fit(x[:, :-1], y)
        np.testing.assert_allclose(w[i, :-1].T, theirs.coef_, atol=1e-4)


def test_hessian_is_equation_8_and_the_multinomial_one_is_conditioned_without_flat_directions():
    x, y, _ = problem(load_breast_cancer)
    x = x[:, -6:]
    torch.manual_seed(0)
    w = torch.randn(6, 1, dtype=torch.float64)
    one = linear.Problems.grid([3.0], [0.0], [0.0], torch.float64)

    def value(flat):
        return linear.objective(flat.view(1, 6, 1), x, y, one)[0].sum()

    torch.testing.assert_close(linear.hessian(w, x, y, 3.0), torch.autograd.functional.hessian(value, w.view(-1)))
    x, y, _ = problem(load_wine)
    flat = linear.condition_number(torch.zeros(x.shape[1], 3, dtype=torch.float64), x, y, 3.0)
    assert 1 < flat < 1e4


def test_choice_is_by_validation_and_the_papers_way_by_test():
    grid = Grid([INF, 3.0, 5.0], [0.0])
    validation = np.array([[0.5, 0.9, 0.8]]).reshape(1, 3, 1, 1)
    test = np.array([[0.6, 0.7, 0.95]]).reshape(1, 3, 1, 1)
    scores = Scores(grid, test, validation)
    accuracy, settings = scores.chosen(rooted=True, l2=False)
    assert (accuracy[0], settings[0][0]) == (0.7, 3.0)
    assert scores.chosen(rooted=False, l2=False)[0][0] == 0.6
    assert [k for k, _ in scores.best_on_test(l2=False)] == [5.0, 3.0]


def test_intervals():
    values = np.array([0.8, 0.9, 0.85, 0.95, 0.8])
    mean, half = corrected_interval(values, 0.2)
    assert mean == pytest.approx(0.86)
    assert half == pytest.approx(2.7764 * values.std(ddof=1) * (0.2 + 0.25) ** 0.5, rel=1e-4)
    assert seed_interval([1.0, 3.0])[1] == pytest.approx(12.706 * 2**0.5 / 2**0.5, rel=1e-4)


def test_tables_have_the_sizes_of_uci(data_dir):
    source = tabular.Source(data_dir / "uci")
    sizes = {
        name: (*tabular.load(name, source).x.shape, tabular.load(name, source).classes) for name in tabular.LOADERS
    }
    assert sizes == {
        "wine": (178, 13, 3), "ionosphere": (351, 34, 2), "madelon": (2600, 500, 2), "spectf": (267, 44, 2),
        "spect": (267, 22, 2),
    }  # fmt: skip


def test_failed_download_names_the_remedy(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise requests.exceptions.InvalidURL("no route")

    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(requests, "get", refuse)
    with pytest.raises(UserError, match=r"ionosphere.data: no route; .* save it as"):
        tabular.load("ionosphere", tabular.Source(None))


def test_margin_is_the_distance_to_the_boundary():
    axis = torch.linspace(-1, 1, spirals.GRID)
    probabilities = (0.5 + 0.4 * (axis - 0.25)).expand(1, spirals.GRID, spirals.GRID)  # the line x = 0.25
    points = spirals.Points(torch.tensor([[[0.75, 0.1], [0.0, -0.3]]]), torch.tensor([[1, 1]]))
    right = torch.tensor([[True, False]])
    np.testing.assert_allclose(spirals.margins(probabilities, 1.0, points, right), [[0.5, -0.25]], atol=1e-2)


def test_spirals_train_as_a_batch_as_they_do_alone():
    data = spirals.two_spirals(100, 1.0, 0.02, [0, 1])
    both = spirals.train(3, data, [0, 1], torch.tensor([0.01, 0.03]), lambda nll: nll, 10)
    second = spirals.train(3, spirals.Points(data.x[1:], data.y[1:]), [1], torch.tensor([0.03]), lambda nll: nll, 10)
    torch.testing.assert_close(both[1][0][1:], second[1][0], rtol=1e-3, atol=1e-5)


def test_label_noise_changes_its_share_and_never_to_the_same_class():
    labels = torch.arange(10_000) % 10
    noisy = image_data.with_label_noise(labels, 0.4, 10, seed=0)
    assert (noisy != labels).double().mean().item() == pytest.approx(0.4, abs=0.02)
    assert (noisy == image_data.with_label_noise(labels, 0.4, 10, seed=0)).all()
    assert (image_data.with_label_noise(labels, 1.0, 10, seed=1) != labels).all()
    assert (image_data.with_label_noise(labels, 0.0, 10, seed=1) == labels).all()


def test_augmentation_crops_and_holes():
    torch.manual_seed(0)
    x = torch.arange(1.0, 65.0).view(1, 1, 8, 8).expand(200, 3, 8, 8)
    y = image_data.augmented(x, padding=2, cutout=0)
    assert y.shape == x.shape
    windows = torch.nn.functional.pad(x[:1], [2] * 4)
    possible = [w for v in (windows, torch.nn.functional.pad(x[:1].flip(3), [2] * 4))
                for w in v.unfold(2, 8, 1).unfold(3, 8, 1)[0, 0].reshape(-1, 8, 8)]  # fmt: skip
    assert all(any(torch.equal(image[0], w) for w in possible) for image in y)
    assert len(torch.unique(y[:, 0].reshape(200, -1), dim=0)) > 25
    holes = (image_data.augmented(x, padding=0, cutout=4) == 0).sum((2, 3))
    assert holes.min() > 0
    assert holes.max() <= 25


def test_calibration_error_by_hand():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]))
    error = evaluation.calibration_error(logits, torch.tensor([0, 1, 0]))
    assert error == pytest.approx((2 * abs(0.9 - 0.5) + abs(0.6 - 1)) / 3, abs=1e-6)


CONFIG = TrainConfig(
    loss=LossConfig("rlo", 8.0, "bounded"), model="resnet18-narrow", pretrained=False, epochs=3, batch=16,
    optimizer="adam", lr=1e-3, weight_decay=0.0, warmup=0.1, label_smoothing=0.0, padding=2, cutout=4, ema=0.9,
    precision="fp32", seed=0,
)  # fmt: skip


def test_an_interrupted_run_continues_exactly(small, tmp_path, monkeypatch):
    runtime = Runtime(torch.device("cpu"), compile=False, channels_last=False)
    whole = image_training.train(CONFIG, small, small, runtime, tmp_path / "whole")
    real_epoch = image_training._State.train_epoch

    def interrupted(self, data):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return real_epoch(self, data)

    monkeypatch.setattr(image_training._State, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        image_training.train(CONFIG, small, small, runtime, tmp_path / "parts")
    monkeypatch.setattr(image_training._State, "train_epoch", real_epoch)
    continued = image_training.train(CONFIG, small, small, runtime, tmp_path / "parts")
    [last], [other] = (list_checkpoints(tmp_path / name) for name in ("whole", "parts"))
    weights = [unpack(last), unpack(other)]
    for part in ("model", "averaged"):
        assert all(torch.equal(a, b) for a, b in zip(*(w[part].values() for w in weights), strict=True))
    assert continued["accuracy"] == whole["accuracy"]
    assert continued["cross_entropy"] == whole["cross_entropy"]
    with pytest.raises(UserError, match="was made with lr"):
        image_training.train(replace(CONFIG, lr=0.5), small, small, runtime, tmp_path / "parts")
    (tmp_path / "parts" / "result.json").unlink()
    with pytest.raises(UserError, match="the checkpoint was made with ema"):
        image_training.train(replace(CONFIG, ema=0.0), small, small, runtime, tmp_path / "parts")
    other.write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged; remove"):
        image_training.train(CONFIG, small, small, runtime, tmp_path / "parts")


def test_bfloat16_and_focal_train_too(small):
    runtime = Runtime(torch.device("cpu"), compile=False, channels_last=True)
    config = replace(CONFIG, loss=LossConfig("focal"), precision="bf16", epochs=2, ema=0.0)
    record = image_training.train(config, small, small, runtime, None)
    assert json.dumps(record)
    assert record["history"][-1]["train_loss"] < record["history"][0]["train_loss"]


def test_folders_with_a_folder_per_class(tmp_path):
    from PIL import Image

    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (20, 10), 200).save(tmp_path / part / name / "0.png")
    training, test = image_data.load(str(tmp_path), tmp_path, 8, None)
    assert training.classes == ["cat", "dog"]
    assert training.x.shape == (2, 3, 8, 8)
    assert test.y.tolist() == [0, 1]
    (tmp_path / "val" / "dog" / "0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a readable image"):
        image_data.load(str(tmp_path), tmp_path, 8, None)


def test_a_constant_feature_does_not_spoil_the_condition_number():
    x, y, _ = problem(load_breast_cancer)
    x = x[:, -4:]
    padded = torch.cat([torch.zeros_like(x[:, :1]), x], 1)
    plain = linear.condition_number(torch.zeros(4, 1, dtype=torch.float64), x, y, 3.0)
    assert linear.condition_number(torch.zeros(5, 1, dtype=torch.float64), padded, y, 3.0) == pytest.approx(plain)
