"""Paths as people write them on a command line."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError, printable

LONGEST_PATH = 4095
LONGEST_NAME = 255  # bytes, of a file or folder on every common file system


def user_path(text: str) -> str:
    """`text` with `~` and `~name` replaced, which shells leave alone in `--option=~/x`; addresses stay as they are.

    Raises:
        UserError: no file can have this name.
    """
    if "://" in text:
        return text
    if "\0" in text:
        raise UserError(f"'{printable(text, 80)}' has a character that no path may have")
    for name in Path(text).parts:
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise UserError(
                f"the name '{printable(name, 40)}' is longer than {LONGEST_NAME} bytes; choose a shorter one"
            )
    path = os.path.expanduser(text)
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise UserError(f"the path '{printable(text, 80)}' is longer than {LONGEST_PATH} bytes; choose a shorter one")
    return path


def user_paths(value: Any) -> Any:
    """`user_path` of a str or Path, or of each in a list or tuple; other values as they are."""
    if isinstance(value, list | tuple):
        return type(value)(map(user_paths, value))
    return type(value)(user_path(str(value))) if isinstance(value, str | Path) else value


def default_cache_dir() -> Path:
    """`DNNLIB_CACHE_DIR`, else `~/.cache/dnnlib`, else a private one among temporary files."""
    if folder := os.environ.get("DNNLIB_CACHE_DIR"):
        return Path(user_path(folder))
    try:
        return Path.home() / ".cache" / "dnnlib"
    except (RuntimeError, KeyError):  # no HOME and no entry for the user, as in containers
        if not hasattr(os, "getuid"):
            return Path(tempfile.mkdtemp(prefix="dnnlib-cache-"))
        return _private_folder(Path(tempfile.gettempdir()) / f"dnnlib-cache-{os.getuid()}")


def _private_folder(path: Path) -> Path:
    """`path` if it is, or can be made, this user's alone; programs are loaded from the cache. Else a new folder."""
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return path
    return Path(tempfile.mkdtemp(prefix="dnnlib-cache-"))
