"""The names in official network pickles that stand for values: tensors, NumPy scalars and plain containers.

Each function takes the argument tuple that the pickle passes and rebuilds the value from bytes that are in the file.
Sizes are checked against those bytes first, so that a small file cannot ask for much memory.
"""

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.snapshot.inert_pickle import Handlers, Refused, Symbol, read

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a torch.save archive without zip
_LEGACY_PROTOCOL = 1001
_MAX_DIMENSIONS = 8
_MAX_SET = 1000


@dataclass(frozen=True)
class _StorageClaim:
    """What the archive's object says of its storage, before the bytes are seen."""

    dtype: torch.dtype
    key: str
    numel: int


@dataclass
class _NumpyType:
    """A NumPy dtype under construction: its code (as "f8") comes first, its byte order with BUILD."""

    code: str
    order: str = "="


class _NumpyArray:
    """An array whose content nobody reads: StyleGAN3-T/R networks hold some, and are to be told apart by name."""


class StorageReader:
    """Replace `torch.storage._load_from_bytes` for one file of `budget` bytes.

    Each storage is in the file once, so all of them together are smaller than the file; a file that has one storage
    loaded over and over is refused.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget

    def __call__(self, args: tuple) -> torch.Tensor:
        """`args` is one bytes object; returns a one-dimensional CPU tensor that owns a copy of the elements."""
        (data,) = _expect(args, (bytes,), "torch.storage._load_from_bytes")
        self._left -= len(data)
        if self._left < 0:
            raise Refused("it loads more tensor data than it holds")
        return storage_from_bytes(data)


def storage_from_bytes(data: bytes) -> torch.Tensor:
    """Read one storage from an archive of `torch.save` (the kind without zip).

    Args:
        data: five pickles (magic, protocol, system, object, keys), then the count and the raw elements.

    Returns: a one-dimensional CPU tensor that owns a copy of the elements.
    """
    stream = io.BytesIO(data)
    plain = Handlers(symbols={})
    if read(stream, plain) != _LEGACY_MAGIC or read(stream, plain) != _LEGACY_PROTOCOL:
        raise Refused("a tensor in it is not stored as torch.save stores one")
    system = read(stream, plain)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Refused("a tensor in it was written on a big-endian machine")
    storages = {Symbol("torch", name): None for name in _STORAGES}
    claim = read(stream, Handlers(symbols=storages, persistent=_storage_claim))
    keys = read(stream, plain)
    if type(claim) is not _StorageClaim or keys != [claim.key]:
        raise Refused("a tensor in it is not stored as torch.save stores one")
    return _elements(stream, claim)


def _storage_claim(pid: Any) -> _StorageClaim:
    match pid:
        case ("storage", Symbol(name=name), str(key), str(), int(numel), None) if numel >= 0:
            return _StorageClaim(_STORAGES[name], key, numel)
    raise Refused("a tensor in it is not stored as torch.save stores one")


def _elements(stream: io.BytesIO, claim: _StorageClaim) -> torch.Tensor:
    header, raw = stream.read(8), bytearray(stream.read())
    if len(header) < 8 or struct.unpack("<q", header)[0] != claim.numel:
        raise Refused("a tensor in it is cut short")
    if len(raw) != claim.numel * claim.dtype.itemsize:
        raise Refused(f"a tensor in it should have {claim.numel} elements, but has {len(raw)} bytes")
    if not raw:
        return torch.empty(0, dtype=claim.dtype)
    return torch.frombuffer(raw, dtype=claim.dtype)


def tensor_from_storage(args: tuple) -> torch.Tensor:
    """Replace `torch._utils._rebuild_tensor_v2`: (storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    name = "torch._utils._rebuild_tensor_v2"
    if len(args) not in (6, 7):
        raise Refused(f"it calls {name} with {len(args)} arguments")
    storage, offset, size, stride = _expect(args[:4], (torch.Tensor, int, tuple, tuple), name)
    whole = [offset, *size, *stride]
    if len(size) != len(stride) or len(size) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in whole):
        raise Refused("a tensor in it has an impossible shape")
    numel = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numel else offset
    if storage.ndim != 1 or numel > storage.numel() or (numel and last >= storage.numel()):
        raise Refused(f"a tensor of shape {list(size)} in it is larger than its data")
    return storage.as_strided(size, stride, offset)  # a view: copies are made only of tensors that a network needs


def parameter(args: tuple) -> torch.Tensor:
    """Replace `torch._utils._rebuild_parameter`: (tensor, requires_grad, hooks); the plain tensor is returned."""
    return _expect(args, (torch.Tensor, bool, dict), "torch._utils._rebuild_parameter")[0]


def numpy_type(args: tuple) -> _NumpyType:
    """Replace `numpy.dtype(code, align, copy)` for the plain number types."""
    code, _, _ = _expect(args, (str, bool, bool), "numpy.dtype")
    if code not in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"):
        raise Refused(f"it uses the NumPy type '{code[:20]}'; only plain numbers are expected")
    return _NumpyType(code)


def build(target: Any, state: Any) -> None:
    """Replace BUILD, which a NumPy dtype (byte order), an array (dropped) and a dict without attributes need."""
    match target, state:
        case _NumpyType(), (3 | 4, ("<" | ">" | "|" | "=") as order, None, None, None, -1, -1, 0):
            target.order = order
        case _NumpyArray(), (1, tuple(), _NumpyType(), bool(), bytes()):
            pass
        case dict(), {} if not state:
            pass
        case _:
            raise Refused(f"it sets the attributes of a {type(target).__name__} (BUILD), which no network file needs")


def numpy_scalar(args: tuple) -> int | float | bool:
    """Replace `numpy.core.multiarray.scalar(dtype, bytes)`; a plain Python number is returned."""
    kind, data = _expect(args, (_NumpyType, bytes), "numpy scalar")
    dtype = np.dtype(kind.order + kind.code)
    if len(data) != dtype.itemsize:
        raise Refused("a NumPy number in it has the wrong number of bytes")
    return np.frombuffer(data, dtype)[0].item()


def numpy_array(args: tuple) -> _NumpyArray:
    """Replace `numpy.core.multiarray._reconstruct(ndarray, shape, code)`; the content follows with BUILD."""
    _expect(args, (Symbol, tuple, bytes), "numpy array")
    return _NumpyArray()


def empty_dict(args: tuple) -> dict:
    """Replace `collections.OrderedDict()` and `dnnlib.util.EasyDict()`; entries follow as SETITEMS."""
    _expect(args, (), "a dict")
    return {}


def plain_set(args: tuple) -> set:
    """Replace `builtins.set([...])`, as protocols below 4 write sets."""
    (items,) = _expect(args, (list,), "builtins.set")
    if len(items) > _MAX_SET or any(type(item) not in (str, int) for item in items):
        raise Refused("it has a large set, or one of something else than text and numbers")
    return set(items)


def value_handlers(budget: int) -> dict[Symbol, Callable[[tuple], Any] | None]:
    """Handlers of every name above, for one file of `budget` bytes."""
    return {
        Symbol("torch._utils", "_rebuild_tensor_v2"): tensor_from_storage,
        Symbol("torch._utils", "_rebuild_parameter"): parameter,
        Symbol("torch.storage", "_load_from_bytes"): StorageReader(budget),
        Symbol("numpy", "dtype"): numpy_type,
        Symbol("numpy.core.multiarray", "scalar"): numpy_scalar,
        Symbol("numpy._core.multiarray", "scalar"): numpy_scalar,
        Symbol("numpy", "ndarray"): None,
        Symbol("numpy.core.multiarray", "_reconstruct"): numpy_array,
        Symbol("numpy._core.multiarray", "_reconstruct"): numpy_array,
        Symbol("collections", "OrderedDict"): empty_dict,
        Symbol("dnnlib.util", "EasyDict"): empty_dict,
        Symbol("builtins", "set"): plain_set,
    }


def _expect(args: tuple, types: tuple[type, ...], name: str) -> tuple:
    if len(args) != len(types) or any(type(a) is not t for a, t in zip(args, types, strict=True)):
        kinds = ", ".join(type(a).__name__ for a in args)
        raise Refused(f"it calls {name} with unexpected arguments ({kinds[:80]})")
    return args
