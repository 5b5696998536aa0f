"""Labels and other facts from a data set's `dataset.json`, with messages that name the line to fix."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.errors import printable

MOST_JSON_BYTES = 1 << 27
"""Of a `dataset.json` or table of labels: those of a million images."""
MOST_CLASSES = 1 << 16
_MOST_WIDE_LABELS = 1 << 26  # numbers in all labels together where they are longer than _WIDE
_WIDE = 1 << 10
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_DEEPEST_META = 32


class MissingLabels(UserError):
    """Labels are asked for, and the images have none."""


class DatasetJson:
    """A parsed `dataset.json`: `labels` by image name (None without labels), `classes`, and `meta`, everything else.

    The format is the reference's, `{"labels": [["00000/img00000000.png", 3], ...]}` or `{"labels": null}`:
    an integer is a class, a list of numbers a vector. The additional key "classes" lists the classes' names.

    Raises:
        UserError: the text is not JSON, or not of this form; the message names the line.
    """

    def __init__(self, text: bytes, where: str):
        self._where = where
        self._text = _decode(text, where)
        content = _parse(self._text, where)
        if not isinstance(content, dict):
            raise UserError(f'{where}: the outermost value must be an object such as {{"labels": [...]}}')
        self.labels = self._labels(content.get("labels"))
        self.classes = self._classes(content.get("classes"))
        self.meta: dict[str, Any] = {key: value for key, value in content.items() if key not in ("labels", "classes")}
        if _is_deep(self.meta, _DEEPEST_META):
            raise UserError(f"{where}: nested more than {_DEEPEST_META} deep; remove what is not labels or classes")

    def _labels(self, entries: Any) -> dict[str, int | list[float]] | None:
        if entries is None:
            return None
        if isinstance(entries, dict):
            entries = list(entries.items())
        if not isinstance(entries, list):
            raise UserError(f'{self._where}: "labels" must be null or a list of ["file name", label]')
        labels: dict[str, int | list[float]] = {}
        for number, entry in enumerate(entries):
            if not (isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)):
                raise UserError(
                    f'{self._where}: entry {number + 1} of "labels" is not of the form ["file name", label]'
                )
            name, value = entry
            if "\\" in name or any(ord(character) < 32 for character in name):  # "a\b.png" is a backspace in JSON
                raise UserError(
                    f"{self.place(name)}: the file name {name!r} is written with backslashes; "
                    "write it with forward slashes"
                )
            if name in labels and labels[name] != value:
                raise UserError(f"{self.place(name)}: {name} has two different labels; remove one")
            self._check_value(name, value)
            labels[name] = value
        return labels or None

    def _check_value(self, name: str, value: Any) -> None:
        if _is_number(value) and isinstance(value, int) and value >= 0:
            return
        if isinstance(value, list) and value and all(is_label_number(x) for x in value):
            return
        raise UserError(
            f"{self.place(name)}: the label of {name} is {_shown(value)}; "
            "it must be a class number (0, 1, ...) or a list of finite numbers"
        )

    def _classes(self, classes: Any) -> list[str] | None:
        if classes is None:
            return None
        if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
            raise UserError(f'{self._where}: "classes" must be a list of names')
        return classes

    def place(self, name: str) -> str:
        """Return `path line N` of the label of `name`, for messages."""
        for spelling in (json.dumps(name), json.dumps(name, ensure_ascii=False)):
            position = self._text.find(spelling)
            if position >= 0:
                return f"{self._where} line {self._text.count(chr(10), 0, position) + 1}"
        return self._where

    def label_array(self, names: list[str]) -> np.ndarray:
        """Return the labels of `names` as float32 [N, label_dim]; integers become one-hot rows of length max + 1.

        Raises:
            UserError: labels are missing for some names, of different length, or partly classes and partly vectors.
        """
        labels = self.labels or {}
        missing = [name for name in names if name not in labels]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{self._where}: no label for {missing[0]}{more}; add one for each image, or leave `use_labels` out"
            )
        values = [labels[name] for name in names]
        lengths = [len(value) if isinstance(value, list) else 0 for value in values]
        for name, length in zip(names, lengths, strict=True):
            if length != lengths[0]:
                kinds = [f"a vector of {x}" if x else "a class number" for x in (length, lengths[0])]
                raise UserError(
                    f"{self.place(name)}: the label of {name} is {kinds[0]}, but that of {names[0]} is {kinds[1]}; "
                    "give all images labels of the same kind and length"
                )
        if lengths[0]:
            return np.array(values, dtype=np.float32)
        return _one_hot(values, lambda i: f"{self.place(names[i])}: ")


def _one_hot(classes: Sequence[int], place: Callable[[int], str]) -> np.ndarray:
    """float32 [N, largest + 1]; `place` says where in the file the i-th class number is."""
    largest = max(classes)
    if largest >= MOST_CLASSES or (largest >= _WIDE and len(classes) * largest > _MOST_WIDE_LABELS):
        raise UserError(
            f"{place(list(classes).index(largest))}the class number {_shown(largest)} is too large for "
            f"{len(classes)} images; number the classes 0, 1, 2, ..."
        )
    one_hot = np.zeros((len(classes), int(largest) + 1), dtype=np.float32)
    one_hot[np.arange(len(classes)), np.asarray(classes, dtype=np.int64)] = 1
    return one_hot


def is_label_number(value: Any) -> bool:
    """Whether a value is a number that float32 holds."""
    return _is_number(value) and abs(value) <= _FLOAT32_MAX


def _shown(value: Any) -> str:
    try:
        return printable(json.dumps(value), 80)
    except RecursionError:
        return "nested too deeply"


def _is_deep(value: Any, most: int) -> bool:
    """Whether lists and objects are nested more than `most` deep."""
    level = [value]
    for _ in range(most):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decode(text: bytes, where: str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where} line {line}: not UTF-8 text; save the file as UTF-8") from error


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} line {error.lineno}: {_json_remedy(text, error)}") from error
    except RecursionError as error:
        raise UserError(f"{where}: not a dataset.json (nested too deeply)") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UserError(f"{where}: a number in it is too long; labels are numbers that float32 holds") from error


def _json_remedy(text: str, error: json.JSONDecodeError) -> str:
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    if "escape" in error.msg:
        return "a backslash in a name; write paths with forward slashes"
    if "trailing comma" in error.msg or (before.endswith(",") and after[:1] in ("]", "}")):
        return "a comma before the closing bracket; remove it"
    return f"not valid JSON ({error.msg[0].lower()}{error.msg[1:]}, column {error.colno}); fix this line"


def label_rows(labels: np.ndarray | Sequence | None, count: int, name: str) -> np.ndarray:
    """Return labels given as an array, class numbers [N] or vectors [N, label_dim], as float32 [N, label_dim]."""
    if labels is None:
        return np.zeros((count, 0), np.float32)
    values = np.asarray(labels)
    if len(values) != count:
        raise UserError(f"{name}: {len(values)} labels for {count} images; give one for each")
    if values.ndim == 2:
        rows = values.astype(np.float32)
        if not np.isfinite(rows).all():
            raise UserError(f"{name}: labels must be finite in float32")
        return rows
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        raise UserError(f"{name}: labels must be class numbers 0, 1, ... [N] or vectors [N, label_dim]")
    return _one_hot(values.tolist(), lambda i: f"{name}: ")


def class_names_of(names: list[str] | None, label_dim: int, where: str) -> list[str] | None:
    """Return the names of the `label_dim` classes; None if there are none. Raises UserError if some have no name."""
    if names is None or label_dim == 0:
        return None
    if len(names) < label_dim:
        raise UserError(
            f'{where}: "classes" names {len(names)} classes, but the labels have {label_dim}; name all of them'
        )
    return names[:label_dim]
