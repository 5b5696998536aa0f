"""Arrays from `.npz`, `.npy` and `torch.save` files that others wrote, as data and within bounds."""

import argparse
import io
import math
import os
import tokenize
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dnnlib import UserError, first_line
from dnnlib.archives import MOST_BYTES, ZIP_ERRORS, read_entry
from dnnlib.files import open_regular, read_regular

_OLD_ARCHIVE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save begins where it writes no zip
TORCH_ARCHIVES = (b"PK\x03\x04", _OLD_ARCHIVE)
"""How files of `torch.save` begin; the first are zips."""
_LARGEST_MULTIPLE = 4  # of the file: some programs save a tensor under two names

ARRAY_ERRORS = (*ZIP_ERRORS, TypeError, SyntaxError, AttributeError, tokenize.TokenError)
"""What is raised for damaged files, depending on where the damage is."""


def read_arrays(path: str | os.PathLike, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those arrays of an `.npz` that are in it; nothing in the file is executed, and it bounds the memory.

    Raises:
        one of `ARRAY_ERRORS`: unreadable, damaged, no numbers or text, or unpacking to too much (`dnnlib.archives`).
    """
    with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
        present = set(archive.namelist())
        return {name: _array(read_entry(archive, f"{name}.npy")) for name in names if f"{name}.npy" in present}


def read_array(path: str | os.PathLike) -> np.ndarray:
    """The array of an `.npy`; raises as `read_arrays`."""
    return _array(read_regular(path, MOST_BYTES))


def is_torch_archive(path: str | os.PathLike) -> bool:
    """Whether `torch.save` wrote a file, by its content; an `.npz` is a zip too. A damaged zip counts as one."""
    with open_regular(path) as stream:
        start = stream.read(16)
        if not start.startswith(TORCH_ARCHIVES[0]):
            return start.startswith(_OLD_ARCHIVE)
        try:
            with zipfile.ZipFile(stream) as archive:
                return any(name.endswith("/data.pkl") for name in archive.namelist())
        except ZIP_ERRORS:
            return True


def read_torch(path: str | os.PathLike) -> Any:
    """What a file of `torch.save` holds, tensors on the CPU; nothing in it is executed.

    Training checkpoints may carry their arguments in a Namespace, which is a plain record.

    Raises:
        UserError: unreadable, damaged, something else than tensors and plain values, or tensors that describe more
            memory than the file has.
    """
    try:
        _check_archive(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # there is nothing that a damaged pickle does not make the reader raise
        raise UserError(f"{path} cannot be read as a file of tensors ({first_line(error)})") from error
    _check_memory(path, content)
    return content


def _check_archive(path: str | os.PathLike) -> None:
    """torch.save compresses nothing; an archive that does could unpack to any size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise UserError(f"{path} has the compressed entry '{packed[0]}', as torch.save writes none")


def _check_memory(path: str | os.PathLike, content: Any) -> None:
    """Refuse tensors without memory of their own, and those that repeat a little memory many times."""
    values = [content]
    for _ in range(2):  # a state in a checkpoint
        values += [value for group in values if isinstance(group, dict) for value in group.values()]
    tensors = {id(value): value for value in values if isinstance(value, torch.Tensor)}.values()
    if any(tensor.layout != torch.strided or tensor.device.type != "cpu" for tensor in tensors):
        raise UserError(f"{path} holds a tensor that is not an ordinary one in memory; save plain tensors")
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > _LARGEST_MULTIPLE * os.path.getsize(path):
        raise UserError(f"{path} describes {size} bytes of tensors, many times its size; no file of torch.save does")


def _array(data: bytes) -> np.ndarray:
    """An `.npy`; its header is held against the bytes that follow before anything is allocated."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = readers[version](stream)
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"an array of shape {list(shape)} and type {dtype} in {len(data)} bytes")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)
