"""Lay out the launches of scaling.cu."""

import ctypes

import torch

from torch_utils.ops.layout import aligned, dense_layout
from torch_utils.ops.native.kernels import SCALARS, Launch, Launcher, Variant

_BLOCK = 256
# Enough blocks for any GPU, each of enough steps that loading factors and writing a partial sum do not count.
_SCALE_BLOCKS, _SCALE_STEPS = 4096, 4
_SUM_BLOCKS, _SUM_STEPS = 1024, 16
_AHEAD = 4  # as in the source
_PART_LIMIT = 2**30


class _Walk(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_longlong) for name in ("outer", "inner")),
        *((name, ctypes.c_int) for name in ("part", "splits", "channels", "columns", "chunks", "width", "lanes")),
    )


def variant(dtype: torch.dtype) -> Variant:
    """The compilation for a dtype: all entry points."""
    return Variant("scaling", (("SCALAR", SCALARS[dtype]),))


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """In which factors and noise are read, and sums are made and returned."""
    return torch.promote_types(dtype, torch.float32)


def scale(launcher: Launcher, x: torch.Tensor, s: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
    """Run x [N, C, H, W] * s [N, C] + noise [N or 1, 1, H, W]; in the dtype and layout of x."""
    layout = dense_layout(x)
    x = x.contiguous(memory_format=layout)
    y = torch.empty_like(x, memory_format=torch.preserve_format)
    if y.numel() == 0:
        return y
    wide = compute_dtype(x.dtype)
    s = s.to(wide).contiguous()
    noise = None if noise is None else noise.to(wide).contiguous()
    entry, grid, walk = _walk(layout, (x, y), _SCALE_BLOCKS, _SCALE_STEPS)
    noise_stride = 0 if noise is None or len(noise) == 1 else noise[0].numel()
    arguments = [*_pointers(x, s, noise, y), walk, ctypes.c_longlong(noise_stride)]
    launcher.run(Launch(variant(x.dtype), f"scale_{entry}", grid, _BLOCK, 0, arguments))
    return y


def products(launcher: Launcher, a: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
    """Run the sum over pixels of a * b, or of a, [N, C, H, W] of one dtype; [N, C] in its `compute_dtype`."""
    layout = dense_layout(a if b is None else b)
    a, b = (None if t is None else t.contiguous(memory_format=layout) for t in (a, b))
    wide = compute_dtype(a.dtype)
    batch, channels = a.shape[:2]
    if a.numel() == 0:
        return a.new_zeros(batch, channels, dtype=wide)
    tensors = (a,) if b is None else (a, b)
    entry, grid, walk = _walk(layout, tensors, _SUM_BLOCKS, _SUM_STEPS)
    last = layout == torch.channels_last
    shape = (batch, walk.splits, channels) if last else (batch, channels, walk.splits)
    partial = torch.empty(shape, dtype=wide, device=a.device)
    entries = walk.width * walk.lanes * (channels // walk.columns if last else 1)
    arguments = [*_pointers(a, b, partial), walk]
    launch = Launch(variant(a.dtype), f"products_{entry}", grid, _BLOCK, entries * wide.itemsize, arguments)
    launcher.run(launch)
    return partial.flatten(1).view(batch, channels) if walk.splits == 1 else partial.sum(1 if last else 2)


def _walk(
    layout: torch.memory_format, tensors: tuple[torch.Tensor, ...], blocks: int, steps: int
) -> tuple[str, int, _Walk]:
    """Which entry, the grid, and how blocks and threads are laid over images of one shape: `blocks` of `steps` or more.

    See the source for the meaning of the numbers.
    """
    x = tensors[0]
    batch, channels, height, width = x.shape
    last = layout == torch.channels_last
    along = channels if last else height * width
    pack = 16 // x.element_size()
    vector = along % pack == 0 and all(aligned(t) for t in tensors)
    packs = along // pack if vector else along
    if last:
        chunks = -(-packs // _BLOCK)
        wide = -(-packs // chunks)
        lanes = _BLOCK // wide
        outer, inner, columns, apart, least = batch, height * width, packs, lanes, batch * chunks
    else:
        wide = 1 << (min(packs, _BLOCK).bit_length() - 1)
        lanes = _BLOCK // wide
        outer, inner, columns, apart, chunks = batch * channels, packs, 1, wide, 1
        least = -(-outer // lanes)
    all_steps = -(-inner // apart)
    splits = max(min(-(-blocks // least), all_steps // steps), -(-inner // _PART_LIMIT), 1)
    # Whole rounds of loads, but for the last block.
    part = -(-all_steps // (splits * _AHEAD)) * _AHEAD * apart
    splits = -(-inner // part)
    walk = _Walk(outer, inner, part, splits, channels, columns, chunks, wide, lanes)
    return f"{'last' if last else 'planes'}_{'vector' if vector else 'scalar'}", least * splits, walk


def _pointers(*tensors: torch.Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(0 if t is None else t.data_ptr()) for t in tensors]
