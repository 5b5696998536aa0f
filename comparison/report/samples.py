"""Progressive samples (Fig. 4b, d): the same latents of all losses at all image counts, cut from the sample grids."""

import base64
import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from comparison.runs.collect import Runs, image_size
from dnnlib import UserError
from dnnlib.files import read_regular
from torch_utils.media.pictures import DECODE_ERRORS, MOST_BYTES, open_picture, why_unreadable

COLUMNS, ROWS = 6, 4
PICTURE_LIMIT = 400  # pictures in one report: about 10 MB at 64 x 64
LARGEST_CELL = 128  # pixels; higher resolutions are shown reduced


@dataclass(frozen=True)
class Samples:
    """Pictures for the report: data URIs by loss, seed and image count, each of so many columns and rows of samples."""

    seeds: list[int] = field(default_factory=list)
    nimg: list[int] = field(default_factory=list)
    columns: int = 0
    rows: int = 0
    pictures: dict[str, dict[int, dict[int, str]]] = field(default_factory=dict)


def collect_samples(runs: Runs) -> Samples:
    """The pictures of all losses.

    All losses of a seed draw the same latents, so equal cells are comparable. With many runs only the first seeds
    are shown, and then fewer image counts, so that the report stays a file that can be sent.
    """
    seeds = sorted({seed for by_seed in runs.values() for seed, run in by_seed.items() if run.samples})
    nimg = sorted({n for by_seed in runs.values() for run in by_seed.values() for n in run.samples})
    if not seeds:
        return Samples()
    seeds = seeds[: max(1, PICTURE_LIMIT // (len(runs) * len(nimg)))]
    nimg = thin(nimg, max(2, PICTURE_LIMIT // (len(runs) * len(seeds))))
    columns, rows = _shape(runs)
    pictures = {
        key: {
            seed: {
                n: data_uri(cut(by_seed[seed].samples[n], image_size(by_seed[seed]), columns, rows))
                for n in nimg
                if n in by_seed[seed].samples
            }
            for seed in seeds
            if seed in by_seed
        }
        for key, by_seed in runs.items()
    }
    return Samples(seeds, nimg, columns, rows, pictures)


def cut(path: Path, cell: tuple[int, int], columns: int, rows: int) -> Image.Image:
    """The upper left `columns` x `rows` cells (width, height) of a sample grid, reduced if above `LARGEST_CELL`."""
    with opened(path) as picture:
        part = picture.crop((0, 0, columns * cell[0], rows * cell[1]))
    if max(cell) > LARGEST_CELL:
        width, height = (round(side * LARGEST_CELL / max(cell)) for side in cell)
        part = part.resize((columns * width, rows * height), Image.Resampling.LANCZOS)
    return part


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture of a run, decoded. UserError where it is damaged."""
    try:
        with open_picture(read_regular(path, MOST_BYTES)) as picture:
            picture.load()
    except DECODE_ERRORS as error:
        raise UserError(f"cannot read {path} ({why_unreadable(error)}); delete it to leave it out") from error
    yield picture


def data_uri(picture: Image.Image) -> str:
    """The picture inside a URI: JPEG, or PNG where there is alpha."""
    buffer = io.BytesIO()
    if "A" in picture.mode:
        picture.save(buffer, "PNG")
        kind = "png"
    else:
        picture.convert("RGB" if picture.mode != "L" else "L").save(buffer, "JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shape(runs: Runs) -> tuple[int, int]:
    """Columns and rows that all grids have, at most `COLUMNS` x `ROWS`."""
    columns, rows = COLUMNS, ROWS
    for by_seed in runs.values():
        for run in by_seed.values():
            if not run.samples:
                continue
            width, height = image_size(run)
            with opened(next(iter(run.samples.values()))) as grid:
                columns = min(columns, grid.width // width)
                rows = min(rows, grid.height // height)
    return columns, rows


def thin(counts: list[int], limit: int) -> list[int]:
    """At most `limit` of the counts, evenly spread, the first and the last among them."""
    if len(counts) <= limit:
        return counts
    step = (len(counts) - 1) / (limit - 1)
    return [counts[round(i * step)] for i in range(limit)]
