"""First and second derivatives of `bias_act` as PyTorch expressions, from the input rather than the result.

These are what the kernels compute; they serve where the registered operators run on the CPU, below autograd.
"""

import torch
from torch import Tensor

from torch_utils.ops import bias_act_torch
from torch_utils.ops.activation import Options

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_SOFTPLUS_LINEAR = 20  # above, PyTorch takes softplus(u) = u


def slope(grad: Tensor, x: Tensor, b: Tensor | None, options: Options) -> Tensor:
    """grad * d bias_act / d x."""
    u = bias_act_torch.with_bias(x, b, options.dim)
    return _unclamped(grad * options.gain * _first(u, options), u, options)


def curve(grad: Tensor, direction: Tensor, x: Tensor, b: Tensor | None, options: Options) -> Tensor:
    """grad * direction * d^2 bias_act / d x^2."""
    if not options.curved:
        return torch.zeros_like(x)
    u = bias_act_torch.with_bias(x, b, options.dim)
    return _unclamped(grad * direction * options.gain * _second(u, options), u, options)


def third(upstream: Tensor, grad: Tensor, direction: Tensor, x: Tensor, b: Tensor | None, options: Options) -> Tensor:
    """upstream * grad * direction * d^3 bias_act / d x^3, by autograd: too rare for a kernel."""
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(curve(grad, direction, at, b, options), at, upstream, create_graph=keep)[0]


def _unclamped(values: Tensor, u: Tensor, options: Options) -> Tensor:
    """Zero where the clamp acts."""
    if options.clamp < 0:
        return values
    y = bias_act_torch.activate(u, options) * options.gain
    return torch.where(y.abs() > options.clamp, 0, values)


def _first(u: Tensor, options: Options) -> Tensor:
    match options.act:
        case "linear":
            return torch.ones_like(u)
        case "relu" | "lrelu":
            return torch.where(u > 0, torch.ones_like(u), options.alpha)
        case "tanh":
            return 1 - u.tanh().square()
        case "sigmoid":
            return u.sigmoid() * (1 - u.sigmoid())
        case "elu":
            return u.clamp(max=0).exp()
        case "selu":
            return torch.where(u > 0, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA * u.clamp(max=0).exp())
        case "softplus":
            return torch.where(u > _SOFTPLUS_LINEAR, 1, u.sigmoid())
        case _:
            return u.sigmoid() * (1 + u * (1 - u.sigmoid()))


def _second(u: Tensor, options: Options) -> Tensor:
    match options.act:
        case "tanh":
            return -2 * u.tanh() * (1 - u.tanh().square())
        case "sigmoid":
            return u.sigmoid() * (1 - u.sigmoid()) * (1 - 2 * u.sigmoid())
        case "elu":
            return torch.where(u > 0, 0, u.clamp(max=0).exp())
        case "selu":
            return torch.where(u > 0, 0, _SELU_SCALE * _SELU_ALPHA * u.clamp(max=0).exp())
        case "softplus":
            return torch.where(u > _SOFTPLUS_LINEAR, 0, u.sigmoid() * (1 - u.sigmoid()))
        case _:
            return u.sigmoid() * (1 - u.sigmoid()) * (2 + u * (1 - 2 * u.sigmoid()))
