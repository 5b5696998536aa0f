"""`upfirdn2d` as PyTorch expressions.

Three ways, chosen by layout (rates in docs/operators.md): a convolution with one group per channel, a transposed one
where pixels are inserted, and, for images of few channels and filters of one dimension on the CPU, products with the
blocks of a banded matrix along each axis.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from torch_utils.ops.geometry import Geometry
from torch_utils.ops.layout import dense_layout

# Up to so many channels a convolution has nothing to vectorise over, and on the CPU matrices beat it.
FEW_CHANNELS = 4
_BLOCK = 32  # rows or columns of a result that are computed in one product: fewer are more calls, more are more zeros


def apply(x: torch.Tensor, f: torch.Tensor, geometry: Geometry, flip: bool, gain: float) -> torch.Tensor:
    """The operator of `torch_utils.ops.upfirdn2d`, options checked; differentiable in `x` and `f`."""
    if _suits_matrices(x, f):
        return _by_matrices(x, f, geometry, flip, gain)
    if f.ndim == 2:
        return _by_convolution(x, f, geometry, flip, gain)
    horizontal, vertical = geometry.axes()
    each = abs(gain) ** 0.5
    x = _by_convolution(x, f[None, :], horizontal, flip, each)
    return _by_convolution(x, f[:, None], vertical, flip, -each if gain < 0 else each)


def _by_convolution(x: torch.Tensor, f: torch.Tensor, geometry: Geometry, flip: bool, gain: float) -> torch.Tensor:
    """The operator for `f` [KH, KW], one group per channel."""
    (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1) = geometry
    channels = x.shape[1]
    if up_x == up_y == 1:
        padding = [0, 0]
        if x0 == x1 >= 0 and y0 == y1 >= 0:
            padding = [y0, x0]
        else:
            x = _padded(x, x0, x1, y0, y1)
        weight = _per_channel(f, gain, channels, x.dtype, reverse=not flip)
        return F.conv2d(x, weight, stride=[down_y, down_x], padding=padding, groups=channels)

    if x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16):
        # PyTorch has no fast transposed convolution per channel in 16 bits on the CPU: 5 to 30 times the time of this.
        return _by_convolution(x.float(), f.float(), geometry, flip, gain).to(x.dtype)
    rows, columns = geometry._replace(down=(1, 1)).output_size(x.shape[2], x.shape[3], (f.shape[0], f.shape[1]))
    top, bottom, cut_y = _cuts(x.shape[2], rows, f.shape[0], up_y, y0)
    left, right, cut_x = _cuts(x.shape[3], columns, f.shape[1], up_x, x0)
    weight = _per_channel(f, gain, channels, x.dtype, reverse=flip)  # `conv_transpose2d` convolves
    y = F.conv_transpose2d(x, weight, stride=[up_y, up_x], padding=[cut_y, cut_x], groups=channels)
    y = _padded(y, left, right, top, bottom)
    if down_x * down_y > 1:
        y = y[:, :, ::down_y, ::down_x]
    return y


def _per_channel(f: torch.Tensor, gain: float, channels: int, dtype: torch.dtype, *, reverse: bool) -> torch.Tensor:
    """Weights [channels, 1, KH, KW]: the gain is folded into the filter at its own precision, usually float32."""
    taps = (f if gain == 1 else f * gain).to(dtype).expand(channels, 1, -1, -1)
    return taps.flip([2, 3]) if reverse else taps.contiguous()


def _padded(x: torch.Tensor, left: int, right: int, top: int, bottom: int) -> torch.Tensor:
    """Zeros around, or crops; more may be cropped on one side than there is before the other side is padded."""
    if max(left, right, top, bottom) > 0:
        x = F.pad(x, [max(n, 0) for n in (left, right, top, bottom)])
    rows = slice(max(-top, 0), x.shape[2] - max(-bottom, 0))
    return x[:, :, rows, max(-left, 0) : x.shape[3] - max(-right, 0)]


def _cuts(size: int, wanted: int, taps: int, up: int, pad: int) -> tuple[int, int, int]:
    """Padding before and after, and the amount cut from both ends, of a full transposed convolution.

    The full result has (size - 1) * up + taps entries; the wanted ones start at taps - 1 - pad.
    """
    start = taps - 1 - pad
    end = (size - 1) * up + taps - start - wanted
    cut = max(min(start, end), 0)
    return cut - start, cut - end, cut


def _suits_matrices(x: torch.Tensor, f: torch.Tensor) -> bool:
    if x.device.type != "cpu" or f.requires_grad or torch.compiler.is_compiling():
        return False
    return x.shape[1] <= FEW_CHANNELS and f.ndim == 1


def _by_matrices(x: torch.Tensor, f: torch.Tensor, geometry: Geometry, flip: bool, gain: float) -> torch.Tensor:
    (up_x, up_y), (down_x, down_y), (x0, _, y0, _) = geometry
    batch, channels, height, width = x.shape
    rows, columns = geometry.output_size(height, width, (len(f), len(f)))
    taps = (f.flip(0) if flip else f) * abs(gain) ** 0.5
    left = _band(-taps if gain < 0 else taps, height, rows, up_y, down_y, y0).to(x.dtype)
    right = _band(taps, width, columns, up_x, down_x, x0).to(x.dtype)
    y = x.reshape(-1, width)
    y = torch.cat([y[:, i] @ right[i, o] for i, o in _blocks(right, len(f), up_x, down_x, x0)], dim=1)
    y = y.view(batch * channels, height, columns)
    y = torch.cat([torch.matmul(left[i, o].t(), y[:, i]) for i, o in _blocks(left, len(f), up_y, down_y, y0)], dim=1)
    return y.view(batch, channels, rows, columns).contiguous(memory_format=dense_layout(x))


def _blocks(band: torch.Tensor, taps: int, up: int, down: int, pad: int) -> Iterator[tuple[slice, slice]]:
    """Slices (rows, columns) that cut a `_band` into blocks of columns, each with the rows in which it is not zero."""
    size, wanted = band.shape
    for start in range(0, wanted, _BLOCK):
        stop = min(start + _BLOCK, wanted)
        first = max((start * down - pad + up - 1) // up, 0)
        last = min(((stop - 1) * down - pad + taps - 1) // up, size - 1)
        yield slice(first, max(last + 1, first)), slice(start, stop)


def _band(taps: torch.Tensor, size: int, wanted: int, up: int, down: int, pad: int) -> torch.Tensor:
    """The matrix [size, wanted] with entry taps[K - 1 - (i * up - o * down + pad)] in row i, column o; zero outside."""
    # Row i of the full convolution holds the K taps from column i * up on; its column o * down + start is wanted.
    start = len(taps) - 1 - pad
    before = max(-start, 0)
    width = max((size - 1) * up + len(taps), start + (wanted - 1) * down + 1) + before
    full = taps.new_zeros(size, width)
    full.as_strided((size, len(taps)), (width + up, 1), before).copy_(taps)
    return full[:, before + start :: down][:, :wanted]
