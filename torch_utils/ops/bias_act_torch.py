"""`bias_act` and its derivatives as PyTorch expressions."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F

from torch_utils.ops.activation import Options, activations, evaluate


class Loops(Protocol):
    """What may take the place of the expressions for linear, relu and lrelu."""

    def activate(self, x: torch.Tensor, b: torch.Tensor | None, options: Options) -> torch.Tensor: ...  # noqa: D102
    def slope(self, grad: torch.Tensor, y: torch.Tensor, options: Options) -> torch.Tensor: ...  # noqa: D102


def apply(x: torch.Tensor, b: torch.Tensor | None, options: Options, loops: Loops | None = None) -> torch.Tensor:
    """The operator of `torch_utils.ops.bias_act`, options checked and `b` in the dtype of `x`."""
    # A compiler gets what PyTorch differentiates itself: inside a compiled region, gradients of gradients through a
    # `Function` are lost without a word (torch 2.14).
    if not options.slope_from_result or torch.compiler.is_compiling():
        return expression(x, b, options)
    if torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad)):
        return _PiecewiseLinear.apply(x, b, options, loops)
    return _piecewise_linear(x, b, options) if loops is None else loops.activate(x, b, options)


def bias_gradient(grad: torch.Tensor, dim: int) -> torch.Tensor:
    """Sum over all axes but `dim`."""
    others = [axis for axis in range(grad.ndim) if axis != dim]
    # To PyTorch no axes mean all of them.
    return grad.sum(others) if others else grad


class _PiecewiseLinear(torch.autograd.Function):
    """linear, relu, lrelu: keeps only the result, which the next layer keeps as well."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, b: torch.Tensor | None, options: Options, loops: Loops | None
    ) -> torch.Tensor:
        y = _piecewise_linear(x, b, options) if loops is None else loops.activate(x, b, options)
        ctx.options, ctx.loops = options, loops
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        (y,) = ctx.saved_tensors
        dx = _Slope.apply(grad, y, ctx.options, ctx.loops) if any(ctx.needs_input_grad[:2]) else None
        db = bias_gradient(dx, ctx.options.dim) if ctx.needs_input_grad[1] else None
        return dx, db, None, None


class _Slope(torch.autograd.Function):
    """Multiply a gradient with the slope at the place where the result is `y`; linear in the gradient."""

    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, y: torch.Tensor, options: Options, loops: Loops | None) -> torch.Tensor:
        ctx.options, ctx.loops = options, loops
        ctx.save_for_backward(y)
        return slope_at_result(grad, y, options) if loops is None else loops.slope(grad, y, options)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        (y,) = ctx.saved_tensors
        return _Slope.apply(grad, y, ctx.options, ctx.loops), None, None, None


def slope_at_result(grad: torch.Tensor, y: torch.Tensor, options: Options) -> torch.Tensor:
    """The gradient with respect to x + b of a piecewise linear activation with result `y`."""
    if options.alpha == 1:
        dx = grad * options.gain
    else:
        dx = torch.ops.aten.leaky_relu_backward(grad, y, options.alpha, True)
        if options.gain != 1:
            dx.mul_(options.gain)
    if options.clamp >= 0:
        # Zero outside the open interval; in place of a mask and a product.
        dx = torch.ops.aten.hardtanh_backward(dx, y, -options.clamp, options.clamp)
    return dx


def _piecewise_linear(x: torch.Tensor, b: torch.Tensor | None, options: Options) -> torch.Tensor:
    # All steps but the first work in place: at these sizes a fresh tensor costs more than the arithmetic.
    y = x * options.gain if b is None else x + _along(b, x, options.dim)
    if b is not None and options.gain != 1:
        y.mul_(options.gain)
    if options.alpha != 1:
        F.leaky_relu_(y, options.alpha)
    if options.clamp >= 0:
        y.clamp_(-options.clamp, options.clamp)
    return y


def expression(x: torch.Tensor, b: torch.Tensor | None, options: Options) -> torch.Tensor:
    """The operator as plain expressions that autograd differentiates by itself."""
    y = _activate(_with_bias(x, b, options.dim), options) * options.gain
    if options.clamp >= 0:
        y = y.clamp(-options.clamp, options.clamp)
    return y


def slope(grad: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None, options: Options) -> torch.Tensor:
    """grad * d bias_act / d x, from the input; for where autograd is not at hand, below registered operators."""
    u = _with_bias(x, b, options.dim)
    entry = activations[options.act]
    linear = torch.where(u > 0, torch.ones_like(u), options.alpha)
    first = linear if entry.piecewise_linear else evaluate(entry.first, u)
    return _unclamped(grad * options.gain * first, u, options)


def curve(
    grad: torch.Tensor, direction: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None, options: Options
) -> torch.Tensor:
    """grad * direction * d^2 bias_act / d x^2."""
    if not options.curved:
        return torch.zeros_like(x)
    u = _with_bias(x, b, options.dim)
    return _unclamped(grad * direction * options.gain * evaluate(activations[options.act].second, u), u, options)


def third(
    upstream: torch.Tensor,
    grad: torch.Tensor,
    direction: torch.Tensor,
    x: torch.Tensor,
    b: torch.Tensor | None,
    options: Options,
) -> torch.Tensor:
    """upstream * grad * direction * d^3 bias_act / d x^3, by autograd: too rare for a kernel."""
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(curve(grad, direction, at, b, options), at, upstream, create_graph=keep)[0]


def _unclamped(values: torch.Tensor, u: torch.Tensor, options: Options) -> torch.Tensor:
    """Zero where the clamp acts."""
    if options.clamp < 0:
        return values
    y = _activate(u, options) * options.gain
    return torch.where(y.abs() > options.clamp, 0, values)


def _with_bias(x: torch.Tensor, b: torch.Tensor | None, dim: int) -> torch.Tensor:
    return x if b is None else x + _along(b, x, dim)


def _activate(u: torch.Tensor, options: Options) -> torch.Tensor:
    function = activations[options.act].function
    if function is not None:
        return function(u)
    return u if options.act == "linear" else F.leaky_relu(u, options.alpha)


def _along(b: torch.Tensor, x: torch.Tensor, dim: int) -> torch.Tensor:
    return b.reshape([-1 if axis == dim else 1 for axis in range(x.ndim)])
