"""Files from a renderer: single pictures, grids, style mixing and videos, each returning a line on what was written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from dnnlib import UserError
from generation.directions import Directions
from generation.interpolation import path_through
from generation.latents import latents_from_seeds, load_projected
from generation.mixing import default_layers, mixing_grid, mixing_pictures
from generation.notes import Text, mixing_note, projected_note, seed_note
from generation.options import Motion
from generation.renderer import Renderer
from torch_utils.media.images import make_grid, save_image
from torch_utils.media.video import write_video


@dataclass(frozen=True)
class Source:
    """Where pictures start: seeds, or .npz files with projected latents, which come first where both are given."""

    seeds: Sequence[int] = ()
    projected: Sequence[Path] = ()

    def ws(self, renderer: Renderer) -> torch.Tensor:
        """ws [N, num_ws, w_dim]: truncated ones of the seeds, or the projected ones as they are."""
        if not self.projected:
            return renderer.ws_from_seeds(self.seeds)
        return torch.cat([load_projected(file, renderer.G.num_ws, renderer.G.w_dim) for file in self.projected])

    def noise_seeds(self) -> Sequence[int] | None:
        """Seeds for random noise, for `Renderer.pictures`."""
        return None if self.projected else self.seeds


def draw_pictures(renderer: Renderer, text: Text, source: Source, outdir: Path) -> str:
    """Write `seed0000.png` by seed, or `proj00.png` by position in the projected latents."""
    ws = source.ws(renderer)
    if source.projected:
        names = [(f"proj{index:02d}.png", {**text, **projected_note(index)}) for index in range(len(ws))]
    else:
        names = [(f"seed{seed:04d}.png", {**text, **seed_note(seed)}) for seed in source.seeds]
    with tqdm(total=len(ws), unit="img", disable=None) as bar:
        for (name, note), picture in zip(names, renderer.pictures(ws, source.noise_seeds()), strict=True):
            save_image(outdir / name, picture, note)
            bar.update(1)
    return f"{len(ws)} pictures in {outdir}"


def draw_grid(renderer: Renderer, text: Text, source: Source, columns: int, rows: int | None, path: Path) -> str:
    """Write one picture of columns x rows cells in reading order; as many rows as needed if `rows` is None."""
    ws = source.ws(renderer)
    if rows is not None and len(ws) != columns * rows:
        raise UserError(f"`grid`={columns}x{rows} has {columns * rows} cells, but {len(ws)} pictures are asked for")
    if not source.projected:
        text = {**text, "seeds": ",".join(map(str, source.seeds))}
    pictures = torch.stack(list(renderer.pictures(ws, source.noise_seeds())))
    save_image(path, make_grid(pictures, columns), text)
    return f"{len(ws)} pictures in {path}"


def draw_mixing(
    renderer: Renderer,
    text: Text,
    rows: Sequence[int],
    columns: Sequence[int],
    layers: Sequence[int] | None,
    outdir: Path,
) -> str:
    """Write `<row>-<column>.png` for each pair, `<seed>-<seed>.png` for each seed by itself, and `grid.png`.

    `layers` are those taken from the column; None for the first seven.
    """
    layers = default_layers(renderer.G.num_ws) if layers is None else layers
    pictures: dict[tuple[int, int], torch.Tensor] = {}
    for row, column, picture in mixing_pictures(renderer, rows, columns, layers):
        pictures[row, column] = picture
        save_image(outdir / f"{row}-{column}.png", picture, {**text, **mixing_note(layers, row, column)})
    cells = mixing_grid(pictures, rows, columns)
    note = {"mixed_layers": ",".join(map(str, layers)), "row_seeds": ",".join(map(str, rows))}
    note["column_seeds"] = ",".join(map(str, columns))
    save_image(outdir / "grid.png", make_grid(cells, len(columns) + 1), {**text, **note})
    return f"{len(pictures)} pictures and grid.png in {outdir}"


def draw_strips(
    renderer: Renderer, text: Text, source: Source, directions: Directions, strengths: Sequence[float], outdir: Path
) -> str:
    """Write `<name>.png` for each direction: a row for each picture, a column for each strength."""
    ws, columns = source.ws(renderer), len(strengths)
    if not source.projected:
        text = {**text, "seeds": ",".join(map(str, source.seeds))}
    noise_seeds = [seed for seed in source.noise_seeds() or range(len(ws)) for _ in strengths]
    moves = torch.tensor(strengths).repeat(len(ws))
    for index, name in enumerate(tqdm(directions.names, unit="strip", disable=None)):
        moved = directions.move(ws.repeat_interleave(columns, dim=0), index, moves)
        pictures = torch.stack(list(renderer.pictures(moved, noise_seeds)))
        note = {"direction": name, "direction_layers": ",".join(map(str, directions.layers[index]))}
        note["strengths"] = ",".join(f"{strength:g}" for strength in strengths)
        save_image(outdir / f"{name}.png", make_grid(pictures, columns), {**text, **note})
    return f"{len(directions.names)} strips in {outdir}"


def draw_video(renderer: Renderer, source: Source, motion: Motion, columns: int, rows: int, path: Path) -> str:
    """Write a video between pictures; with several cells each has its share of them, first cell first."""
    if motion.space == "w":
        keys = source.ws(renderer)
    elif source.projected:
        raise UserError("`space`=z needs latents z, and `projected_w` has none; use `space`=w")
    else:
        keys = latents_from_seeds(source.seeds, renderer.G.z_dim)
    cells = columns * rows
    if len(keys) % cells:
        raise UserError(
            f"`grid`={columns}x{rows}: {len(keys)} pictures cannot be shared out evenly among {cells} cells"
        )
    keys = keys.reshape(cells, len(keys) // cells, *keys.shape[1:]).transpose(0, 1)
    on_sphere = motion.space == "z"
    points = path_through(keys, motion.frames, loop=motion.loop, curve=motion.curve, on_sphere=on_sphere)
    with tqdm(total=len(points), unit="frame", disable=None) as bar:
        count = write_video(path, _frames(renderer, points, columns, on_sphere, bar.update), motion.fps)
    return f"{count} frames in {path}"


def _frames(
    renderer: Renderer, points: torch.Tensor, columns: int, are_z: bool, advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """Draw [F, cells, ...] points of w or z, some frames at once, as uint8 [C, H, W] grids."""
    cells = points.shape[1]
    for some in points.split(max(1, renderer.batch_size // cells)):
        latents = some.flatten(0, 1)
        ws = renderer.ws_from_latents(latents) if are_z else latents
        pictures = torch.stack(list(renderer.pictures(ws, noise_seeds=[0] * len(ws))))
        for frame in pictures.split(cells):
            advance(1)
            yield make_grid(frame, columns)
