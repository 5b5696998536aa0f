"""How much one picture is another again: the largest normalised cross-correlation of fine structure over shifts.

Pictures are compared in grey, at 64 pixels at most, and without their local mean, so that neither brightness nor a
common layout (every aligned face) counts, only what is in no other picture.
"""

import torch
import torch.nn.functional as F

from torch_utils.media.images import rgb_on_white

LARGEST = 64  # pixels of the shorter side
_LUMA = (0.299, 0.587, 0.114)
_FLAT = 0.25  # mean square of the fine structure, in grey levels, below which a picture has none


def reduced(images: torch.Tensor) -> torch.Tensor:
    """Uint8 [N, C, H, W] to uint8 RGB [N, 3, h, w] whose shorter side is at most 64, by area means."""
    images = rgb_on_white(images)
    shorter = min(images.shape[2:])
    if shorter <= LARGEST:
        return images
    size = [round(side * LARGEST / shorter) for side in images.shape[2:]]
    return F.interpolate(images.float(), size, mode="area").round().to(torch.uint8)


def fine_structure(images: torch.Tensor) -> torch.Tensor:
    """Reduced images [N, 3, h, w] to float32 [N, h, w]: grey, less the local mean over a seventh of the side."""
    grey = (images.float() * images.new_tensor(_LUMA, dtype=torch.float32)[:, None, None]).sum(dim=1)
    width = max(3, min(grey.shape[1:]) // 14 * 2 + 1)
    return grey - F.avg_pool2d(grey[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]


def largest_correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The largest normalised cross-correlation of pairs [N, h, w] over shifts up to a sixteenth of the side: [N].

    The middle of x is compared with equally large windows of y, 81 of them at 64 pixels.
    """
    height, width = x.shape[1:]
    most = max(1, min(height, width) // 16)
    inside = (height - 2 * most, width - 2 * most)
    middle = F.pad(x[:, most : most + inside[0], most : most + inside[1]], [most] * 4)
    # The shift is at most the margin, so that nothing comes round the edge.
    products = torch.fft.irfft2(torch.fft.rfft2(y) * torch.fft.rfft2(middle).conj(), s=(height, width))
    products = products.roll((most, most), (1, 2))[:, : 2 * most + 1, : 2 * most + 1]
    energies = F.avg_pool2d(y.square()[:, None], inside, 1)[:, 0]
    energy = middle.square().sum(dim=(1, 2), keepdim=True) / (inside[0] * inside[1])
    correlations = products / (inside[0] * inside[1]) / (energies * energy).clamp(min=_FLAT**2).sqrt()
    return correlations.flatten(1).amax(dim=1)
