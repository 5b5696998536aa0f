"""The ring of Gaussians: what is measured, and that networks in a batch are what they are alone."""

import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from rooted.experiments import rings


def test_modes_and_samples_off_the_data():
    on_all = rings.centres().repeat(100, 1)
    on_two = rings.centres()[[0, 5]].repeat_interleave(400, 0)
    half = torch.cat([on_two[:400], torch.zeros(400, 2)])
    nowhere = torch.full((800, 2), float("nan"))
    modes, off = rings.judge(torch.stack([on_all, on_two, half, nowhere]))
    assert modes.tolist() == [8, 2, 1, 0]
    assert off.tolist() == [0, 0, 0.5, 1]


def test_the_data_is_on_the_data():
    torch.manual_seed(0)
    samples = rings.centres().repeat(500, 1) + rings.SIGMA * torch.randn(4000, 2)
    modes, off = rings.judge(samples[None])
    assert modes.item() == 8
    assert off.item() == pytest.approx(0.011, abs=0.005)


def test_pairs_and_seeds_train_in_a_batch_as_they_do_alone():
    together = rings.play([0.5, 2.0], [0, 1], 21, 2)
    alone = rings.play([2.0], [1], 21, 2)
    assert together.norms.shape == (2, 2, 2, 2)
    torch.testing.assert_close(together.norms[:, 1, 1, 1], alone.norms[:, 0, 0, 0], rtol=1e-3, atol=1e-6)
    assert together.off[1, 1, 1].item() == pytest.approx(alone.off.item(), abs=5e-3)
    start = together.norms[0]
    assert len({round(norm, 6) for norm in start[:, :, 0].flatten().tolist()}) > 1  # the pairs do differ


def test_the_command_writes_figure_and_results(tmp_path):
    arguments = ["--alphas=1,6", "--seeds=2", "--steps=20", "--d-steps=1", f"--out={tmp_path}"]
    result = CliRunner().invoke(rings.main, arguments)
    assert result.exit_code == 0, result.output
    assert "| 6 | 6 | 0.33 * |" in result.output
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [len(runs[0][name]) for name in ("modes", "off")] == [2, 2]
    with Image.open(tmp_path / "rings.png") as image:
        assert image.size[0] > 1000


@pytest.mark.parametrize(("argument", "message"), [("--alphas=0,1", "alphas"), ("--alphas=", "alphas")])
def test_mistakes_are_one_line(tmp_path, argument, message):
    result = CliRunner().invoke(rings.main, [argument, f"--out={tmp_path / 'out'}"])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
