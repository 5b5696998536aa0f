"""The whole way from a source to a data set."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import PIL

from dnnlib import UserError
from training.dataset import ImageDataset
from training.dataset.files import DATASET_JSON
from training.dataset.making import transforms
from training.dataset.making.alignment import NO_FACE
from training.dataset.making.image_files import NO_LABEL, OTHER_FORMAT
from training.dataset.making.processing import Settings, choose_target, process
from training.dataset.making.report import Report
from training.dataset.making.source import Item, Label, Problem, Source, in_order
from training.dataset.making.writing import check_destination, dataset_json, open_destination

TOOL = "rooted-stylegan dataset_tool 1"
"""Stored in every data set; the number grows when equal input gives other output."""
_BEYOND_FIXING = (OTHER_FORMAT, NO_LABEL, "unreadable")


def make_dataset(
    source: Source,
    dest: str | os.PathLike,
    settings: Settings,
    *,
    on_error: str = "stop",
    duplicates: str = "keep",
    without: Mapping[str, Problem] | None = None,
    max_images: int | None = None,
    overwrite: bool = False,
    workers: int = 1,
    recipe: str | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Report:
    """Write all images of `source` to `dest`, a `.zip` or folder, together with `dataset.json`.

    Equal input gives equal bytes, whatever `workers`. After an error `dest` is what it was before.

    Args:
        source: what to read.
        dest: where to write.
        settings: how items become images (`settings.convert` belongs to `on_error="convert"`).
        on_error: "stop" at the first image that does not fit, or leave such images out ("skip", "convert").
        duplicates: "keep" or "skip" images with the same pixels as an earlier one.
        without: images to leave out by the names that the source gives them, and why.
        max_images: end after that many images.
        overwrite: replace an existing `dest`.
        workers: number of threads.
        recipe: name to store in `dataset.json`.
        progress: wraps the iterable of items, for a progress bar.

    Raises:
        UserError: for whatever a user can fix; nothing is written then.
    """
    check_destination(dest, overwrite)
    target = choose_target(source.items, settings)
    report = Report()
    labels: list[tuple[str, Label]] = []
    seen: dict[bytes, str] = {}
    with open_destination(dest) as write:
        for item, outcome in progress(
            in_order(partial(process, settings=settings, target=target), source.items, workers)
        ):
            if isinstance(outcome, Problem):
                _meet(item, outcome, on_error, report)
                continue
            first = seen.setdefault(outcome.digest, item.name)
            if first != item.name:
                report.duplicates.append((item.name, first))
                if duplicates == "skip":
                    report.leave_out(item.name, Problem("duplicate", f"same pixels as {first}"))
                    continue
            if without is not None and item.name in without:
                report.leave_out(item.name, without[item.name])
                continue
            index = len(report.written)
            name = f"{index:08d}"[:5] + f"/img{index:08d}.png"
            write(name, outcome.png)
            labels.append((name, item.label))
            report.written.append((name, item.name))
            report.note(item.name, outcome.changes)
            if max_images is not None and len(report.written) == max_images:
                break
        if not report.written:
            raise UserError(f"no image is left for {dest}: {'; '.join(report.lines())}")
        meta = _meta(settings, recipe)
        write(DATASET_JSON, dataset_json(labels if source.has_labels else None, source.classes, meta))
    return report


def summarise(dest: str | os.PathLike) -> tuple[dict, list[str]]:
    """Open a finished data set; return its facts for a JSON report, and lines for people with the content hash."""
    plain = ImageDataset(dest)
    labelled = _open_labelled(dest)
    channels = {1: "grey", 3: "RGB", 4: "RGBA"}[plain.num_channels]
    size = (
        sum(file.stat().st_size for file in Path(dest).rglob("*.*"))
        if Path(dest).is_dir()
        else Path(dest).stat().st_size
    )
    labels = f"labels of length {labelled.label_dim}" if labelled else "no labels"
    facts = {
        "dest": str(dest),
        "images": len(plain),
        "resolution": plain.resolution,
        "width": plain.image_shape[2],
        "height": plain.image_shape[1],
        "channels": plain.num_channels,
        "label_dim": labelled.label_dim if labelled else 0,
        "bytes": size,
        "content_hash": plain.content_hash(),
    }
    lines = [
        f"made {dest}: {len(plain)} images of {plain.size_text}, {channels}, {labels}, {size / 1e6:.1f} MB",
        f"content hash: {facts['content_hash']}",
    ]
    if labelled:
        facts["content_hash_with_labels"] = labelled.content_hash()
        lines.append(f"content hash with labels: {facts['content_hash_with_labels']}")
    return facts, lines


def _open_labelled(dest: str | os.PathLike) -> ImageDataset | None:
    try:
        return ImageDataset(dest, use_labels=True)
    except UserError:
        return None


def _meet(item: Item, problem: Problem, on_error: str, report: Report) -> None:
    """Leave an item out or stop; what is too small or shows no face was to be left out in any case."""
    if on_error == "stop" and problem.kind not in (transforms.TOO_SMALL, NO_FACE):
        fix = "" if problem.kind in _BEYOND_FIXING else ", or fix what can be fixed with `on_error`=convert"
        raise UserError(f"{item.name}: {problem}; leave such images out with `on_error`=skip{fix}")
    report.leave_out(item.name, problem)


def _meta(settings: Settings, recipe: str | None) -> dict:
    meta = {
        "made_by": f"{TOOL} (Pillow {PIL.__version__})",
        "recipe": recipe,
        "transform": settings.transform,
        "resize_filter": settings.resize_filter if settings.size or settings.transform else None,
    }
    if recipe == "stanford-dogs":
        meta["margin"] = settings.margin
    if settings.align is not None:
        meta["align"] = settings.align
    return meta
