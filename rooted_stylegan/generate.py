"""Draw pictures, grids, style mixing and interpolation videos with a trained network."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from dnnlib import UserError, make_folder
from dnnlib.cli import SEED, Command, IntegerRanges, Number, Size, Span, door, say
from dnnlib.options import check_together, option, takes_options
from generation.directions import USUAL_COUNT, find_directions, save_directions
from generation.edits import Editor, parse_edit
from generation.latents import load_noise, sample_w
from generation.mixing import DEFAULT_LAYERS
from generation.notes import network_note
from generation.options import NetworkOptions
from generation.output import Motion, Source, draw_grid, draw_mixing, draw_pictures, draw_strips, draw_video
from generation.renderer import Renderer
from torch_utils.machine.devices import choose_device
from torch_utils.media.video import require_ffmpeg

EPILOG = """\b
Examples:
  # pictures for seeds, truncated
  python generate.py --network=net.safetensors --seeds=0,1,5-8 --trunc=0.7 --outdir=out
  # a conditional network: class by index, name, or as a mixture
  python generate.py --network=net.pkl --seeds=0-9 --class=cat=0.5,dog=0.5 --outdir=out
  # the label itself, truncated towards its own mean
  python generate.py --network=net.pkl --seeds=0-9 --label=0,1,1 --trunc=0.7 --trunc-to=class --outdir=out
  # one picture with 8 x 4 cells
  python generate.py --network=net.pkl --grid=8x4 --outdir=out
  # styles 0-6 of the columns on the pictures of the rows
  python generate.py --network=net.pkl --mix-rows=85,100 --mix-cols=55,821 --mix-layers=0-6 --outdir=out
  # a video that goes around six pictures and repeats
  python generate.py --network=net.pkl --seeds=0-5 --video=mp4 --outdir=out
  # what changes along the first principal components of w, a strip for each
  python generate.py --network=net.pkl --seeds=0-3 --directions=pca --direction=0-7 --strength=-3..3 --outdir=out
  # from latents that projector.py found
  python generate.py --network=net.pkl --projected-w=out/projected_w.npz --outdir=out
"""


DRAW, MIX, VIDEO, EDIT = "What to draw", "Style mixing", "Videos", "Directions"
COUNT = click.IntRange(min=1)
DIRECTION_SEEDS = 4  # where none are named


# fmt: off
@dataclass(frozen=True, kw_only=True)
class DrawingOptions(NetworkOptions):
    """How to draw; `style_mixing.py` has these too."""

    outdir: Path = option(DRAW, "Folder for the results; made if absent.", Path, unit="DIR", required=True)
    trunc: float = option(DRAW, "Truncation psi: 1 for none.", Number(), Renderer.psi, unit="PSI")
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
    batch_size: int = option(DRAW, "Pictures computed at once.", COUNT, Renderer.batch_size, unit="PICTURES")


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


@click.command(cls=Command, epilog=EPILOG)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Draw pictures, grids, style mixing and videos with a trained network.

    Networks are snapshots of this project or official StyleGAN2-ADA pickles (read as data: nothing in them runs).
    """
    if options.projected_noise is not None and options.noise_mode != "const":
        raise UserError("--projected-noise is constant noise; leave out --noise-mode")
    check_together(options, options)
    source = _check_modes(options)
    if options.video == "mp4":
        require_ffmpeg()
    renderer, text = prepare(options)
    outdir = options.outdir
    if options.projected_noise is not None:
        load_noise(options.projected_noise, renderer.G)
    if options.mix_rows:
        written = draw_mixing(renderer, text, options.mix_rows, options.mix_cols, options.layers, outdir)
    elif options.directions:
        written = _draw_directions(renderer, text, source, options)
    elif options.video:
        motion = Motion(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Motion)})
        columns, rows = options.grid or (1, 1)
        written = draw_video(renderer, source, motion, columns, rows or 1, outdir / f"interpolation.{options.video}")
    elif options.grid:
        written = draw_grid(renderer, text, source, *options.grid, outdir / "grid.png")
    else:
        written = draw_pictures(renderer, text, source, outdir)
    say(written)


def prepare(options: DrawingOptions) -> tuple[Renderer, dict[str, str]]:
    """Load the network and make the folder; returns the renderer and the text that every picture carries."""
    device = choose_device(options.device)
    snapshot = options.load()
    G, cutoff = snapshot.generator, options.trunc_cutoff
    if G.c_dim == 0 and options.class_text is not None:
        say("note: the network is unconditional; --class has no effect", err=True)
    if cutoff is not None and cutoff > G.num_ws:
        raise UserError(f"--trunc-cutoff={cutoff}: the network has {G.num_ws} layers")
    label = options.label_for(snapshot)
    if options.trunc_to == "class" and label is None:
        raise UserError("--trunc-to=class: this network is not conditional; leave it out")
    edits = tuple(map(parse_edit, options.edit))
    G = G.to(device)
    edit = functools.partial(Editor(G).add, edits=edits) if edits else None
    center = sample_w(G, label).mean(dim=0).to(device) if options.trunc_to == "class" else None
    how = (options.trunc, cutoff, options.noise_mode, options.batch_size, options.noise_seed)
    renderer = Renderer(G, device, label, *how, edit, center)
    make_folder(options.outdir, "`outdir`")
    return renderer, network_note(renderer, Path(options.network).name, snapshot.hash, options.class_text, edits)


def _draw_directions(renderer: Renderer, text: dict[str, str], source: Source, options: Options) -> str:
    G, layers = renderer.G, options.direction_layers
    directions = find_directions(options.directions, G, label=renderer.label, layers=layers)
    chosen = directions.choose(options.direction or f"0-{min(USUAL_COUNT, len(directions.names)) - 1}")
    if options.save_directions is not None:
        save_directions(options.save_directions, chosen, G.num_ws)
    strengths = np.linspace(*options.strength, options.steps).tolist()
    return draw_strips(
        renderer, {**text, "directions": Path(options.directions).name}, source, chosen, strengths, options.outdir
    )


def _check_modes(options: Options) -> Source:
    """What to draw from; a grid with rows and columns needs no seeds and takes the first ones, as directions do."""
    seeds, projected_w, grid = options.seeds, options.projected_w, options.grid
    if bool(options.mix_rows) != bool(options.mix_cols):
        raise UserError("style mixing needs both --mix-rows and --mix-cols")
    if options.mix_rows:
        if seeds or projected_w or grid or options.video or options.directions:
            raise UserError(
                "--mix-rows has its own seeds and grid; leave out --seeds, --projected-w, --grid, --video, --directions"
            )
    elif options.directions and (grid or options.video):
        raise UserError("--directions draws strips; leave out --grid and --video")
    elif seeds and projected_w:
        say("note: --projected-w is given; --seeds has no effect", err=True)
    elif not seeds and not projected_w:
        if not options.directions and (grid is None or grid[1] is None or options.video):
            raise UserError(
                "say what to draw: --seeds=0-7, --projected-w=FILE, --grid=8x4 or --mix-rows and --mix-cols"
            )
        seeds = list(range(grid[0] * grid[1] if grid else DIRECTION_SEEDS))
    return Source(seeds or (), projected_w)
