r"""Make a data set for training: square images of one size in a zip or folder, with labels where wanted.

\b
  dataset_tool.py --source=photos/ --dest=photos256.zip --transform=center-crop --resolution=256x256
  dataset_tool.py --source=pets/ --dest=pets64.zip --labels-from=folders --transform=center-crop --resolution=64
  dataset_tool.py --source=cifar-10-python.tar.gz --dest=cifar10.zip
  dataset_tool.py --recipe=ffhq --source=thumbnails128x128 --dest=ffhq64.zip --resolution=64
  dataset_tool.py --recipe=stanford-dogs --source=dogs/ --dest=dogs64.zip --resolution=64

The source is a folder (searched in all sub-folders), .zip or .tar of images, an LMDB folder, CIFAR-10's
cifar-10-python.tar.gz, MNIST's train-images-idx3-ubyte.gz, an .npz of JPEG files, or builtin:faces.
Images are turned upright as their EXIF data say. The result is the same, byte for byte, for the same source.
See docs/data.md.
"""

import dataclasses
import os
from pathlib import Path

import click
from tqdm import tqdm

from dnnlib import UserError
from dnnlib.cli import Command, Number, Size, door, in_flags
from training.dataset.builtin_faces import BUILTIN_FACES
from training.dataset.making import archives, image_files, recipes
from training.dataset.making.make import make_dataset, summarise
from training.dataset.making.processing import Settings
from training.dataset.making.source import Source

_RECIPE_RESOLUTION = 64  # the paper's Figures 4 and 5
_RECIPE_FILTERS = {"ffhq": "box"}  # what published FIDs were computed with
_RECIPE_ON_ERROR = {"stanford-dogs": "convert"}  # a few of the published pictures are not RGB


@click.command(cls=Command, help=__doc__.replace("\\b\n", "\b\n"))
@click.option("--source", required=True, metavar="PATH", help="Folder, archive or builtin:faces to read")
@click.option("--dest", required=True, metavar="PATH", help="A .zip, or a folder, to write")
@click.option("--recipe", type=click.Choice(["ffhq", "stanford-dogs"]), help="The source is this published data set")
@click.option("--max-images", type=click.IntRange(min=1), help="Take only the first N images  [default: all]")
@click.option("--resolution", "size", type=Size("square"),
              help="Size of the images to make  [default: as they are; recipes: 64x64]")  # fmt: skip
@click.option("--width", type=click.IntRange(min=1), help="Width of the images to make (same as --resolution=WxH)")
@click.option("--height", type=click.IntRange(min=1), help="Height of the images to make")
@click.option("--transform", type=click.Choice(["center-crop", "center-crop-wide"]),
              help="Take the largest middle square; or the largest middle WxH, between black bars (smaller images are "
              "left out)  [default: stretch the whole image]")  # fmt: skip
@click.option("--resize-filter", type=click.Choice(["lanczos", "box"]),
              help="box averages areas, as the published FIDs of FFHQ need  [default: lanczos; ffhq: box]")  # fmt: skip
@click.option("--mode", type=click.Choice(["L", "RGB", "RGBA"]),
              help="Convert all images to this  [default: the most frequent]")  # fmt: skip
@click.option("--labels-from", type=click.Choice(["auto", "folders", "json", "csv", "none"]), default="auto",
              help="Class labels: one sub-folder for each class; dataset.json; a table labels.csv of file,label; auto "
              "takes what CIFAR-10, MNIST, a recipe or a dataset.json in the source bring along")  # fmt: skip
@click.option("--labels-file", metavar="FILE", help="The dataset.json or table, if it is not in the source")
@click.option("--on-error", type=click.Choice(["stop", "skip", "convert"]),
              help="At an image that is unreadable, has no label, or differs in mode or size: stop; leave it out; or "
              "convert mode and size and leave out only what cannot be fixed  [default: stop; stanford-dogs: convert]"
              )  # fmt: skip
@click.option("--duplicates", type=click.Choice(["keep", "skip"]), default="keep",
              help="What to do with images of equal pixels")  # fmt: skip
@click.option("--min-size", type=click.IntRange(min=0),
              help="Leave out images (or dogs) with a shorter side  [default: 0; stanford-dogs: W]")  # fmt: skip
@click.option("--margin", type=Number(0, 2), help="stanford-dogs: margin around the box, in box sides  [default: 0.1]")
@click.option("--report", metavar="FILE", help="Write what happened to each image as JSON")
@click.option("--overwrite", is_flag=True, help="Replace an existing --dest")
@click.option("--workers", type=click.IntRange(min=1), default=min(8, os.cpu_count() or 1), show_default="CPUs",
              help="Threads")  # fmt: skip
@door
def main(
    source: str,
    dest: str,
    recipe: str | None,
    size: tuple[int, int] | None,
    width: int | None,
    height: int | None,
    labels_from: str,
    labels_file: str | None,
    resize_filter: str | None,
    transform: str | None,
    mode: str | None,
    min_size: int | None,
    margin: float | None,
    on_error: str | None,
    report: str | None,
    **options: object,
) -> None:
    """Parse the options, open the source and make the data set (the command's help is the module's docstring)."""
    if width is not None or height is not None:
        if size is not None:
            raise UserError("--resolution and --width/--height say the same; give one of them")
        size = (width or height, height or width)
    if recipe is not None:
        size = size or (_RECIPE_RESOLUTION, _RECIPE_RESOLUTION)
        if transform is not None or labels_file is not None or labels_from not in ("auto", "none"):
            raise UserError(
                f"--recipe={recipe} brings crop and labels; leave --transform, --labels-from and --labels-file out"
            )
    if margin is not None and recipe != "stanford-dogs":
        raise UserError("--margin belongs to --recipe=stanford-dogs; leave it out")
    on_error = on_error or _RECIPE_ON_ERROR.get(recipe, "stop")
    if min_size is None:
        min_size = size[0] if recipe == "stanford-dogs" else 0
    settings = Settings(
        size=size,
        transform=transform,
        resize_filter=resize_filter or _RECIPE_FILTERS.get(recipe, "lanczos"),
        mode=mode,
        convert=on_error == "convert",
        min_size=min_size,
        margin=0.1 if margin is None else margin,
    )
    _check_paths(source, dest, report)
    opened = _open(source, recipe, size, labels_from, labels_file)
    click.echo(f"source: {opened.description}" + (f", {len(opened.classes)} classes" if opened.classes else ""))
    made = make_dataset(
        opened,
        dest,
        settings,
        on_error=on_error,
        recipe=recipe,
        progress=lambda items: tqdm(items, total=len(opened.items), unit="image", disable=None),
        **options,
    )
    facts, lines = summarise(dest)
    for line in (*made.lines(), *lines):
        click.echo(in_flags(line))
    if report is not None:
        made.save(report, {"source": source, **facts})
        click.echo(f"report: {report}")


def _check_paths(source: str, dest: str, report: str | None) -> None:
    if Path(source).exists() and Path(dest).exists() and Path(source).samefile(dest):
        raise UserError(f"--dest: {dest} is the source itself; choose another name")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report: there is no folder {Path(report).absolute().parent}; make it first")


def _open(
    source: str, recipe: str | None, size: tuple[int, int] | None, labels_from: str, labels_file: str | None
) -> Source:
    if recipe == "ffhq":
        return recipes.ffhq(source, size[0])
    if recipe == "stanford-dogs":
        opened = recipes.stanford_dogs(source)
        return _without_labels(opened) if labels_from == "none" else opened
    opened = _open_archive(source)
    if opened is None:
        return image_files.from_image_files(source, labels_from, labels_file)
    if labels_from == "none":
        return _without_labels(opened)
    if labels_from != "auto" or labels_file is not None:
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
    if name.endswith((".tar.gz", ".tgz")):
        return archives.from_cifar10(path)
    if name.endswith(("-ubyte", "-ubyte.gz")):
        return archives.from_mnist(path)
    return archives.from_jpeg_arrays(path) if name.endswith(".npz") else None


def _without_labels(source: Source) -> Source:
    return Source([dataclasses.replace(item, label=None) for item in source.items], None, source.description)


if __name__ == "__main__":
    main()
