"""Edits: w moved along a direction in some layers, and how they are written: `pca3:1.5:0-6`."""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dnnlib import UserError
from generation.directions import METHODS, Directions
from training.networks import Generator

KINDS = tuple(METHODS)
MOST_DIRECTIONS = 16
LARGEST_STRENGTH = 20.0
_LAYERS = re.compile(r"\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*")
_EDIT = re.compile(rf"({'|'.join(KINDS)})(\d{{1,2}}):([-+.\deE]{{1,30}})(?::([\d,-]{{1,200}}))?")


@dataclass(frozen=True)
class Edit:
    """One direction, how far, and where.

    Attributes:
        kind: one of `KINDS`; index: from 0, below `MOST_DIRECTIONS`.
        strength: in standard deviations of w along the direction.
        layers: those that are moved, ascending; () for all.
    """

    kind: str
    index: int
    strength: float
    layers: tuple[int, ...] = ()

    def __str__(self) -> str:
        layers = f":{format_layers(self.layers)}" if self.layers else ""
        return f"{self.kind}{self.index}:{self.strength!r}{layers}"


def parse_edit(text: str) -> Edit:
    """The inverse of `str(edit)`.

    Raises:
        UserError: another form, an unknown direction, or a strength out of range.
    """
    match = _EDIT.fullmatch(text)
    try:
        strength = float(match[3]) if match else math.nan
    except ValueError:
        strength = math.nan
    if match is None or int(match[2]) >= MOST_DIRECTIONS or not abs(strength) <= LARGEST_STRENGTH:
        raise UserError(
            f"`edit`={text[:60]}: write an edit as pca3:1.5 or sefa0:-2:0-6, with a direction from 0 to "
            f"{MOST_DIRECTIONS - 1} and a strength from -{LARGEST_STRENGTH:g} to {LARGEST_STRENGTH:g}"
        )
    return Edit(match[1], int(match[2]), strength, parse_layers(match[4]) if match[4] else ())


def parse_layers(text: str) -> tuple[int, ...]:
    """Layers such as `0-3,6`, ascending, each once.

    Raises:
        UserError: another form, or numbers above 99.
    """
    if _LAYERS.fullmatch(text) is None:
        raise UserError(f"`layers`={text[:60]}: write layers as 0-3,6")
    ends = [part.partition("-")[::2] for part in text.split(",")]
    return tuple(sorted({layer for first, last in ends for layer in range(int(first), int(last or first) + 1)}))


def format_layers(layers: Sequence[int]) -> str:
    """The inverse of `parse_layers`: neighbours as a range."""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


class Editor:
    """Adds edits to ws; directions of a network are found once.

    Args:
        G: the network. Its directions are those of the average label, so that they stay when the class changes.
    """

    def __init__(self, G: Generator) -> None:
        self._G = G
        self._found = functools.lru_cache(maxsize=64)(self._find)

    def add(self, ws: torch.Tensor, edits: Sequence[Edit]) -> torch.Tensor:
        """ws [N, num_ws, w_dim] with all edits.

        Raises:
            UserError: a direction or a layer that the network does not have.
        """
        for edit in edits:
            layers = edit.layers or tuple(range(self._G.num_ws))
            directions = self._found(edit.kind, layers if edit.kind == "sefa" else ())
            if edit.index >= len(directions.names):
                raise UserError(f"`edit`={edit}: the network has {len(directions.names)} such directions")
            if layers[-1] >= self._G.num_ws:
                raise UserError(f"`edit`={edit}: the network's layers are 0 to {self._G.num_ws - 1}")
            one = replace(directions, layers=(layers,) * len(directions.names))
            ws = one.move(ws, edit.index, torch.tensor([edit.strength]))
        return ws

    def _find(self, kind: str, layers: tuple[int, ...]) -> Directions:
        c_dim = self._G.c_dim
        label = torch.full([1, c_dim], 1 / c_dim) if c_dim else None
        return METHODS[kind](self._G, label=label, layers=layers or None, count=MOST_DIRECTIONS)
