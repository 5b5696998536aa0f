"""Data sets as files: zip or folder, all or nothing, and equal bytes for equal content."""

import contextlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dnnlib import UserError, atomic_write, make_folder
from training.dataset.files import DATASET_JSON
from training.dataset.making.source import Label

Write = Callable[[str, bytes], None]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


def check_destination(dest: str | os.PathLike, overwrite: bool) -> None:
    """Raise UserError if `dest` exists and must not, or should not, be replaced."""
    dest = Path(dest)
    if dest.suffix.lower() == ".zip":
        if dest.is_dir():
            raise UserError(f"`dest`: {dest} is a folder; choose another name")
        if dest.exists() and not overwrite:
            raise UserError(f"`dest`: {dest} exists; choose another name, or replace it with `overwrite`")
    elif dest.is_file():
        raise UserError(f"`dest`: {dest} is a file, and not a .zip; give a .zip or a folder")
    elif dest.is_dir() and any(dest.iterdir()):
        if not overwrite:
            raise UserError(f"`dest`: the folder {dest} is not empty; choose another, or replace it with `overwrite`")
        strange = [path.name for path in dest.iterdir() if not re.fullmatch(rf"\d{{5}}|{DATASET_JSON}", path.name)]
        if strange:
            raise UserError(
                f"`dest`: the folder {dest} holds {strange[0]}, so it is no data set that could be replaced; "
                "choose another or empty it yourself"
            )


@contextlib.contextmanager
def open_destination(dest: str | os.PathLike) -> Iterator[Write]:
    """Open a `.zip` or folder for writing; yields `write(name, data)`. After an exception all is as it was before.

    Files in a zip are stored uncompressed with a fixed date, so that equal content gives equal bytes.

    Raises:
        UserError: it cannot be written, or the disk is full.
    """
    dest = Path(dest)
    make_folder(dest.parent, "`dest`")
    with _open_zip(dest) if dest.suffix.lower() == ".zip" else _open_folder(dest) as write:
        yield write


@contextlib.contextmanager
def _open_zip(dest: Path) -> Iterator[Write]:
    with atomic_write(dest) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def write(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every operating system
            archive.writestr(info, data)

        yield write


@contextlib.contextmanager
def _open_folder(dest: Path) -> Iterator[Write]:
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", suffix=".tmp", dir=dest.parent))
        new, old = temporary / "new", temporary / "old"
        try:
            new.mkdir()

            def write(name: str, data: bytes) -> None:
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_bytes(data)

            yield write
            if dest.exists():
                dest.rename(old)
            new.rename(dest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"`dest`: cannot write {dest}: {error.strerror}; free space or choose another folder"
        ) from error


def dataset_json(labels: list[tuple[str, Label]] | None, classes: list[str] | None, meta: dict[str, Any]) -> bytes:
    """Return the text of `dataset.json`, one label a line, so that messages about a line are of use."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in meta.items()]
    if classes is not None:
        lines.insert(0, f'"classes": {json.dumps(classes, ensure_ascii=False)}')
    if labels is None:
        lines.insert(0, '"labels": null')
    else:
        rows = ",\n".join(json.dumps([name, label], ensure_ascii=False) for name, label in labels)
        lines.insert(0, f'"labels": [\n{rows}\n]')
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    return text.encode(errors="backslashreplace")  # of names in other bytes than UTF-8, as JSON escapes them
