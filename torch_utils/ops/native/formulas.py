"""The smooth activations in the language of the kernels, from the formulas of `torch_utils.ops.activation`."""

from collections.abc import Callable

from torch_utils.ops.activation import activations

# A kernel knows an activation by its place among these.
SMOOTH = tuple(name for name, entry in activations.items() if not entry.piecewise_linear)


def _function(name: str) -> Callable[["Text"], "Text"]:
    return lambda argument: Text(f"{name}({argument.text})")


class Text:
    """An expression of C++; has the operators and methods of `torch.Tensor` that the formulas use."""

    def __init__(self, text: str):
        self.text = text

    def __add__(self, other: "Text | float") -> "Text":
        return Text(f"({self.text} + {_text(other)})")

    def __sub__(self, other: "Text | float") -> "Text":
        return Text(f"({self.text} - {_text(other)})")

    def __rsub__(self, other: float) -> "Text":
        return Text(f"({_text(other)} - {self.text})")

    def __mul__(self, other: "Text | float") -> "Text":
        return Text(f"({self.text} * {_text(other)})")

    def __gt__(self, other: float) -> "Text":
        return Text(f"({self.text} > {_text(other)})")

    def __invert__(self) -> "Text":
        return Text(f"!{self.text}")

    __radd__, __rmul__ = __add__, __mul__

    def where(self, condition: "Text", other: "Text | float") -> "Text":
        """This where the condition holds, else the other."""
        return Text(f"({condition.text} ? {self.text} : {_text(other)})")

    def clamp(self, *, max: float) -> "Text":
        """Bounded above; not a number stays what it is."""
        return Text(f"({self.text} > {_text(max)} ? {_text(max)} : {self.text})")

    exp, expm1, log1p, sigmoid, tanh = map(_function, ("exp", "expm1", "log1p", "sigmoid", "tanh"))


def header() -> str:
    """C++ functions value, first and second of (u, o): the smooth activation number `o.act` and its derivatives."""
    u, functions = Text("u"), []
    for name in ("value", "first", "second"):
        cases = "\n".join(
            f"        case {i}: return {getattr(activations[a], name)(u).text};" for i, a in enumerate(SMOOTH)
        )
        functions.append(
            f"static __device__ Compute {name}(Compute u, const Options& o) {{\n"
            f"    switch (o.act) {{\n{cases}\n    }}\n    return u;\n}}\n"
        )
    return "\n".join(functions)


def _text(value: Text | float) -> str:
    return value.text if isinstance(value, Text) else f"Compute({value!r})"
