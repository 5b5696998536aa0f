"""`python -m training.convert SOURCE DESTINATION`: the command; what it does is in `training.snapshot.convert`."""

from pathlib import Path
from typing import Any

import click

from dnnlib.cli import Command, Number, door


def __getattr__(name: str) -> Any:
    """The functions of `training.snapshot.convert`, imported when one is asked for: the help needs no torch."""
    from training.snapshot import convert

    return getattr(convert, name)


@click.command(
    cls=Command, epilog="Example: python -m training.convert network-snapshot-025000.pkl network.safetensors"
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("destination", type=Path)
@click.option("--ema-only", is_flag=True, help="Keep the averaged generator only.")
@click.option("--swap", is_flag=True, help="Join two SOURCEs: coarse layers of the first, fine ones of the second.")
@click.option("--from-resolution", type=click.IntRange(min=8), help="--swap: where the fine layers begin, such as 16.")
@click.option("--card", is_flag=True, help="Make DESTINATION a folder to share: networks, README.md, grid.png.")
@click.option("--trunc", type=Number(), default=1.0, help="ONNX: truncation psi, fixed in the file.")
@click.option("--trunc-cutoff", type=click.IntRange(min=0), help="ONNX: truncate the first so many layers only.")
@click.option("--opset", type=click.IntRange(min=1), help="ONNX: version  [highest of the installed onnxruntime].")
@click.option("--network-sha256", metavar="HEX", help="Refuse a source with another SHA-256.")
@door
def main(sources: tuple[str, ...], destination: Path, **options: Any) -> None:
    """Convert SOURCE to DESTINATION, whose suffix says how.

    \b
    SOURCE       snapshot (.safetensors), official pickle (.pkl), or checkpoint of
                 rosinality/stylegan2-pytorch (.pt); file, https:// or hf://owner/repo/file
    DESTINATION  .safetensors  snapshot of this project
                 .pt           checkpoint for rosinality/stylegan2-pytorch
                 .onnx         generator with constant noise, compared with PyTorch
                 a folder with --card
    """  # noqa: D301 - \\b keeps click from filling the lines
    from training.snapshot.convert import convert

    convert(sources, destination, **options)


if __name__ == "__main__":
    main()
