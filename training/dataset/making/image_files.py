"""Sources that are image files: folders, zips, tars, and LMDB databases."""

import functools
import lzma
import os
import struct
import tarfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

from dnnlib import UserError, first_line, renamed
from torch_utils.media.pictures import MOST_BYTES
from training.dataset.files import FolderFiles, ZipFiles, image_names, is_clutter, open_files, refuse_escape
from training.dataset.making.labels import labels_of
from training.dataset.making.source import Item, Problem, Source

NO_LABEL = "no label"
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
    """All files of an uncompressed tar, read where they lie; nothing is unpacked, no name may climb out."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        try:
            self._tar = tarfile.open(path, "r:")  # noqa: SIM115  it stays open for reading
            members = [member for member in members_of(self._tar, path.stat().st_size) if member.isfile()]
        except TAR_ERRORS as error:
            raise UserError(
                f"{path} is not a readable, uncompressed tar ({first_line(error)}); "
                "download it again, or unpack it and give the folder"
            ) from error
        for member in members:
            refuse_escape(path, member.name)
        self._members = {member.name.removeprefix("./"): member for member in members}
        self.names = sorted(name for name in self._members if not is_clutter(name))

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


Files = FolderFiles | ZipFiles | TarFiles


def open_collection(path: str | os.PathLike) -> Files:
    """Open a folder, zip or tar. Raises UserError if it is none, or damaged."""
    if Path(path).suffix.lower() == ".tar" and Path(path).is_file():
        return TarFiles(Path(path))
    with renamed(path="source"):
        return open_files(path)


def from_image_files(path: str | os.PathLike, labels_from: str, labels_file: str | os.PathLike | None) -> Source:
    """Make a source of all images in a folder, zip or tar, in the order of their names."""
    files = open_collection(path)
    names = image_names(files.names)
    if not names:
        raise UserError(f"`source`: {path} holds no images; give a folder, zip or tar with image files in it")
    labels, classes = labels_of(names, files, labels_from, labels_file)
    labelled = any(label is not None for label in labels)
    items = []
    for name, label in zip(names, labels, strict=True):
        problem = Problem(NO_LABEL, f"`labels_from`={labels_from} gives none") if labelled and label is None else None
        items.append(Item(name, functools.partial(files.read, name), label, problem=problem))
    return Source(items, classes, f"{len(names)} image files in {path}")


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
