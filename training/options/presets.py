"""The `--cfg` and `--preset` tables, and the `auto` rules as one pure function.

Table values: reference configurations of StyleGAN2-ADA (Karras et al. 2020a, Table A1 and section 'auto').
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BaseConfig:
    """One row of the `--cfg` table.

    Attributes:
        ref_gpus: the number of GPUs that `batch` was meant for; batch // ref_gpus images form a micro-batch.
        fmaps: channel_base / 32768.
        ema_rampup: None for no ramp-up.
    """

    ref_gpus: int
    kimg: float
    batch: int
    mbstd: int
    fmaps: float
    lr: float
    gamma: float
    ema_kimg: float
    ema_rampup: float | None
    mapping_layers: int
    pl_weight: float = 2.0
    style_mixing_prob: float = 0.9
    architecture: str = "resnet"


# fmt: off
CFGS: dict[str, BaseConfig] = {
    #                       gpus  kimg  batch mbstd fmaps    lr gamma  ema  ramp  map
    "stylegan2":  BaseConfig(8,  25000,    32,    4, 1.0, 0.0020, 10.0,  10, None, 8),
    "paper256":   BaseConfig(8,  25000,    64,    8, 0.5, 0.0025,  1.0,  20, None, 8),
    "paper512":   BaseConfig(8,  25000,    64,    8, 1.0, 0.0025,  0.5,  20, None, 8),
    "paper1024":  BaseConfig(8,  25000,    32,    4, 1.0, 0.0020,  2.0,  10, None, 8),
    "cifar":      BaseConfig(2, 100000,    64,   32, 1.0, 0.0025, 0.01, 500, 0.05, 2, 0.0, 0.0, "orig"),
}
# fmt: on


def recommended_gamma(pixels: int, batch: int) -> float:
    """The R1 weight of the `auto` configuration: 0.0002 * pixels of an image / batch (Karras et al. 2020a)."""
    return 0.0002 * pixels / batch


def auto_config(resolution: int, gpus: int) -> BaseConfig:
    """The `auto` configuration for a resolution and a number of GPUs."""
    batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    batch -= batch % gpus
    return BaseConfig(
        ref_gpus=gpus,
        kimg=25000,
        batch=batch,
        mbstd=min(batch // gpus, 4),
        fmaps=1.0 if resolution >= 512 else 0.5,
        lr=0.002 if resolution >= 1024 else 0.0025,
        gamma=recommended_gamma(resolution**2, batch),
        ema_kimg=batch * 10 / 32,
        ema_rampup=0.05,
        mapping_layers=2,
    )


def base_config(cfg: str, resolution: int, gpus: int) -> BaseConfig:
    """The row `cfg` of the table; `auto` depends on resolution and number of GPUs."""
    return auto_config(resolution, gpus) if cfg == "auto" else CFGS[cfg]


@dataclass(frozen=True)
class Preset:
    """Values for command line options that were not given, and what the preset is for."""

    purpose: str
    options: dict[str, Any]


# fmt: off
PRESETS: dict[str, Preset] = {
    # Path length and style mixing pay off over thousands of kimg; here the time is better spent on steps. Layers this
    # small gain nothing from bfloat16.
    "demo": Preset(
        "faces from the 100 built-in photographs in under five minutes on two CPU cores",
        {
            "batch": 16, "kimg": 36.0, "cbase": 512, "cmax": 128, "map_depth": 2, "mirror": True, "gamma": 0.2,
            "glr": 0.004, "dlr": 0.004, "ema_kimg": 2.0, "pl_weight": 0.0, "style_mixing": 0.0, "precision": "fp32",
            "tick": 2.0, "snap": 6, "img_snap": 3, "metrics": ("fd_lite0_1k", "swd1k"),
            "grid": (10, 5),
        },
    ),
    "few-shot": Preset(
        "transfer to a few hundred images; give --resume too (users' advice: Freeze-D, a quarter of the learning rate)",
        {
            "freezed": 10, "glr": 0.0005, "dlr": 0.0005, "mirror": True, "augpipe": "bg", "p_max": 0.8, "snap": 10,
            "kimg": 1000.0,
        },
    ),
    "paper-ffhq64": Preset(
        "Figure 4 of the rooted logistic paper, FFHQ: 64 x 64, 200 images, 500 kimg",
        {"loss": "rlo", "k": 2.0, "rlo_form": "convex", "subset": 200, "batch": 64, "kimg": 500.0, "snap": 10},
    ),
    "paper-dogs64": Preset(
        "Figure 4 of the rooted logistic paper, Stanford Dogs: 64 x 64, 200 images, 500 kimg",
        {"loss": "rlo", "k": 11.0, "rlo_form": "convex", "subset": 200, "batch": 64, "kimg": 500.0, "snap": 10},
    ),
}
# fmt: on
