"""Find the first operation that makes a value that is not finite."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from dnnlib import UserError


@contextlib.contextmanager
def nan_check(enabled: bool, **networks: torch.nn.Module) -> Iterator[None]:
    """Inside the block, stop at the first module or gradient of `networks` that is not finite. Slow.

    Raises:
        UserError: names the module, and whether its parameters, its input or only its output were bad; or
            the operation whose gradient was.
    """
    if not enabled:
        yield
        return
    handles = [
        module.register_forward_hook(_checker(f"{network_name}.{name}" if name else network_name))
        for network_name, network in networks.items()
        for name, module in network.named_modules()
    ]
    try:
        with torch.autograd.set_detect_anomaly(True, check_nan=True):
            yield
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        raise UserError(
            f"`nan_check`: in the backward pass, {error} The warning before this line shows its forward operation."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _checker(name: str) -> Any:
    def check(module: torch.nn.Module, inputs: tuple, output: Any) -> None:
        if _all_finite(output):
            return
        bad = [key for key, parameter in module.named_parameters(recurse=False) if not _all_finite(parameter)]
        if bad:
            cause = f"its parameter {bad[0]} already has them"
        elif not _all_finite(inputs):
            cause = "its input already has them"
        else:
            cause = "its parameters and its input are finite"
        raise UserError(f"`nan_check`: the output of {name} ({type(module).__name__}) has non-finite values; {cause}")

    return check


def _all_finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, list | tuple):
        return all(_all_finite(item) for item in value)
    return True
