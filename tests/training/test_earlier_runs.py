"""A run that an earlier version began goes on after it: `data/earlier_runs` holds two, half-way and at their end."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.kill_test import state, statistics
from rooted_stylegan import train
from torch_utils.checkpoint import list_checkpoints, pack, unpack
from training.snapshot import load_snapshot

EARLIER = Path(__file__).parent / "data" / "earlier_runs"
PARTS = ("G.", "D.", "G_ema.", "G_opt.adam.exp_avg_sq", "D_opt.adam.exp_avg_sq")
ROUNDING = 3e-3
"""Of the way from the middle to the end. Other instruction sets end within 5e-5; a path-length mean that is lost ends
beyond 0.01, and a moment, a seed or an average beyond 0.1."""

pytestmark = pytest.mark.usefixtures("one_thread")


def go_on(name: str, run_dir: Path) -> None:
    data = [f"--data={EARLIER / 'labelled.zip'}"] if name == "labels" else []
    result = CliRunner().invoke(train.main, [f"--continue={run_dir}", *data])
    assert result.exit_code == 0, result.output
    assert f"continuing {run_dir} at 0.1 kimg" in result.output


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of a checkpoint's state by their path, without the mean of w.

    That mean follows another rule now (StyleGAN2-ADA's), and nothing else in a run depends on it.
    """
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, item in items for path, leaf in flat(item, f"{name}.{key}".strip(".")).items()}
    return {} if name.endswith("mapping.w_avg") else {name: value}


def distances(name: str, run_dir: Path) -> dict[str, float]:
    """For each of PARTS how far it is from where the earlier version ended, relative to the way from the middle."""
    ours, middle, end = (flat(state(path)) for path in (run_dir, EARLIER / name / "run", EARLIER / name / "whole"))

    def distance(part: str) -> float:
        keys = [key for key in end if key.startswith(part) and isinstance(end[key], torch.Tensor)]
        a, b, c = (torch.cat([values[key].double().flatten() for key in keys]) for values in (ours, end, middle))
        return float((a - b).norm() / (c - b).norm())

    return {part: distance(part) for part in PARTS}


@pytest.mark.parametrize("name", ["faces", "labels"])
def test_it_ends_as_it_would_have(tmp_path, name):
    """Up to rounding: the operators of the earlier version added in another order."""
    run_dir = Path(shutil.copytree(EARLIER / name / "run", tmp_path / "run"))
    go_on(name, run_dir)
    assert max(distances(name, run_dir).values()) < ROUNDING

    ours, theirs = statistics(run_dir), statistics(EARLIER / name / "whole")
    assert [line["Progress/kimg"] for line in ours] == [line["Progress/kimg"] for line in theirs]
    assert all(set(before) <= set(now) for now, before in zip(ours, theirs, strict=True))


def lose_a_moment(states: dict[str, Any]) -> None:
    states["D_opt"]["adam"]["exp_avg_sq"].zero_()


def lose_the_average(states: dict[str, Any]) -> None:
    states["G_ema"] = {key: tensor.clone() for key, tensor in states["G"].items()}


def lose_the_path_lengths(states: dict[str, Any]) -> None:
    states["objective"]["pl_mean"].zero_()


@pytest.mark.parametrize("lose", [lose_a_moment, lose_the_average, lose_the_path_lengths])
def test_lost_state_is_more_than_rounding(tmp_path, lose):
    run_dir = Path(shutil.copytree(EARLIER / "labels" / "run", tmp_path / "run"))
    checkpoint = list_checkpoints(run_dir)[0]
    states = unpack(checkpoint)
    lose(states)
    checkpoint.write_bytes(pack(states))
    go_on("labels", run_dir)
    assert max(distances("labels", run_dir).values()) > ROUNDING


def test_another_seed_is_more_than_rounding(tmp_path):
    """It decides the order of the images and every random number."""
    run_dir = Path(shutil.copytree(EARLIER / "labels" / "run", tmp_path / "run"))
    options = run_dir / "training_options.json"
    values = json.loads(options.read_text())
    options.write_text(json.dumps(values | {"random_seed": values["random_seed"] + 1}))
    go_on("labels", run_dir)
    assert min(distances("labels", run_dir).values()) > ROUNDING


def test_a_snapshot_gives_the_images_that_it_gave():
    snapshot = load_snapshot(EARLIER / "snapshot.safetensors")
    assert snapshot.metadata["cur_nimg"] == 192
    assert snapshot.G is not None
    assert snapshot.D is not None
    z = torch.from_numpy(np.random.RandomState(0).randn(3, 16)).float()
    images = snapshot.G_ema(z, torch.eye(3), truncation_psi=0.7, noise_mode="const")
    expected = np.load(EARLIER / "snapshot-images.npz")["images"]
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
