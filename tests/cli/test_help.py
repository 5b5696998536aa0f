"""What the help of every command says is what its table of options says."""

import importlib

import click
import pytest
from click.testing import CliRunner

from dnnlib.options import options_of

DOORS = {
    "train": "TrainingOptions",
    "generate": "Options",
    "style_mixing": "Options",
    "projector": "Options",
    "calc_metrics": "Options",
    "dataset_tool": "Options",
    "compare": "ComparisonOptions",
    "studio": "Options",
}


@pytest.mark.parametrize("door", DOORS)
def test_the_command_line_and_its_help_are_the_table(door):
    module = importlib.import_module(f"rooted_stylegan.{door}")
    options = options_of(getattr(module, DOORS[door]))
    text = " ".join(CliRunner().invoke(module.main, ["--help"], terminal_width=2000).stdout.split())
    parameters = {
        parameter.name: parameter.opts for parameter in module.main.params if isinstance(parameter, click.Option)
    }
    assert parameters == {name: list(entry.flags) for name, entry in options.items()}
    for entry in options.values():
        assert all(flag in text for flag in entry.flags)
        assert entry.text_with_default in text
        assert entry.shown_default in entry.text_with_default
