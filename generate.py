"""Draw pictures, grids, style mixing and interpolation videos with a trained network."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dnnlib import UserError, make_folder
from dnnlib.cli import (
    Command,
    IntegerRanges,
    Number,
    Size,
    class_option,
    device_option,
    door,
    network_option,
    offline_option,
    sha256_option,
)
from generation.latents import load_noise, parse_class
from generation.output import Motion, Source, draw_grid, draw_mixing, draw_pictures, draw_video
from generation.renderer import Renderer
from torch_utils.devices import choose_device
from torch_utils.video import require_ffmpeg
from training.snapshot import load_snapshot

EPILOG = """\b
Examples:
  # pictures for seeds, truncated
  python generate.py --network=net.safetensors --seeds=0,1,5-8 --trunc=0.7 --outdir=out
  # a conditional network: class by index, name, or as a mixture
  python generate.py --network=net.pkl --seeds=0-9 --class=cat=0.5,dog=0.5 --outdir=out
  # one picture with 8 x 4 cells
  python generate.py --network=net.pkl --grid=8x4 --outdir=out
  # styles 0-6 of the columns on the pictures of the rows
  python generate.py --network=net.pkl --mix-rows=85,100 --mix-cols=55,821 --mix-layers=0-6 --outdir=out
  # a video that goes around six pictures and repeats
  python generate.py --network=net.pkl --seeds=0-5 --video=mp4 --outdir=out
  # from latents that projector.py found
  python generate.py --network=net.pkl --projected-w=out/projected_w.npz --outdir=out
"""


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `generate.py` and `style_mixing.py` share."""
    options = [
        network_option,
        click.option("--trunc", type=Number(), default=1.0, help="Truncation psi: 1 for none."),
        click.option("--trunc-cutoff", type=click.IntRange(min=0), help="Truncate the first so many layers only."),
        class_option,
        click.option(
            "--noise-mode", type=click.Choice(["const", "random", "none"]), default="const",
            help="The network's own noise, noise by seed, or none.",
        ),
        click.option("--outdir", type=Path, required=True, help="Folder for the results; made if absent."),
        device_option,
        click.option("--batch-size", type=click.IntRange(min=1), default=8, help="At once."),
        sha256_option,
        offline_option,
    ]  # fmt: skip
    return functools.reduce(lambda f, option: option(f), reversed(options), function)


@click.command(cls=Command, epilog=EPILOG)
@network_options
@click.option("--seeds", type=IntegerRanges(), help="Seeds such as 0,1,5-8.")
@click.option("--projected-w", type=Path, multiple=True, metavar="FILE",
              help="Latents that projector.py found, instead of seeds; repeatable.")  # fmt: skip
@click.option("--projected-noise", type=Path, metavar="FILE", help="Noise maps that projector.py found with it.")
@click.option("--grid", type=Size("columns"), help="One grid.png, not pictures; with --video: its cells.")
@click.option("--mix-rows", type=IntegerRanges(), help="Style mixing: seeds that give the picture of each row.")
@click.option("--mix-cols", type=IntegerRanges(), help="Style mixing: seeds that give each column its styles.")
@click.option("--mix-layers", "layers", type=IntegerRanges(), help="Style mixing: layers replaced  [0-6 or half].")
@click.option("--video", type=click.Choice(["mp4", "gif", "webp"]), help="Interpolate between the pictures.")
@click.option("--frames", type=click.IntRange(min=1), default=60, help="Video: from one to the next.")
@click.option("--fps", type=Number(0, min_open=True), default=30, help="Video: frames per second.")
@click.option("--space", type=click.Choice(["w", "z"]), default="w", help="Video: where to interpolate.")
@click.option("--curve", type=click.Choice(["cubic", "linear"]), default="cubic",
              help="Video: spline, or straight (slerp in z).")  # fmt: skip
@click.option("--loop", type=bool, default=True, help="Video: return to the first picture.")
@door
def main(
    seeds: list[int] | None,
    projected_w: tuple[Path, ...],
    projected_noise: Path | None,
    grid: tuple[int, int | None] | None,
    mix_rows: list[int] | None,
    mix_cols: list[int] | None,
    layers: list[int] | None,
    video: str | None,
    outdir: Path,
    **options: Any,
) -> None:
    """Draw pictures, grids, style mixing and videos with a trained network.

    Networks are snapshots of this project or official StyleGAN2-ADA pickles (read as data: nothing in them runs).
    """
    if projected_noise is not None and options["noise_mode"] != "const":
        raise UserError("--projected-noise is constant noise; leave out --noise-mode")
    source = _check_modes(seeds, projected_w, grid, mix_rows, mix_cols, video)
    if video == "mp4":
        require_ffmpeg()
    motion = Motion(**{name: options.pop(name) for name in ("frames", "fps", "space", "curve", "loop")})
    renderer, text = prepare(outdir=outdir, **options)
    if projected_noise is not None:
        load_noise(projected_noise, renderer.G)
    if mix_rows and mix_cols:
        written = draw_mixing(renderer, text, mix_rows, mix_cols, layers, outdir)
    elif video:
        columns, rows = grid or (1, 1)
        written = draw_video(renderer, source, motion, columns, rows or 1, outdir / f"interpolation.{video}")
    elif grid:
        written = draw_grid(renderer, text, source, *grid, outdir / "grid.png")
    else:
        written = draw_pictures(renderer, text, source, outdir)
    click.echo(written)


def prepare(
    *,
    network: str,
    trunc: float,
    trunc_cutoff: int | None,
    class_text: str | None,
    noise_mode: str,
    outdir: Path,
    device: str,
    batch_size: int,
    network_sha256: str | None,
    offline: bool,
) -> tuple[Renderer, dict[str, str]]:
    """Load the network and make the folder; returns the renderer and the text that every picture carries."""
    target = choose_device(device)
    snapshot = load_snapshot(network, sha256=network_sha256, offline=offline)
    G = snapshot.generator
    if G.c_dim == 0 and class_text is not None:
        click.echo("note: the network is unconditional; --class has no effect", err=True)
    if trunc_cutoff is not None and trunc_cutoff > G.num_ws:
        raise UserError(f"--trunc-cutoff={trunc_cutoff}: the network has {G.num_ws} layers")
    label = parse_class(class_text, G.c_dim, snapshot.metadata.get("class_names"))
    renderer = Renderer(G.to(target), target, label, trunc, trunc_cutoff, noise_mode, batch_size)
    make_folder(outdir, "`outdir`")
    text = {"network": Path(network).name, "network_hash": snapshot.hash, "truncation_psi": f"{trunc:g}"}
    if trunc_cutoff is not None:
        text["truncation_cutoff"] = str(trunc_cutoff)
    if label is not None:
        text["class"] = str(class_text)
    return renderer, {**text, "noise_mode": noise_mode}


def _check_modes(
    seeds: list[int] | None,
    projected_w: tuple[Path, ...],
    grid: tuple[int, int | None] | None,
    mix_rows: list[int] | None,
    mix_cols: list[int] | None,
    video: str | None,
) -> Source:
    """What to draw from; a grid with rows and columns needs no seeds and takes the first ones."""
    if bool(mix_rows) != bool(mix_cols):
        raise UserError("style mixing needs both --mix-rows and --mix-cols")
    if mix_rows:
        if seeds or projected_w or grid or video:
            raise UserError(
                "--mix-rows has its own seeds and grid; leave out --seeds, --projected-w, --grid and --video"
            )
    elif seeds and projected_w:
        click.echo("note: --projected-w is given; --seeds has no effect", err=True)
    elif not seeds and not projected_w:
        if grid is None or grid[1] is None or video:
            raise UserError(
                "say what to draw: --seeds=0-7, --projected-w=FILE, --grid=8x4 or --mix-rows and --mix-cols"
            )
        seeds = list(range(grid[0] * grid[1]))
    return Source(seeds or (), projected_w)


if __name__ == "__main__":
    main()
