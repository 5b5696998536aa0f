"""Upsample by zero insertion, pad, filter and downsample images, in one operator.

Along each axis, with filter `f` of K taps (already reversed unless `flip_filter`), the operator computes

    y[o] = gain * sum_i x[i] * f[i * up - o * down + pad0],   0 <= i * up - o * down + pad0 < K.

Its gradient with respect to `x` is the same operator with `up` and `down` exchanged and the filter
reversed, so it can be differentiated any number of times.
"""

from collections.abc import Sequence
from typing import Any

import torch

from torch_utils.ops import dispatch, upfirdn2d_torch
from torch_utils.ops.geometry import Geometry
from torch_utils.ops.native import library

Pair = int | Sequence[int]


def setup_filter(
    f: torch.Tensor | Sequence | float | None,
    *,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Prepare a FIR filter for the operators of this module.

    Args:
        f: taps: a number, a sequence of K numbers, a [KH, KW] array, or None for the identity.
        normalize: scale to a sum of 1, so that a constant image stays what it is.
        flip_filter: reverse the taps.
        gain: overall factor on the image's amplitude.
        separable: keep K taps one-dimensional and apply them along both axes; by default only for
            K >= 8, since one pass with a small square filter is faster than two passes.
        device: where the result goes.

    Returns:
        float32 tensor, [KH, KW], or [K] if separable.

    Raises:
        ValueError: no taps, more than two dimensions, or `separable` for a two-dimensional filter.
    """
    taps = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32)
    if taps.ndim > 2 or taps.numel() == 0:
        raise ValueError(f"a filter has one or two dimensions and at least one tap, not shape {tuple(taps.shape)}")
    if taps.ndim == 0:
        taps = taps[None]
    if separable is None:
        separable = taps.ndim == 1 and taps.numel() >= 8
    if separable and taps.ndim != 1:
        raise ValueError("separable=True needs a filter of one dimension")
    if taps.ndim == 1 and not separable:
        taps = torch.outer(taps, taps)
    if normalize:
        taps = taps / taps.sum()
    if flip_filter:
        taps = taps.flip(list(range(taps.ndim)))
    # A separable filter is applied twice, so each application carries the square root of the gain.
    taps = taps * gain ** (taps.ndim / 2)
    return taps.to(device=device)


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    up: Pair = 1,
    down: Pair = 1,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> torch.Tensor:
    """Insert zeros, pad with zeros (or crop), convolve with a FIR filter, keep every `down`-th pixel.

    Args:
        x: images [N, C, H, W]; float16, bfloat16, float32 or float64; contiguous or channels_last (kept).
        f: filter of `setup_filter`, [KH, KW], or [K] (used along both axes), or None for the identity.
        up: each pixel becomes `up` pixels of which the first holds the value; int or (x, y).
        down: every `down`-th pixel is kept; int or (x, y).
        padding: with respect to the upsampled image; int, (x, y) or (left, right, top, bottom); negative crops.
        flip_filter: False convolves, True correlates.
        gain: factor on the result.

    Returns:
        [N, C, (H*up + top + bottom - KH) // down + 1, (W*up + left + right - KW) // down + 1], dtype of `x`.

    Raises:
        ValueError: an option out of range, or nothing left of the image.
    """
    geometry = Geometry(_pair(up, "up"), _pair(down, "down"), _paddings(padding))
    if f is None:
        f = torch.ones([1, 1], dtype=torch.float32, device=x.device)
    _check(x, f, geometry)
    if f.requires_grad and torch.is_grad_enabled():
        return upfirdn2d_torch.apply(x, f, geometry, flip_filter, gain)
    if dispatch.uses_native(x):
        return library.upfirdn2d(x, f, geometry, flip_filter, gain)
    # Not for a compiler, which loses gradients of gradients through a `Function` without a word (torch 2.14).
    if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Resample.apply(x, f, geometry, flip_filter, gain)
    return upfirdn2d_torch.apply(x, f, geometry, flip_filter, gain)


def filter2d(
    x: torch.Tensor, f: torch.Tensor | None, *, padding: Pair = 0, flip_filter: bool = False, gain: float = 1
) -> torch.Tensor:
    """Filter images [N, C, H, W], keeping their size (plus `padding`). Arguments as in `upfirdn2d`."""
    rows, columns = filter_size(f)
    around = (columns // 2, (columns - 1) // 2, rows // 2, (rows - 1) // 2)
    return upfirdn2d(x, f, padding=_sum(padding, around), flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    up: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> torch.Tensor:
    """Enlarge images [N, C, H, W] to [N, C, H*up, W*up] (plus `padding`, in pixels of the result), keeping the level.

    The gain is multiplied by the product of the two factors, as zero insertion thins the signal by it.
    """
    up_x, up_y = _pair(up, "up")
    around = upsampling_padding(f, (up_x, up_y))
    return upfirdn2d(
        x, f, up=(up_x, up_y), padding=_sum(padding, around), flip_filter=flip_filter, gain=gain * up_x * up_y
    )


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    down: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> torch.Tensor:
    """Shrink images [N, C, H, W] to [N, C, H//down, W//down]; `padding` is in pixels of the input."""
    down_x, down_y = _pair(down, "down")
    around = downsampling_padding(f, (down_x, down_y))
    return upfirdn2d(x, f, down=(down_x, down_y), padding=_sum(padding, around), flip_filter=flip_filter, gain=gain)


def filter_size(f: torch.Tensor | None) -> tuple[int, int]:
    """Rows and columns of a filter; a filter of one dimension counts along both axes."""
    if f is None:
        return 1, 1
    return f.shape[0], f.shape[-1]


def upsampling_padding(f: torch.Tensor | None, up: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding that centres the filter on the upsampled grid and makes the result `up` times as large."""
    rows, columns = filter_size(f)
    (up_x, up_y) = up
    return (columns + up_x - 1) // 2, (columns - up_x) // 2, (rows + up_y - 1) // 2, (rows - up_y) // 2


def downsampling_padding(f: torch.Tensor | None, down: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding that centres the filter on each block of pixels that becomes one."""
    rows, columns = filter_size(f)
    (down_x, down_y) = down
    return (columns - down_x + 1) // 2, (columns - down_x) // 2, (rows - down_y + 1) // 2, (rows - down_y) // 2


class _Resample(torch.autograd.Function):
    """The PyTorch path with the gradient given by `Geometry.transposed`.

    Autograd would find the same gradient through convolutions, but also prepare the filter's gradient,
    and could not choose the fastest expression for the transposed operator.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, f: torch.Tensor, geometry: Geometry, flip: bool, gain: float
    ) -> torch.Tensor:
        ctx.save_for_backward(f)
        ctx.options = geometry.transposed(x.shape[2], x.shape[3], filter_size(f)), not flip, gain
        return upfirdn2d_torch.apply(x, f, geometry, flip, gain)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        (f,) = ctx.saved_tensors
        return _Resample.apply(grad, f, *ctx.options), None, None, None, None


def _check(x: torch.Tensor, f: torch.Tensor, geometry: Geometry) -> None:
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"upfirdn2d takes floating-point images [N, C, H, W], not {x.dtype} of shape {tuple(x.shape)}")
    if f.ndim not in (1, 2) or f.numel() == 0 or not f.is_floating_point():
        raise ValueError(f"upfirdn2d takes a filter of shape [K] or [KH, KW], not {f.dtype} of {tuple(f.shape)}")
    if f.device != x.device:
        raise ValueError(f"the filter is on {f.device}, the images on {x.device}")
    size = geometry.output_size(x.shape[2], x.shape[3], filter_size(f))
    if min(size) < 1:
        raise ValueError(f"upfirdn2d: nothing is left of images {tuple(x.shape)} with {geometry}")


def _pair(value: Pair, name: str) -> tuple[int, int]:
    x, y = (value, value) if isinstance(value, int) else value
    if x < 1 or y < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return int(x), int(y)


def _paddings(value: Pair) -> tuple[int, int, int, int]:
    values = [value] if isinstance(value, int) else list(value)
    if len(values) == 1:
        values *= 4
    elif len(values) == 2:
        values = [values[0], values[0], values[1], values[1]]
    if len(values) != 4:
        raise ValueError(f"padding is one, two or four numbers, not {value}")
    x0, x1, y0, y1 = (int(v) for v in values)
    return x0, x1, y0, y1


def _sum(padding: Pair, around: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x0, x1, y0, y1 = (a + b for a, b in zip(_paddings(padding), around, strict=True))
    return x0, x1, y0, y1
