"""One item of a source becomes one PNG of the wanted size."""

import hashlib
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from dnnlib import UserError
from torch_utils.media.alignment import cut_square, ffhq_square
from torch_utils.media.pictures import center_crop
from training.dataset.images import MODES, WHAT_FITS
from training.dataset.making import transforms
from training.dataset.making.source import Item, Problem
from training.networks.config import nearest_size, nominal_resolution
from training.options.making import MARGIN

_SURVEYED = 1000


@dataclass(frozen=True)
class Settings:
    """How items become images.

    Attributes:
        size: (width, height) to resize to; None keeps the size, which must then be the same for all.
        transform: None (the whole image, stretched if its shape differs), "center-crop", "pad" or "center-crop-wide".
            The first two bring every image to `size`, or the nearest that networks can have.
        resize_filter: "lanczos" or "box" (area average).
        mode: L, RGB or RGBA; None takes the source's most frequent one.
        convert: fix what can be fixed (other modes, other sizes) instead of raising Problem.
        min_size: shorter side in pixels, below which an image (or what is cut out of it) is left out.
        margin: share of a box's longer side that is added on each side.
        align: how the items' faces are cut out, for the record; None where they have none.
    """

    size: tuple[int, int] | None = None
    transform: str | None = None
    resize_filter: str = "lanczos"
    mode: str | None = None
    convert: bool = False
    min_size: int = 0
    margin: float = MARGIN
    align: str | None = None

    def __post_init__(self):
        if self.transform == "center-crop-wide":
            self._check_wide()
        elif self.transform is None and self.size is not None:
            width, height = self.size
            if nominal_resolution(height, width) is None:
                raise UserError(
                    f"`size`={width}x{height}: {WHAT_FITS}; the nearest is {_x(_nearest(self.size))}, or let "
                    "`transform`=center-crop or pad bring all images to it"
                )

    def _check_wide(self) -> None:
        if self.size is None:
            raise UserError("`transform`=center-crop-wide needs a size; give `size`, for example `size`=64x48")
        width, height = self.size
        if height > width:
            raise UserError(
                f"`size`={width}x{height}: `transform`=center-crop-wide fills up a smaller height with black bars; "
                "give width before height, or `transform`=center-crop or pad"
            )
        if nominal_resolution(width, width) is None:
            raise UserError(f"`size`={width}x{height}: the width must be one such as 64, 128 or 256")


@dataclass(frozen=True)
class Picture:
    """A finished image: PNG bytes, a digest of its pixels, and what was done to it beyond the asked-for."""

    png: bytes
    digest: bytes
    changes: list[str]


@dataclass(frozen=True)
class Target:
    """The one mode and the one size (width, height) that all images are to have; whether that is near the wanted."""

    mode: str
    size: tuple[int, int]
    nearest: bool = False


def choose_target(items: Sequence[Item], settings: Settings) -> Target:
    """Take mode and size from the settings or, where these leave them open, the most frequent ones among 1000 headers.

    Raises:
        UserError: no image can be read, or networks cannot have the size, and nothing is to be cropped or padded.
    """
    if settings.mode is not None and settings.size is not None:
        return _target(settings.mode, settings.size, settings)
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
    size = settings.size or sizes.most_common(1)[0][0]
    return _target(mode, size, settings)


def _target(mode: str, wanted: tuple[int, int], settings: Settings) -> Target:
    width, height = wanted
    if settings.transform == "center-crop-wide" or nominal_resolution(height, width) is not None:
        return Target(mode, wanted)
    size = _nearest(wanted)
    if settings.transform is None:
        raise UserError(
            f"`source`: the images are {width} x {height}, but {WHAT_FITS}; "
            f"give `size`={_x(size)} with `transform`=center-crop, or pad to keep all of them"
        )
    return Target(mode, size, nearest=True)


def _nearest(size: tuple[int, int]) -> tuple[int, int]:
    height, width = nearest_size(size[1], size[0])
    return width, height


def _x(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def process(item: Item, settings: Settings, target: Target) -> Picture:
    """Read, turn upright, crop, convert and resize one item. Raises Problem."""
    image = item.load()
    if item.size is not None and image.size != item.size:
        raise Problem(
            "other size", f"{image.width} x {image.height}, not {item.size[0]} x {item.size[1]} as it should be"
        )
    if item.box is not None:
        image = image.crop(transforms.part_around(item.box, image.size, settings.margin, target.size))
    image = transforms.upright(image)
    square = None if item.face is None else ffhq_square(item.face)
    shown = image.size if square is None else (round(2 * math.hypot(*square[1])),) * 2
    if min(shown) < settings.min_size:
        raise Problem(transforms.TOO_SMALL, f"{shown[0]} x {shown[1]}")
    changes = []
    if image.mode != target.mode:
        if not settings.convert and settings.mode is None:
            raise Problem("other mode", f"{image.mode}, not {target.mode}")
        changes.append(f"converted from {image.mode} to {target.mode}")
        image = transforms.convert_mode(image, target.mode)
    if square is not None:
        image = cut_square(image, square)
    image = _fit(image, settings, target, changes)
    pixels = image.tobytes()
    file = io.BytesIO()
    # A fresh image has no colour profile, text or other chunk that would make equal pixels different files.
    Image.frombytes(image.mode, image.size, pixels).save(file, "png", compress_level=0)
    return Picture(file.getvalue(), hashlib.blake2b(pixels, digest_size=16).digest(), changes)


def _fit(image: Image.Image, settings: Settings, target: Target, changes: list[str]) -> Image.Image:
    size, transform = target.size, settings.transform
    to_size = f"to {size[0]} x {size[1]}"
    if target.nearest:
        changes.append(f"{'padded' if transform == 'pad' else 'cropped'} {to_size}, the nearest that networks can have")
    if transform == "center-crop-wide":
        return transforms.center_crop_wide(image, size, settings.resize_filter)
    if transform == "center-crop":
        image = center_crop(image, size)
    elif transform is None and settings.size is None and image.size != size:
        if not settings.convert:
            raise Problem("other size", f"{image.width} x {image.height}, not {size[0]} x {size[1]}")
        changes.append(f"center-cropped and resized {to_size}")
        image = center_crop(image, size)
    elif transform is None and abs(image.width * size[1] - image.height * size[0]) >= max(size):
        changes.append(f"stretched {to_size} (`transform`=center-crop would crop, `transform`=pad add bars)")
    if _is_enlarged(image, size, transform):
        changes.append(f"enlarged {to_size} (`min_size`={min(size)} would leave such images out)")
    if transform == "pad":
        return transforms.pad(image, size, settings.resize_filter)
    return transforms.resize(image, size, settings.resize_filter)


def _is_enlarged(image: Image.Image, size: tuple[int, int], transform: str | None) -> bool:
    smaller = image.width < size[0], image.height < size[1]
    return all(smaller) if transform == "pad" else any(smaller)


def _nearest_mode(image: Image.Image) -> str:
    """Return the mode of training that keeps what this image shows."""
    if image.mode in MODES:
        return image.mode
    if image.mode in ("LA", "La", "PA", "RGBa"):
        return "RGBA"
    return "L" if image.mode == "1" or image.mode.startswith(("I", "F")) else "RGB"
