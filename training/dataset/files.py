"""The files of an image collection, whether it is a folder or a zip: names, bytes, checksums, and decoding."""

import contextlib
import os
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image

from dnnlib import UserError

DATASET_JSON = "dataset.json"


class FolderFiles:
    """All files under a folder, named by their path from there with forward slashes."""

    def __init__(self, path: Path):
        self.path = path
        found = [
            Path(folder, file).relative_to(path).as_posix() for folder, _, files in os.walk(path) for file in files
        ]
        self.names = sorted(name for name in found if not is_clutter(name))

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open one file for reading, as a context. Raises UserError if it is gone or may not be read."""
        with _reading(self.path, name), (self.path / name).open("rb") as stream:
            yield stream

    def read(self, name: str) -> bytes:
        """Return the bytes of one file. Raises UserError if it is gone or may not be read."""
        with _reading(self.path, name):
            return (self.path / name).read_bytes()

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of one file (the same numbers that a zip of it would store)."""
        data = self.read(name)
        return len(data), zlib.crc32(data)


class ZipFiles:
    """All files of a zip. Safe for threads, for forked and for spawned processes: each process opens its own handle."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._handle: zipfile.ZipFile | None = None
        self._owner = -1
        infos = [info for info in self._zip().infolist() if not info.is_dir()]
        for info in infos:
            refuse_escape(path, info.orig_filename)
        self.names = sorted({info.filename for info in infos if not is_clutter(info.filename)})

    def _zip(self) -> zipfile.ZipFile:
        with self._lock:
            # After a fork the file position would be shared with the parent, so the child opens the file anew.
            if self._handle is None or self._owner != os.getpid():
                try:
                    self._handle = zipfile.ZipFile(self.path)
                except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
                    raise UserError(
                        f"{self.path} is not a readable zip ({error}); download or make it again"
                    ) from error
                self._owner = os.getpid()
            return self._handle

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open one file for reading, as a context. Raises UserError if it is damaged or encrypted."""
        with _reading(self.path, name), self._zip().open(name) as stream:
            yield stream

    def read(self, name: str) -> bytes:
        """Return the bytes of one file. Raises UserError if it is damaged or encrypted."""
        with _reading(self.path, name):
            return self._zip().read(name)

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of one file, as the zip's directory states them."""
        info = self._zip().getinfo(name)
        return info.file_size, info.CRC

    def __getstate__(self) -> dict:
        return {"path": self.path, "names": self.names}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock, self._handle, self._owner = threading.Lock(), None, -1


def open_files(path: str | os.PathLike) -> FolderFiles | ZipFiles:
    """Open a folder or a zip as a collection of files.

    Raises:
        UserError: no such path, not a folder or zip, a damaged or empty zip, entries that climb out of the archive.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return FolderFiles(path)
        exists, size = path.is_file(), path.stat().st_size if path.is_file() else 0
    except OSError as error:
        raise UserError(f"`path`: cannot read {path}: {error.strerror}; check its permissions") from error
    if not exists:
        raise UserError(f"`path`: there is no file or folder {path}; check the path")
    if path.suffix.lower() != ".zip":
        raise UserError(f"`path`: {path} is neither a folder nor a .zip file; convert it with dataset_tool.py")
    if size == 0:
        raise UserError(f"`path`: {path} is an empty file; download or make it again")
    return ZipFiles(path)


def is_clutter(name: str) -> bool:
    """Whether a file is hidden, or the kind that macOS adds to archives, and so never one of the images."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def image_names(names: list[str]) -> list[str]:
    """Return those names whose extension belongs to a format that PIL reads, in their order."""
    Image.init()
    extensions = {extension for extension, name in Image.registered_extensions().items() if name in Image.OPEN}
    return [name for name in names if PurePosixPath(name).suffix.lower() in extensions]


@contextlib.contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: {name} is not there any more; put it back or make the data set again") from error
    except KeyError as error:
        raise UserError(f"{path} holds no file {name}; make the data set again") from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{path}: cannot read {name} ({reason}); download or make the data set again") from error


def refuse_escape(path: Path, name: str) -> None:
    """Refuse an archive with an entry of this name if it would lie outside; `UserError` names the entry."""
    parts = re.split(r"[/\\]", name)
    if ".." in parts or name[:1] in ("/", "\\") or re.match(r"[A-Za-z]:", name):
        raise UserError(
            f"{path}: the entry {name!r} points outside of the archive; do not use this file, or pack it again"
        )
