"""Which implementation of an operator runs on a tensor, and what there is to choose from."""

import torch

from torch_utils.ops.choice import chosen


def uses_native(x: torch.Tensor) -> bool:
    """Whether an operator runs its native implementation on `x`, by the present choice."""
    choice = chosen()
    if choice == "auto":
        # In a traced graph the registered operator itself falls back if need be: tracing cannot run kernels.
        return x.device.type == "cuda" and (torch.compiler.is_compiling() or _works(x.device.index))
    return choice == "native"


def describe_implementations() -> str:
    """One line: what is in use, and why not the other. Compiles and checks the kernels where there is a GPU."""
    choice = chosen()
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
