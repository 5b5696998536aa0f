"""Labels and other facts from a data set's `dataset.json`, with messages that name the line to fix."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnnlib import UserError


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
        if isinstance(value, list) and value and all(_is_number(x) and math.isfinite(x) for x in value):
            return
        raise UserError(
            f"{self.place(name)}: the label of {name} is {json.dumps(value)}; "
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
        classes = np.array(values, dtype=np.int64)
        if classes.max() >= 1 << 20:
            raise UserError(
                f"{self._where}: the class number {classes.max()} is too large; number the classes 0, 1, 2, ..."
            )
        one_hot = np.zeros((len(classes), classes.max() + 1), dtype=np.float32)
        one_hot[np.arange(len(classes)), classes] = 1
        return one_hot


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
        return values.astype(np.float32)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        raise UserError(f"{name}: labels must be class numbers 0, 1, ... [N] or vectors [N, label_dim]")
    return np.eye(values.max() + 1, dtype=np.float32)[values]


def class_names_of(names: list[str] | None, label_dim: int, where: str) -> list[str] | None:
    """Return the names of the `label_dim` classes; None if there are none. Raises UserError if some have no name."""
    if names is None or label_dim == 0:
        return None
    if len(names) < label_dim:
        raise UserError(
            f'{where}: "classes" names {len(names)} classes, but the labels have {label_dim}; name all of them'
        )
    return names[:label_dim]
