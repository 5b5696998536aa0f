"""Which implementation of an operator runs: compiled ("native") or PyTorch expressions ("torch")."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

CHOICES = ("auto", "native", "torch")
_choice: ContextVar[str] = ContextVar("ops_implementation", default="auto")


@contextlib.contextmanager
def use_implementation(choice: str) -> Iterator[None]:
    """Choose the implementation of `upfirdn2d` and `bias_act` inside a `with` block, for this thread or task.

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


def uses_native(x: torch.Tensor) -> bool:
    """Whether an operator runs its native implementation on `x`, by the present choice."""
    choice = _choice.get()
    if choice == "auto":
        # In a traced graph the registered operator itself falls back if need be: tracing cannot run kernels.
        return x.device.type == "cuda" and (torch.compiler.is_compiling() or _works(x.device.index))
    return choice == "native"


def prefers_fastest() -> bool:
    """Whether the faster implementation is to be found for each call."""
    return _choice.get() == "auto"


def insists_on_native() -> bool:
    """Whether a kernel that fails is an error rather than a reason to take the other path."""
    return _choice.get() == "native"


def describe_implementations() -> str:
    """One line: what is in use, and why not the other. Compiles and checks the kernels where there is a GPU."""
    choice = _choice.get()
    if choice == "torch":
        return "operators: PyTorch expressions, as chosen"
    from torch_utils.ops.native import availability, bias_act_cpu

    if not torch.cuda.is_available():
        failure = bias_act_cpu.build().failure
        loops = f"no faster bias_act: {failure}" if failure else "bias_act compiled for this CPU"
        return f"operators: PyTorch expressions (the CUDA kernels need a GPU, and none is usable here); {loops}"

    available = availability.of_device(torch.cuda.current_device())
    if available.works():
        return "operators: CUDA kernels, compiled by NVRTC for this GPU"
    return f"operators: PyTorch expressions; the CUDA kernels are not usable: {available.failure}"


def _works(device_index: int) -> bool:
    from torch_utils.ops.native import availability

    return availability.of_device(device_index).works()
