"""Sources that are published archives of arrays: CIFAR-10, MNIST, JPEG arrays, and the built-in faces."""

import functools
import gzip
import io
import itertools
import lzma
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnnlib import UserError, first_line
from dnnlib.archives import ALWAYS_BYTES, MOST_RATIO
from dnnlib.files import read_regular
from torch_utils.arrays import ARRAY_ERRORS, read_arrays
from training.dataset.builtin_faces import BUILTIN_FACES, builtin_faces
from training.dataset.files import refuse_escape
from training.dataset.making.image_files import TAR_ERRORS, members_of
from training.dataset.making.source import Item, Source

_CIFAR_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
_CIFAR_BATCH_BYTES, _CIFAR_FILES = 1 << 25, 100  # at most; a batch has 31,035,704 bytes
_IDX_BYTES = 1 << 30
_IDX_IMAGES, _IDX_LABELS = 0x803, 0x801


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled NumPy arrays and plain values, and refuses whatever else a pickle could call."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few functions that arrays need."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise pickle.UnpicklingError(f"it calls {module}.{name}")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it uses the encoding {encoding}")
    return text.encode("latin1")


def is_cifar10(path: str | os.PathLike) -> bool:
    """Whether a tar is CIFAR-10's, by its own name or those of its first files."""
    if Path(path).name.startswith("cifar"):
        return True
    try:
        with tarfile.open(path) as archive:
            first = itertools.islice(members_of(archive, _CIFAR_BATCH_BYTES), _CIFAR_FILES)
            return any(Path(member.name).name in _CIFAR_BATCHES for member in first)
    except TAR_ERRORS:
        return False


def from_cifar10(path: str | os.PathLike) -> Source:
    """Make a source of the 50,000 training images of `cifar-10-python.tar.gz`, in the archive's order.

    The batches are pickles; they are read without executing anything (see `_ArrayUnpickler`).

    Raises:
        UserError: damaged, not CIFAR-10's Python version, or entries that climb out of the archive.
    """
    try:
        with tarfile.open(path) as archive:
            files = []
            for member in members_of(archive, _CIFAR_BATCH_BYTES):
                refuse_escape(Path(path), member.name)
                if member.isfile():
                    files.append(member)
                if len(files) > _CIFAR_FILES:
                    raise ValueError("too many files")
            members = {Path(member.name).name: member for member in files}
            missing = [name for name in _CIFAR_BATCHES if name not in members]
            if missing:
                raise UserError(f"`source`: {path} holds no {missing[0]}; give CIFAR-10's cifar-10-python.tar.gz")
            batches = [_unpickle(archive.extractfile(members[name]).read()) for name in _CIFAR_BATCHES]
            classes = None
            if "batches.meta" in members:
                classes = _unpickle(archive.extractfile(members["batches.meta"]).read()).get("label_names")
        images = np.concatenate([_pixels(batch["data"]) for batch in batches])
        labels = [int(label) for batch in batches for label in batch["labels"]]
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, pickle.UnpicklingError) as error:
        raise UserError(
            f"`source`: {path} is not a readable CIFAR-10 archive ({first_line(error)}); download it again"
        ) from error
    except (*TAR_ERRORS, TypeError, AttributeError) as error:
        raise UserError(
            f"`source`: {path} is not CIFAR-10's Python version ({type(error).__name__}); download it again"
        ) from error
    if not (isinstance(classes, list | None) and all(isinstance(name, str) for name in classes or ())):
        raise UserError(f"`source`: {path} names its classes otherwise than CIFAR-10; download it again")
    if len(labels) != len(images):
        raise UserError(f"`source`: {path} has {len(labels)} labels for {len(images)} images; download it again")
    items = [
        Item(f"{index // 10000 + 1}/{index % 10000:04d}", functools.partial(_colour, images[index]), label)
        for index, label in enumerate(labels)
    ]
    return Source(items, classes, f"{len(items)} training images of {Path(path).name}")


def from_mnist(path: str | os.PathLike) -> Source:
    """Make a source of `train-images-idx3-ubyte.gz`, or another file of that format, with the labels file beside it.

    The 28 x 28 images get a black border of two pixels, which makes them 32 x 32. Without the labels file there are
    no labels.

    Raises:
        UserError: damaged, or not of MNIST's format.
    """
    path = Path(path)
    images = _idx(path, _IDX_IMAGES)
    labels = None
    labels_path = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if labels_path != path and labels_path.is_file():
        labels = _idx(labels_path, _IDX_LABELS)
        if len(labels) != len(images):
            raise UserError(
                f"`source`: {labels_path} has {len(labels)} labels for {len(images)} images; download both again"
            )
    if images.shape[1:] == (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    items = [
        Item(f"{index:05d}", functools.partial(Image.fromarray, image), None if labels is None else int(labels[index]))
        for index, image in enumerate(images)
    ]
    named = "with labels" if labels is not None else f"without labels ({labels_path.name} is not beside it)"
    return Source(items, None, f"{len(items)} images of {path.name}, {named}")


def from_jpeg_arrays(path: str | os.PathLike) -> Source:
    """Make a source of the training images of an `.npz` with `train_jpeg`, `train_offsets`, `train_labels`, `classes`.

    `train_jpeg` is all JPEG files one after the other; image i lies at offsets i to i + 1.

    Raises:
        UserError: damaged, or other arrays.
    """
    try:
        arrays = read_arrays(path, ("train_jpeg", "train_offsets", "train_labels", "classes"))
        data, offsets, labels = arrays["train_jpeg"], arrays["train_offsets"], arrays.get("train_labels")
        classes = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
    except ARRAY_ERRORS as error:
        raise UserError(f"`source`: {path} does not hold train_jpeg and train_offsets ({first_line(error)})") from error
    for array, kinds in ((data, "u"), (offsets, "iu"), (labels, "iu")):
        if array is not None and (array.ndim != 1 or array.dtype.kind not in kinds):
            raise UserError(f"`source`: {path}: its arrays are not lists of integers; download the file again")
    if (
        data.dtype != np.uint8
        or len(offsets) < 2
        or offsets[0] != 0
        or offsets[-1] != len(data)
        or (np.diff(offsets) < 0).any()
    ):
        raise UserError(f"`source`: {path}: train_offsets does not fit to train_jpeg; download the file again")
    if labels is not None and len(labels) != len(offsets) - 1:
        raise UserError(
            f"`source`: {path}: {len(labels)} labels for {len(offsets) - 1} images; download the file again"
        )
    items = [
        Item(
            f"train/{index:05d}",
            functools.partial(_slice, data, int(offsets[index]), int(offsets[index + 1])),
            None if labels is None else int(labels[index]),
        )
        for index in range(len(offsets) - 1)
    ]
    return Source(items, classes, f"{len(items)} training images of {Path(path).name}")


def from_builtin_faces() -> Source:
    """Make a source of the built-in faces at 32 x 32."""
    items = [
        Item(f"face{index:03d}", functools.partial(Image.fromarray, face[0]))
        for index, face in enumerate(builtin_faces())
    ]
    return Source(items, None, f"{len(items)} faces of scikit-image's lfw_subset ({BUILTIN_FACES})")


def _pixels(data: Any) -> np.ndarray:
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8):
        raise TypeError("no array of bytes")
    return data.reshape(-1, 3, 32, 32)


def _colour(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _slice(data: np.ndarray, start: int, end: int) -> bytes:
    return data[start:end].tobytes()


def _unpickle(data: bytes) -> dict:
    # Written by Python 2; its byte strings become text, the keys among them.
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


def _idx(path: Path, magic: int) -> np.ndarray:
    """Read an IDX file: magic number, sizes as big-endian int32, then uint8 values."""
    try:
        data = read_regular(path, _IDX_BYTES)
        if data[:2] == b"\x1f\x8b":
            data = _gunzip(data)
        dimensions = magic & 0xFF
        found, *shape = struct.unpack_from(f">{1 + dimensions}i", data)
        if found != magic or min(shape) < 1:
            raise ValueError(f"it begins with {found:#x} and sizes {shape}")
        return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise UserError(
            f"`source`: {path} is not a readable MNIST file ({first_line(error)}); download it again"
        ) from error


def _gunzip(data: bytes) -> bytes:
    bound = max(ALWAYS_BYTES, MOST_RATIO * len(data))
    unpacked = bytearray()
    with gzip.open(io.BytesIO(data)) as stream:
        while piece := stream.read(1 << 20):
            unpacked += piece
            if len(unpacked) > bound:
                raise ValueError(f"it unpacks to more than {bound} bytes, from {len(data)}")
    return bytes(unpacked)
