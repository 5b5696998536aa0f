"""Open a page on this machine in which a trained network is played with."""

if __name__ == "__main__":
    raise SystemExit("error: the command is `rooted-stylegan studio`, or `python studio.py` at the top of a checkout")

import logging
from dataclasses import dataclass
from pathlib import Path

import click

from dnnlib import UserError
from dnnlib.cli import Command, door
from dnnlib.options import NETWORK, NetworkFileOptions, option, takes_options

SERVER = "The page"

EPILOG = """\b
Examples:
  # the snapshots of a run, also while it goes on
  python studio.py --run=training-runs/00000-faces-auto1-rlo-k11-bounded
  # two networks side by side
  python studio.py --network=ce.safetensors --network=rlo.safetensors
  # on a server, to be opened through `ssh -L 8765:127.0.0.1:8765 server`
  python studio.py --network=net.pkl --no-browser
"""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Options(NetworkFileOptions):
    """What to look at, and where the page is."""

    network: tuple[str, ...] = option(
        NETWORK, "Snapshot or official pickle: file, https:// or hf://user/repo/file; repeatable.", unit="FILE|URL",
        multiple=True)
    run: tuple[Path, ...] = option(
        NETWORK, "A run's snapshots, new ones as they come; of a folder of runs the newest; repeatable.", Path,
        unit="DIR", multiple=True)
    distance: str = option(
        NETWORK, "What projecting a photograph minimises, as projector.py has it.", str, "auto",
        unit="auto|lpips|lite0|pixel|FILE")
    port: int = option(SERVER, "Port; if it is taken, the next free one.", click.IntRange(1, 65535), 8765)
    host: str = option(SERVER, "Address to listen at. Whoever reaches it needs the token.", str, "127.0.0.1")
    no_browser: bool = option(SERVER, "Only print the address.", bool, False)
# fmt: on


@click.command(cls=Command, epilog=EPILOG)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Play with a network in the browser.

    Seeds, truncation, style mixing, directions, key frames, photographs, two networks side by side, a run's snapshots
    over time. The page is served by this command on this machine alone, and loads nothing from anywhere else.
    """
    try:
        from studio.serve import serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "websockets"):
            raise
        raise UserError("the studio needs starlette and uvicorn: pip install 'rooted-stylegan[studio]'") from error
    logging.basicConfig(format="studio: %(message)s", level=logging.WARNING)
    if options.network_sha256 is not None and (len(options.network) != 1 or options.run):
        raise UserError("--network-sha256 is the checksum of one --network; leave it out, or the others")
    serve(options)
