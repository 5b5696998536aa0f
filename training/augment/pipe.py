"""The augmentation pipeline of StyleGAN2-ADA (Karras et al. 2020, "Training GANs with Limited Data", appendix B)."""

import dataclasses
from typing import Any

import torch

from dnnlib import UserError
from torch_utils.ops.upfirdn2d import setup_filter
from training.augment.colour import ColourSettings, apply_colour
from training.augment.corruption import CorruptionSettings, apply_cutout, apply_noise
from training.augment.draws import Draws
from training.augment.filtering import FilterSettings, apply_filter, filter_bank
from training.augment.geometry import SYM6, GeometrySettings, sample_warp, warp_images

_BLIT = dict.fromkeys(("xflip", "rotate90", "xint"), 1.0)
_GEOM = dict.fromkeys(("scale", "rotate", "aniso", "xfrac"), 1.0)
_COLOR = dict.fromkeys(("brightness", "contrast", "lumaflip", "hue", "saturation"), 1.0)
_FILTER, _NOISE, _CUTOUT = {"imgfilter": 1.0}, {"noise": 1.0}, {"cutout": 1.0}

# Groups of transforms by name, for AugmentPipe(**AUGPIPES[name]).
AUGPIPES: dict[str, dict[str, float]] = {
    "blit": _BLIT,
    "geom": _GEOM,
    "color": _COLOR,
    "filter": _FILTER,
    "noise": _NOISE,
    "cutout": _CUTOUT,
    "bg": _BLIT | _GEOM,
    "bgc": _BLIT | _GEOM | _COLOR,
    "bgcf": _BLIT | _GEOM | _COLOR | _FILTER,
    "bgcfn": _BLIT | _GEOM | _COLOR | _FILTER | _NOISE,
    "bgcfnc": _BLIT | _GEOM | _COLOR | _FILTER | _NOISE | _CUTOUT,
}


class AugmentPipe(torch.nn.Module):
    """Random, twice differentiable transforms of image batches; never waits for the device.

    Each transform applies to each image with probability strength * p, independently. `p` is a 0-dimensional float32
    buffer that starts at 1; an `AdaController` moves it.

    Args:
        settings: Strengths by the names in `AUGPIPES` (default 0, off) and ranges: xint_max, scale_std, rotate_max,
            aniso_std, xfrac_std, brightness_std, contrast_std, hue_max, saturation_std, imgfilter_bands (4 strengths,
            lowest band first), imgfilter_std, noise_std, cutout_size. The defaults are the paper's.

    Raises:
        UserError: an unknown name or a negative value.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        _check(settings)
        self.geometry = _pick(GeometrySettings, settings)
        self.colour = _pick(ColourSettings, settings)
        self.filtering = _pick(FilterSettings, settings)
        self.corruption = _pick(CorruptionSettings, settings)
        self.register_buffer("p", torch.ones([]))
        self.register_buffer("geometry_filter", setup_filter(SYM6), persistent=False)
        self.register_buffer("filter_bank", filter_bank().to(torch.float32), persistent=False)

    def forward(self, images: torch.Tensor, debug_percentile: float | None = None) -> torch.Tensor:
        """Augment images [N, C, H, W] float32, C from 1 to 4, about [-1, 1]: the same shape and dtype.

        Channels are grey, grey and alpha, RGB, or RGB and alpha; colour transforms leave alpha alone. Random numbers
        come from the device's default generator.

        Args:
            images: The batch.
            debug_percentile: From 0 to 1: apply every transform to every image with all random quantities (save
                the noise itself) at this percentile.

        Raises:
            ValueError: images of another shape or dtype.
        """
        if images.ndim != 4 or not 1 <= images.shape[1] <= 4:
            raise ValueError(f"images must be [N, 1 to 4, H, W], got {list(images.shape)}")
        if images.dtype != torch.float32:
            raise ValueError(f"images must be float32, got {images.dtype}")
        draws = Draws(images.shape[0], images.device, self.p, debug_percentile)
        if self.geometry.enabled:
            size = tuple(images.shape[2:])
            warp = sample_warp(self.geometry, draws, size)
            images = warp_images(images, warp, self.geometry_filter, self.geometry.reach(size))
        if self.colour.enabled:
            images = apply_colour(self.colour, draws, images)
        if self.filtering.enabled:
            images = apply_filter(self.filtering, draws, self.filter_bank, images)
        if self.corruption.noise > 0:
            images = apply_noise(self.corruption, draws, images)
        if self.corruption.cutout > 0:
            images = apply_cutout(self.corruption, draws, images)
        return images


def _pick(settings_type: type, values: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(settings_type)}
    return settings_type(**{name: value for name, value in values.items() if name in names})


def _check(values: dict[str, Any]) -> None:
    groups = (GeometrySettings, ColourSettings, FilterSettings, CorruptionSettings)
    known = [field.name for group in groups for field in dataclasses.fields(group)]
    for name, value in values.items():
        if name not in known:
            raise UserError(f"augmentation: unknown setting {name}; known are {', '.join(known)}")
        if name == "imgfilter_bands" and len(value) != len(FilterSettings().imgfilter_bands):
            raise UserError(
                f"augmentation: imgfilter_bands has {len(value)} entries; it must have one for each of 4 bands"
            )
        if min(value if name == "imgfilter_bands" else [value]) < 0:
            raise UserError(f"augmentation: {name} is {value}; it must be 0 or more")
