"""Sources that know a published data set's layout: FFHQ and Stanford Dogs."""

import functools
import os
import re
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dnnlib import UserError, first_line
from training.dataset.files import FolderFiles, image_names
from training.dataset.making.image_files import Files, TarFiles, open_collection
from training.dataset.making.source import Box, Item, Problem, Source

_FFHQ_IMAGES = 70_000
_FFHQ_SIZES = {"images1024x1024": 1024, "thumbnails128x128": 128}
_DOGS_IMAGES, _DOGS_BREEDS = 20_580, 120


def ffhq(path: str | os.PathLike, resolution: int) -> Source:
    """Make a source of FFHQ (Karras, Laine, Aila, 2019) from its 1024 or 128 pixel images, in the published order.

    `path` is the folder `images1024x1024` or `thumbnails128x128`, a folder with them, or a zip or tar of either.
    Where both are found, the 1024 images are used.

    Raises:
        UserError: neither is there, or its images are smaller than `resolution`.
    """
    files = open_collection(path)
    names = [name for name in image_names(files.names) if "in-the-wild-images" not in PurePosixPath(name).parts]
    if not names:
        raise UserError(f"`recipe`=ffhq: {path} holds no images; give FFHQ's images1024x1024 or thumbnails128x128")
    for folder, side in _FFHQ_SIZES.items():
        inside = [name for name in names if folder in (*Path(path).parts, *PurePosixPath(name).parts[:-1])]
        if inside:
            names, found = inside, side
            break
    else:
        found = Item(names[0], functools.partial(files.read, names[0])).open().width
        if found not in _FFHQ_SIZES.values():
            raise UserError(
                f"`recipe`=ffhq: {names[0]} in {path} is {found} pixels wide, but FFHQ has 1024 or 128; "
                "give images1024x1024 or thumbnails128x128, or leave `recipe` out"
            )
    if found < resolution:
        raise UserError(
            f"`recipe`=ffhq: {path} has images of {found} x {found}, which do not give {resolution} x {resolution}; "
            "use images1024x1024 or a smaller `size`"
        )
    items = [Item(name, functools.partial(files.read, name), size=(found, found)) for name in names]
    complete = "all" if len(items) == _FFHQ_IMAGES else "not all"
    return Source(
        items, None, f"{len(items)} FFHQ images of {found} x {found} ({complete} of the {_FFHQ_IMAGES} published)"
    )


def stanford_dogs(path: str | os.PathLike) -> Source:
    """Make a source of Stanford Dogs (Khosla et al., 2011): one item for each annotated dog, labelled with its breed.

    `path` is a folder with `Images/` and `Annotation/`, or with `images.tar` and `annotation.tar`, or a zip or tar
    with both. Breeds are numbered in the order of their folders (WordNet numbers). Images without a usable annotation
    become items with a problem.

    Raises:
        UserError: images or annotations are not there.
    """
    images, annotations = {}, {}
    for files in _collections(path):
        for name in files.names:
            parts = PurePosixPath(name).parts
            if len(parts) < 3:
                continue
            top, breed, file = parts[-3].lower(), parts[-2], PurePosixPath(parts[-1])
            if top == "images" and image_names([name]):
                images[breed, file.stem] = (files, name)
            elif top == "annotation":
                annotations[breed, file.name.removesuffix(".xml")] = (files, name)
    for found, what, archive in ((images, "Images", "images.tar"), (annotations, "Annotation", "annotation.tar")):
        if not found:
            raise UserError(
                f"`recipe`=stanford-dogs: there is no {what}/<breed>/ and no {archive} in {path}; "
                "give the folder with Images/ and Annotation/, or with images.tar and annotation.tar"
            )
    folders = sorted({breed for breed, _ in images})
    numbers = {folder: number for number, folder in enumerate(folders)}
    items = []
    for breed, stem in sorted(images):
        items.extend(_dogs(images[breed, stem], annotations.get((breed, stem)), numbers[breed]))
    classes = [re.sub(r"^n\d{8}-", "", folder) for folder in folders]
    return Source(
        items,
        classes,
        f"{len(items)} dogs in {len(images)} images of {len(folders)} breeds "
        f"(published: {_DOGS_IMAGES} images, {_DOGS_BREEDS} breeds)",
    )


def _collections(path: str | os.PathLike) -> Iterator[Files]:
    files = open_collection(path)
    yield files
    if isinstance(files, FolderFiles):
        for name in files.names:
            if name.lower() in ("images.tar", "annotation.tar"):
                yield TarFiles(Path(path) / name)


def _dogs(image: tuple[Files, str], annotation: tuple[Files, str] | None, label: int) -> Iterator[Item]:
    """Yield one item for each box of an image, named after the file and, where there are several, the box's number."""
    files, name = image
    read = functools.partial(files.read, name)
    if annotation is None:
        yield Item(name, read, label, problem=Problem("no annotation", ""))
        return
    try:
        size, boxes = parse_annotation(annotation[0].read(annotation[1]))
    except (UserError, ValueError, OverflowError) as error:
        yield Item(name, read, label, problem=Problem("unusable annotation", str(error)))
        return
    for number, box in enumerate(boxes, 1):
        yield Item(name if len(boxes) == 1 else f"{name}#{number}", read, label, box, size)


def parse_annotation(text: bytes) -> tuple[tuple[int, int] | None, list[Box]]:
    """Return size (width, height) and boxes (left, top, right, bottom) of an annotation in Pascal VOC's format.

    The size is None where it says 0. Boxes are cut at the image's border.

    Raises:
        ValueError: not such an annotation, no box, or an empty one.
    """
    try:
        root = xml.etree.ElementTree.fromstring(text)
        width, height = (int(root.findtext(f"size/{name}", "0")) for name in ("width", "height"))
        size = (width, height) if width > 0 and height > 0 else None
        boxes = []
        for element in root.iterfind("object/bndbox"):
            left, top, right, bottom = (
                int(float(element.findtext(key, ""))) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            if size is not None:
                right, bottom = min(right, width), min(bottom, height)
            boxes.append((max(0, left), max(0, top), right, bottom))
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(f"not XML ({first_line(error)})") from error
    if not boxes:
        raise ValueError("it has no box")
    for left, top, right, bottom in boxes:
        if right <= left or bottom <= top:
            raise ValueError(f"the box {left, top, right, bottom} is empty")
    return size, boxes
