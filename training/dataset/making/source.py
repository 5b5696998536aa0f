"""What a data set is made from: items that open as PIL images, whatever they lie in."""

import concurrent.futures
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from dnnlib import UserError
from torch_utils.media.pictures import DECODE_ERRORS, open_picture, upright_size, why_unreadable

Done = TypeVar("Done")
Label = int | list[float] | None
Box = tuple[int, int, int, int]


class Problem(Exception):
    """Why one item cannot become an image of the data set; `kind` groups such items in the report."""

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Item:
    """One future image.

    Attributes:
        name: what to call it in reports.
        read: returns the bytes of an image file, or a PIL image.
        label: class number, vector or None.
        box: (left, top, right, bottom) in pixels of the stored image, what to show; None for the whole image.
        size: (width, height) that the stored image must have; None for any.
        face: points [5, 2] of the face to show, in the upright image, see `torch_utils.media.alignment`; None for none.
        problem: why it cannot be used, as known before reading it.
    """

    name: str
    read: Callable[[], bytes | Image.Image]
    label: Label = None
    box: Box | None = None
    size: tuple[int, int] | None = None
    face: np.ndarray | None = None
    problem: Problem | None = None

    def open(self) -> Image.Image:
        """Open the image without decoding its pixels. Raises Problem."""
        if self.problem is not None:
            raise self.problem
        try:
            data = self.read()
            return data if isinstance(data, Image.Image) else open_picture(data)
        except UserError as error:
            raise Problem("unreadable", str(error)) from error
        except DECODE_ERRORS as error:
            raise Problem("unreadable", why_unreadable(error)) from error

    def header(self) -> tuple[Image.Image, tuple[int, int]]:
        """Open the image without decoding its pixels; return it with its (width, height) when turned upright.

        Raises:
            Problem: the image cannot be read.
        """
        image = self.open()
        try:
            return image, upright_size(image)
        except DECODE_ERRORS as error:
            raise Problem("unreadable", why_unreadable(error)) from error

    def load(self) -> Image.Image:
        """Open the image and decode all its pixels. Raises Problem."""
        image = self.open()
        try:
            image.load()
        except DECODE_ERRORS as error:
            raise Problem("unreadable", why_unreadable(error)) from error
        return image


@dataclass(frozen=True)
class Source:
    """All items in the order of the data set to make, and the names of their classes where known."""

    items: Sequence[Item]
    classes: list[str] | None
    description: str

    @property
    def has_labels(self) -> bool:
        """Whether any item has a label."""
        return any(item.label is not None for item in self.items)


def in_order(
    work: Callable[[Item], Done], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Done | Problem]]:
    """Yield each item with what `work` makes of it, or its problem, in order, while threads work a little ahead."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        window: deque[tuple[Item, concurrent.futures.Future[Done]]] = deque()
        try:
            for item in items:
                window.append((item, pool.submit(work, item)))
                if len(window) > 4 * workers:
                    yield _outcome(*window.popleft())
            while window:
                yield _outcome(*window.popleft())
        finally:
            for _, future in window:
                future.cancel()


def _outcome(item: Item, future: concurrent.futures.Future[Done]) -> tuple[Item, Done | Problem]:
    try:
        return item, future.result()
    except Problem as problem:
        return item, problem
