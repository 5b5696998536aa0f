"""The activations of `bias_act`, one table for PyTorch and the kernels, and the operator's options."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

Formula = Callable[[torch.Tensor], torch.Tensor]


class Activation(NamedTuple):
    """What the operator needs to know of an activation.

    The formulas are written with methods of `torch.Tensor` that `native.formulas.Text` has too: the source of the CUDA
    kernels is made from the same lines.

    Attributes:
        def_gain: factor used where the caller gives none; it keeps the second moment of normal input near 1.
        def_alpha: slope for negative input of the piecewise linear ones; only that of lrelu can be changed.
        function: PyTorch's own function; None for the piecewise linear ones, which differ by their slope alone.
        value: the same as a formula, for the kernels.
        first: its derivative.
        second: its second derivative.
    """

    def_gain: float
    def_alpha: float = 0
    function: Formula | None = None
    value: Formula | None = None
    first: Formula | None = None
    second: Formula | None = None

    @property
    def piecewise_linear(self) -> bool:
        """Whether the slope follows from the sign of the result, so that only the result is kept for the gradient."""
        return self.function is None


_SQRT2 = 2**0.5
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_SOFTPLUS_LINEAR = 20  # above, PyTorch takes softplus(u) = u


def _exp(u: torch.Tensor) -> torch.Tensor:
    """exp(u) for negative u; bounded elsewhere, where it is not chosen but autograd sees it."""
    return u.clamp(max=0).exp()


activations: dict[str, Activation] = {
    "linear": Activation(1, 1),
    "relu": Activation(_SQRT2, 0),
    "lrelu": Activation(_SQRT2, 0.2),
    "tanh": Activation(
        1,
        function=torch.tanh,
        value=lambda u: u.tanh(),
        first=lambda u: 1 - u.tanh() * u.tanh(),
        second=lambda u: -2 * u.tanh() * (1 - u.tanh() * u.tanh()),
    ),
    "sigmoid": Activation(
        1,
        function=torch.sigmoid,
        value=lambda u: u.sigmoid(),
        first=lambda u: u.sigmoid() * (1 - u.sigmoid()),
        second=lambda u: u.sigmoid() * (1 - u.sigmoid()) * (1 - 2 * u.sigmoid()),
    ),
    "elu": Activation(
        1,
        function=F.elu,
        value=lambda u: u.where(u > 0, u.expm1()),
        first=lambda u: _exp(u).where(~(u > 0), 1),
        second=lambda u: _exp(u).where(~(u > 0), 0),
    ),
    "selu": Activation(
        1,
        function=F.selu,
        value=lambda u: _SELU_SCALE * u.where(u > 0, _SELU_ALPHA * u.expm1()),
        first=lambda u: _SELU_SCALE * (_SELU_ALPHA * _exp(u)).where(~(u > 0), 1),
        second=lambda u: _SELU_SCALE * _SELU_ALPHA * _exp(u).where(~(u > 0), 0),
    ),
    "softplus": Activation(
        1,
        function=F.softplus,
        value=lambda u: u.where(u > _SOFTPLUS_LINEAR, u.exp().log1p()),
        first=lambda u: u.sigmoid().where(~(u > _SOFTPLUS_LINEAR), 1),
        second=lambda u: (u.sigmoid() * (1 - u.sigmoid())).where(~(u > _SOFTPLUS_LINEAR), 0),
    ),
    "swish": Activation(
        _SQRT2,
        function=F.silu,
        value=lambda u: u * u.sigmoid(),
        first=lambda u: u.sigmoid() * (1 + u * (1 - u.sigmoid())),
        second=lambda u: u.sigmoid() * (1 - u.sigmoid()) * (2 + u * (1 - 2 * u.sigmoid())),
    ),
}


class Options(NamedTuple):
    """Resolved options: axis of the bias, name of the activation, slope, factor, bound (negative: none)."""

    dim: int
    act: str
    alpha: float
    gain: float
    clamp: float

    @property
    def slope_from_result(self) -> bool:
        """Whether the sign of the result tells on which piece of a piecewise linear activation the input was."""
        return activations[self.act].piecewise_linear and self.gain > 0 and self.alpha >= 0

    @property
    def curved(self) -> bool:
        """Whether the second derivative is not zero almost everywhere."""
        return not activations[self.act].piecewise_linear
