"""Frames to video files: MP4 through ffmpeg, GIF and WebP through Pillow. Complete files only."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image

from dnnlib import UserError, atomic_write, first_line
from torch_utils.media.images import to_pil

VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")
_MAX_GIF_FPS = 50  # GIF counts in 1/100 s, and viewers slow down frames shorter than 2/100 s


def write_video(path: str | os.PathLike, frames: Iterable[torch.Tensor], fps: float) -> int:
    """Write frames, uint8 [C, H, W] with 1 to 4 channels, and return how many there were.

    The suffix of `path` chooses the format. MP4 is H.264 (4:2:0, so sides are made even by repeating the last row or
    column); it has no alpha, so transparent pixels are laid over white. GIF and WebP repeat for ever; GIF rounds the
    time per frame to 1/100 s.

    Raises:
        UserError: another suffix, ffmpeg missing or failing, a GIF above 50 frames per second, an unwritable folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise UserError(f"cannot write {path}: video files end in {', '.join(VIDEO_SUFFIXES)}")
    if suffix == ".gif" and fps > _MAX_GIF_FPS:
        raise UserError(f"`fps`={fps:g} is more than GIF can show ({_MAX_GIF_FPS}); lower it or write .webp or .mp4")
    if suffix == ".mp4":
        require_ffmpeg()
    counted = _Counted(frames)
    with tempfile.TemporaryDirectory() as folder:  # ffmpeg wants a name to write to, not a stream
        temporary = Path(folder) / f"video{suffix}"
        try:
            write = _write_mp4 if suffix == ".mp4" else _write_animation
            write(temporary, counted, fps)
            if not temporary.exists() or not temporary.stat().st_size:
                raise UserError(f"cannot write {path}: ffmpeg failed; its own message is above")
            with open(temporary, "rb") as source, atomic_write(path) as target:
                shutil.copyfileobj(source, target)
        except OSError as error:  # imageio-ffmpeg reports several lines, of which the first says what
            raise UserError(f"cannot write {path}: {first_line(error)}") from error
    return counted.count


def require_ffmpeg() -> None:
    """Check before a long computation that MP4 files can be written.

    Raises:
        UserError: the package imageio-ffmpeg, or the program that it brings or that `IMAGEIO_FFMPEG_EXE` names, is
            missing.
    """
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            "MP4 files need ffmpeg: run `pip install imageio-ffmpeg`, or write GIF or WebP instead"
        ) from error
    if shutil.which(program) is None:  # the package takes the variable's word for it
        remedy = "correct or unset IMAGEIO_FFMPEG_EXE" if os.environ.get("IMAGEIO_FFMPEG_EXE") else "install it again"
        raise UserError(f"MP4 files need ffmpeg, and {program} is no program; {remedy}, or write GIF or WebP instead")


class _Counted:
    """The frames, and how many have gone by."""

    def __init__(self, frames: Iterable[torch.Tensor]) -> None:
        self._frames = frames
        self.count = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        for frame in self._frames:
            self.count += 1
            yield frame


def _write_mp4(path: Path, frames: Iterable[torch.Tensor], fps: float) -> None:
    import imageio_ffmpeg

    pictures = (_even(_opaque(frame)) for frame in frames)
    first = next(pictures)
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (first.shape[2], first.shape[1]),
        pix_fmt_in="rgb24",
        pix_fmt_out="yuv420p",  # the only one that all browsers and players show
        fps=fps,
        codec="libx264",
        quality=None,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=["-crf", "16"],  # hardly any visible loss
    )
    writer.send(None)
    try:
        for picture in itertools.chain([first], pictures):
            writer.send(picture.permute(1, 2, 0).contiguous().numpy())
    finally:
        writer.close()


def _write_animation(path: Path, frames: Iterable[torch.Tensor], fps: float) -> None:
    pictures = (_with_colour(to_pil(frame)) for frame in frames)
    first = next(pictures)
    unit = 10 if path.suffix == ".gif" else 1  # ms
    duration = max(unit, round(1000 / fps / unit) * unit)
    options: dict = {"disposal": 2, "optimize": False} if path.suffix == ".gif" else {"quality": 90}
    first.save(path, save_all=True, append_images=pictures, duration=duration, loop=0, **options)


def _with_colour(picture: Image.Image) -> Image.Image:
    """LA as RGBA: of gray pictures with alpha, GIF would drop the alpha."""
    return picture.convert("RGBA") if picture.mode == "LA" else picture


def _opaque(frame: torch.Tensor) -> torch.Tensor:
    """uint8 [3, H, W] of any [1 to 4, H, W], transparent pixels over white."""
    picture = to_pil(frame)
    if "A" in picture.mode:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    data = bytearray(picture.convert("RGB").tobytes())
    return torch.frombuffer(data, dtype=torch.uint8).reshape(picture.height, picture.width, 3).permute(2, 0, 1)


def _even(frame: torch.Tensor) -> torch.Tensor:
    height, width = frame.shape[1:]
    rows, columns = torch.arange(height + height % 2), torch.arange(width + width % 2)
    return frame[:, rows.clamp(max=height - 1)][:, :, columns.clamp(max=width - 1)]
