"""The losses' benchmark runs, and every loss keeps as much memory as cross-entropy."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.speed import losses


def records(*arguments):
    result = CliRunner().invoke(losses.main, arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_prints_machine_and_one_line_per_loss():
    machine, *lines = records("--shape=64x50", "--rounds=3")
    assert machine["rounds"] == 3
    assert [line["loss"] for line in lines] == list(losses.LOSSES)
    assert len({line["kept_bytes"] for line in lines}) == 1


@pytest.mark.parametrize("argument", ["--shape=64", "--shape=0x5", "--shape=axb"])
def test_refuses_wrong_shapes(argument):
    result = CliRunner().invoke(losses.main, [argument])
    assert result.exit_code == 2
    assert "4096x1000" in result.stderr
