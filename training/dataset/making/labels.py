"""Where labels come from: the folders' names, a `dataset.json`, or a table."""

import csv
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from dnnlib import UserError
from dnnlib.files import read_regular
from training.dataset.files import DATASET_JSON, FolderFiles, ZipFiles
from training.dataset.labels import MOST_CLASSES, MOST_JSON_BYTES, DatasetJson, is_label_number
from training.dataset.making.source import Label

LABELS_CSV = "labels.csv"


def labels_of(
    names: list[str], files: FolderFiles | ZipFiles, how: str, labels_file: str | os.PathLike | None
) -> tuple[list[Label], list[str] | None]:
    """Return the label of each image (None where it has none), and the names of the classes.

    Args:
        names: the images' names in `files`.
        files: where the images lie, and `dataset.json` or `labels.csv` unless `labels_file` says otherwise.
        how: "folders", "json", "csv", "none", or "auto": "json" if there is a `dataset.json` with labels, else "none".
        labels_file: a `dataset.json` or table elsewhere.

    Raises:
        UserError: no such file, or one that cannot be understood; the message names the line.
    """
    if how == "none":
        return [None] * len(names), None
    if how == "folders":
        return labels_from_folders(names)
    if how == "csv":
        return _from_csv(names, *_text(files, labels_file, LABELS_CSV))
    if how == "auto" and labels_file is None and DATASET_JSON not in files.names:
        return [None] * len(names), None
    text, where = _text(files, labels_file, DATASET_JSON)
    content = DatasetJson(text, where)
    if content.labels is None:
        if how == "auto":
            return [None] * len(names), None
        raise UserError(f"`labels_from`=json: {where} has no labels; add them, or choose another `labels_from`")
    known = [name for name in names if name in content.labels]
    if not known:
        raise UserError(
            f"{where}: it labels none of the images (its first is {next(iter(content.labels))}, theirs {names[0]}); "
            "correct its names, or leave it out with `labels_from`=none"
        )
    content.label_array(known)
    return [content.labels.get(name) for name in names], content.classes


def labels_from_folders(names: list[str]) -> tuple[list[Label], list[str]]:
    """Number the top-level sub-folders in the order of their names; images outside of them have no label.

    Folders that all images have in common (`data/train/cat/...`, `data/train/dog/...`) do not count.
    """
    folders = [PurePosixPath(name).parent.parts for name in names]
    common = _common_length([parts for parts in folders if parts])
    tops = [parts[common] if len(parts) > common else None for parts in folders]
    classes = sorted({top for top in tops if top is not None})
    if not classes:
        raise UserError(
            "`labels_from`=folders: the images do not lie in several sub-folders; "
            "make one sub-folder for each class, or use `labels_from`=csv"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    return [None if top is None else numbers[top] for top in tops], classes


def _common_length(folders: list[tuple[str, ...]]) -> int:
    """Return how many leading parts all the folders share."""
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    return sum(1 for _ in shared)


def _text(files: FolderFiles | ZipFiles, labels_file: str | os.PathLike | None, default: str) -> tuple[bytes, str]:
    if labels_file is not None:
        try:
            return read_regular(labels_file, MOST_JSON_BYTES), str(labels_file)
        except OSError as error:
            raise UserError(f"`labels_file`: cannot read {labels_file}: {error.strerror}; check the path") from error
    if default not in files.names:
        raise UserError(
            f"`labels_from`: there is no {default} in {files.path}; add one, or give its path with `labels_file`"
        )
    return files.read(default, MOST_JSON_BYTES), f"{files.path}: {default}"


def _from_csv(names: list[str], text: bytes, where: str) -> tuple[list[Label], list[str] | None]:
    """Read `file,label` or `file,value,value,...`: class names are numbered alphabetically, several values a vector."""
    try:
        rows = list(csv.reader(io.StringIO(text.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where}: not a table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    known = set(names)
    table: dict[str, list[str]] = {}
    header: list[str] | None = None
    for line, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        file = cells[0].replace("\\", "/").removeprefix("./")
        if len(cells) < 2 or "" in cells[1:]:
            raise UserError(f"{where} line {line}: a label is missing; write file,label")
        if not table and header is None and file not in known:
            header = cells[1:]
            continue
        if file not in known:
            raise UserError(
                f"{where} line {line}: there is no image {file} in the source; fix the name or remove the line"
            )
        if table.setdefault(file, cells[1:]) != cells[1:]:
            raise UserError(f"{where} line {line}: {file} has two different labels; remove one")
        if len(cells) != 1 + len(next(iter(table.values()))):
            raise UserError(f"{where} line {line}: another number of columns than before; give all images equally many")
    if not table:
        raise UserError(
            f"{where}: no line names an image of the source; write file,label with paths from the source's top"
        )
    if len(next(iter(table.values()))) > 1:
        vectors = {file: _numbers(cells, f"{where}: {file}") for file, cells in table.items()}
        return [vectors.get(name) for name in names], header
    single = {file: cells[0] for file, cells in table.items()}
    if all(value.isdecimal() for value in single.values()):
        for file, value in single.items():
            if len(value) > len(str(MOST_CLASSES)) or int(value) >= MOST_CLASSES:
                raise UserError(f"{where}: the class number of {file} is too large; number the classes 0, 1, 2, ...")
        return [int(single[name]) if name in single else None for name in names], None
    classes = sorted(set(single.values()))
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[single[name]] if name in single else None for name in names], classes


def _numbers(cells: Sequence[str], where: str) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError as error:
        raise UserError(
            f"{where}: {error}; several columns must be numbers (one column may be a class name)"
        ) from error
    if not all(map(is_label_number, values)):
        raise UserError(f"{where}: the label is not finite; give finite numbers")
    return values
