"""What `generate.py` and `style_mixing.py` do: load, draw, write, and say what was written."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from dnnlib import UserError, make_folder
from dnnlib.cli import say
from dnnlib.options import check_together
from generation.directions import find_directions, save_directions
from generation.edits import Editor, parse_edit
from generation.latents import load_noise, sample_w
from generation.notes import network_note
from generation.options import USUAL_COUNT, DrawingOptions, Motion, Options
from generation.output import Source, draw_grid, draw_mixing, draw_pictures, draw_strips, draw_video
from generation.renderer import Renderer
from torch_utils.machine.devices import choose_device
from torch_utils.media.video import require_ffmpeg

DIRECTION_SEEDS = 4  # where none are named


def draw(options: Options) -> None:
    """Do what the options of `generate.py` say.

    Raises:
        UserError: options that do not belong together, or files that cannot be used.
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
