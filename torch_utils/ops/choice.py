"""The choice between the implementations of an operator: compiled ("native") or PyTorch expressions ("torch")."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

CHOICES = ("auto", "native", "torch")
_choice: ContextVar[str] = ContextVar("ops_implementation", default="auto")


@contextlib.contextmanager
def use_implementation(choice: str) -> Iterator[None]:
    """Choose the implementation of the operators with kernels inside a `with` block, for this thread or task.

    Args:
        choice: "auto" takes the kernels on CUDA devices where they load and pass a check against the
            PyTorch expressions, else those expressions; on the CPU a large `bias_act` runs as a compiled
            loop where there is a C++ compiler. "native" takes the registered operators everywhere: on a
            CUDA device the kernels, with a `NativeError` where they do not work, on the CPU the compiled
            loop for every size it is written for, and the expressions for the rest.
            "torch" takes the expressions. Gradients use the implementation that the forward pass
            used, wherever they are computed.

    Raises:
        ValueError: another word.
    """
    if choice not in CHOICES:
        raise ValueError(f"the implementation is one of {', '.join(CHOICES)}, not {choice!r}")
    token = _choice.set(choice)
    try:
        yield
    finally:
        _choice.reset(token)


def chosen() -> str:
    """The present choice."""
    return _choice.get()


def prefers_fastest() -> bool:
    """Whether the faster implementation is to be found for each call."""
    return _choice.get() == "auto"


def insists_on_native() -> bool:
    """Whether a kernel that fails is an error rather than a reason to take the other path."""
    return _choice.get() == "native"
