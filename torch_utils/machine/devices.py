"""Which device a program computes on."""

import torch

from dnnlib import UserError


def choose_device(name: str | None = None, local_rank: int | None = None) -> torch.device:
    """The device called `name`; "auto" or None is the GPU where there is one, or else the CPU.

    Args:
        name: "cpu", "cuda", "cuda:N" or "mps"; PyTorch knows more, such as "meta", where nothing is computed.
        local_rank: of this process among several on this machine, each of which has a GPU of its own.

    Raises:
        UserError: another name, or no such device on this machine.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name in (None, "auto"):
        name = "cuda" if gpus else "cpu"
    known = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))]
    known += ["mps"] if torch.backends.mps.is_available() else []
    if name not in known:
        reason = " (PyTorch finds no GPU; see what nvidia-smi says)" if name.startswith("cuda") and not gpus else ""
        raise UserError(f"`device`={name}: there is no such device here{reason}; choose auto, {', '.join(known)}")
    device = torch.device(name)
    return torch.device("cuda", local_rank) if device.type == "cuda" and local_rank is not None else device
