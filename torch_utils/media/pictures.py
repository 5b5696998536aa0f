"""Pictures that others made: which files are some, what decoding may take, and how every program here shows them."""

import contextlib
import functools
import io
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA", "HEIF")
"""Pillow's names of the formats that are read, all of them decoded inside of this process (PostScript is not)."""
_HEIC_REMEDY = "to read it: pip install 'rooted-stylegan[heic]', or save it as JPEG"
_OTHER_FORMATS = {
    ("HEIC", _HEIC_REMEDY): (".heic", ".heif", ".hif"),
    ("camera raw", "develop it as JPEG"): (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"),
    ("Photoshop", "save it as PNG"): (".psd", ".psb"),
    ("another editor's or science's format", "save it as PNG"): (".xcf", ".jxl", ".exr", ".hdr", ".dcm", ".svg"),
}
_BEGINNINGS = {
    b"\0\5\x16\7": "what macOS keeps beside a file; the picture is the file without ._ before its name",
    b"8BPS": "Photoshop; save it as PNG",
    b"%PDF": "a PDF; save its pictures as PNG",
    b"<": "a web page or XML, as a failed download leaves; fetch it again",
    b"version https://git-lfs": "a Git LFS pointer; run git lfs pull",
}
_EXIF_ORIENTATION = 0x0112
_SAYS_ORIENTATION = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
"""Where Pillow's `info` has it."""
_PNG_SAYS_ORIENTATION = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_EXCHANGED = range(5, 9)  # EXIF orientations that exchange width and height
MOST_BYTES = 1 << 30
"""Of a picture's file."""
ALWAYS_PIXELS = 1 << 25
"""How many pixels a picture may have however small its file is."""
PIXELS_PER_BYTE = 100
"""How many pixels a larger picture may have for each byte of its file; photographs reach 20."""
MOST_PIXELS = 1 << 27
MOST_SIDE = 65535

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    LookupError,
    AssertionError,
    RuntimeError,
    MemoryError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged files, depending on where the damage is."""

# Pillow warns at fewer pixels than it refuses; the bounds here are ours.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@functools.cache
def _readable() -> tuple[str, ...]:
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes of the formats that are read, as `.png`."""
    readable = _readable()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


def open_picture(data: bytes) -> Image.Image:
    """Open a picture, without decoding its pixels where that can be; only its first frame is ever decoded.

    Raises:
        one of `DECODE_ERRORS`: damaged, another format, or more pixels than the bounds above allow.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=_readable())
    except Image.UnidentifiedImageError as error:
        raise Image.UnidentifiedImageError(_what_it_is(data[:32])) from error
    check_pixels(picture.width, picture.height, len(data))
    if (
        picture.format == "PNG"
        and not _says_orientation(picture)
        and any(mark in data for mark in _PNG_SAYS_ORIENTATION)
    ):
        picture.load()  # it may stand behind the pixels
    return picture


def check_pixels(width: int, height: int, size: int = MOST_BYTES) -> None:
    """Raise `DecompressionBombError` unless a picture of that width and height may be decoded from `size` bytes."""
    if max(width, height) > MOST_SIDE or width * height > min(MOST_PIXELS, max(ALWAYS_PIXELS, PIXELS_PER_BYTE * size)):
        raise Image.DecompressionBombError(f"it has {width} x {height} pixels in {size} bytes; too many")


def center_crop(image: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """Return the largest middle part that is as wide and high as `shape` (width, height), times some number."""
    scale = min(image.width / shape[0], image.height / shape[1])
    width, height = (max(1, round(side * scale)) for side in shape)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if image.size == (width, height) else image.crop((left, top, left + width, top + height))


def why_unreadable(error: Exception) -> str:
    """What one of `DECODE_ERRORS` says, on one line."""
    return " ".join(f"{getattr(error, 'strerror', None) or error}".split()) or type(error).__name__


def _what_it_is(beginning: bytes) -> str:
    if not beginning:
        return "an empty file"
    if beginning[4:8] == b"ftyp" and beginning[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim"):
        return f"HEIC, which is not read here; {_HEIC_REMEDY}"
    known = next((what for start, what in _BEGINNINGS.items() if beginning.lstrip().startswith(start)), None)
    return f"no picture but {known}" if known else "not an image format that is read here"


def is_clutter(name: str) -> bool:
    """Whether a file is hidden, or the kind that macOS adds to archives, and so never one of the images."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePath(name).parts)


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture in a format that is read."""
    return PurePath(name).suffix.lower() in picture_suffixes() and not is_clutter(name)


def other_format(name: str) -> str | None:
    """The format of a picture that is not read, by its file's name, and the way on; None for all other files."""
    suffix = PurePath(name).suffix.lower()
    if suffix in picture_suffixes() or is_clutter(name):
        return None
    return next((f"{what}; {remedy}" for (what, remedy), some in _OTHER_FORMATS.items() if suffix in some), None)


def left_out(names: Iterable[str]) -> str:
    """A line about the files among `names` that are pictures of formats that are not read; empty if there are none."""
    found = Counter(filter(None, map(other_format, names)))
    return "; ".join(f"{count} files are left out: {what}" for what, count in found.items())


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) when the picture is turned as its EXIF data say; its pixels are not decoded.

    Raises:
        one of `DECODE_ERRORS`: damaged EXIF data.
    """
    return image.size[::-1] if _orientation(image) in _EXCHANGED else image.size


def is_turned(image: Image.Image) -> bool:
    """Whether `upright` changes the picture. Raises as `upright_size`."""
    return _orientation(image) in range(2, 9)


def _orientation(image: Image.Image) -> int | None:
    # Without this question PIL would decode a whole PNG to look for EXIF data behind the pixels.
    return image.getexif().get(_EXIF_ORIENTATION) if _says_orientation(image) else None


def _says_orientation(image: Image.Image) -> bool:
    return image.format == "TIFF" or not _SAYS_ORIENTATION.isdisjoint(image.info)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says. Raises one of `DECODE_ERRORS` if the EXIF data are damaged."""
    return ImageOps.exif_transpose(image)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to L, LA, RGB or RGBA; transparent parts become white where the result has no alpha; 16 bits become 8.

    Raises:
        ValueError: there is no one way to show this mode (floating point, 32 bits).
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, dtype=np.uint32) * 255 / 65535 + 0.5).astype(np.uint8))
    if image.mode in ("F", "I"):
        raise ValueError(f"{image.mode} has no fixed range of values; save it with 8 or 16 bits")
    if image.mode in ("LA", "La", "PA", "RGBa") or (
        image.mode in ("1", "L", "RGB", "P") and "transparency" in image.info
    ):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and mode not in ("RGBA", "LA"):
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    if mode == "LA":
        return image.convert("RGBA").convert("LA")
    return image if image.mode == mode else image.convert("RGB").convert(mode)
