"""Pictures to project: found in files and folders, cropped and brought to the network's size and channels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from dnnlib import UserError
from dnnlib.files import read_regular
from torch_utils.media.pictures import (
    DECODE_ERRORS,
    MOST_BYTES,
    center_crop,
    open_picture,
    picture_suffixes,
    why_unreadable,
)

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Target:
    """A picture to project; `name` is unique among the targets and fit for a folder."""

    name: str
    path: Path


def find_targets(paths: Sequence[str | os.PathLike]) -> list[Target]:
    """The pictures that files and folders (not their sub-folders) give, in order.

    Raises:
        UserError: no such file or folder, or a folder without pictures.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in picture_suffixes())
            if not found:
                raise UserError(f"`targets`={path}: the folder holds no pictures")
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


def load_target(path: str | os.PathLike, channels: int, height: int, width: int | None = None) -> torch.Tensor:
    """A picture as uint8 [channels, height, width]; a square where no width is given.

    Turned as its EXIF data says, cropped to the largest middle part of that shape, resized with Lanczos, and converted
    to L, LA, RGB or RGBA for 1, 2, 3 or 4 channels.

    Raises:
        UserError: unreadable.
    """
    try:
        with open_picture(read_regular(path, MOST_BYTES)) as picture:
            picture = ImageOps.exif_transpose(picture).convert(MODES[channels])
    except DECODE_ERRORS as error:
        raise UserError(
            f"`targets`={path} cannot be read as a picture ({why_unreadable(error)}); convert it to PNG or JPEG"
        ) from error
    width = height if width is None else width
    picture = center_crop(picture, (width, height))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(picture).reshape(height, width, channels)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())
