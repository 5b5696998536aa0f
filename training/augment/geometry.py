"""Pixel blitting and general geometric transforms, executed as one warp (ADA, appendix B, algorithm 1, steps 1 and 2).

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data". A warp is described by the inverse
matrix [N, 3, 3]: from pixel coordinates of the output, origin in the image centre, to those of the input.
"""

import dataclasses
import math

import torch

from torch_utils.ops.grid_sample import grid_sample
from torch_utils.ops.upfirdn2d import downsample2d, upsample2d
from training.augment.draws import Draws

# Low-pass filter of the symlet with 6 vanishing moments (Daubechies 1992, table 8.1), normalised to unit energy.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
# Pixels around the image that the 12 taps of one resampling reach (half of them, at twice the resolution).
_REACH = len(SYM6) // 4


@dataclasses.dataclass(frozen=True)
class GeometrySettings:
    """Strengths (multipliers of p, 0 for off) and ranges of the geometric transforms."""

    xflip: float = 0
    rotate90: float = 0
    xint: float = 0
    scale: float = 0
    rotate: float = 0
    aniso: float = 0
    xfrac: float = 0
    xint_max: float = 0.125
    scale_std: float = 0.2
    rotate_max: float = 1.0
    aniso_std: float = 0.2
    xfrac_std: float = 0.125

    @property
    def enabled(self) -> bool:
        """Whether any transform is on."""
        strengths = (self.xflip, self.rotate90, self.xint, self.scale, self.rotate, self.aniso, self.xfrac)
        return any(strength > 0 for strength in strengths)

    def reach(self, size: tuple[int, int]) -> float:
        """Upper bound of how far outside an image of this height and width a corner of the warped image can lie."""
        if self.scale > 0 or self.aniso > 0 or self.xfrac > 0:
            return math.inf
        shift = round(self.xint_max * max(size)) if self.xint > 0 else 0
        turned = math.hypot(*size) if self.rotate > 0 else max(size) if self.rotate90 > 0 else min(size)
        return (turned - min(size)) / 2 + shift


def sample_warp(settings: GeometrySettings, draws: Draws, size: tuple[int, int]) -> torch.Tensor:
    """Inverse warps [N, 3, 3] for images of this height and width in pixels, in the order of the paper.

    Rotations and scalings are those of the plane, whatever the shape of the image; shifts are in parts of each side.
    """
    height, width = size
    warp = torch.eye(3, device=draws.device).expand(draws.num, 3, 3)
    if settings.xflip > 0:
        warp = _compose(warp, _scaling(1 - 2 * draws.apply(settings.xflip, draws.choice(2), 0), 1))
    if settings.rotate90 > 0:
        warp = _compose(warp, _rotation(math.pi / 2 * draws.apply(settings.rotate90, draws.choice(4), 0)))
    if settings.xint > 0:
        shift = draws.apply(settings.xint, (draws.uniform(2) * 2 - 1) * settings.xint_max, 0)
        warp = _compose(warp, _translation((shift[:, 0] * -width).round(), (shift[:, 1] * -height).round()))
    if settings.scale > 0:
        scale = draws.apply(settings.scale, torch.exp2(draws.normal() * settings.scale_std), 1)
        warp = _compose(warp, _scaling(1 / scale, 1 / scale))
    # Two rotations, before and after the anisotropic scaling; at least one of them happens with probability
    # strength * p.
    p_rotate = 1 - (1 - draws.p * settings.rotate).clamp(0, 1).sqrt()
    if settings.rotate > 0:
        warp = _compose(warp, _rotation(draws.apply_with(p_rotate, draws.angle() * settings.rotate_max, 0)))
    if settings.aniso > 0:
        scale = draws.apply(settings.aniso, torch.exp2(draws.normal() * settings.aniso_std), 1)
        warp = _compose(warp, _scaling(1 / scale, scale))
    if settings.rotate > 0 and draws.percentile is None:
        warp = _compose(warp, _rotation(draws.apply_with(p_rotate, draws.angle() * settings.rotate_max, 0)))
    if settings.xfrac > 0:
        shift = draws.apply(settings.xfrac, draws.normal(2) * settings.xfrac_std, 0)
        warp = _compose(warp, _translation(shift[:, 0] * -width, shift[:, 1] * -height))
    return warp


def warp_images(images: torch.Tensor, warp: torch.Tensor, taps: torch.Tensor, reach: float = math.inf) -> torch.Tensor:
    """Resample images [N, C, H, W] by the inverse warps [N, 3, 3] and the low-pass filter `taps`.

    Outside an image lies its mirror image, and outside of that zero.

    On the CPU the mirrored margin is as wide as this batch needs, and images whose warp is the identity are passed
    through. On other devices, where reading the warps would make the host wait, the margin has a fixed width, the
    widest that mirroring can give or `reach` (see `GeometrySettings.reach`) allows for. The results agree up to
    rounding, save for a few pixels at the rim of the mirrored image where they are in sight.
    """
    if images.device.type == "cpu":
        return warp_as_needed(images, warp, taps)
    return warp_at_fixed_shape(images, warp, taps, reach)


def warp_as_needed(images: torch.Tensor, warp: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Warp the images that move, with margins as wide as their motions need: shapes depend on values."""
    size = images.shape[2:]
    moved = (warp != torch.eye(3)).flatten(1).any(dim=1)
    count = int(moved.sum())
    if count == 0:
        return images
    if count == len(images):
        return _resample(images, warp, taps, _margins(warp, size))
    index = moved.nonzero()[:, 0]
    warp = warp[index]
    return images.index_copy(0, index, _resample(images[index], warp, taps, _margins(warp, size)))


def warp_at_fixed_shape(images: torch.Tensor, warp: torch.Tensor, taps: torch.Tensor, reach: float) -> torch.Tensor:
    """Warp all images, with margins for motions of up to `reach` pixels: no value is looked at."""
    needed = math.inf if math.isinf(reach) else math.ceil(reach + 2 * _REACH)
    vertical, horizontal = (int(min(side - 1, needed)) for side in images.shape[2:])
    return _resample(images, warp, taps, (horizontal, horizontal, vertical, vertical))


def _margins(warp: torch.Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels to add left, right, top and bottom, so that every image of the batch finds its corners inside."""
    y, x = ((side - 1) / 2 for side in size)
    corners = torch.tensor([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]) * torch.tensor([x, y, 1])
    reached = warp[:, :2] @ corners.t()
    low, high = reached.amin(dim=[0, 2]), reached.amax(dim=[0, 2])
    margins = torch.stack([-low[0], high[0], -low[1], high[1]]) + 2 * _REACH - torch.tensor([x, x, y, y])
    widest = torch.tensor([2 * x, 2 * x, 2 * y, 2 * y])
    left, right, top, bottom = (int(margin) for margin in margins.clamp(min=0).minimum(widest).ceil())
    return left, right, top, bottom


def _resample(
    images: torch.Tensor, warp: torch.Tensor, taps: torch.Tensor, margins: tuple[int, int, int, int]
) -> torch.Tensor:
    """Mirror at the rims, upsample 2x, sample bilinearly, downsample 2x (ADA, appendix B.3)."""
    left, right, top, bottom = margins
    padded = torch.nn.functional.pad(images, [left, right, top, bottom], mode="reflect")
    fine = upsample2d(padded, taps)

    # Where the pixels of the result at twice the resolution come from, including the rim that the downsampling
    # consumes. Pixels of the original are the unit; between resolutions the centres of the pixels move by 1/4.
    rows, columns = (_places(side, images.device) for side in images.shape[2:])
    x, y, offset = warp[:, :2, :, None, None].unbind(dim=2)
    along, down = x * columns, y * rows[:, None] + offset  # [N, 2, 1, W] and [N, 2, H, 1], whose sum is large
    for axis, (side, margin) in enumerate([(fine.shape[3], left - right), (fine.shape[2], top - bottom)]):
        down[:, axis] += margin / 2 - 0.25
        for part in (along, down):
            part[:, axis] *= 4 / side
    sampled = grid_sample(fine, (along + down).permute(0, 2, 3, 1))
    return downsample2d(sampled, taps, padding=-2 * _REACH, flip_filter=True)


def _places(side: int, device: torch.device) -> torch.Tensor:
    """Coordinates along one axis of `_resample`'s samples, for images of `side` pixels."""
    samples = 2 * (side + 2 * _REACH)
    return (torch.arange(samples, device=device) - (samples - 1) / 2) / 2 + 0.25


def _compose(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Matrix product of [N, 3, 3], in full float32 also where the backend's matrix products are less exact."""
    return (first.unsqueeze(-1) * second.unsqueeze(-3)).sum(dim=-2)


def _matrix(rows: list[list[torch.Tensor | float]]) -> torch.Tensor:
    """[N, 3, 3] from two rows of [N] tensors and numbers, the third row being 0 0 1."""
    reference = next(entry for row in rows for entry in row if isinstance(entry, torch.Tensor))
    entries = [
        entry if isinstance(entry, torch.Tensor) else torch.full_like(reference, entry)
        for row in [*rows, [0, 0, 1]]
        for entry in row
    ]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def _scaling(x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
    return _matrix([[x, 0, 0], [0, y, 0]])


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    cos, sin = angle.cos(), angle.sin()
    return _matrix([[cos, -sin, 0], [sin, cos, 0]])


def _translation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """By pixels [N]."""
    return _matrix([[1, 0, x], [0, 1, y]])
