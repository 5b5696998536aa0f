"""Network output to picture files: quantisation, grids, and the writer that every tool shares (L, LA, RGB, RGBA)."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin

from dnnlib import UserError, atomic_write

WRITABLE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tiff")


def to_uint8(img: torch.Tensor) -> torch.Tensor:
    """Quantise images in [-1, 1] (any float dtype, any shape) to uint8: clamp(x * 127.5 + 128, 0, 255), truncated.

    The rule of StyleGAN2-ADA's tools; metrics of published networks depend on it.
    """
    return (img.to(torch.float32) * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def repeat_grey(images: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] of grey images [N, 1, H, W], for networks that know nothing else; others as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def rgb_on_white(images: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] in [0, 255] of grey or RGB images with or without alpha, uint8 or float: alpha over white.

    Raises:
        UserError: another number of channels than 1 to 4.
    """
    channels = images.shape[1]
    if channels not in (1, 2, 3, 4):
        raise UserError(f"these images have {channels} channels; grey or RGB with or without alpha (1 to 4) is needed")
    if channels in (2, 4):
        alpha = images[:, -1:].float() / 255
        over_white = images[:, :-1].float() * alpha + 255 * (1 - alpha)
        images = over_white if images.is_floating_point() else over_white.round().to(images.dtype)
    return repeat_grey(images)


def to_pil(image: torch.Tensor) -> Image.Image:
    """Turn a uint8 [C, H, W] tensor into a PIL image of mode L, LA, RGB or RGBA for C = 1, 2, 3, 4.

    Raises:
        UserError: another number of channels, which no picture format can hold.
    """
    channels = image.shape[0]
    if image.dtype != torch.uint8 or image.ndim != 3:
        raise TypeError(f"to_pil takes uint8 [C, H, W], not {image.dtype} {tuple(image.shape)}")
    if channels not in (1, 2, 3, 4):
        raise UserError(f"images of {channels} channels cannot be written as pictures; 1 to 4 channels can")
    array = image.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[:, :, 0] if channels == 1 else array)


def make_grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """Lay out [N, C, H, W] row by row without gaps: [C, ceil(N / columns) * H, columns * W]; missing cells are zero."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    missing = rows * columns - count
    if missing:
        images = torch.cat([images, images.new_zeros(missing, channels, height, width)])
    cells = images.reshape(rows, columns, channels, height, width)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def save_image(path: str | os.PathLike, image: torch.Tensor, text: Mapping[str, str] | None = None) -> None:
    """Write a uint8 [C, H, W] tensor as a picture, atomically; the format is the suffix of `path`.

    Args:
        path: a name ending in one of `WRITABLE_SUFFIXES`.
        image: uint8 [C, H, W] with 1 to 4 channels. Alpha is kept where the format has it, which is not so for JPEG.
        text: entries for the PNG's text chunks (other formats hold none and drop them).

    Raises:
        UserError: a suffix or channel count that cannot be written, or a folder that cannot.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise UserError(f"cannot write {path}: the name must end in one of {', '.join(WRITABLE_SUFFIXES)}")
    if suffix in (".jpg", ".jpeg") and image.shape[0] in (2, 4):
        raise UserError(f"cannot write {path}: JPEG holds no alpha channel; choose .png or .webp")
    data = encode_image(image, suffix, text)  # in memory: writers seek, and a failed encoding leaves no file behind
    with atomic_write(path) as stream:
        stream.write(data)


def encode_image(image: torch.Tensor, suffix: str, text: Mapping[str, str] | None = None) -> bytes:
    """The bytes that `save_image` writes; `suffix` is one of `WRITABLE_SUFFIXES`."""
    picture = to_pil(image)
    options: dict = {}
    if suffix == ".png":
        options["pnginfo"] = _text_chunks(text or {})
    elif suffix == ".webp":
        options["lossless"] = True
    elif suffix in (".jpg", ".jpeg"):
        options.update(quality=95, subsampling=0)
    buffer = io.BytesIO()
    picture.save(buffer, format=Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


def _text_chunks(text: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        add = chunks.add_text if value.isascii() else chunks.add_itxt
        add(key, value)
    return chunks
