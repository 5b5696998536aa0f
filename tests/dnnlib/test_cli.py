"""What a user is told on a command line."""

import ast
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dnnlib import UserError, renamed
from dnnlib.cli import Command, IntegerRanges, Number, Size, door, say
from dnnlib.seeds import check_seed


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


@click.command(cls=Command)
@click.option("-d", "--data", metavar="PATH")
@click.option("--more", type=Path, multiple=True)
@click.option("--network", metavar="FILE|URL", required=True)
@click.option("--desc")
@click.option("--rate", type=Number(min=0))
@click.option("--share", type=Number(0, 1))
@click.option("--seeds", type=IntegerRanges())
def values(**options):
    """What was understood."""
    click.echo(options)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data="], "--data is empty; give a path or leave the option out"),
        (["-d", ""], "--data is empty; give a path or leave the option out"),
        (["--more=a", "--more="], "--more is empty; give a path or leave the option out"),
        (["--network="], "--network is empty; give a path"),
        (["--desc", ""], "--desc is empty; give a value or leave the option out"),
        (["--seeds="], "--seeds is empty; give a value or leave the option out"),
        (["--seeds=²"], "Invalid value for '--seeds': '²' is not a list of numbers and ranges such as 0,1,5-8"),
        (
            ["--seeds=0-4294967296"],
            "Invalid value for '--seeds': '0-4294967296' is too large; numbers go up to 4294967295",
        ),
        (
            ["--seeds=7,0-4294967295"],
            "Invalid value for '--seeds': '0-4294967295' makes more than 1000000 numbers; give fewer",
        ),
        (
            ["--seeds=" + "9" * 5000],
            f"Invalid value for '--seeds': '{'9' * 40}' is too large; numbers go up to 4294967295",
        ),
        (["--rate="], "--rate is empty; give a value or leave the option out"),
        (["--rate=nan"], "Invalid value for '--rate': 'nan' is not a finite number"),
        (["--rate=inf"], "Invalid value for '--rate': 'inf' is not a finite number"),
        (["--rate=1e999"], "Invalid value for '--rate': '1e999' is not a finite number"),
        (["--rate=-1"], "Invalid value for '--rate': -1.0 is not in the range x>=0."),
        (["--share=nan"], "Invalid value for '--share': 'nan' is not a finite number"),
        (["--share=inf"], "Invalid value for '--share': inf is not in the range 0<=x<=1."),
    ],
)
def test_empty_values_and_what_is_no_number_are_refused(arguments, line):
    result = CliRunner().invoke(values, ["--network=n", *arguments])
    assert result.exit_code == 2
    assert result.stderr == f"error: {line}\n"


def test_other_values_pass():
    result = CliRunner().invoke(values, ["--network=n", "--data= ", "--rate=1e3", "--share=0", "--more=a", "--more=b"])
    assert result.exit_code == 0, result.stderr
    assert "'data': ' '" in result.stdout
    assert "'rate': 1000.0" in result.stdout
    assert CliRunner().invoke(values, ["--help", "--data="]).exit_code == 0
    result = CliRunner().invoke(values, ["--network=n", "--seeds=4294967295,007, 5-6"])
    assert "'seeds': [4294967295, 7, 5, 6]" in result.stdout
    millions = CliRunner().invoke(values, ["--network=n", "--seeds=0-999999"])
    assert millions.exit_code == 0
    assert CliRunner().invoke(values, ["--network=n", "--seeds=0-999999,1"]).exit_code == 2


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_one_process_tells_for_all_what_all_know(monkeypatch, rank, lines):
    monkeypatch.setenv("RANK", rank)
    result = CliRunner().invoke(command, ["--size=0", "--everywhere"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == lines
    assert CliRunner().invoke(command, ["--size=0"]).stderr.count("\n") == 1


@click.command(cls=Command)
@click.option("--image-data", "path", metavar="PATH")
@click.option("--size", type=Size())
@click.option("--square", type=Size("square"))
@click.option("--cells", type=Size("columns"))
@click.option("--wrong", type=bool)
@door
def flagged(path, size, square, cells, wrong):
    """A command whose library has other names than it."""
    if wrong:
        with renamed(folder="path"):
            raise UserError("`folder`: give `batch_gpu`=1, or run `pip install x`", everywhere=True)
    click.echo([size, square, cells])


def test_arguments_of_a_library_are_told_as_the_commands_flags():
    told = CliRunner().invoke(flagged, ["--wrong=1"]).stderr
    assert told == "error: --image-data: give --batch-gpu=1, or run `pip install x`\n"


def test_renaming_keeps_the_error():
    with pytest.raises(UserError, match=r"^`data` and `seed`$") as caught, renamed(path="data"):
        raise UserError("`path` and `seed`", everywhere=True)
    assert caught.value.everywhere


def test_sizes():
    result = CliRunner().invoke(flagged, ["--size=8x4", "--square=64", "--cells=3"])
    assert result.stdout == "[(8, 4), (64, 64), (3, None)]\n"
    for value in ("8", "0x4", "8x", "x4", "8x4x2", "-1x4", "9" * 5000 + "x1", "²x4"):
        result = CliRunner().invoke(flagged, [f"--size={value}"])
        assert result.exit_code == 2
        assert f"'{value}' is not a size such as 8x4" in result.stderr


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds(seed):
    check_seed(2**32 - 1)
    with pytest.raises(UserError, match=f"^`seeds`={seed} is out of range; give a number from 0 to 4294967295$"):
        check_seed(seed, "seeds")


def test_a_line_shows_text_of_files_as_text(capsys):
    say("wrote a\nerror: \x1b[2J\u202e", err=True)
    assert capsys.readouterr().err == "wrote a\\nerror: \\x1b[2J\\u202e\n"


def test_what_is_made_of_values_is_printed_by_say():
    """Of the packages; those of the experiments print tables of their own."""
    root = Path(__file__).parents[2]
    for path in (p for p in root.glob("*/**/*.py") if p.relative_to(root).parts[0] not in ("tests", "rooted")):
        for node in ast.walk(ast.parse(path.read_text())):
            echoes = isinstance(node, ast.Call) and ast.unparse(node.func) == "click.echo"
            if echoes and path.name != "cli.py" and "benchmarks" not in path.parts:
                assert not any(isinstance(part, ast.JoinedStr) for part in ast.walk(node)), f"{path}:{node.lineno}"


def test_options_may_be_written_with_underscores_as_in_programs_of_this_family():
    @click.command(cls=Command)
    @click.argument("rest", nargs=-1)
    @click.option("--projected-w", metavar="FILE")
    def main(rest, projected_w):
        click.echo(f"{projected_w} {rest}")

    assert CliRunner().invoke(main, ["--projected_w=a_b.npz"]).output == "a_b.npz ()\n"
    assert CliRunner().invoke(main, ["--projected_w", "a_b.npz", "c_d"]).output == "a_b.npz ('c_d',)\n"
    assert CliRunner().invoke(main, ["--", "--projected_w"]).output == "None ('--projected_w',)\n"
    assert "--projected_w" not in CliRunner().invoke(main, ["--help"]).output
    assert "--project_w" in CliRunner().invoke(main, ["--project_w=1"]).stderr
