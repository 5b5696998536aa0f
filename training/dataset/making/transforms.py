"""Cropping, padding and resizing: what turns a picture of any shape into one of the wanted shape and size."""

import numpy as np
from PIL import Image

from dnnlib import first_line
from torch_utils.media import pictures
from torch_utils.media.pictures import DECODE_ERRORS, center_crop
from training.dataset.making.source import Box, Problem

TOO_SMALL = "too small"


def upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF orientation says. Raises Problem if the EXIF data are damaged."""
    try:
        return pictures.upright(image)
    except DECODE_ERRORS as error:
        raise Problem("unreadable", f"damaged EXIF data: {first_line(error)}") from error


def resize(image: Image.Image, size: tuple[int, int], resize_filter: str) -> Image.Image:
    """Resize to `size` (width, height) with "lanczos" or "box"; transparent pixels do not bleed into others."""
    if image.size == size:
        return image
    return area_average(image, size) if resize_filter == "box" else image.resize(size, Image.Resampling.LANCZOS)


def area_average(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize so that each new pixel is the mean of the area that it covers, fractions of pixels included.

    Computed at once and rounded once; PIL's own box filter weights border pixels by 0 or 1, and rounds twice.
    """
    width, height = size
    factors = image.width // width, image.height // height
    if image.size == (factors[0] * width, factors[1] * height) and all(f & (f - 1) == 0 for f in factors):
        return image.reduce(factors)  # the same mean, in integers; for other factors PIL is not exact
    across, down = _coverage(image.width, width), _coverage(image.height, height)
    premultiplied = image.convert("RGBa") if image.mode == "RGBA" else image
    pixels = np.asarray(premultiplied, dtype=np.float64)
    means = np.einsum("yh,hw...,xw->yx...", down, pixels, across, optimize=True)
    result = np.clip(np.floor(means + 0.5), 0, 255).astype(np.uint8)
    return Image.frombytes(premultiplied.mode, size, result.tobytes()).convert(image.mode)


def _coverage(old: int, new: int) -> np.ndarray:
    """Return [new, old]: the share of new pixel i that old pixel j makes up; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    left, right = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)
    overlap = np.minimum(right, pixels + 1) - np.maximum(left, pixels)
    return np.maximum(overlap, 0) / (old / new)


def pad(image: Image.Image, size: tuple[int, int], resize_filter: str) -> Image.Image:
    """Return the whole image, resized into the middle of `size` (width, height); bars are black, or transparent."""
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return _in_the_middle(resize(image, inner, resize_filter), size)


def _in_the_middle(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    result = Image.new(image.mode, size)
    result.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return result


def center_crop_wide(image: Image.Image, size: tuple[int, int], resize_filter: str) -> Image.Image:
    """Return the largest middle part with the aspect of `size` (width, height), resized to it, between black bars.

    Raises:
        Problem: the image is smaller than `size`.
    """
    width, height = size
    if image.width < width or image.height < height:
        raise Problem(TOO_SMALL, f"{image.width} x {image.height} cannot give {width} x {height}")
    return _in_the_middle(resize(center_crop(image, size), size, resize_filter), (width, width))


def part_around(box: Box, size: tuple[int, int], margin: float, shape: tuple[int, int] = (1, 1)) -> Box:
    """Return what to cut out of an image of `size` (width, height) so that `box` is in it, with a margin.

    Its sides are as `shape` (width, height). The box just fits into it, enlarged by `margin` of itself on both sides.
    Nothing is invented: where the image ends, the part is moved inside, and where the image is too narrow, it shrinks
    to what the image has, around the middle of the box.
    """
    left, top, right, bottom = box
    unit = min(shape)
    scale = max((right - left) * unit / shape[0], (bottom - top) * unit / shape[1]) * (1 + 2 * margin)
    scale = min(scale, *(limit * unit / side for limit, side in zip(size, shape, strict=True)))
    part = [min(max(1, round(scale * side / unit)), limit) for side, limit in zip(shape, size, strict=True)]
    corner = [(low + high - side) / 2 for low, high, side in zip(box[:2], box[2:], part, strict=True)]
    x, y = (min(max(0, round(start)), limit - side) for start, limit, side in zip(corner, size, part, strict=True))
    return x, y, x + part[0], y + part[1]


def convert_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to L, RGB or RGBA, as `in_mode`. Raises Problem where there is no one way to show the image's mode."""
    try:
        return pictures.in_mode(image, mode)
    except ValueError as error:
        raise Problem("unsupported mode", f"{error}") from error
