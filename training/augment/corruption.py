"""Additive noise and cutout (ADA, appendix B, algorithm 1, step 5)."""

import dataclasses

import torch

from training.augment.draws import Draws


@dataclasses.dataclass(frozen=True)
class CorruptionSettings:
    """Strengths (multipliers of p, 0 for off) and ranges of noise and cutout."""

    noise: float = 0
    cutout: float = 0
    noise_std: float = 0.1
    cutout_size: float = 0.5


def apply_noise(settings: CorruptionSettings, draws: Draws, images: torch.Tensor) -> torch.Tensor:
    """Add white noise to images [N, C, H, W]; its standard deviation is half-normal."""
    sigma = draws.apply(settings.noise, draws.half_normal(1, 1, 1) * settings.noise_std, 0)
    return images + torch.randn_like(images) * sigma


def apply_cutout(settings: CorruptionSettings, draws: Draws, images: torch.Tensor) -> torch.Tensor:
    """Set to zero a rectangle of `cutout_size` times the size of the images [N, C, H, W], centred anywhere inside."""
    size = draws.apply(settings.cutout, torch.full([draws.num, 1], settings.cutout_size, device=draws.device), 0)
    centre = draws.uniform(2)
    height, width = images.shape[2:]
    x = (torch.arange(width, device=draws.device) + 0.5) / width
    y = (torch.arange(height, device=draws.device) + 0.5) / height
    kept_x = (x - centre[:, :1]).abs() >= size / 2
    kept_y = (y - centre[:, 1:]).abs() >= size / 2
    kept = kept_y[:, None, :, None] | kept_x[:, None, None, :]
    return images * kept
