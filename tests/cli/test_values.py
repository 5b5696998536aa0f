"""Every command refuses empty values and numbers that are not finite, before it does anything."""

import pytest
from click.testing import CliRunner

EMPTY = [
    ("calc_metrics", "--network --run --real --fake --data --detector --network-sha256"),
    ("compare", "--data --outdir --projection-target --losses --metrics --tune-rates --reach"),
    ("generate", "--network --outdir --projected-w --projected-noise --class"),
    ("style_mixing", "--network --outdir"),
    ("projector", "--network --target --outdir --distance --network-sha256"),
    ("dataset_tool", "--source --dest --labels-file --report"),
    ("rooted.experiments.regression.command", "--data-dir --out"),
    ("training.convert", "--network-sha256"),
]
NUMBERS = [
    ("compare", "--kimg --glr --dlr --tune-kimg"),
    ("generate", "--trunc --fps"),
    ("style_mixing", "--trunc"),
    ("dataset_tool", "--margin"),
    ("rooted.experiments.regression.command", "--k-min --k-max"),
    ("rooted.experiments.spirals", "--k --turns --noise"),
    ("training.convert", "--trunc"),
]
REQUIRED = {
    "generate": ["--network=n", "--outdir=o"],
    "style_mixing": ["--network=n", "--outdir=o", "--rows=1", "--cols=1"],
    "projector": ["--network=n", "--target=t", "--outdir=o"],
    "dataset_tool": ["--source=s", "--dest=d"],
    "training.convert": ["source", "destination"],
}


def pairs(table):
    return [pytest.param(command, flag, id=f"{command} {flag}") for command, flags in table for flag in flags.split()]


def refused(command: str, *arguments: str) -> str:
    module = pytest.importorskip(command)  # the experiments need packages of their own
    result = CliRunner().invoke(module.main, [*REQUIRED.get(command, []), *arguments])
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize(("command", "flag"), pairs(EMPTY))
def test_an_empty_value_is_refused(command, flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(command, f"{flag}=").startswith(f"error: {flag} is empty; give a ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "flag"), pairs(NUMBERS))
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused(command, flag, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(command, f"{flag}={value}")
    assert message.startswith(f"error: Invalid value for '{flag}': ")
    assert "not a finite number" in message or "not in the range" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["--tune", "--tune-rates=0.1,nan"], ["--tune", "--tune-rates=inf"]])
def test_so_are_those_in_a_list(flags, tmp_path):
    pytest.importorskip("matplotlib")
    assert "--tune-rates" in refused("compare", f"--outdir={tmp_path}", *flags)


def test_metrics_of_a_network_have_names():
    assert "'--metrics': it is empty; give names" in refused("calc_metrics", "--metrics=,")
