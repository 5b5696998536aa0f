"""Pictures to project: found in files and folders, cropped and brought to the network's size and channels."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dnnlib import UserError
from dnnlib.files import read_regular
from torch_utils.media.alignment import cut_square, ffhq_square
from torch_utils.media.pictures import (
    DECODE_ERRORS,
    MOST_BYTES,
    center_crop,
    in_mode,
    is_picture,
    left_out,
    open_picture,
    upright,
    why_unreadable,
)
from torch_utils.published.centerface import FaceFinder

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Target:
    """A picture to project; `name` is unique among the targets and fit for a folder."""

    name: str
    path: Path


def find_targets(paths: Sequence[str | os.PathLike], say: Callable[[str], None] = lambda line: None) -> list[Target]:
    """The pictures that files and folders (not their sub-folders) give, in order.

    `say` is told of pictures in folders whose formats are not read.

    Raises:
        UserError: no such file or folder, or a folder without pictures.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            names = sorted(file.name for file in path.iterdir())
            found = [path / name for name in names if is_picture(name)]
            others = left_out(names)
            if not found:
                raise UserError(f"`targets`={path}: the folder holds no pictures{f' ({others})' * bool(others)}")
            if others:
                say(f"note: {path}: {others}")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"`targets`={path}: there is no such file or folder")
    if not files:
        raise UserError("`targets` is missing; give a picture or a folder of pictures")
    stems = [file.stem for file in files]
    names = [stem if stems.count(stem) == 1 else f"{i:03d}-{stem}" for i, stem in enumerate(stems)]
    return [Target(name, file) for name, file in zip(names, files, strict=True)]


def load_target(
    path: str | os.PathLike, channels: int, height: int, width: int | None = None, finder: FaceFinder | None = None
) -> torch.Tensor:
    """A picture as uint8 [channels, height, width]; a square where no width is given.

    As dataset_tool.py shows it: turned as its EXIF data say, 16 bits to 8, on white where the network has no alpha;
    cropped to the largest middle part of that shape, and resized with Lanczos. L, LA, RGB or RGBA for 1, 2, 3 or 4
    channels. With a `finder` it is first cut to its largest face in FFHQ's alignment.

    Raises:
        UserError: unreadable, or without a face.
    """
    try:
        with open_picture(read_regular(path, MOST_BYTES)) as picture:
            picture = upright(picture)
            found = [] if finder is None else finder.faces(in_mode(picture, "RGB"))
            picture = in_mode(picture, MODES[channels])
    except DECODE_ERRORS as error:
        raise UserError(
            f"`targets`={path} cannot be read as a picture ({why_unreadable(error)}); save it as PNG or JPEG"
        ) from error
    if finder is not None:
        if not found:
            raise UserError(f"`targets`={path} shows no face; leave it or `align` out")
        picture = cut_square(picture, ffhq_square(found[0].points))
    width = height if width is None else width
    picture = center_crop(picture, (width, height))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(picture).reshape(height, width, channels)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())
