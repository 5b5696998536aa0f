"""Style mixing under the flags of StyleGAN2-ADA's script; `generate.py --mix-rows --mix-cols` is the same thing."""

if __name__ == "__main__":
    raise SystemExit(
        "error: the command is `rooted-stylegan mix`, or `python style_mixing.py` at the top of a checkout"
    )

from dataclasses import dataclass

import click

from dnnlib.cli import Command, IntegerRanges, door, say
from dnnlib.options import option, takes_options
from generation.options import DEFAULT_LAYERS, MIX, DrawingOptions


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Options(DrawingOptions):
    """What to mix."""

    rows: list[int] = option(MIX, "Seeds that give the picture of each row.", IntegerRanges(), required=True)
    cols: list[int] = option(MIX, "Seeds that give each column its styles.", IntegerRanges(), required=True)
    layers: list[int] | None = option(
        MIX, "Layers that are replaced.", IntegerRanges(), unset=DEFAULT_LAYERS, flags=("--styles",))
# fmt: on


@click.command(cls=Command)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Write a picture for each pair of row and column, and all of them in grid.png."""
    from generation.command import prepare
    from generation.output import draw_mixing

    renderer, text = prepare(options)
    say(draw_mixing(renderer, text, options.rows, options.cols, options.layers, options.outdir))
