"""Style mixing under the flags of StyleGAN2-ADA's script; `generate.py --mix-rows --mix-cols` is the same thing."""

from pathlib import Path
from typing import Any

import click

from dnnlib.cli import Command, IntegerRanges, door
from generate import network_options, prepare
from generation.output import draw_mixing


@click.command(cls=Command)
@network_options
@click.option("--rows", type=IntegerRanges(), required=True, help="Seeds that give the picture of each row.")
@click.option("--cols", type=IntegerRanges(), required=True, help="Seeds that give each column its styles.")
@click.option("--styles", "layers", type=IntegerRanges(), help="Layers to replace  [0-6 or half].")
@door
def main(rows: list[int], cols: list[int], layers: list[int] | None, outdir: Path, **options: Any) -> None:
    """Write a picture for each pair of row and column, and all of them in grid.png."""
    renderer, text = prepare(outdir=outdir, **options)
    click.echo(draw_mixing(renderer, text, rows, cols, layers, outdir))


if __name__ == "__main__":
    main()
