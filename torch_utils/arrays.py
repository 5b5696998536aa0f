"""Arrays from `.npz` files that others wrote."""

import io
import math
import os
import tokenize
import zipfile
from collections.abc import Sequence

import numpy as np

from dnnlib.archives import ZIP_ERRORS, read_entry
from dnnlib.files import open_regular

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
