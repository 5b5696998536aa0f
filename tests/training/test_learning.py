"""Training moves the generated images towards the data, with every loss."""

import numpy as np
import pytest
import torch

from torch_utils.distributed import World
from training import setup
from training.config import (
    AdamOptions,
    AdversarialOptions,
    AugmentOptions,
    DatasetOptions,
    RegularizationOptions,
    TrainingConfig,
)
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


@pytest.mark.parametrize(
    "loss",
    [AdversarialOptions("ce"), AdversarialOptions("rlo", 11.0, "bounded"), AdversarialOptions("rlo", 2.0, "convex")],
    ids=["ce", "rlo11-bounded", "rlo2-convex"],
)
def test_fakes_move_towards_the_data(tmp_path, monkeypatch, loss):
    images = _ramps()
    monkeypatch.setattr(setup, "ImageDataset", lambda **_: ImageDataset.from_arrays(images, name="ramps"))
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
        kimg_per_tick=0.4,
        grid=(2, 2),
    )
    run = TrainingRun(config, RunDir(tmp_path), World(), Housekeeping(progress_bar=False))
    target = torch.from_numpy(images).float().mean(dim=0) / 127.5 - 1

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
