"""Draw pictures, grids, style mixing and interpolation videos with a trained network."""

if __name__ == "__main__":
    raise SystemExit(
        "error: the command is `rooted-stylegan generate`, or `python generate.py` at the top of a checkout"
    )

import click

from dnnlib.cli import Command, door
from dnnlib.options import takes_options
from generation.options import Options

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


@click.command(cls=Command, epilog=EPILOG)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Draw pictures, grids, style mixing and videos with a trained network.

    Networks are snapshots of this project or official StyleGAN2-ADA pickles (read as data: nothing in them runs).
    """
    from generation.command import draw

    draw(options)
