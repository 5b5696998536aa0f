"""Colours and dashes of the losses, the same in the report and in the figures, and fit for colour-blind readers."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from comparison.runs.losses import LossSpec

REFERENCE = ("#3d3d3d", "#d6d6d6")
# Okabe and Ito's palette without its black and yellow, each with a lighter twin for dark backgrounds
PALETTE = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8c42"),
    ("#008a63", "#2fd0a0"),
    ("#b8558c", "#e79ac4"),
    ("#a87400", "#f0b429"),
    ("#6a4fbf", "#b3a1ff"),
)
DASHES = ((), (7, 3), (2, 3), (9, 3, 2, 3))


@dataclass(frozen=True)
class LineStyle:
    """Colour on light and on dark ground, and the dash pattern in points (empty: solid)."""

    light: str
    dark: str
    dash: tuple[int, ...]


def line_styles(losses: Sequence[LossSpec]) -> dict[str, LineStyle]:
    """A style for every loss: grey for cross-entropy, then the palette, or a ramp over k when there are many losses."""
    others = [loss for loss in losses if not loss.is_reference]
    styles = {loss.key: LineStyle(*REFERENCE, ()) for loss in losses if loss.is_reference}
    for i, loss in enumerate(others):
        light, dark = PALETTE[i] if len(others) <= len(PALETTE) else _ramp(i / (len(others) - 1))
        styles[loss.key] = LineStyle(light, dark, DASHES[i % len(DASHES)])
    return styles


def _ramp(position: float) -> tuple[str, str]:
    hue = 0.72 - 0.70 * position
    return _hex(hue, 0.38, 0.75), _hex(hue, 0.66, 0.80)


def _hex(hue: float, lightness: float, saturation: float) -> str:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
