"""The operators as PyTorch knows them: schema, shapes without data, CUDA and CPU implementations, gradients.

`torch.ops.rooted_ops.upfirdn2d`, `.bias_act`, `.bias_act_slope` and `.bias_act_curve`. On the CPU they run the compiled
loop of `bias_act` where it applies and PyTorch expressions elsewhere, so that all of this can be checked without a GPU.
`scale_channels` and `channel_products` are not registered: they cost less so, and compilers get expressions.
"""

from typing import Any

import torch
from torch import Tensor

from torch_utils.ops import bias_act_torch, choice, scaling_torch, upfirdn2d_torch
from torch_utils.ops.activation import Options
from torch_utils.ops.geometry import Geometry
from torch_utils.ops.layout import dense_layout
from torch_utils.ops.native import availability, bias_act_cpu
from torch_utils.ops.native import bias_act as native_bias_act
from torch_utils.ops.native import scaling as native_scaling
from torch_utils.ops.native import upfirdn2d as native_upfirdn2d

_NAME = "rooted_ops"
_OPTIONS = "int dim, str act, float alpha, float gain, float clamp"
# bias_act and its derivatives by name: the tensors before x and b, with which slope and curvature are multiplied.
_ORDERS = {"bias_act": "", "bias_act_slope": "Tensor grad, ", "bias_act_curve": "Tensor grad, Tensor direction, "}


def upfirdn2d(x: Tensor, f: Tensor, geometry: Geometry, flip: bool, gain: float) -> Tensor:
    """The registered operator; a filter of one dimension takes two steps, each with the root of the gain."""
    operator = torch.ops.rooted_ops.upfirdn2d
    f = f.to(torch.float32)
    if f.ndim == 2:
        return operator(x, f, *geometry, flip, float(gain))
    horizontal, vertical = geometry.axes()
    root = abs(gain) ** 0.5
    x = operator(x, f[None, :], *horizontal, flip, root)
    return operator(x, f[:, None], *vertical, flip, -root if gain < 0 else root)


def bias_act(x: Tensor, b: Tensor | None, options: Options) -> Tensor:
    """The registered operator."""
    return torch.ops.rooted_ops.bias_act(x, b, *options)


class _Scaling:
    """The kernels of scaling.cu, or the expressions where they do not work."""

    def scale(self, x: Tensor, s: Tensor, noise: Tensor | None) -> Tensor:
        return availability.run_or_fall_back(
            x.device,
            lambda launcher: native_scaling.scale(launcher, x, s, noise),
            lambda: scaling_torch.scale(x, s, noise),
            insist=choice.insists_on_native(),
        )

    def products(self, a: Tensor, b: Tensor | None) -> Tensor:
        return availability.run_or_fall_back(
            a.device,
            lambda launcher: native_scaling.products(launcher, a, b),
            lambda: scaling_torch.products(a, b),
            insist=choice.insists_on_native(),
        )


_scaling = _Scaling()
_SUM_ELEMENTS = 2**20  # from which on a sum by the kernels is worth their two launches


def scale_channels(x: Tensor, s: Tensor, noise: Tensor | None) -> Tensor:
    """On a CUDA device; noise is [N or 1, 1, H, W]."""
    return scaling_torch.differentiable_scale(x, s, noise, _scaling)


def channel_products(a: Tensor, b: Tensor | None) -> Tensor:
    """On a CUDA device."""
    return scaling_torch.differentiable_products(a, b, _scaling)


def _bias_gradient(grad: Tensor, dim: int) -> Tensor:
    """Sum over all axes but `dim`; a tensor that a compiler traces is of another type."""
    if dim == 1 and grad.ndim == 4 and type(grad) is Tensor and grad.is_cuda and grad.numel() >= _SUM_ELEMENTS:
        return scaling_torch.channel_sums(grad, _scaling)
    return bias_act_torch.bias_gradient(grad, dim)


# upfirdn2d

torch.library.define(
    f"{_NAME}::upfirdn2d",
    "(Tensor x, Tensor f, int[] up, int[] down, SymInt[] padding, bool flip, float gain) -> Tensor",
)


@torch.library.impl(f"{_NAME}::upfirdn2d", "cuda")
def _upfirdn2d_cuda(x, f, up, down, padding, flip, gain):
    geometry = Geometry(tuple(up), tuple(down), tuple(padding))
    return availability.run_or_fall_back(
        x.device,
        lambda launcher: native_upfirdn2d.run(launcher, x, f, geometry, flip, gain),
        lambda: _upfirdn2d_cpu(x, f, up, down, padding, flip, gain),
        insist=choice.insists_on_native(),
    )


@torch.library.impl(f"{_NAME}::upfirdn2d", "cpu")
def _upfirdn2d_cpu(x, f, up, down, padding, flip, gain):
    y = upfirdn2d_torch.apply(x, f, Geometry(tuple(up), tuple(down), tuple(padding)), flip, gain)
    return y.contiguous(memory_format=dense_layout(x))


@torch.library.register_fake(f"{_NAME}::upfirdn2d")
def _upfirdn2d_fake(x, f, up, down, padding, flip, gain):
    size = Geometry(tuple(up), tuple(down), tuple(padding)).output_size(*x.shape[2:], tuple(f.shape))
    return torch.empty([*x.shape[:2], *size], dtype=x.dtype, device=x.device, memory_format=dense_layout(x))


def _upfirdn2d_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, f, up, down, padding, flip, gain = inputs
    geometry = Geometry(tuple(up), tuple(down), tuple(padding))
    ctx.options = *geometry.transposed(*x.shape[2:], tuple(f.shape)), not flip, gain
    ctx.save_for_backward(f)


def _upfirdn2d_backward(ctx: Any, grad: Tensor) -> tuple:
    (f,) = ctx.saved_tensors
    return torch.ops.rooted_ops.upfirdn2d(grad, f, *ctx.options), None, None, None, None, None, None


torch.library.register_autograd(f"{_NAME}::upfirdn2d", _upfirdn2d_backward, setup_context=_upfirdn2d_context)


# bias_act


def _register(name: str, multiplied: str, order: int) -> None:
    """Define bias_act or its derivative of an order for tensors on CUDA, on the CPU, and without data."""
    operator = f"{_NAME}::{name}"
    torch.library.define(operator, f"({multiplied}Tensor x, Tensor? b, {_OPTIONS}) -> Tensor")

    def split(arguments: tuple) -> tuple:
        """x, b, grad, direction and the options."""
        upstream, (x, b), options = arguments[:order], arguments[order : order + 2], arguments[order + 2 :]
        return x, b, *upstream, *[None] * (2 - order), Options(*options)

    @torch.library.impl(operator, "cuda")
    def on_cuda(*arguments):
        inputs = split(arguments)
        return availability.run_or_fall_back(
            inputs[0].device,
            lambda launcher: native_bias_act.run(launcher, order, *inputs),
            lambda: _expressions(order, *inputs),
            insist=choice.insists_on_native(),
        )

    @torch.library.impl(operator, "cpu")
    def on_cpu(*arguments):
        x, b, grad, direction, options = split(arguments)
        loops = bias_act_cpu.kernels_for(x, options) if order < 2 else None
        if loops is None:
            return _expressions(order, x, b, grad, direction, options)
        return loops.activate(x, b, options) if order == 0 else loops.slope(grad, x, options)

    @torch.library.register_fake(operator)
    def without_data(*arguments):
        x = arguments[order]
        return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=dense_layout(x))


for _order, (_name, _multiplied) in enumerate(_ORDERS.items()):
    _register(_name, _multiplied, _order)


def _expressions(
    order: int, x: Tensor, b: Tensor | None, grad: Tensor | None, direction: Tensor | None, options: Options
):
    if order == 0:
        y = bias_act_torch.apply(x, b, options)
    elif order == 1 and options.slope_from_result:
        y = bias_act_torch.slope_at_result(grad, x, options)
    elif order == 1:
        y = bias_act_torch.slope(grad, x, b, options)
    else:
        y = bias_act_torch.curve(grad, direction, x, b, options)
    return y.contiguous(memory_format=dense_layout(x))


def _bias_act_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, b, *options = inputs
    ctx.options = Options(*options)
    if ctx.options.slope_from_result:
        ctx.save_for_backward(output, None)
    else:
        ctx.save_for_backward(x, b)


def _bias_act_backward(ctx: Any, grad: Tensor) -> tuple:
    x, b = ctx.saved_tensors
    dx = torch.ops.rooted_ops.bias_act_slope(grad, x, b, *ctx.options)
    db = _bias_gradient(dx, ctx.options.dim) if ctx.needs_input_grad[1] else None
    return dx, db, None, None, None, None, None


def _slope_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    grad, x, b, *options = inputs
    ctx.options = Options(*options)
    ctx.save_for_backward(grad, x, b)


def _slope_backward(ctx: Any, direction: Tensor) -> tuple:
    grad, x, b = ctx.saved_tensors
    dgrad = torch.ops.rooted_ops.bias_act_slope(direction, x, b, *ctx.options)
    dx = db = None
    if ctx.options.curved and any(ctx.needs_input_grad[1:3]):
        dx = torch.ops.rooted_ops.bias_act_curve(grad, direction, x, b, *ctx.options)
        db = _bias_gradient(dx, ctx.options.dim) if ctx.needs_input_grad[2] else None
    return dgrad, dx, db, None, None, None, None, None


def _curve_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    grad, direction, x, b, *options = inputs
    ctx.options = Options(*options)
    ctx.save_for_backward(grad, direction, x, b)


def _curve_backward(ctx: Any, upstream: Tensor) -> tuple:
    grad, direction, x, b = ctx.saved_tensors
    dgrad = torch.ops.rooted_ops.bias_act_curve(upstream, direction, x, b, *ctx.options)
    ddirection = torch.ops.rooted_ops.bias_act_curve(upstream, grad, x, b, *ctx.options)
    dx = db = None
    if ctx.options.curved and any(ctx.needs_input_grad[2:4]):
        dx = bias_act_torch.third(upstream, grad, direction, x, b, ctx.options)
        db = _bias_gradient(dx, ctx.options.dim) if ctx.needs_input_grad[3] else None
    return dgrad, ddirection, dx, db, None, None, None, None, None


torch.library.register_autograd(f"{_NAME}::bias_act", _bias_act_backward, setup_context=_bias_act_context)
torch.library.register_autograd(f"{_NAME}::bias_act_slope", _slope_backward, setup_context=_slope_context)
torch.library.register_autograd(f"{_NAME}::bias_act_curve", _curve_backward, setup_context=_curve_context)
