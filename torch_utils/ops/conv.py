"""Convolution with resampling, and convolution with per-image weights (StyleGAN2, arXiv 1912.04958, section 2.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from torch_utils.ops.conv_gradients import conv2d, conv_transpose2d
from torch_utils.ops.scaling import scale_channels
from torch_utils.ops.upfirdn2d import _paddings, downsampling_padding, upfirdn2d, upsampling_padding

Pair = int | Sequence[int]
_EPS = 1e-8


def conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> torch.Tensor:
    """Enlarge with filter `f`, convolve with `w`, shrink with `f`; computed in the cheapest order.

    Args:
        x: images [N, I, H, W].
        w: weights [O, I // groups, KH, KW], in the dtype of `x`.
        f: filter from `setup_filter`, or None for the identity.
        up: factor of enlargement; the level is kept (gain up ** 2).
        down: factor of reduction.
        padding: with respect to the enlarged image; int, (x, y) or (left, right, top, bottom).
            An odd KH = KW = 2 * padding + 1 gives H * up // down rows.
        groups: as in `torch.nn.functional.conv2d`.
        flip_weight: True correlates with `w`, as `conv2d` does; False convolves.
        flip_filter: False convolves with `f`, True correlates.

    Returns:
        [N, O, OH, OW], any number of times differentiable in `x` and `w`.

    Raises:
        ValueError: factors below 1, or nothing left of the image.
    """
    if up < 1 or down < 1:
        raise ValueError(f"up and down must be at least 1, not {up} and {down}")
    rows, columns = w.shape[2:]
    around = list(_paddings(padding))
    if up > 1:
        around = [a + b for a, b in zip(around, upsampling_padding(f, (up, up)), strict=True)]
    if down > 1:
        around = [a + b for a, b in zip(around, downsampling_padding(f, (down, down)), strict=True)]
    pointwise = rows == columns == 1

    if pointwise and up == 1 and down > 1:
        x = upfirdn2d(x, f, down=down, padding=around, flip_filter=flip_filter)
        return _conv(x, w, groups=groups, flip_weight=flip_weight)
    if pointwise and up > 1 and down == 1:
        x = _conv(x, w, groups=groups, flip_weight=flip_weight)
        return upfirdn2d(x, f, up=up, padding=around, flip_filter=flip_filter, gain=up**2)
    if up == 1 and down > 1:
        x = upfirdn2d(x, f, padding=around, flip_filter=flip_filter)
        return _conv(x, w, groups=groups, flip_weight=flip_weight, stride=down)
    if up > 1:
        # A filter and a convolution commute: first the transposed convolution, on few pixels, then the filter.
        around[0] -= columns - 1
        around[1] -= columns - up
        around[2] -= rows - 1
        around[3] -= rows - up
        cut_x, cut_y = max(min(-around[0], -around[1]), 0), max(min(-around[2], -around[3]), 0)
        x = _transposed_conv(x, w, stride=up, padding=(cut_y, cut_x), groups=groups, flip_weight=flip_weight)
        around = [around[0] + cut_x, around[1] + cut_x, around[2] + cut_y, around[3] + cut_y]
        x = upfirdn2d(x, f, padding=around, flip_filter=flip_filter, gain=up**2)
        return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)
    if around[0] == around[1] >= 0 and around[2] == around[3] >= 0:
        return _conv(x, w, groups=groups, flip_weight=flip_weight, padding=(around[2], around[0]))
    return _conv(F.pad(x, around), w, groups=groups, flip_weight=flip_weight)


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    noise: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    resample_filter: torch.Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused: bool = True,
) -> torch.Tensor:
    """Convolve each image with weights scaled by its own styles (StyleGAN2, equations 1 and 3), then add noise.

    Image n is convolved with w[o, i, :, :] * s[n, i] / sigma[n, o], where
    sigma[n, o] = sqrt(sum over i and pixels of (w * s)^2 + 1e-8), or 1 without `demodulate`.

    Args:
        x: images [N, I, H, W].
        weight: [O, I, KH, KW], usually float32.
        styles: s [N, I], usually float32. Sigma is computed in the wider of the dtypes of `weight` and `styles`.
        noise: added to the result; broadcastable to [N, O, OH, OW].
        up: factor of enlargement, see `conv2d_resample`.
        down: factor of reduction.
        padding: see `conv2d_resample`.
        resample_filter: filter for `up` and `down`.
        demodulate: divide by sigma.
        flip_weight: True correlates, False convolves.
        fused: True convolves each image with its own weights (one grouped convolution); False scales the images
            before and after one shared convolution, which needs less memory for weights. Same result. Few channels
            of 1 x 1 kernels are always convolved with their own weights on the CPU, as matrix products.

    Returns:
        [N, O, OH, OW] in the dtype of `x`. With demodulation, float16 results are computed from weights and styles
        divided by their largest magnitudes, which cancels in the quotient and cannot overflow.

    Raises:
        ValueError: styles do not match images and weights.
    """
    batch, in_channels = x.shape[:2]
    if styles.shape != (batch, in_channels) or weight.shape[1] != in_channels:
        raise ValueError(
            f"images {tuple(x.shape)}, weights {tuple(weight.shape)} and styles {tuple(styles.shape)} do not match"
        )
    if demodulate and x.dtype == torch.float16:
        fan_in = weight[0].numel()
        weight = weight * (fan_in**-0.5 / weight.abs().amax(dim=[1, 2, 3], keepdim=True))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    scale = _inverse_sigma(weight, styles) if demodulate else None
    options = {"up": up, "down": down, "padding": padding, "flip_weight": flip_weight}
    by_product = up == down == 1 and padding == 0 and _suits_product(x, weight)

    if fused or by_product:
        per_image = weight[None] * styles[:, None, :, None, None]
        if scale is not None:
            per_image = per_image * scale[:, :, None, None, None]
        per_image = per_image.to(x.dtype)
        if by_product:
            y = _product(x, per_image.flatten(2))
        else:
            per_image = per_image.reshape(-1, *weight.shape[1:])
            y = conv2d_resample(x.reshape(1, -1, *x.shape[2:]), per_image, resample_filter, groups=batch, **options)
            y = y.reshape(batch, -1, *y.shape[2:])
        return y if noise is None else y + noise.to(x.dtype)

    y = conv2d_resample(scale_channels(x, styles), weight.to(x.dtype), resample_filter, **options)
    if scale is not None:
        return scale_channels(y, scale, noise)
    return y if noise is None else y + noise.to(x.dtype)


def _inverse_sigma(weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """1 / sigma [N, O]; the sum over the kernel's pixels is shared by all images."""
    dtype = torch.promote_types(weight.dtype, styles.dtype)
    energy = weight.to(dtype).square().sum([2, 3])
    return (styles.to(dtype).square() @ energy.t() + _EPS).rsqrt()


def _conv(
    x: torch.Tensor,
    w: torch.Tensor,
    *,
    groups: int,
    flip_weight: bool,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> torch.Tensor:
    if not flip_weight and w.shape[2:] != (1, 1):
        w = w.flip([2, 3])
    if stride == groups == 1 and padding == (0, 0) and x.element_size() > 2 and _suits_product(x, w):
        w = w.flatten(1)
        if x.stride(1) == 1:  # channels_last, also of one channel
            return torch.matmul(x.permute(0, 2, 3, 1), w.t()).permute(0, 3, 1, 2)
        return _product(x, w.expand(len(x), -1, -1))
    return conv2d(x, w, stride=stride, padding=padding, groups=groups)


def _suits_product(x: torch.Tensor, w: torch.Tensor) -> bool:
    """Whether a 1 x 1 convolution is faster as a matrix product (docs/results/small-networks.md).

    With many channels and few pixels it is not, as autograd makes a gradient of the weights for each image.
    """
    return x.device.type == "cpu" and w.shape[2:] == (1, 1) and 2 * min(w.shape[:2]) <= x.shape[2] * x.shape[3]


def _product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Convolve each image of x [N, I, H, W] with its own 1 x 1 kernels w [N, O, I]."""
    return torch.bmm(w, x.flatten(2)).unflatten(2, x.shape[2:])


def _transposed_conv(
    x: torch.Tensor, w: torch.Tensor, *, stride: int, padding: tuple[int, int], groups: int, flip_weight: bool
) -> torch.Tensor:
    """Zero insertion and convolution; `conv_transpose2d` wants [I, O // groups, KH, KW] and convolves."""
    if flip_weight:
        w = w.flip([2, 3])
    out_channels, in_channels, rows, columns = w.shape
    w = w.reshape(groups, out_channels // groups, in_channels, rows, columns).transpose(1, 2)
    w = w.reshape(groups * in_channels, out_channels // groups, rows, columns)
    return conv_transpose2d(x, w, stride=stride, padding=padding, groups=groups)
