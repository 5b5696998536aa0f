"""A page to look at: pairs of pictures with their differences, and histograms of scores."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

_CELL, _GAP, _COLUMNS = 96, 12, 4
_INK, _FAINT, _LINE = "#222222", "#8a8a8a", "#c02f1d"
_BARS = ("#0b5fa5", "#6f6f6f", "#d17c00")
_BAR_HEIGHT = 80


def pairs_page(
    title: str,
    what: str,
    left: torch.Tensor,
    right: torch.Tensor,
    captions: Sequence[str],
    histograms: Mapping[str, np.ndarray] | None = None,
    threshold: float = 0.0,
) -> bytes:
    """A PNG with pairs and histograms.

    Args:
        title: in its first line.
        what: the pairs are, in words, in its second line.
        left: uint8 RGB [K, 3, h, w].
        right: alike.
        captions: of each pair.
        histograms: scores by what they are of, drawn below each other on one axis.
        threshold: marked in the histograms.
    """
    histograms = histograms or {}
    width = _COLUMNS * (3 * _CELL + _GAP) + _GAP
    rows = -(-len(left) // _COLUMNS)
    cell = tuple(round(_CELL * side / max(left.shape[2:])) for side in reversed(left.shape[2:]))
    pairs_end = 44 + rows * (cell[1] + 24)
    page = Image.new("RGB", (width, pairs_end + len(histograms) * (_BAR_HEIGHT + 34) + 48), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    draw.text((_GAP, 6), title, _INK, ImageFont.load_default(15))
    draw.text((_GAP, 25), what, _FAINT, font)
    differences = ((left.int() - right.int()) // 2 + 128).to(torch.uint8)
    for k in range(len(left)):
        start = _GAP + k % _COLUMNS * (3 * _CELL + _GAP)
        top = 44 + k // _COLUMNS * (cell[1] + 24)
        for place, image in enumerate((left[k], right[k], differences[k])):
            page.paste(_picture(image, cell), (start + place * cell[0], top))
        draw.text((start, top + cell[1] + 3), captions[k], _INK, font)
    for place, (name, values) in enumerate(histograms.items()):
        top = pairs_end + 10 + place * (_BAR_HEIGHT + 34)
        _histogram(draw, font, (_GAP, top, width - 2 * _GAP), f"{name} ({len(values)})", values, place, threshold)
    if not histograms:
        return _png(page.crop((0, 0, width, pairs_end)))
    axis = pairs_end + 10 + len(histograms) * (_BAR_HEIGHT + 34)
    for tick in np.linspace(0, 1, 6):
        draw.text((_GAP + tick * (width - 2 * _GAP), axis), f"{tick:.1f}", _FAINT, font, anchor="mt")
    draw.text((width / 2, axis + 18), f"correlation; the line is the threshold {threshold:.3f}", _FAINT, font, "mt")
    return _png(page)


def _png(page: Image.Image) -> bytes:
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _picture(image: torch.Tensor, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    is_whole = size[0] % picture.width == 0 and size[1] % picture.height == 0
    return picture.resize(size, Image.Resampling.NEAREST if is_whole else Image.Resampling.BICUBIC)


def _histogram(draw, font, box, name: str, values: np.ndarray, place: int, threshold: float) -> None:
    """Bars over [0, 1], the tallest of full height, and the share above the threshold in words."""
    left, top, width = box
    counts, edges = np.histogram(values.clip(0, 1), np.linspace(0, 1, 81))
    above = 100 * float((values > threshold).mean())
    draw.text((left, top), f"{name}: {above:.1f} % above the threshold", _INK, font)
    base = top + 20 + _BAR_HEIGHT
    for count, start, end in zip(counts, edges, edges[1:], strict=False):
        if count:
            height = max(1, round(_BAR_HEIGHT * count / counts.max()))
            draw.rectangle((left + start * width, base - height, left + end * width - 1, base), _BARS[place % 3])
    draw.line((left, base, left + width, base), _FAINT)
    draw.line((left + threshold * width, top + 18, left + threshold * width, base), _LINE, 2)
