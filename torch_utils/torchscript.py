"""TorchScript files that others wrote."""

import os
import warnings

import torch

from dnnlib import UserError, first_line


def load_torchscript(
    path: str | os.PathLike, argument: str, device: torch.device | str
) -> tuple[torch.nn.Module, set[str]]:
    """The module in a file, in evaluation mode, and the names of what its `forward` takes.

    Raises:
        UserError: no such file, or no TorchScript; names `argument`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, the files are still about
            module = torch.jit.load(str(path), map_location=device).eval()
        return module, {taken.name for taken in module.forward.schema.arguments}
    except Exception as error:  # there is nothing that a damaged file does not make the reader raise
        raise UserError(f"`{argument}`={path} cannot be read as a TorchScript file ({first_line(error)})") from error
