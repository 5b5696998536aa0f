"""A data set of faces in FFHQ's alignment: which face of its picture each image is to show, and a sheet to look at."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from torch_utils.media.images import encode_image, make_grid
from training.dataset import ImageDataset
from training.dataset.making.source import Item, Problem, Source, in_order
from training.dataset.making.transforms import convert_mode, upright

NO_FACE = "no face"
_COLUMNS, _ROWS, _CELL = 10, 8, 128


class Finder(Protocol):
    """What finds faces: a `torch_utils.published.centerface.FaceFinder`."""

    def faces(self, picture: Image.Image) -> list:
        """The faces of an RGB picture, the largest first; each has `points`."""


def find_faces(
    source: Source,
    finder: Finder,
    which: str = "largest",
    workers: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Source:
    """A source with an item for the largest face of each picture, or for all its faces.

    A further face is named as its picture with `#2`, `#3`, ... A picture without a face, or that cannot be read, stays
    an item with that problem.

    Args:
        source: pictures.
        finder: finds faces.
        which: "largest" or "all".
        workers: number of threads.
        progress: wraps the iterable of pictures, for a progress bar.
    """

    def look(item: Item) -> list[np.ndarray]:
        found = finder.faces(convert_mode(upright(item.load()), "RGB"))
        if not found:
            raise Problem(NO_FACE, "")
        return [face.points for face in (found if which == "all" else found[:1])]

    items: list[Item] = []
    faces = pictures = 0
    for item, found in progress(in_order(look, source.items, workers)):
        if isinstance(found, Problem):
            items.append(dataclasses.replace(item, problem=found))
            continue
        faces, pictures = faces + len(found), pictures + 1
        names = [item.name, *(f"{item.name}#{k}" for k in range(2, len(found) + 1))]
        items += [dataclasses.replace(item, name=name, face=face) for name, face in zip(names, found, strict=True)]
    description = f"{faces} faces in {pictures} of {len(source.items)} pictures: {source.description}"
    return Source(items, source.classes, description)


def contact_sheet(dataset: ImageDataset) -> bytes:
    """A PNG of the mean of all images, sharp where they are aligned, and 79 of them, evenly spread."""
    shown = np.unique(np.linspace(0, len(dataset) - 1, _COLUMNS * _ROWS - 1).round().astype(int))
    parts = np.array_split(np.arange(len(dataset)), -(-len(dataset) // 64))
    mean = sum(dataset.images(part).double().sum(dim=0) for part in parts) / len(dataset)
    images = torch.cat([mean[None].float(), dataset.images(shown).float()])
    scale = min(1.0, _CELL / max(images.shape[2:]))
    small = adaptive_avg_pool2d(images, [round(side * scale) for side in images.shape[2:]])
    return encode_image(make_grid(small.round().to(torch.uint8), _COLUMNS), ".png")
