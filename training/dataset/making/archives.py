"""Sources that are published archives of arrays: CIFAR-10, MNIST, JPEG arrays, and the built-in faces."""

import functools
import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnnlib import UserError
from training.dataset.builtin_faces import BUILTIN_FACES, builtin_faces
from training.dataset.files import refuse_escape
from training.dataset.making.source import Item, Source, one_line

_CIFAR_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
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


def from_cifar10(path: str | os.PathLike) -> Source:
    """Make a source of the 50,000 training images of `cifar-10-python.tar.gz`, in the archive's order.

    The batches are pickles; they are read without executing anything (see `_ArrayUnpickler`).

    Raises:
        UserError: damaged, not CIFAR-10's Python version, or entries that climb out of the archive.
    """
    try:
        with tarfile.open(path) as archive:
            files = [member for member in archive.getmembers() if member.isfile()]
            for member in files:
                refuse_escape(Path(path), member.name)
            members = {Path(member.name).name: member for member in files}
            missing = [name for name in _CIFAR_BATCHES if name not in members]
            if missing:
                raise UserError(f"`source`: {path} holds no {missing[0]}; give CIFAR-10's cifar-10-python.tar.gz")
            batches = [_unpickle(archive.extractfile(members[name]).read()) for name in _CIFAR_BATCHES]
            classes = None
            if "batches.meta" in members:
                classes = _unpickle(archive.extractfile(members["batches.meta"]).read()).get("label_names")
        images = np.concatenate([np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32) for batch in batches])
        labels = [int(label) for batch in batches for label in batch["labels"]]
    except (tarfile.TarError, OSError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise UserError(
            f"`source`: {path} is not a readable CIFAR-10 archive ({one_line(error)}); download it again"
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"`source`: {path} is not CIFAR-10's Python version ({error!r}); download it again") from error
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
        with np.load(path, allow_pickle=False) as arrays:
            data, offsets = arrays["train_jpeg"], arrays["train_offsets"]
            labels = arrays.get("train_labels")
            classes = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise UserError(f"`source`: {path} does not hold train_jpeg and train_offsets ({one_line(error)})") from error
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
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
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        dimensions = magic & 0xFF
        found, *shape = struct.unpack_from(f">{1 + dimensions}i", data)
        if found != magic:
            raise ValueError(f"magic number {found:#x}, not {magic:#x}")
        return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise UserError(
            f"`source`: {path} is not a readable MNIST file ({one_line(error)}); download it again"
        ) from error
