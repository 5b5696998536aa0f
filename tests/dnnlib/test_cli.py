"""What a user is told on a command line."""

import click
import pytest
from click.testing import CliRunner

from dnnlib import UserError
from dnnlib.cli import Command, door


@click.command(cls=Command)
@click.option("--size", type=int)
@click.option("--everywhere", is_flag=True)
@door
def command(size, everywhere):
    """A command."""
    if size == 0:
        raise UserError("--size=0 is too small; give 1", everywhere=everywhere)
    click.echo(size)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--size=0"], "error: --size=0 is too small; give 1\n"),
        (["--size=x"], "error: Invalid value for '--size': 'x' is not a valid integer.\n"),
        (["--siez=1"], "error: No such option '--siez'."),
        (["1"], "error: Got unexpected extra argument (1)\n"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(arguments, line):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_help_and_success_are_as_in_click():
    assert "A command." in CliRunner().invoke(command, ["--help"]).stdout
    assert CliRunner().invoke(command, ["--size=3"]).stdout == "3\n"


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_one_process_tells_for_all_what_all_know(monkeypatch, rank, lines):
    monkeypatch.setenv("RANK", rank)
    result = CliRunner().invoke(command, ["--size=0", "--everywhere"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == lines
    assert CliRunner().invoke(command, ["--size=0"]).stderr.count("\n") == 1
