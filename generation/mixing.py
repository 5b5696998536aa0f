"""Style mixing: some layers of one picture's w replaced by another's (Karras et al. 2019, section 3.1)."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from dnnlib import UserError
from generation.renderer import Renderer


def mix_layers(row: torch.Tensor, column: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
    """The `row` latent [num_ws, w_dim] with the given layers taken from `column` [num_ws, w_dim].

    Raises:
        UserError: a layer that the network does not have.
    """
    if max(layers) >= len(row):
        raise UserError(f"`layers`: the network has no layer {max(layers)}; its layers are 0 to {len(row) - 1}")
    mixed = row.clone()
    mixed[list(layers)] = column[list(layers)]
    return mixed


def default_layers(num_ws: int) -> list[int]:
    """Layers 0 to 6, which are pose and shape; below 256 x 256 the first half, for 0 to 6 would be nearly all."""
    return list(range(min(7, num_ws // 2)))


def mixing_pictures(
    renderer: Renderer, rows: Sequence[int], columns: Sequence[int], layers: Sequence[int]
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yield (row seed, column seed, uint8 [C, R, R]): each seed by itself as (s, s), then every pair, row by row."""
    seeds = list(dict.fromkeys([*rows, *columns]))
    ws = dict(zip(seeds, renderer.ws_from_seeds(seeds), strict=True))
    pairs = [(seed, seed) for seed in seeds] + [(r, c) for r in rows for c in columns]
    mixed = [ws[seed] for seed in seeds] + [mix_layers(ws[r], ws[c], layers) for r in rows for c in columns]
    pictures = renderer.pictures(torch.stack(mixed), noise_seeds=[r for r, _ in pairs])
    for (row, column), picture in zip(pairs, pictures, strict=True):
        yield row, column, picture


def mixing_grid(
    pictures: Mapping[tuple[int, int], torch.Tensor], rows: Sequence[int], columns: Sequence[int]
) -> torch.Tensor:
    """Cells [(1 + rows) * (1 + columns), C, R, R] in reading order: column seeds on top, row seeds at the left."""
    cells = [torch.zeros_like(pictures[rows[0], rows[0]]), *(pictures[column, column] for column in columns)]
    for row in rows:
        cells += [pictures[row, row], *(pictures[row, column] for column in columns)]
    return torch.stack(cells)
