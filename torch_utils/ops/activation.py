"""The activations of `bias_act` and its options."""

from typing import NamedTuple


class Activation(NamedTuple):
    """What the operator needs to know of an activation.

    Attributes:
        def_gain: factor used where the caller gives none; it keeps the second moment of normal input near 1.
        def_alpha: slope for negative input of the piecewise linear ones; only that of lrelu can be changed.
        piecewise_linear: the slope follows from the sign of the result, so that only the result is kept
            for the gradient, and the second derivative is zero.
    """

    def_gain: float
    def_alpha: float
    piecewise_linear: bool


_SQRT2 = 2**0.5
activations: dict[str, Activation] = {
    "linear": Activation(1, 1, True),
    "relu": Activation(_SQRT2, 0, True),
    "lrelu": Activation(_SQRT2, 0.2, True),
    "tanh": Activation(1, 0, False),
    "sigmoid": Activation(1, 0, False),
    "elu": Activation(1, 0, False),
    "selu": Activation(1, 0, False),
    "softplus": Activation(1, 0, False),
    "swish": Activation(_SQRT2, 0, False),
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
