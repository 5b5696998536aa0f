"""Lay out the launches of bias_act.cu."""

import ctypes

import torch

from torch_utils.ops.activation import SMOOTH, Options
from torch_utils.ops.layout import aligned, dense_layout
from torch_utils.ops.native.kernels import SCALARS, Launch, Launcher, Variant

_BLOCK = 256
_MAX_GRID = 2**31 - 1


def _fields(compute: type) -> list[tuple[str, type]]:
    return [
        *((name, ctypes.c_ulonglong) for name in ("count", "bias_size", "bias_stride")),
        *((name, compute) for name in ("alpha", "gain", "clamp")),
        *((name, ctypes.c_int) for name in ("act", "from_result")),
    ]


class _Options(ctypes.Structure):
    _fields_ = _fields(ctypes.c_float)


class _DoubleOptions(ctypes.Structure):
    _fields_ = _fields(ctypes.c_double)


def variant(dtype: torch.dtype, act: str, count: int) -> Variant:
    """The compilation for a dtype, an activation and a number of elements."""
    scalar = ("SCALAR", SCALARS[dtype])
    if act in SMOOTH:
        return Variant("bias_act", (scalar, ("INDEX", "unsigned long long"), ("SMOOTH", "1")))
    # Room for the last step of the loop over packs: an index may pass the end by one grid.
    return Variant("bias_act", (scalar, ("INDEX", "unsigned" if count < 2**30 else "unsigned long long")))


def run(
    launcher: Launcher,
    order: int,
    x: torch.Tensor,
    b: torch.Tensor | None,
    grad: torch.Tensor | None,
    direction: torch.Tensor | None,
    options: Options,
) -> torch.Tensor:
    """Order 0: the activation of x + b. Order 1: grad times the slope. Order 2: grad times direction times curvature.

    For order 1, `x` is the result where `options.slope_from_result`.
    """
    layout = dense_layout(x)
    tensors = [None if t is None else t.contiguous(memory_format=layout) for t in (x, grad, direction)]
    x, grad, direction = tensors
    b = None if b is None else b.contiguous()
    out = torch.empty_like(x, memory_format=torch.preserve_format)
    if out.numel() == 0:
        return out
    pack = 16 // x.element_size()
    smooth = options.act in SMOOTH
    vector = not smooth and order < 2 and all(aligned(t) for t in (x, grad, out) if t is not None)
    packs = -(-x.numel() // pack) if vector else x.numel()
    arguments = [ctypes.c_void_p(0 if t is None else t.data_ptr()) for t in (x, b, grad, direction, out)]
    structure = (_DoubleOptions if x.dtype == torch.float64 else _Options)(
        count=x.numel(),
        bias_size=0 if b is None else b.numel(),
        bias_stride=max(x.stride(options.dim), 1),
        alpha=options.alpha,
        gain=options.gain,
        clamp=options.clamp,
        act=SMOOTH.index(options.act) if smooth else 0,
        from_result=order == 1 and options.slope_from_result,
    )
    launcher.run(
        Launch(
            variant(x.dtype, options.act, x.numel()),
            f"bias_act_{order}_{'vector' if vector else 'scalar'}",
            grid=min(-(-packs // _BLOCK), _MAX_GRID),
            block=_BLOCK,
            shared=0,
            arguments=[*arguments, structure],
        )
    )
    return out
