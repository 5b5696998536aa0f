"""Add a bias, apply an activation, scale and clamp, in one operator."""

import math

import torch

from torch_utils.ops import bias_act_torch, choice, dispatch
from torch_utils.ops.activation import Activation, Options, activations
from torch_utils.ops.native import bias_act_cpu, library

__all__ = ["Activation", "activations", "bias_act"]


def bias_act(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """Compute clip(gain * act(x + b), -clamp, clamp).

    Args:
        x: any shape; float16, bfloat16, float32 or float64; any memory layout (kept).
        b: bias [x.shape[dim]], converted to the dtype of `x`; None for no bias.
        dim: axis of `x` that the bias belongs to.
        act: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus or swish (x * sigmoid(x)).
        alpha: slope of lrelu for negative input; default 0.2; the others ignore it.
        gain: factor on the activation; default sqrt(2) for relu, lrelu and swish, 1 for the others.
        clamp: bound on the magnitude of the result; default none. The gradient is zero where it acts.

    Returns:
        Tensor of the shape, dtype and layout of `x`. Differentiable twice and more in `x` and `b`.

    Raises:
        ValueError: unknown activation, bias of another length, negative clamp.
    """
    if act not in activations:
        raise ValueError(f"the activation is one of {', '.join(activations)}, not {act!r}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp must not be negative, not {clamp}")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim {dim} is out of range for an input of shape {tuple(x.shape)}")
    dim %= x.ndim
    if b is not None and b.shape != (x.shape[dim],):
        raise ValueError(f"the bias has shape {tuple(b.shape)}; axis {dim} of the input has {x.shape[dim]} entries")
    entry = activations[act]
    options = Options(
        dim=dim,
        act=act,
        alpha=float(entry.def_alpha if alpha is None or act != "lrelu" else alpha),
        gain=float(entry.def_gain if gain is None else gain),
        clamp=-1.0 if clamp is None else _rounded(float(clamp), x.dtype),
    )
    if b is not None:
        b = b.to(x.dtype)
    if dispatch.uses_native(x):
        return library.bias_act(x, b, options)
    # Not as the registered operator, whose gradients cost more calls than small images take time.
    loops = bias_act_cpu.paying(x, options) if choice.prefers_fastest() else None
    return bias_act_torch.apply(x, b, options, loops)


def _rounded(value: float, dtype: torch.dtype) -> float:
    """To the nearest number of a 16-bit type, so that a result that was clamped compares equal with the bound."""
    bits = {torch.float16: 11, torch.bfloat16: 8}.get(dtype)
    if bits is None or math.isinf(value):
        return value
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)
