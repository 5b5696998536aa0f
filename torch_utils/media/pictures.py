"""Pictures that others made: the formats that are decoded, and what decoding may take."""

import functools
import io
import struct
import warnings
import zlib

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA")
"""Pillow's names of the formats that are read, all of them decoded inside of this process (PostScript is not)."""
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
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes of the formats that are read, as `.png`."""
    readable = _readable()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


def open_picture(data: bytes) -> Image.Image:
    """Open a picture without decoding its pixels; only its first frame is ever decoded.

    Raises:
        one of `DECODE_ERRORS`: damaged, another format, or more pixels than the bounds above allow.
    """
    picture = Image.open(io.BytesIO(data), formats=_readable())
    check_pixels(picture.width, picture.height, len(data))
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
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image format that is read here"
    return " ".join(f"{getattr(error, 'strerror', None) or error}".split()) or type(error).__name__
