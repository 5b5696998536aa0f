"""Sources that are image files: folders, zips, tars, and LMDB databases."""

import bz2
import functools
import gzip
import lzma
import os
import struct
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dnnlib import UserError, first_line, renamed
from dnnlib.archives import MOST_RATIO
from torch_utils.media.pictures import MOST_BYTES, is_clutter, other_format
from training.dataset.files import (
    DATASET_JSON,
    FolderFiles,
    ZipFiles,
    image_names,
    no_images,
    open_files,
    refuse_escape,
    top_folder,
)
from training.dataset.making.labels import labels_of
from training.dataset.making.source import Item, Problem, Source

NO_LABEL = "no label"
OTHER_FORMAT = "format that is not read"
TAR_SUFFIXES = {
    ".tar": open, ".tar.gz": gzip.open, ".tgz": gzip.open, ".tar.bz2": bz2.open, ".tbz2": bz2.open,
    ".tar.xz": lzma.open, ".txz": lzma.open,
}  # fmt: skip
"""Endings of tars, each with what opens such a file to read what it is packed from."""
_ALWAYS_UNPACKED = 1 << 30
TAR_ERRORS = (
    tarfile.TarError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""What `tarfile` raises for damaged archives, depending on where the damage is."""


def members_of(archive: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """The members of a tar.

    Raises:
        one of `TAR_ERRORS`: damaged, or a member that claims more than `most` bytes (holes of sparse files count), or
            fewer than none, which would lead back to where the reading came from.
    """
    for member in archive:
        if not 0 <= member.size <= most:
            raise ValueError(f"{member.name} claims {member.size} bytes")
        yield member


class TarFiles:
    """All files of a tar, named as in `ZipFiles`; none is unpacked to a file of its own, no name may climb out.

    A compressed tar is decompressed into a temporary file, for its images are read in any order.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        try:
            stream = _uncompressed(path)
            self._tar = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115  it stays open for reading
            members = [member for member in members_of(self._tar, stream.seek(0, os.SEEK_END)) if member.isfile()]
        except TAR_ERRORS as error:
            raise UserError(
                f"{path} is not a readable tar ({first_line(error)}); "
                "download it again, or unpack it and give the folder"
            ) from error
        for member in members:
            refuse_escape(path, member.name)
        members = {member.name.removeprefix("./"): member for member in members}
        names = sorted(name for name in members if not is_clutter(name))
        top = top_folder(names)
        self._members = {name.removeprefix(top): members[name] for name in names}
        self.names = list(self._members)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return the bytes of one file. Raises UserError if the tar is damaged, or the file has more than `most`."""
        if self._members[name].size > most:
            raise UserError(f"{self.path}: {name} has more than {most} bytes; leave it out")
        try:
            with self._lock:
                data = self._tar.extractfile(self._members[name]).read()
        except TAR_ERRORS as error:
            raise UserError(f"{self.path}: cannot read {name} ({first_line(error)}); download the tar again") from error
        if len(data) != self._members[name].size:
            raise UserError(f"{self.path}: {name} is cut short; download the tar again")
        return data


def _uncompressed(path: Path) -> BinaryIO:
    """The tar itself if it is not compressed, else a temporary file with what it is packed from.

    Raises:
        one of `TAR_ERRORS`: damaged, more than `MOST_RATIO` times its size (1 GiB if that is less), or no room for it.
    """
    opener = TAR_SUFFIXES[tar_suffix(path) or ".tar"]
    if opener is open:
        return open(path, "rb")
    bound = max(_ALWAYS_UNPACKED, MOST_RATIO * path.stat().st_size)
    unpacked = tempfile.TemporaryFile(prefix="rooted-stylegan-")  # noqa: SIM115  it stays open for reading
    with opener(path, "rb") as packed:
        while piece := packed.read(1 << 20):
            unpacked.write(piece)
            if unpacked.tell() > bound:
                raise ValueError(f"it unpacks to more than {bound} bytes, from {path.stat().st_size}")
    unpacked.flush()
    unpacked.seek(0)
    return unpacked


def tar_suffix(path: str | os.PathLike) -> str | None:
    """Which of `TAR_SUFFIXES` a file's name ends in; None for other names."""
    return next((suffix for suffix in TAR_SUFFIXES if Path(path).name.lower().endswith(suffix)), None)


Files = FolderFiles | ZipFiles | TarFiles


def open_collection(path: str | os.PathLike) -> Files:
    """Open a folder, zip or tar. Raises UserError if it is none, or damaged."""
    if tar_suffix(path) and Path(path).is_file():
        return TarFiles(Path(path))
    with renamed(path="source"):
        return open_files(path)


def from_image_files(path: str | os.PathLike, labels_from: str, labels_file: str | os.PathLike | None) -> Source:
    """Make a source of all images in a folder, zip or tar, in the order of their names."""
    files = open_collection(path)
    names = image_names(files.names)
    others = {name: what for name in files.names if (what := other_format(name))}
    if not names:
        raise no_images(path, "source", files.names)
    labels, classes = labels_of(names, files, labels_from, labels_file)
    labelled = any(label is not None for label in labels)
    items = []
    for name, label in zip(names, labels, strict=True):
        problem = Problem(NO_LABEL, f"`labels_from`={labels_from} gives none") if labelled and label is None else None
        items.append(Item(name, functools.partial(files.read, name), label, problem=problem))
    for name, what in others.items():
        items.append(Item(name, functools.partial(files.read, name), problem=Problem(OTHER_FORMAT, what)))
    items.sort(key=lambda item: item.name)
    inside = [name for name in files.names if name.endswith(f"/{DATASET_JSON}")]
    ignored = f"; {inside[0]} is not at its top and not read" if inside and DATASET_JSON not in files.names else ""
    return Source(items, classes, f"{len(items)} image files in {path}{ignored}")


def from_lmdb(path: str | os.PathLike) -> Source:
    """Make a source of all values of an LMDB database (LSUN's format: encoded images, in the order of their keys)."""
    try:
        import lmdb
    except ImportError as error:
        raise UserError(f"`source`: {path} is an LMDB database; run pip install lmdb to read it") from error
    try:
        database = lmdb.open(str(path), readonly=True, lock=False, subdir=os.path.isdir(path))
        with database.begin() as transaction:
            keys = list(transaction.cursor().iternext(values=False))
    except lmdb.Error as error:
        raise UserError(
            f"`source`: {path} is not a readable LMDB database ({first_line(error)}); download it again"
        ) from error

    def read(key: bytes) -> bytes:
        with database.begin() as transaction:
            return bytes(transaction.get(key))

    items = [Item(key.decode("ascii", "backslashreplace"), functools.partial(read, key)) for key in keys]
    return Source(items, None, f"{len(items)} images in the LMDB database {path}")
