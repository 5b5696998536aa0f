"""The square around a face in which FFHQ shows it (Karras et al. 2019, appendix on the data set), cut out of a picture.

Points are (x, y) in pixels; the upper left corner of a picture is (0, 0), the middle of its first pixel (0.5, 0.5).
"""

import math

import numpy as np
from PIL import Image, ImageFilter

_LARGEST = 4096  # side of what is cut out; of larger faces the picture is reduced first
_FADE = 0.05  # of the side: how far beyond the picture's edge its reflection is wholly blurred
_BLUR = 0.03  # of the side: the deviation of that blur


def ffhq_square(points: np.ndarray) -> np.ndarray:
    """Centre and half axes, float64 [3, 2], of FFHQ's square around a face.

    Its x axis is the mean direction of the line of the eyes and of what is perpendicular to the line from eyes to
    mouth; its half side is twice the distance of the eyes, or 1.8 times that of eyes and mouth where this is more.

    Args:
        points: [5, 2]: the eye on the left of the picture, the other eye, nose, left and right corner of the mouth.
    """
    points = np.asarray(points, dtype=np.float64)
    eyes, across = (points[0] + points[1]) / 2, points[1] - points[0]
    down = (points[3] + points[4]) / 2 - eyes
    x = across - _turned(down)
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / max(np.hypot(*x), 1e-9)
    return np.stack([eyes + 0.1 * down, x, _turned(x)])


def cut_square(image: Image.Image, square: np.ndarray, side: int | None = None) -> Image.Image:
    """Cut a turned square out of a picture (L, RGB, RGBA).

    Beyond the picture's edge lies its reflection, more and more blurred.

    Args:
        image: to cut out of.
        square: centre and half axes [3, 2].
        side: of the result in pixels; None keeps the picture's own scale, up to 4096 pixels.
    """
    length = 2 * float(np.hypot(*square[1]))
    factor = math.ceil(length / (_LARGEST if side is None else 2 * side))
    if factor > 1:  # before the turn, which takes no means
        image, square, length = image.reduce(factor), square / factor, length / factor
    side = side or max(1, round(length))
    image, square = _with_surroundings(image, square, length)
    centre, x, y = square
    a, b = x * 2 / side, y * 2 / side
    start = centre - x - y
    return image.transform(
        (side, side), Image.Transform.AFFINE, (a[0], b[0], start[0], a[1], b[1], start[1]), Image.Resampling.BICUBIC
    )


def in_picture(points: np.ndarray, square: np.ndarray, side: int) -> np.ndarray:
    """Points [N, 2] of what `cut_square` gave with `side`, as points of the picture."""
    centre, x, y = square
    return centre + (points / side * 2 - 1) @ np.stack([x, y])


def _turned(vector: np.ndarray) -> np.ndarray:
    """By a quarter turn, from right to down."""
    return np.array([-vector[1], vector[0]])


def _with_surroundings(image: Image.Image, square: np.ndarray, length: float) -> tuple[Image.Image, np.ndarray]:
    """The part of a picture that holds a square, continued beyond the picture's edges, and the square in it."""
    reach = np.abs(square[1]) + np.abs(square[2]) + 2
    low, high = np.floor(square[0] - reach).astype(int), np.ceil(square[0] + reach).astype(int)
    size = np.array(image.size)
    inner_low, inner_high = np.clip(low, 0, size - 1), np.clip(high, 1, size)
    part = image.crop((*inner_low.tolist(), *inner_high.tolist()))
    before, after = inner_low - low, high - inner_high
    moved = np.stack([square[0] - low, square[1], square[2]])
    if not (before.any() or after.any()):
        return part, moved
    pixels = np.asarray(part)
    widths = [(int(before[1]), int(after[1])), (int(before[0]), int(after[0])), *[(0, 0)] * (pixels.ndim - 2)]
    wide = np.pad(pixels, widths, mode="symmetric")
    blurred = np.asarray(Image.fromarray(wide).filter(ImageFilter.GaussianBlur(_BLUR * length)))
    beyond = [
        np.maximum(np.maximum(first - np.arange(n), np.arange(n) - (n - 1 - last)), 0)
        for n, (first, last) in zip(wide.shape[:2], widths[:2], strict=True)
    ]
    weight = (np.hypot(beyond[0][:, None], beyond[1]) / (_FADE * length)).clip(0, 1)
    weight = weight.reshape(*weight.shape, *[1] * (wide.ndim - 2))
    return Image.fromarray((wide + (blurred - wide.astype(float)) * weight + 0.5).astype(np.uint8)), moved
