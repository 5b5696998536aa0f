"""The configuration tables against the published values."""

import pytest

from training.config.resolve import resolve
from training.options import TrainingOptions
from training.options.presets import CFGS, PRESETS, auto_config

AUTO = {
    # resolution: (batch, gamma, ema_kimg) for 1, 2, 4 and 8 GPUs
    32: [(32, 0.0064, 10), (64, 0.0032, 20), (64, 0.0032, 20), (64, 0.0032, 20)],
    64: [(32, 0.0256, 10), (64, 0.0128, 20), (64, 0.0128, 20), (64, 0.0128, 20)],
    128: [(32, 0.1024, 10), (64, 0.0512, 20), (64, 0.0512, 20), (64, 0.0512, 20)],
    256: [(16, 0.8192, 5), (32, 0.4096, 10), (64, 0.2048, 20), (64, 0.2048, 20)],
    512: [(8, 6.5536, 2.5), (16, 3.2768, 5), (32, 1.6384, 10), (64, 0.8192, 20)],
    1024: [(4, 52.4288, 1.25), (8, 26.2144, 2.5), (16, 13.1072, 5), (32, 6.5536, 10)],
}


@pytest.mark.parametrize("resolution", AUTO)
def test_auto_gives_the_published_values(resolution):
    for gpus, (batch, gamma, ema_kimg) in zip((1, 2, 4, 8), AUTO[resolution], strict=True):
        config = auto_config(resolution, gpus)
        assert config.batch == batch
        assert config.gamma == pytest.approx(gamma)
        assert config.ema_kimg == pytest.approx(ema_kimg)
        assert config.fmaps == (1.0 if resolution >= 512 else 0.5)
        assert config.mapping_layers == 2


def test_auto_works_for_any_number_of_processes():
    for gpus in range(1, 13):
        assert auto_config(64, gpus).batch % gpus == 0


@pytest.mark.parametrize("cfg", CFGS)
def test_every_cfg_resolves(cfg):
    config, _ = resolve(TrainingOptions(cfg=cfg, metrics=(), device="cpu"), gpus=1)
    base = CFGS[cfg]
    assert config.batch_size == base.batch
    assert config.batch_gpu == base.batch // base.ref_gpus
    assert config.loss_kwargs.r1_gamma == base.gamma
    assert config.G_kwargs.channel_base == 32768 * base.fmaps
    assert config.loss_kwargs.pl_weight == (0 if cfg == "cifar" else 2)
    assert config.D_kwargs.architecture == ("orig" if cfg == "cifar" else "resnet")


@pytest.mark.parametrize("preset", [name for name in PRESETS if not name.startswith("paper")])
def test_every_preset_resolves_and_yields_to_flags(preset):
    config, _ = resolve(TrainingOptions(preset=preset, kimg=3.5, glr=0.125, device="cpu"), gpus=1)
    assert config.total_kimg == 3.5
    assert config.G_opt_kwargs.lr == 0.125


def test_a_resumed_run_adapts_p_faster_and_has_no_ramp_up():
    config, _ = resolve(TrainingOptions(resume="ffhq256", device="cpu"), gpus=1)
    assert config.augment_kwargs.kimg == 100
    assert config.ema_rampup is None


def test_the_configuration_survives_json():
    config, _ = resolve(TrainingOptions(loss="rlo", k=2.0, rlo_form="convex", device="cpu", grid=(2, 3)), gpus=1)
    assert type(config).from_dict(config.to_dict()) == config
