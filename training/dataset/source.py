"""What can be trained on, before any of it is chosen: an opened folder or zip, or arrays in memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib import UserError
from torch_utils.media.pictures import left_out
from training.dataset.builtin_faces import BUILTIN_FACES, builtin_faces
from training.dataset.files import DATASET_JSON, FolderFiles, ZipFiles, image_names, no_images, open_files
from training.dataset.images import ArrayImages, FileImages, check_size
from training.dataset.labels import MOST_JSON_BYTES, DatasetJson, MissingLabels, class_names_of, label_rows


def open_source(path: str | os.PathLike | None, use_labels: bool) -> "FileSource | ArraySource":
    """Open a folder, a `.zip` or the built-in faces (also for None); this is where a data set's files are listed.

    Raises:
        UserError: whatever a user can fix; no labels although they are asked for.
    """
    if path is not None and str(path) != BUILTIN_FACES:
        return FileSource(open_files(path), Path(path), use_labels)
    if use_labels:
        raise MissingLabels(
            "`use_labels`: the built-in faces have no labels; leave it out or give labelled images with `path`"
        )
    return ArraySource(builtin_faces(), name="builtin-faces", path=BUILTIN_FACES)


class FileSource:
    """The image files of an opened folder or zip, and their labels.

    Attributes:
        path: where they are; name: for run directories.
        labels: float32 [N, label_dim], label_dim 0 without labels; class_names: one per class, or None.
        meta: `dataset.json` without labels and classes; left_out: a line about pictures that are not read, or "".
    """

    def __init__(self, files: FolderFiles | ZipFiles, path: Path, use_labels: bool) -> None:
        self._files, self._names = files, image_names(files.names)
        if not self._names:
            raise no_images(path, "path", files.names)
        self.path, self.name = str(path), path.stem
        self.left_out = left_out(files.names)
        content = None
        if DATASET_JSON in files.names:
            content = DatasetJson(files.read(DATASET_JSON, MOST_JSON_BYTES), f"{path}: {DATASET_JSON}")
        self.meta = content.meta if content else {}
        self.labels, classes = np.zeros((len(self._names), 0), np.float32), None
        if use_labels:
            if content is None or content.labels is None:
                others = [name for name in files.names if name.endswith(f"/{DATASET_JSON}")]
                where = f" at its top ({others[0]} lies inside: give that folder)" if others else ""
                raise MissingLabels(
                    f"`use_labels`: {path} has no labels in a {DATASET_JSON}{where}; leave it out, "
                    "or make a labelled data set with dataset_tool.py --labels-from=folders"
                )
            self.labels, classes = content.label_array(self._names), content.classes
        self.class_names = class_names_of(classes, self.labels.shape[1], self.path)

    def choose(self, places: np.ndarray) -> FileImages:
        """The files at these places of all, which are ascending; their headers are read and checked."""
        return FileImages(self._files, [self._names[i] for i in places])


class ArraySource:
    """Images in memory: uint8 [N, C, H, W] of a size that networks can have; attributes as of `FileSource`."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | Sequence | None = None,
        *,
        name: str,
        path: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
            raise UserError(f"{name}: images must be uint8 [N, C, H, W] with N >= 1, not {images.dtype} {images.shape}")
        check_size(images.shape[1:], name)
        self.path, self.name = path or name, name
        self._images = images
        self.labels = label_rows(labels, len(images), name)
        self.class_names = class_names_of(classes, self.labels.shape[1], self.path)
        self.meta: dict[str, Any] = {}
        self.left_out = ""

    def choose(self, places: np.ndarray) -> ArrayImages:
        """The images at these places, which are ascending."""
        return ArrayImages(self._images if len(places) == len(self._images) else self._images[places])
