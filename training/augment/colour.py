"""Colour transforms, combined into one affine map of RGB (ADA, appendix B, algorithm 1, step 3)."""

import dataclasses
import math

import torch

from training.augment.draws import Draws


@dataclasses.dataclass(frozen=True)
class ColourSettings:
    """Strengths (multipliers of p, 0 for off) and ranges of the colour transforms."""

    brightness: float = 0
    contrast: float = 0
    lumaflip: float = 0
    hue: float = 0
    saturation: float = 0
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    hue_max: float = 1.0
    saturation_std: float = 1.0

    @property
    def enabled(self) -> bool:
        """Whether any transform is on."""
        strengths = (self.brightness, self.contrast, self.lumaflip, self.hue, self.saturation)
        return any(strength > 0 for strength in strengths)


def sample_colour_map(settings: ColourSettings, draws: Draws, grey: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices [N, 3, 3] and offsets [N, 3, 1] of rgb -> matrix rgb + offset; without hue and saturation for `grey`."""
    device = draws.device
    identity = torch.eye(3, device=device)
    luma = torch.full([3, 3], 1 / 3, device=device)  # projection on the grey axis
    matrix = identity.expand(draws.num, 3, 3)
    offset = torch.zeros([draws.num, 3, 1], device=device)
    if settings.brightness > 0:
        offset = offset + draws.apply(settings.brightness, draws.normal(1, 1) * settings.brightness_std, 0)
    if settings.contrast > 0:
        factor = draws.apply(settings.contrast, torch.exp2(draws.normal(1, 1) * settings.contrast_std), 1)
        matrix, offset = matrix * factor, offset * factor
    if settings.lumaflip > 0:
        flip = draws.apply(settings.lumaflip, draws.choice(2), 0)[:, None, None]
        reflection = identity - 2 * luma * flip
        matrix, offset = reflection @ matrix, reflection @ offset
    if settings.hue > 0 and not grey:
        angle = draws.apply(settings.hue, draws.angle() * settings.hue_max, 0)[:, None, None]
        # Rodrigues' formula about the unit vector (1, 1, 1) / sqrt(3).
        cross = (identity.roll(1, dims=0) - identity.roll(1, dims=1)) / math.sqrt(3)
        rotation = luma + angle.cos() * (identity - luma) + angle.sin() * cross
        matrix, offset = rotation @ matrix, rotation @ offset
    if settings.saturation > 0 and not grey:
        factor = draws.apply(settings.saturation, torch.exp2(draws.normal(1, 1) * settings.saturation_std), 1)
        desaturation = luma + (identity - luma) * factor
        matrix, offset = desaturation @ matrix, desaturation @ offset
    return matrix, offset


def apply_colour(settings: ColourSettings, draws: Draws, images: torch.Tensor) -> torch.Tensor:
    """Transform the colours of images [N, C, H, W]: RGB, RGB + alpha, grey, or grey + alpha. Alpha is left alone."""
    channels = images.shape[1]
    grey = channels < 3
    matrix, offset = sample_colour_map(settings, draws, grey)
    if grey:
        matrix, offset = matrix.mean(dim=1, keepdim=True).sum(dim=2, keepdim=True), offset.mean(dim=1, keepdim=True)
    colours = matrix.shape[1]
    pixels = images[:, :colours].flatten(2)
    changed = matrix * pixels if grey else torch.baddbmm(offset, matrix, pixels)
    changed = changed + offset if grey else changed
    changed = changed.unflatten(2, images.shape[2:])
    return changed if colours == channels else torch.cat([changed, images[:, colours:]], dim=1)
