"""Strict JSON in files: one value a file, or one object a line (`.jsonl`).

A process can be killed, and a disk become full, while a line is being written. So there is one rule: what stands after
the last newline and is no JSON object was cut off; who reads leaves it out, who appends removes it first. Any other
line that is no object is damage and a `UserError`.
"""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError, WriteError
from dnnlib.files import atomic_write, open_regular, read_regular

MOST_BYTES = 1 << 26
"""Of a file with one value."""


def strict(value: Any) -> Any:
    """`value` as strict JSON has it: None for NaN and infinities, dictionaries for dataclasses, lists for arrays."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy's and PyTorch's numbers and arrays
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any, **layout: Any) -> str:
    """The text of `strict(value)`; `layout` are the options of `json.dumps`."""
    return json.dumps(strict(value), allow_nan=False, **layout)


def write_json(path: str | os.PathLike, value: Any, **layout: Any) -> None:
    """Write `strict(value)`, indented, whole or not at all.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    text = json_text(value, **{"indent": 2, **layout}) + "\n"
    with atomic_write(path) as stream:
        stream.write(text.encode(errors="backslashreplace"))  # names of other bytes than UTF-8, as JSON escapes them


def read_json(path: str | os.PathLike) -> Any:
    """The value in a file.

    Raises:
        UserError: no such file, unreadable, larger than `MOST_BYTES`, or not JSON.
    """
    try:
        return json.loads(read_regular(path, MOST_BYTES).decode("utf-8"))
    except RecursionError as error:
        raise UserError(f"cannot read {path} (it is nested too deeply)") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error


def append_record(path: str | os.PathLike, record: Any) -> None:
    """Append `strict(record)` as a line, in place of one that was cut off.

    Raises:
        UserError: the disk is full or the folder went away.
    """
    from filelock import lock_descriptor  # here, as a command's help has no use for it

    line = json_text(record).encode() + b"\n"
    try:
        with open(path, "ab+") as stream:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                lock_descriptor(stream.fileno(), poll_interval=0.005)
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - 1))
            if stream.read() not in (b"", b"\n"):
                stream.seek(0)
                last = stream.read().rpartition(b"\n")[2]
                if _parsed(last) is None:
                    stream.truncate(end - len(last))
                else:
                    line = b"\n" + line
            stream.write(line)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; free space and run the same command again") from error


def read_records(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The objects of a file of lines; [] where it does not exist.

    Raises:
        UserError: it cannot be read, or a line that was not cut off is no object.
    """
    return [record for _, record in _records(Path(path))]


def keep_records(path: str | os.PathLike, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Remove the lines that `keep` refuses from a file, where there is one.

    Raises:
        UserError: as `read_records`, or the file cannot be written.
    """
    path = Path(path)
    if path.exists():
        lines = [line + b"\n" for line, record in _records(path) if keep(record)]
        with atomic_write(path) as stream:
            stream.writelines(lines)


def _records(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    try:
        with open_regular(path) as stream:
            *lines, last = stream.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    found = []
    for number, line in enumerate([*lines, last], 1):
        record = _parsed(line)
        if record is not None:
            found.append((line, record))
        elif line.strip() and number <= len(lines):
            raise UserError(f"{path} line {number} is not a JSON object; delete the line to go on")
    return found


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
