"""The activations of `bias_act`, one table for PyTorch and the kernels, and the operator's options."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

CONSTANTS = {"SELU_SCALE": 1.0507009873554805, "SELU_ALPHA": 1.6732632423543772, "SOFTPLUS_LINEAR": 20}
"""Names in the formulas; above the last one PyTorch takes softplus(u) = u."""
_FUNCTIONS: dict[str, Any] = {
    "exp": torch.exp, "expm1": torch.expm1, "log1p": torch.log1p, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "select": torch.where, **CONSTANTS,
}  # fmt: skip


class Activation(NamedTuple):
    """What the operator needs to know of an activation.

    The formulas are in the language that Python and C++ share: `evaluate` computes them with PyTorch, and the source of
    the CUDA kernels holds them as they are (`native.kernels`).

    Attributes:
        def_gain: factor used where the caller gives none; it keeps the second moment of normal input near 1.
        def_alpha: slope for negative input of the piecewise linear ones; only that of lrelu can be changed.
        function: PyTorch's own function; None for the piecewise linear ones, which differ by their slope alone.
        value: the same as a formula in u, for the kernels.
        first: its derivative.
        second: its second derivative.
    """

    def_gain: float
    def_alpha: float = 0
    function: Callable[[torch.Tensor], torch.Tensor] | None = None
    value: str = ""
    first: str = ""
    second: str = ""

    @property
    def piecewise_linear(self) -> bool:
        """Whether the slope follows from the sign of the result, so that only the result is kept for the gradient."""
        return self.function is None


_SQRT2 = 2**0.5
# exp(u) of the smaller of u and 0: where it is not chosen it must not overflow, as autograd sees both branches.
_EXP = "exp(select(u > 0, 0, u))"
activations: dict[str, Activation] = {
    "linear": Activation(1, 1),
    "relu": Activation(_SQRT2, 0),
    "lrelu": Activation(_SQRT2, 0.2),
    "tanh": Activation(
        1,
        function=torch.tanh,
        value="tanh(u)",
        first="1 - tanh(u) * tanh(u)",
        second="-2 * tanh(u) * (1 - tanh(u) * tanh(u))",
    ),
    "sigmoid": Activation(
        1,
        function=torch.sigmoid,
        value="sigmoid(u)",
        first="sigmoid(u) * (1 - sigmoid(u))",
        second="sigmoid(u) * (1 - sigmoid(u)) * (1 - 2 * sigmoid(u))",
    ),
    "elu": Activation(
        1,
        function=F.elu,
        value="select(u > 0, u, expm1(u))",
        first=f"select(u > 0, 1, {_EXP})",
        second=f"select(u > 0, 0, {_EXP})",
    ),
    "selu": Activation(
        1,
        function=F.selu,
        value="SELU_SCALE * select(u > 0, u, SELU_ALPHA * expm1(u))",
        first=f"SELU_SCALE * select(u > 0, 1, SELU_ALPHA * {_EXP})",
        second=f"SELU_SCALE * select(u > 0, 0, SELU_ALPHA * {_EXP})",
    ),
    "softplus": Activation(
        1,
        function=F.softplus,
        value="select(u > SOFTPLUS_LINEAR, u, log1p(exp(u)))",
        first="select(u > SOFTPLUS_LINEAR, 1, sigmoid(u))",
        second="select(u > SOFTPLUS_LINEAR, 0, sigmoid(u) * (1 - sigmoid(u)))",
    ),
    "swish": Activation(
        _SQRT2,
        function=F.silu,
        value="u * sigmoid(u)",
        first="sigmoid(u) * (1 + u * (1 - sigmoid(u)))",
        second="sigmoid(u) * (1 - sigmoid(u)) * (2 + u * (1 - 2 * sigmoid(u)))",
    ),
}
SMOOTH = tuple(name for name, entry in activations.items() if not entry.piecewise_linear)
"""A kernel knows an activation by its place among these."""


def evaluate(formula: str, u: torch.Tensor) -> torch.Tensor:
    """The value of a formula of the table."""
    return eval(formula, {**_FUNCTIONS, "u": u})


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
