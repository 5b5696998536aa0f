"""Options of the commands that draw with a network, each written once. Imports no torch, so that help is at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dnnlib import UserError
from dnnlib.cli import SEED, IntegerRanges, Number, NumberList, Size, Span
from dnnlib.options import NETWORK, NetworkFileOptions, option

if TYPE_CHECKING:
    import torch

    from training.snapshot import Snapshot

DRAW, MIX, VIDEO, EDIT = "What to draw", "Style mixing", "Videos", "Directions"
COUNT = click.IntRange(min=1)
NO_TRUNCATION, PICTURES_AT_ONCE = 1.0, 8
DEFAULT_LAYERS = "0-6, at most half"
USUAL_COUNT = 16  # of directions


@dataclass(frozen=True)
class Motion:
    """How a video moves; see `path_through`. `space` is "w" or "z", `frames` the steps from one picture to the next."""

    frames: int = 60
    fps: float = 30
    space: str = "w"
    curve: str = "cubic"
    loop: bool = True


# fmt: off
@dataclass(frozen=True, kw_only=True)
class NetworkOptions(NetworkFileOptions):
    """Which network, and which class of it."""

    network: str = option(
        NETWORK, "Snapshot or official pickle: file, https:// or hf://user/repo/file.", unit="FILE|URL", required=True)
    class_text: str | None = option(
        NETWORK, "Of a conditional network: index, name, or cat=0.7,dog=0.3.", unit="CLASS", flags=("--class",))
    label: tuple[float, ...] | None = option(
        NETWORK, "Of a conditional network: the label itself, as 0,1,1 or 0.37.", NumberList(), unit="NUMBERS")

    def load(self) -> "Snapshot":
        """The network's file."""
        from training.snapshot import load_snapshot

        return load_snapshot(self.network, sha256=self.network_sha256, offline=self.offline)

    def label_for(self, snapshot: "Snapshot") -> "torch.Tensor | None":
        """The label c [1, c_dim] that was asked for; None for an unconditional network."""
        from generation.latents import label_vector, parse_class

        c_dim = snapshot.generator.c_dim
        if self.label is None:
            return parse_class(self.class_text, c_dim, snapshot.metadata.get("class_names"))
        if self.class_text is not None:
            raise UserError("`label` and `class_text` both say what to draw; leave one of them out")
        return label_vector(self.label, c_dim)


@dataclass(frozen=True, kw_only=True)
class DrawingOptions(NetworkOptions):
    """How to draw; `style_mixing.py` has these too."""

    outdir: Path = option(DRAW, "Folder for the results; made if absent.", Path, unit="DIR", required=True)
    trunc: float = option(DRAW, "Truncation psi: 1 for none.", Number(), NO_TRUNCATION, unit="PSI")
    trunc_cutoff: int | None = option(
        DRAW, "Truncate only so many layers, the first.", click.IntRange(min=0), unset="all", unit="LAYERS")
    trunc_to: str = option(
        DRAW, "Truncate towards the mean w of everything, or of the class or label asked for.",
        click.Choice(["mean", "class"]), "mean")
    noise_mode: str = option(
        DRAW, "The network's own noise, noise by seed, or none.", click.Choice(["const", "random", "none"]), "const")
    noise_seed: int | None = option(
        DRAW, "Of random noise, for every picture.", SEED, unset="the picture's own", unit="SEED",
        only_with=("noise_mode", "random"))
    edit: tuple[str, ...] = option(
        DRAW, "Move w along a direction in some layers, as pca3:1.5:0-6 or sefa0:-2; repeatable.",
        unit="DIRECTION:STRENGTH[:LAYERS]", multiple=True)
    batch_size: int = option(DRAW, "Pictures computed at once.", COUNT, PICTURES_AT_ONCE, unit="PICTURES")


@dataclass(frozen=True, kw_only=True)
class Options(DrawingOptions):
    """What to draw."""

    seeds: list[int] | None = option(DRAW, "Seeds such as 0,1,5-8.", IntegerRanges())
    projected_w: tuple[Path, ...] = option(
        DRAW, "Latents of projector.py or others (.npz, .npy, .pt), instead of seeds; repeatable.", Path, unit="FILE",
        multiple=True)
    projected_noise: Path | None = option(DRAW, "Noise maps that projector.py found with them.", Path, unit="FILE")
    grid: tuple[int, int | None] | None = option(
        DRAW, "One grid.png instead of single pictures; with --video: cells of the video.", Size("columns"))
    mix_rows: list[int] | None = option(MIX, "Seeds that give the picture of each row.", IntegerRanges())
    mix_cols: list[int] | None = option(MIX, "Seeds that give each column its styles.", IntegerRanges())
    layers: list[int] | None = option(
        MIX, "Layers that are replaced.", IntegerRanges(), unset=DEFAULT_LAYERS, flags=("--mix-layers",))
    video: str | None = option(VIDEO, "Interpolate between the pictures.", click.Choice(["mp4", "gif", "webp"]))
    frames: int = option(VIDEO, "From one picture to the next.", COUNT, Motion.frames, unit="FRAMES")
    fps: float = option(VIDEO, "Frames per second.", Number(0, min_open=True), Motion.fps, unit="FPS")
    space: str = option(VIDEO, "Where to interpolate.", click.Choice(["w", "z"]), Motion.space)
    curve: str = option(
        VIDEO, "Spline, or straight (slerp in z).", click.Choice(["cubic", "linear"]), Motion.curve)
    loop: bool = option(VIDEO, "Return to the first picture.", bool, Motion.loop)
    directions: str | None = option(
        EDIT, "Move pictures along principal components, singular vectors, or what a file has.", unit="pca|sefa|FILE")
    direction: str | None = option(
        EDIT, "Which: 0-3,7, or a name; smile=7 gives one.", unset=f"the first {USUAL_COUNT}", unit="LIST",
        only_with=("directions",))
    strength: tuple[float, float] = option(EDIT, "How far, in standard deviations.", Span(), (-3.0, 3.0))
    steps: int = option(EDIT, "Pictures in a strip.", click.IntRange(min=2), 7, unit="PICTURES")
    direction_layers: list[int] | None = option(
        EDIT, "Layers that are moved.", IntegerRanges(), unset="all", flags=("--layers",), only_with=("directions",))
    save_directions: Path | None = option(
        EDIT, "Add the directions to this file, with their names and layers.", Path, unit="FILE",
        only_with=("directions",))
# fmt: on
