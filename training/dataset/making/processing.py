"""One item of a source becomes one square PNG."""

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from dnnlib import UserError
from training.dataset.images import MODES
from training.dataset.making import transforms
from training.dataset.making.source import Item, Problem

_SURVEYED = 1000


@dataclass(frozen=True)
class Settings:
    """How items become images.

    Attributes:
        size: (width, height) to resize to; None keeps the size, which must then be the same for all.
        transform: None (the whole image, stretched if its shape differs), "center-crop" or "center-crop-wide".
        resize_filter: "lanczos" or "box" (area average).
        mode: L, RGB or RGBA; None takes the source's most frequent one.
        convert: fix what can be fixed (other modes, other sizes) instead of raising Problem.
        min_size: shorter side in pixels, below which an image (or what is cut out of it) is left out.
        margin: share of a box's longer side that is added on each side.
    """

    size: tuple[int, int] | None = None
    transform: str | None = None
    resize_filter: str = "lanczos"
    mode: str | None = None
    convert: bool = False
    min_size: int = 0
    margin: float = 0.1

    def __post_init__(self):
        if self.transform is not None and self.size is None:
            raise UserError(f"`transform`={self.transform} needs a size; give `size`, for example `size`=64x64")
        if self.size is None:
            return
        width, height = self.size
        wide = self.transform == "center-crop-wide"
        if width != height and not (wide and height < width):
            raise UserError(
                f"`size`={width}x{height} is not square; give equal sides "
                "(only `transform`=center-crop-wide takes a smaller height, and fills up with black)"
            )
        if width < 4 or width & (width - 1):
            raise UserError(f"`size`={width}x{height}: the width must be a power of two such as 64, 128 or 256")


@dataclass(frozen=True)
class Picture:
    """A finished image: PNG bytes, a digest of its pixels, and what was done to it beyond the asked-for."""

    png: bytes
    digest: bytes
    changes: list[str]


@dataclass(frozen=True)
class Target:
    """The one mode and, without --resolution, the one size (width, height) that all images are to have."""

    mode: str
    size: tuple[int, int] | None


def choose_target(items: Sequence[Item], settings: Settings) -> Target:
    """Take mode and size from the settings or, where these leave them open, the most frequent ones among 1000 headers.

    Raises:
        UserError: no image can be read, or the size is not a square power of two.
    """
    if settings.mode is not None and settings.size is not None:
        return Target(settings.mode, None)
    modes, sizes = Counter(), Counter()
    for item in items[:: max(1, len(items) // _SURVEYED)]:
        try:
            image, size = item.header()
        except Problem:
            continue  # it is met again, and reported, when its turn comes
        modes[_nearest_mode(image)] += 1
        sizes[size] += 1
    if not modes:
        raise UserError(f"`source`: none of the images can be read (the first is {items[0].name}); check the source")
    mode = settings.mode or modes.most_common(1)[0][0]
    if settings.size is not None:
        return Target(mode, None)
    (width, height), _ = sizes.most_common(1)[0]
    if width != height or width & (width - 1):
        side = 1 << (min(width, height).bit_length() - 1)
        raise UserError(
            f"`source`: the images are {width} x {height}, but training needs a square power of two; "
            f"give `transform`=center-crop `size`={side}x{side}"
        )
    return Target(mode, (width, height))


def process(item: Item, settings: Settings, target: Target) -> Picture:
    """Read, turn upright, crop, convert and resize one item. Raises Problem."""
    image = item.load()
    if item.size is not None and image.size != item.size:
        raise Problem(
            "other size", f"{image.width} x {image.height}, not {item.size[0]} x {item.size[1]} as it should be"
        )
    if item.box is not None:
        image = image.crop(transforms.square_around(item.box, image.size, settings.margin))
    image = transforms.upright(image)
    if min(image.size) < settings.min_size:
        raise Problem(transforms.TOO_SMALL, f"{image.width} x {image.height}")
    changes = []
    if image.mode != target.mode:
        if not settings.convert and settings.mode is None:
            raise Problem("other mode", f"{image.mode}, not {target.mode}")
        changes.append(f"converted from {image.mode} to {target.mode}")
        image = transforms.convert_mode(image, target.mode)
    image = _fit(image, settings, target, changes)
    pixels = image.tobytes()
    file = io.BytesIO()
    # A fresh image has no colour profile, text or other chunk that would make equal pixels different files.
    Image.frombytes(image.mode, image.size, pixels).save(file, "png", compress_level=0)
    return Picture(file.getvalue(), hashlib.blake2b(pixels, digest_size=16).digest(), changes)


def _fit(image: Image.Image, settings: Settings, target: Target, changes: list[str]) -> Image.Image:
    size = settings.size
    if settings.transform == "center-crop-wide":
        return transforms.center_crop_wide(image, size, settings.resize_filter)
    if settings.transform == "center-crop":
        image = transforms.center_crop(image)
    if size is None:
        size = target.size
        if image.size != size:
            if not settings.convert:
                raise Problem("other size", f"{image.width} x {image.height}, not {size[0]} x {size[1]}")
            changes.append(f"center-cropped and resized to {size[0]} x {size[1]}")
            image = transforms.center_crop(image)
    elif image.width != image.height:
        changes.append("stretched to a square (`transform`=center-crop would crop)")
    if image.width < size[0] or image.height < size[1]:
        changes.append(f"enlarged to {size[0]} x {size[1]} (`min_size`={size[0]} would leave such images out)")
    return transforms.resize(image, size, settings.resize_filter)


def _nearest_mode(image: Image.Image) -> str:
    """Return the mode of training that keeps what this image shows."""
    if image.mode in MODES:
        return image.mode
    if image.mode in ("LA", "La", "PA", "RGBa"):
        return "RGBA"
    return "L" if image.mode == "1" or image.mode.startswith(("I", "F")) else "RGB"
