"""Factors per image and channel, and the sums over pixels that are their gradients (modulation in StyleGAN2)."""

import torch

from torch_utils.ops import conv_gradients, dispatch, scaling_torch
from torch_utils.ops.native import kernels, library


def scale_channels(x: torch.Tensor, s: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
    """Compute x * s[:, :, None, None] + noise.

    Args:
        x: images [N, C, H, W], any dtype and layout.
        s: factors [N, C]. The kernels read them and the noise in float32 (float64 for float64), the expressions round
            both to the dtype of `x` before.
        noise: broadcastable to the images; what is the same for all channels is added by the kernels.

    Returns:
        [N, C, H, W] in the dtype and layout of `x`, any number of times differentiable in all arguments.
    """
    if not _native(x):
        return scaling_torch.scale(x, s, noise)
    if noise is None:
        return library.scale_channels(x, s, None)
    noise = noise[(None,) * (4 - noise.ndim)]
    if noise.shape[0] in (1, len(x)) and noise.shape[1:] == (1, *x.shape[2:]):
        return library.scale_channels(x, s, noise)
    return library.scale_channels(x, s, None) + noise.to(x.dtype)


def channel_products(a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    """Sum a * b over pixels, or a alone.

    Args:
        a: [N, C, H, W].
        b: as `a`, of the same dtype.

    Returns:
        [N, C] in float32 (float64 for float64), in which it is summed, always in the same order. Any number of times
        differentiable.
    """
    return library.channel_products(a, b) if _native(a) else scaling_torch.products(a, b)


def _native(x: torch.Tensor) -> bool:
    return conv_gradients.pays(x) and x.dtype in kernels.SCALARS and dispatch.uses_native(x)
