"""Image files as arrays: reading headers, decoding, and the checks that make a collection uniform."""

import contextlib
import hashlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dnnlib import UserError
from torch_utils.media.pictures import (
    DECODE_ERRORS,
    check_pixels,
    is_turned,
    open_picture,
    upright,
    upright_size,
    why_unreadable,
)
from training.dataset.files import FolderFiles, ZipFiles
from training.networks.config import nearest_size, nominal_resolution

MODES = {"L": 1, "RGB": 3, "RGBA": 4}
"""PIL modes that training reads, with their channel counts."""

WHAT_FITS = "width and height must be 2 to 7 times a power of two, the same for both"
"""What is said where networks cannot have images of a size."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 6: "RGBA"}


class ImageHeader(NamedTuple):
    """What the first bytes of an image file say: PIL mode, width and height in pixels, upright."""

    mode: str
    width: int
    height: int


class NotAlike(UserError):
    """Images differ in size or mode, or have one that networks cannot have; each by itself can be looked at."""


class FileImages:
    """Selected image files of a folder or zip; all headers are read at construction.

    Raises:
        UserError: images of different size or mode, of a size that networks cannot have, or unreadable.
    """

    def __init__(self, files: FolderFiles | ZipFiles, names: list[str]):
        self._files = files
        self._names = names
        self._turned: set[int] = set()
        first = self._header(0)
        check_mode(first.mode, self.label(0))
        self.shape = (MODES[first.mode], first.height, first.width)
        check_size(self.shape, self.label(0))
        for i in range(1, len(names)):
            self._check_alike(i, self._header(i), first)

    def _header(self, i: int) -> ImageHeader:
        """Of a PNG of 8 bits the first bytes are enough: by far the commonest case, and many times as fast.

        Where a chunk that may be EXIF data stands before the pixels, they are enough for squares only.
        """
        with decoding(self.label(i)):
            first = self._files.head(self._names[i], 41)
            if first.startswith(_PNG_SIGNATURE) and first[12:16] == b"IHDR" and len(first) == 41:
                width, height, depth, colour = struct.unpack(">IIBB", first[16:26])
                if depth == 8 and colour in _PNG_MODES and (width == height or first[37:] == b"IDAT"):
                    check_pixels(width, height)
                    return ImageHeader(_PNG_MODES[colour], width, height)
            with open_picture(self._files.read(self._names[i])) as image:
                if is_turned(image):
                    self._turned.add(i)
                return ImageHeader(image.mode, *upright_size(image))

    def _check_alike(self, i: int, header: ImageHeader, first: ImageHeader) -> None:
        check_mode(header.mode, self.label(i))
        if (header.width, header.height) != (first.width, first.height):
            raise NotAlike(
                f"{self.label(i)} is {header.width} x {header.height}, but {self._names[0]} is "
                f"{first.width} x {first.height}; bring all to one size with dataset_tool.py --transform=center-crop "
                f"--resolution={first.width}x{first.height}"
            )
        if header.mode != first.mode:
            raise NotAlike(
                f"{self.label(i)} has the image mode {header.mode}, but {self._names[0]} has {first.mode}; "
                "bring all to one mode with dataset_tool.py --on-error=convert"
            )

    def label(self, i: int) -> str:
        """Return what to call image `i` in messages."""
        return f"{self._files.path}: {self._names[i]}"

    def __len__(self) -> int:
        return len(self._names)

    def decode(self, i: int) -> np.ndarray:
        """Return image `i` as uint8 [C, H, W]."""
        return decode_image(self._files.read(self._names[i]), self.label(i))

    def digest(self, i: int) -> bytes:
        """Return what image `i` contributes to the content hash."""
        size, crc = self._files.checksum(self._names[i])
        turned = "\tupright" if i in self._turned else ""
        return f"{self._names[i]}\t{size}\t{crc:08x}{turned}\n".encode(errors="surrogateescape")  # names of other bytes


class ArrayImages:
    """Selected images that are in memory already."""

    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array)
        self.shape = tuple(array.shape[1:])

    def __len__(self) -> int:
        return len(self.array)

    def digest(self, i: int) -> bytes:
        """Return what image `i` contributes to the content hash."""
        return hashlib.sha256(self.array[i].tobytes()).digest()


def decode_image(data: bytes, label: str) -> np.ndarray:
    """Decode an image of mode L, RGB or RGBA to uint8 [C, H, W], upright; `label` names the file in messages.

    Raises:
        UserError: the image is damaged or has another mode.
    """
    with decoding(label), open_picture(data) as image:
        check_mode(image.mode, label)
        pixels = np.asarray(upright(image) if is_turned(image) else image)
    return np.ascontiguousarray(pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def check_mode(mode: str, label: str) -> None:
    """Raise UserError unless `mode` is one that training reads."""
    if mode not in MODES:
        raise NotAlike(
            f"{label} has the unsupported image mode {mode} (supported: {', '.join(MODES)}); "
            "bring the images to one mode with dataset_tool.py --on-error=convert"
        )


def check_size(shape: tuple[int, int, int], label: str) -> None:
    """Raise UserError unless networks can have images of `shape` (C, H, W)."""
    _, height, width = shape
    if nominal_resolution(height, width) is None:
        rows, columns = nearest_size(height, width)
        raise NotAlike(
            f"{label} is {width} x {height}, but {WHAT_FITS}; the nearest are made with dataset_tool.py "
            f"--transform=center-crop --resolution={columns}x{rows}"
        )


@contextlib.contextmanager
def decoding(label: str) -> Iterator[None]:
    """Within it what Pillow raises is a `UserError` that names the file as `label`."""
    try:
        yield
    except DECODE_ERRORS as error:
        raise UserError(
            f"{label} cannot be read as an image ({why_unreadable(error)}); remove it, "
            "or leave such files out with dataset_tool.py --on-error=skip"
        ) from error
