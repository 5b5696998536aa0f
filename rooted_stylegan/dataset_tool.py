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

if __name__ == "__main__":
    raise SystemExit(
        "error: the command is `rooted-stylegan dataset`, or `python dataset_tool.py` at the top of a checkout"
    )

import os
from dataclasses import dataclass

import click

from dnnlib.cli import Command, Number, Size, door
from dnnlib.options import option, takes_options
from training.options.making import FACES, MARGIN

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
        IMAGES, "Which faces of a picture become images.", click.Choice(list(FACES)), unset=FACES[0],
        only_with=("align", "ffhq"))
    resize_filter: str | None = option(
        IMAGES, "box averages areas, as the published FIDs of FFHQ need.", click.Choice(["lanczos", "box"]),
        unset="lanczos; ffhq: box")
    mode: str | None = option(
        IMAGES, "Convert all images to this.", click.Choice(["L", "RGB", "RGBA"]), unset="the most frequent")
    margin: float | None = option(
        IMAGES, "Margin around the box, in box sides.", Number(0, 2), unset=f"{MARGIN:g}", unit="SIDES",
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
    """Make the data set (the command's help is the module's docstring)."""
    from rooted_stylegan.making import make_from

    make_from(options)
