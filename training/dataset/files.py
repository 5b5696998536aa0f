"""The files of an image collection, whether it is a folder or a zip: names, bytes, checksums, and decoding."""

import contextlib
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dnnlib import UserError
from dnnlib.archives import ZIP_ERRORS, read_entry, read_head
from dnnlib.files import open_regular, read_regular
from torch_utils.media.pictures import MOST_BYTES, is_clutter, is_picture, left_out

DATASET_JSON = "dataset.json"


class FolderFiles:
    """All files under a folder, named by their path from there (or its `top_folder`) with forward slashes."""

    def __init__(self, path: Path):
        self.path = path
        names = sorted(_walk(path))
        top = top_folder(names)
        self._root, self.names = path / top, [name.removeprefix(top) for name in names]

    def head(self, name: str, size: int) -> bytes:
        """Return the first `size` bytes of one file. Raises UserError as `read` does."""
        with _reading(self.path, name), open_regular(self._root / name) as stream:
            return stream.read(size)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return the bytes of one file. Raises UserError if it is gone, larger than `most`, or may not be read."""
        with _reading(self.path, name):
            return read_regular(self._root / name, most)

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of one file (the same numbers that a zip of it would store)."""
        data = self.read(name)
        return len(data), zlib.crc32(data)


class ZipFiles:
    """All files of a zip, named by their path from its top (or its `top_folder`).

    Safe for threads, for forked and for spawned processes: each process opens its own handle.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._handle: zipfile.ZipFile | None = None
        self._owner = -1
        infos = [info for info in self._zip().infolist() if not info.is_dir()]
        for info in infos:
            refuse_escape(path, info.orig_filename)
        names = sorted({info.filename for info in infos if not is_clutter(info.filename)})
        self._top = top_folder(names)
        self.names = [name.removeprefix(self._top) for name in names]

    def _zip(self) -> zipfile.ZipFile:
        with self._lock:
            # After a fork the file position would be shared with the parent, so the child opens the file anew.
            if self._handle is None or self._owner != os.getpid():
                try:
                    self._handle = zipfile.ZipFile(self.path)
                except ZIP_ERRORS as error:
                    raise UserError(
                        f"{self.path} is not a readable zip ({_reason(error)}); download or make it again"
                    ) from error
                self._owner = os.getpid()
            return self._handle

    def head(self, name: str, size: int) -> bytes:
        """Return the first `size` bytes of one file. Raises UserError as `read` does."""
        with _reading(self.path, name):
            return read_head(self._zip(), self._top + name, size)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return the bytes of one file. Raises UserError if it is damaged, encrypted, or unpacks to too much."""
        with _reading(self.path, name):
            return read_entry(self._zip(), self._top + name, most)

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of one file, as the zip's directory states them."""
        info = self._zip().getinfo(self._top + name)
        return info.file_size, info.CRC

    def __getstate__(self) -> dict:
        return {"path": self.path, "names": self.names, "_top": self._top}

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


def image_names(names: list[str]) -> list[str]:
    """Return those names whose extension belongs to a format that is read, in their order."""
    return [name for name in names if is_picture(name)]


def no_images(path: str | os.PathLike, argument: str, names: list[str]) -> UserError:
    """What to raise where a folder or archive holds no images that are read."""
    others = left_out(names)
    why = f" that are read ({others})" if others else "; give a folder, zip or tar with image files in it"
    return UserError(f"`{argument}`: {path} holds no images{why}")


def top_folder(names: Iterable[str]) -> str:
    """The one folder (as `set/`) that all files lie in together with their `dataset.json`; empty if there is none.

    So is a data set packed whose folder was zipped as a whole, by Finder or Explorer.
    """
    names = list(names)
    top, slash, _ = names[0].partition("/") if names else ("", "", "")
    inside = f"{top}{slash}"
    is_one = bool(slash) and f"{inside}{DATASET_JSON}" in names and all(name.startswith(inside) for name in names)
    return inside if is_one else ""


def _walk(folder: Path) -> Iterator[str]:
    """The files under a folder by their path from there, clutter left out.

    Links to folders are followed once all else has been seen, and no folder is seen twice, so that circles end.
    """
    waiting, links, seen = [""], [], set()
    while waiting or links:
        inside = waiting.pop() if waiting else links.pop()
        try:
            found = os.stat(folder / inside)
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = f"{inside}{entry.name}"
                    if is_clutter(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{name}/")
                    elif entry.is_dir():
                        links = sorted([*links, f"{name}/"], reverse=True)
                    else:
                        yield name
        except OSError as error:
            raise UserError(
                f"{folder}: cannot read the folder {inside or '.'} ({_reason(error)}); "
                "check its permissions, or move it away"
            ) from error


@contextlib.contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: {name} is not there any more; put it back or make the data set again") from error
    except KeyError as error:
        raise UserError(f"{path} holds no file {name}; make the data set again") from error
    except ZIP_ERRORS as error:
        raise UserError(
            f"{path}: cannot read {name} ({_reason(error)}); download or make the data set again"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{error}" or type(error).__name__


def refuse_escape(path: Path, name: str) -> None:
    """Refuse an archive with an entry of this name if it would lie outside; `UserError` names the entry."""
    parts = re.split(r"[/\\]", name)
    if ".." in parts or name[:1] in ("/", "\\") or re.match(r"[A-Za-z]:", name):
        raise UserError(
            f"{path}: the entry {name!r} points outside of the archive; do not use this file, or pack it again"
        )
