"""`rooted-stylegan COMMAND`: every door under one name, each imported when it is asked for."""

import importlib
import sys
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

import click

from dnnlib.cli import MISTAKE_STATUS, Command, say
from dnnlib.console import outlast_console


class Door(NamedTuple):
    """A module whose `main` is a click command, how it is called from a checkout, and what it does."""

    module: str
    script: str
    what: str


DOORS = {
    "train": Door("rooted_stylegan.train", "train.py", "Train a network."),
    "generate": Door("rooted_stylegan.generate", "generate.py", "Draw pictures, grids, style mixing and videos."),
    "mix": Door("rooted_stylegan.style_mixing", "style_mixing.py", "Style mixing alone."),
    "project": Door("rooted_stylegan.projector", "projector.py", "Find latents that show given pictures."),
    "metrics": Door("rooted_stylegan.calc_metrics", "calc_metrics.py", "Measure generated images: FID, KID, others."),
    "dataset": Door("rooted_stylegan.dataset_tool", "dataset_tool.py", "Make a data set for training."),
    "compare": Door("rooted_stylegan.compare", "compare.py", "Compare losses with several seeds and statistics."),
    "convert": Door("training.convert", "-m training.convert", "Convert networks to and from other formats."),
    "studio": Door("rooted_stylegan.studio", "studio.py", "Explore a network in the browser."),
    "doctor": Door("torch_utils.doctor", "-m torch_utils.doctor", "Describe this machine for a bug report."),
}


class _Doors(click.Group):
    """A group that imports a command's module when it is called, not to list it."""

    scripts: ClassVar[dict[str, str]] = {door.script: name for name, door in DOORS.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of those that are installed."""
        # To look into a package imports it: only this one, which is here already, may lack a module.
        own = f"{__package__}."
        return [name for name, (module, *_) in DOORS.items() if not module.startswith(own) or find_spec(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> Command | None:
        """Import one; None for a name that is not listed."""
        return importlib.import_module(DOORS[cmd_name].module).main if cmd_name in self.list_commands(ctx) else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that the first word names; any other word is a mistake, told in one line."""
        if args[0] not in self.list_commands(ctx):
            known = ", ".join(self.list_commands(ctx))
            say(f"error: there is no command {click.unstyle(args[0])!r}; choose one of {known}", err=True)
            sys.exit(MISTAKE_STATUS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and what they do, from the table: nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, DOORS[name].what) for name in self.list_commands(ctx)])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; who reads its output may go away meanwhile."""
        outlast_console()
        return super().main(*args, **kwargs)


@click.command(cls=_Doors)
def main() -> None:
    """StyleGAN2-ADA with the logistic or the rooted logistic loss; `rooted-stylegan COMMAND --help` says more."""
