"""Image classification sets as uint8 tensors in memory: CIFAR, Tiny-ImageNet, Food-101, folders, arrays of JPEGs."""

import difflib
import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dnnlib import UserError
from dnnlib.files import read_regular
from torch_utils.arrays import ARRAY_ERRORS, read_arrays
from torch_utils.media.pictures import (
    DECODE_ERRORS,
    MOST_BYTES,
    in_mode,
    is_picture,
    open_picture,
    upright,
    why_unreadable,
)

NAMED = {"cifar10": 32, "cifar100": 32, "food101": 224}


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (N, 3, S, S), labels int64 (N) in 0 .. len(classes) - 1."""

    x: Tensor
    y: Tensor
    classes: list[str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of images and labels in their order."""
        content = hashlib.sha256(self.x.contiguous().numpy())
        content.update(self.y.contiguous().numpy())
        return content.hexdigest()

    def select(self, indices: Tensor) -> "ImageSet":
        """The samples at `indices`."""
        return replace(self, x=self.x[indices], y=self.y[indices])


def load(data: str, data_dir: Path, size: int | None, limit: int | None) -> tuple[ImageSet, ImageSet]:
    """Training and test set.

    Args:
        data: "cifar10", "cifar100" or "food101" (through torchvision, in `data_dir`, fetched where missing), or a
            path: an .npz of JPEGs (`train_jpeg`, `train_offsets`, `train_labels`, the same for `test`, `classes`), or a
            folder with `train` and `val` or `test`, each with one folder per class (Tiny-ImageNet's layout too).
        data_dir: folder of torchvision's data sets.
        size: side in pixels to which images are resized; None: 32 (224 for food101), folders keep theirs (64).
        limit: use only so many training images and a fifth as many test images, balanced by a fixed shuffle.

    Raises:
        UserError: nothing of that name, damaged files, labels out of range.
    """
    path = Path(data)
    if data in NAMED:
        pair = _torchvision(data, data_dir, size or NAMED[data], limit)
    elif path.suffix == ".npz" and path.is_file():
        pair = _jpeg_arrays(path, size or 32, limit)
    elif path.is_dir():
        pair = _folders(path, size or 64, limit)
    else:
        near = difflib.get_close_matches(data, NAMED, n=2, cutoff=0.5) or list(NAMED)
        raise UserError(f"--data={data}: no data set, .npz or folder of that name; nearest: {', '.join(near)}")
    for part, name in zip(pair, ("training", "test"), strict=True):
        if not len(part.y):
            raise UserError(f"--data={data}: the {name} part is empty")
        if part.y.min() < 0 or part.y.max() >= len(part.classes):
            raise UserError(
                f"--data={data}: {name} labels reach {int(part.y.max())}, but there are {len(part.classes)} classes"
            )
    return pair


def chosen_indices(count: int, limit: int | None) -> np.ndarray:
    """All indices, or `limit` of them by a fixed shuffle."""
    return np.arange(count) if limit is None else np.sort(np.random.default_rng(0).permutation(count)[:limit])


def decoded(image: Image.Image, size: int) -> np.ndarray:
    """RGB uint8 (3, size, size), upright and on white; the centre square where the image is not square."""
    image = in_mode(upright(image), "RGB")
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def _torchvision(name: str, folder: Path, size: int, limit: int | None) -> tuple[ImageSet, ImageSet]:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise UserError("torchvision is not installed; pip install 'rooted-stylegan[experiments]'") from error
    try:
        if name == "food101":
            parts = [datasets.Food101(folder, split=split, download=True) for split in ("train", "test")]
        else:
            kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
            parts = [kind(folder, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"--data={name}: not in {folder} and cannot be fetched ({error}); put it there or name an .npz or folder"
        ) from error
    sets = []
    for part, most in zip(parts, (limit, limit and max(limit // 5, 1)), strict=True):
        items = [part[int(i)] for i in chosen_indices(len(part), most)]
        x = torch.from_numpy(np.stack([decoded(image, size) for image, _ in items]))
        sets.append(ImageSet(x, torch.tensor([label for _, label in items]), list(part.classes)))
    return sets[0], sets[1]


def _jpeg_arrays(path: Path, size: int, limit: int | None) -> tuple[ImageSet, ImageSet]:
    sets = []
    needed = ["classes", *(f"{part}_{kind}" for part in ("train", "test") for kind in ("jpeg", "offsets", "labels"))]
    try:
        arrays = read_arrays(path, needed)
        missing = [name for name in needed if name not in arrays]
        if missing:
            raise UserError(f"--data={path}: no array {', '.join(missing)} in it; needed are {', '.join(needed)}")
        classes = [str(name) for name in arrays["classes"]]
        for part, most in (("train", limit), ("test", limit and max(limit // 5, 1))):
            content, offsets = arrays[f"{part}_jpeg"], arrays[f"{part}_offsets"]
            labels = arrays[f"{part}_labels"].astype(np.int64)
            indices = chosen_indices(len(labels), most)
            images = [decoded(open_picture(content[offsets[i] : offsets[i + 1]].tobytes()), size) for i in indices]
            sets.append(ImageSet(torch.from_numpy(np.stack(images)), torch.from_numpy(labels[indices]), classes))
    except (*ARRAY_ERRORS, *DECODE_ERRORS) as error:
        raise UserError(f"--data={path}: not a readable archive of JPEGs ({why_unreadable(error)})") from error
    return sets[0], sets[1]


def _folders(folder: Path, size: int, limit: int | None) -> tuple[ImageSet, ImageSet]:
    train, test = folder / "train", next((folder / n for n in ("val", "test") if (folder / n).is_dir()), None)
    if not train.is_dir() or test is None:
        raise UserError(f"--data={folder}: no folders train and val (or test) in it")
    classes = sorted(entry.name for entry in train.iterdir() if entry.is_dir())
    sets = []
    for part, most in ((train, limit), (test, limit and max(limit // 5, 1))):
        files = _labelled_files(part)
        unknown = sorted({label for _, label in files} - set(classes))
        if unknown:
            raise UserError(f"--data={folder}: class {unknown[0]} of {part.name} is not among the classes of train")
        chosen = [files[int(i)] for i in chosen_indices(len(files), most)]
        images = np.stack([_open(file, size) for file, _ in chosen]) if chosen else np.zeros((0, 3, size, size), "u1")
        labels = torch.tensor([classes.index(label) for _, label in chosen], dtype=torch.int64)
        sets.append(ImageSet(torch.from_numpy(images), labels, classes))
    return sets[0], sets[1]


def _labelled_files(folder: Path) -> list[tuple[Path, str]]:
    """Image files with the names of their classes; Tiny-ImageNet's val folder names them in a text file."""
    annotations = folder / "val_annotations.txt"
    if annotations.is_file():
        try:
            lines = [line.split("\t") for line in read_regular(annotations, 1 << 26).decode().splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {annotations} ({error}); get the data set again") from error
        if any(len(line) < 2 or "/" in line[0] for line in lines):
            raise UserError(f"{annotations} has a line without file and class; get the data set again")
        return [(folder / "images" / line[0], line[1]) for line in lines]
    files = (file for file in sorted(folder.rglob("*")) if is_picture(file.name))
    return [(file, file.relative_to(folder).parts[0]) for file in files if file.parent != folder]


def _open(file: Path, size: int) -> np.ndarray:
    try:
        with open_picture(read_regular(file, MOST_BYTES)) as image:
            return decoded(image, size)
    except DECODE_ERRORS as error:
        raise UserError(f"{file} is not a readable image ({why_unreadable(error)}); remove or fix it") from error


def with_label_noise(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Replace that share of the labels by another class, uniformly; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    flipped = torch.rand(len(labels), generator=generator) < share
    shift = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(flipped, (labels + shift) % classes, labels)


def flips_by_turns(count: int, epoch: int, seed: int) -> Tensor:
    """Which of `count` images are mirrored in an epoch, bool (count): half of them at first, then by turns."""
    first = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5
    return first ^ bool(epoch % 2)


def augmented(x: Tensor, padding: int, cutout: int, flip: Tensor | None = None) -> Tensor:
    """Flip, random crop after zero padding, square hole: float images (N, 3, S, S), one draw per image.

    `flip` bool (N) says which are mirrored; random if left out.
    """
    n, _, size, _ = x.shape
    device = x.device
    if flip is None:
        flip = torch.rand(n, device=device) < 0.5
    x = torch.where(flip.to(device)[:, None, None, None], x.flip(3), x)
    if padding:
        padded = torch.nn.functional.pad(x, [padding] * 4)
        shift = torch.randint(2 * padding + 1, (2, n, 1), device=device)
        pixel = torch.arange(size, device=device)
        rows, columns = shift[0] + pixel, shift[1] + pixel
        batch, channel = torch.arange(n, device=device)[:, None, None, None], torch.arange(3, device=device)
        x = padded[batch, channel[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    if cutout:
        centre = torch.randint(size, (2, n, 1), device=device)
        pixel = torch.arange(size, device=device)
        inside = (pixel - centre).abs() * 2 <= cutout
        x = x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)
    return x
