"""Files that survive: written beside their place, flushed to the disk, then renamed."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from dnnlib.errors import UserError, WriteError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success flush, sync and rename it to `path`.

    Whatever happens inside the block (an exception, a full disk, SIGKILL), `path` holds either its
    previous content or the whole new content. `mode` is "wb" or "w" (UTF-8).

    Raises:
        WriteError: the folder cannot be written or the disk is full; the previous file is untouched.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error
    try:
        with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8"})) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise WriteError(
                f"cannot write {path}: {error.strerror}; the previous file, if any, is untouched"
            ) from error
        raise


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises:
        OSError: it cannot be read, or is a pipe (which would wait for ever) or a device (which may never end).
    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(path, "rb")


def read_regular(path: str | os.PathLike, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as `open_regular`, or the file has more than `most` bytes.
    """
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
        return stream.read()


def make_folder(path: str | os.PathLike, argument: str) -> Path:
    """Make a folder and its parents where they are missing; a `UserError` names the argument that it came from."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{argument}: cannot make the folder {path} ({error.strerror}); choose another") from error
    return Path(path)


def copy_whole(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, by a link where the file system has them, else as a copy; atomically.

    Raises:
        UserError: the folder cannot be written or the disk is full; the previous file is untouched.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        os.link(source, temporary)
        os.replace(temporary, target)
    except OSError:
        with open(source, "rb") as content, atomic_write(target) as stream:
            shutil.copyfileobj(content, stream)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; file systems without folder handles are left as they are."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
