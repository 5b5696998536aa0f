"""Training moves the generated images towards the data, with every loss; and the curve of a metric shows it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metrics import RunMetrics
from rooted import adversarial_loss
from torch_utils.processes.distributed import World
from training.config import TrainingConfig
from training.config.schema import AdamOptions, AugmentOptions, DatasetOptions, RegularizationOptions
from training.dataset import ImageDataset
from training.networks import DiscriminatorConfig, GeneratorConfig
from training.progress import StopRequest
from training.run_dir import RunDir
from training.training_loop import Housekeeping, TrainingRun


def _ramps(count: int = 64) -> np.ndarray:
    """Images that are dark on the left and bright on the right, with a little noise."""
    ramp = np.linspace(20, 235, 16)[None, None, None, :].repeat(16, axis=2)
    noise = np.random.RandomState(0).randn(count, 1, 16, 16) * 8
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def _curve(folder: Path, metric: str) -> list[float]:
    """The values of a metric over a run, the same in its `metric-*.jsonl` and in TensorBoard's file."""
    lines = (folder / f"metric-{metric}.jsonl").read_text().splitlines()
    values = [json.loads(line)["results"][metric] for line in lines]
    shown = [event.value for event in EventAccumulator(str(folder)).Reload().Scalars(f"Metrics/{metric}")]
    assert shown == pytest.approx(values, rel=1e-6)  # float32
    return values


@pytest.mark.parametrize(
    "loss",
    [adversarial_loss("ce"), adversarial_loss("rlo", k=11), adversarial_loss("rlo", k=2, form="convex")],
    ids=["ce", "rlo11-bounded", "rlo2-convex"],
)
def test_fakes_move_towards_the_data(tmp_path, loss):
    dataset = ImageDataset.from_arrays(_ramps(), name="ramps")
    shared = {"img_resolution": 16, "img_channels": 1, "channel_base": 256, "channel_max": 16}
    config = TrainingConfig(
        G_kwargs=GeneratorConfig(**shared, z_dim=16, w_dim=16, mapping_layers=2),
        D_kwargs=DiscriminatorConfig(**shared),
        training_set_kwargs=DatasetOptions(path="ramps", resolution=16),
        G_opt_kwargs=AdamOptions(lr=0.005),
        D_opt_kwargs=AdamOptions(lr=0.005),
        loss=loss,
        loss_kwargs=RegularizationOptions(r1_gamma=0.01),
        augment_kwargs=AugmentOptions(mode="noaug"),
        total_kimg=0.8,
        batch_size=8,
        batch_gpu=8,
        ema_kimg=0.05,
        ema_rampup=0.05,
        kimg_per_tick=0.4,
        network_snapshot_ticks=1,
        metrics=("swd64",),
        grid=(2, 2),
    )
    folder = RunDir(tmp_path)
    evaluator = RunMetrics(config.metrics, folder, World(), seed=config.random_seed)
    run = TrainingRun(config, dataset, folder, World(), Housekeeping(progress_bar=False), evaluator)
    target = dataset.to_tensor().float().mean(dim=0) / 127.5 - 1

    def distance() -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            fakes = run.G_ema(torch.randn(64, 16), None, noise_mode="const")
        return float((fakes.mean(dim=0) - target).square().mean())

    before = distance()
    with StopRequest() as stop:
        assert run.train(stop)
    after = distance()
    assert after < 0.25 * before, (before, after)

    swd = _curve(tmp_path, "swd64")
    assert len(swd) == 3
    assert swd[2] < swd[1] < swd[0]
    assert swd[2] < 0.5 * swd[0], swd


@pytest.mark.slow
def test_the_demo_preset_shows_swd_falling(tmp_path):
    """Its first half, with the metric that it takes by itself: three minutes."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "train.py", "--preset=demo", "--kimg=12", f"--run-dir={tmp_path / 'run'}"]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    swd = _curve(tmp_path / "run", "swd1k")
    assert len(swd) >= 2
    assert swd[-1] < 0.4 * swd[0], swd
