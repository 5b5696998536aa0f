"""Lay out the launches of upfirdn2d.cu."""

import ctypes
import functools
import math
from typing import NamedTuple

import torch

from torch_utils.ops.geometry import Geometry
from torch_utils.ops.layout import aligned, dense_layout
from torch_utils.ops.native.kernels import SCALARS, Launch, Launcher, Variant

_BLOCK = 256
_TILE_ROWS = 4  # as in the source
_TILE_PIXELS = 1024  # of the output, per block
_SHARED_LIMIT = 40 * 1024  # bytes; every architecture gives 48 KiB without being asked


def _integers(*names: str) -> tuple[tuple[str, type], ...]:
    return tuple((name, ctypes.c_int) for name in names)


class _Images(ctypes.Structure):
    _fields_ = _integers("batch", "channels", "in_height", "in_width", "out_height", "out_width")


class _Sampling(ctypes.Structure):
    _fields_ = (*_integers("pad_x", "pad_y", "reverse"), ("gain", ctypes.c_float))


class _Tiling(ctypes.Structure):
    _fields_ = _integers("width", "height", "planes", "across", "down", "in_width", "in_height")


class _Factors(ctypes.Structure):
    _fields_ = _integers("up_x", "up_y", "down_x", "down_y", "taps_x", "taps_y", "channels_last")


class Tiling(NamedTuple):
    """Output pixels per block (width, height, planes), tiles per plane, and input pixels per plane and block."""

    width: int
    height: int
    planes: int
    across: int
    down: int
    in_width: int
    in_height: int


@functools.cache  # a call takes less time than finding them anew
def variants(dtype: torch.dtype, geometry: Geometry, taps: tuple[int, int]) -> dict[str, Variant]:
    """The compilations by entry point: for these numbers as constants where they are small, and for any numbers."""
    scalar = ("SCALAR", SCALARS[dtype])
    found = {"upfirdn2d_any": Variant("upfirdn2d", (scalar,))}
    (up_x, up_y), (down_x, down_y), _ = geometry
    if max(up_x, up_y, down_x, down_y) > 4 or max(taps) > 32 or taps[0] * taps[1] > 64:
        return found
    numbers = {"UP_X": up_x, "UP_Y": up_y, "DOWN_X": down_x, "DOWN_Y": down_y, "TAPS_X": taps[1], "TAPS_Y": taps[0]}
    rows, columns = _block_of_pixels(geometry)
    pack = 16 // dtype.itemsize
    constants = (scalar, *((name, str(value)) for name, value in numbers.items()))
    extra = (("ROWS", str(rows)), ("COLUMNS", str(columns)), ("PACK", str(pack)))
    found["upfirdn2d_tiled"] = found["upfirdn2d_channels_last"] = Variant("upfirdn2d", constants + extra)
    return found


def run(
    launcher: Launcher, x: torch.Tensor, f: torch.Tensor, geometry: Geometry, flip: bool, gain: float
) -> torch.Tensor:
    """Run the operator for a float32 filter [KH, KW]; `flip` correlates, else it convolves."""
    layout = dense_layout(x)
    x = x.contiguous(memory_format=layout)
    f = f.contiguous()
    batch, channels, height, width = x.shape
    taps = (f.shape[0], f.shape[1])
    rows, columns = geometry.output_size(height, width, taps)
    y = torch.empty([batch, channels, rows, columns], dtype=x.dtype, device=x.device, memory_format=layout)
    if y.numel() == 0:
        return y
    images = _Images(batch, channels, height, width, rows, columns)
    (up_x, up_y), (down_x, down_y), (pad_x, _, pad_y, _) = geometry
    sampling = _Sampling(pad_x, pad_y, int(not flip), gain)
    arguments = [*(ctypes.c_void_p(t.data_ptr()) for t in (x, f, y)), images, sampling]
    found = variants(x.dtype, geometry, taps)
    compute_size = max(x.element_size(), 4)
    last = layout == torch.channels_last

    if last and "upfirdn2d_channels_last" in found and _packs(x, y):
        entry = "upfirdn2d_channels_last"
        block_rows, block_columns = _block_of_pixels(geometry)
        threads = batch * -(-rows // block_rows) * -(-columns // block_columns) * (channels * x.element_size() // 16)
        grid, shared = -(-threads // _BLOCK), taps[0] * taps[1] * compute_size
    elif not last and (tiling := tile(geometry, taps, rows, columns, compute_size)) and len(found) > 1:
        entry = "upfirdn2d_tiled"
        grid = -(-batch * channels // tiling.planes) * tiling.across * tiling.down
        shared = (tiling.planes * tiling.in_width * tiling.in_height + taps[0] * taps[1]) * compute_size
        arguments.append(_Tiling(*tiling))
    else:
        entry = "upfirdn2d_any"
        grid, shared = min(-(-y.numel() // _BLOCK), 2**31 - 1), 0
        arguments.append(_Factors(up_x, up_y, down_x, down_y, taps[1], taps[0], int(last)))
    launcher.run(Launch(found[entry], entry, grid, _BLOCK, shared, arguments))
    return y


@functools.cache
def tile(geometry: Geometry, taps: tuple[int, int], rows: int, columns: int, compute_size: int) -> Tiling | None:
    """Cut planes of rows x columns output pixels into tiles of about equal size; None where no tile fits."""
    (up_x, up_y), (down_x, down_y), _ = geometry
    width_limit, pixels = 40, _TILE_PIXELS
    while pixels >= _TILE_ROWS:
        across = -(-columns // width_limit)
        width = -(-columns // across)
        height_limit = max(pixels // width // _TILE_ROWS, 1) * _TILE_ROWS
        down = -(-rows // height_limit)
        height = -(-rows // (down * _TILE_ROWS)) * _TILE_ROWS
        down = -(-rows // height)
        in_width = -(-(width - 1) * down_x // up_x) + -(-taps[1] // up_x)
        in_height = -(-(height - 1) * down_y // up_y) + -(-taps[0] // up_y)
        room = _SHARED_LIMIT // compute_size - taps[0] * taps[1]
        planes = min(max(pixels // (width * height), 1), room // (in_width * in_height))
        if planes >= 1:
            return Tiling(width, height, planes, across, down, in_width, in_height)
        pixels //= 2
        width_limit = max(width_limit // 2, 1)
    return None


def _block_of_pixels(geometry: Geometry) -> tuple[int, int]:
    """Rows and columns per thread for channels_last: more where each pixel of input serves several of them."""
    if math.prod(geometry.up) > 1:
        return 2, 2
    return (4, 2) if math.prod(geometry.down) == 1 else (2, 1)


def _packs(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x.shape[1] * x.element_size() % 16 == 0 and aligned(x) and aligned(y)
