"""The images that a network was trained on, found again from what its snapshot says of them."""

import os
from collections.abc import Callable
from typing import Any

from dnnlib import UserError, renamed
from training.dataset import ImageDataset
from training.dataset.labels import MissingLabels
from training.snapshot import Snapshot

OF_NETWORK = "network"
"""As `data`: the path that the network's file names."""


def training_set(
    snapshot: Snapshot,
    data: str | None,
    mirror: bool | None,
    *,
    of_run: str | None = None,
    has_real_set: bool,
    note: Callable[[str], None],
) -> ImageDataset | None:
    """The data that a network was trained on, as training saw it; the path `data` and `mirror` take precedence.

    The file of a network, which others may have made, names a path; it is opened only where `data` is `OF_NETWORK`.
    `of_run` is the path that the network's own run directory names, for a user who named that directory.

    Of `data` with other content the whole is taken, whatever subset the network was trained on. None if no data is
    known, or none is needed: for metrics without real images, of an unconditional network. `note` is called with a line
    where the images are not those of the training.

    Raises:
        UserError: the data is not where it was at training, or only the network's file names it, and no `data`.
    """
    known: dict[str, Any] = snapshot.metadata.get("training_set") or {}
    named = known.get("path")
    from_file = data == OF_NETWORK
    if from_file:
        if named is None and "content_hash" not in known:
            raise UserError(f"`data`={OF_NETWORK}: the network's file names no data; give a path")
        data = None
    path = data if data is not None else of_run or named
    generator = snapshot.generator
    if data is None and not has_real_set and generator.c_dim == 0:
        return None
    if path is None and "content_hash" not in known:
        return None  # the metrics will ask for it
    is_file = path is not None and not str(path).startswith("builtin:")
    if is_file and data is None and of_run is None:
        if not from_file:
            raise UserError(
                f"the network's file names {path} as its data; `data`={OF_NETWORK} opens that if you trust the file, "
                "`data`=PATH another place"
            )
        note(f"opening {path}, which the network's file names as its data")
    if is_file and not os.path.exists(path):  # False for what is no path, too
        if data is not None:
            raise UserError(f"`data`: there is no file or folder {path}; check the path")
        raise UserError(f"there is no data at {path}, where the network was trained on; give `data`")
    xflip = bool(known.get("xflip")) if mirror is None else mirror
    size = generator.config.img_size
    whole = open_images("data", path, xflip=xflip, resolution=size, use_labels=generator.c_dim > 0)
    dataset = _selected(whole, known, data is not None)
    if dataset is None:
        dataset = whole
        note(
            f"{path} is not the data of the training, of which {known['max_size']} images were used; all its "
            f"{len(whole) // (2 if xflip else 1)} are taken"
        )
    if dataset.num_channels != generator.img_channels:
        raise UserError(
            f"the network makes images of {generator.img_channels} channels, {path} has {dataset.num_channels}; "
            "give the data it was trained on with `data`"
        )
    if data is None and mirror is None and known.get("content_hash") not in (None, dataset.content_hash()):
        note(f"the images at {path} are not those of the training any more")
    return dataset


def _selected(whole: ImageDataset, known: dict[str, Any], other_path: bool) -> ImageDataset | None:
    """The subset of the training; None where these are other images, or too few for it."""
    size, seed = known.get("max_size"), known.get("random_seed") or 0
    count = len(whole) // (2 if whole.xflip else 1)
    if size is None or size == count:
        return whole
    if size > count:
        return None
    subset = whole.subset(size, seed, xflip=bool(known.get("xflip")))
    if other_path and known.get("content_hash") not in (None, subset.content_hash()):
        return None
    return whole.subset(size, seed, xflip=whole.xflip)


def open_images(argument: str, path: str | None, **options: Any) -> ImageDataset:
    """A data set; messages name the argument that its path came from."""
    try:
        with renamed(path=argument):
            return ImageDataset(path, **options)
    except MissingLabels as error:
        given = "the data of the network" if path is None else path
        raise UserError(
            f"`{argument}`: the network is conditional, and {given} has no labels; give the labelled data that it was "
            "trained on (dataset_tool.py --labels-from=folders makes some)"
        ) from error
