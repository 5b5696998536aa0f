"""The benchmark of FID's bias says what it measured: features that stand in for Inception's, or Inception's."""

import json

import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import fid_bias
from dnnlib import UserError
from metrics.detectors.detector import Detector, Network


@pytest.fixture
def run(tmp_path, make_images, monkeypatch):
    """Run on 80 images; returns click's result, the JSON, and the words in the plot."""
    (tmp_path / "data").mkdir()
    for index, image in enumerate(make_images(80)):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "data" / f"{index:02d}.png")
    monkeypatch.setattr(fid_bias, "COUNTS", (20, 60))
    words = []
    suptitle = Figure.suptitle
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **more: words.append(text) or suptitle(self, text))
    band = fid_bias.draw_band
    monkeypatch.setattr(fid_bias, "draw_band", lambda *arguments: words.append(arguments[-1]) or band(*arguments))

    def invoke(*options: str):
        stem = tmp_path / "found"
        arguments = [f"--data={tmp_path / 'data'}", f"--out={stem}", "--draws=2", "--width=8", *options]
        done = CliRunner().invoke(fid_bias.main, arguments)
        found = json.loads(stem.with_suffix(".json").read_text()) if done.exit_code == 0 else None
        return done, found, " ".join(words)

    return invoke


def test_by_default_features_stand_in(run):
    done, found, words = run()
    assert done.exit_code == 0, done.output
    assert found["detector"] == {"name": "stand-in"}
    assert "Stand-in features: not FID." in words
    assert "FD at n images" in words
    assert "FID at" not in words
    assert all(measured["perfect"]["truth"] < 1e-6 for measured in found["features"].values())
    words_before = words
    assert run("--redraw")[2].removeprefix(words_before).strip() == words_before


def test_a_detector_file(run, detector_file):
    _, found, words = run(f"--detector={detector_file}")
    assert found["detector"]["file"] == "stand-in.pt"
    assert len(found["detector"]["sha256"]) == 64
    assert f"Features: TorchScript {found['detector']['sha256'][:8]}." in words
    assert "FID" not in words


def test_inception(run, tmp_path, monkeypatch):
    """With weights at hand the plot says FID; without them one line says where they belong."""
    asked = []

    def open_detector(family: str, device: torch.device, *, file: str | None) -> Detector:
        asked.append((family, file))
        network = Network(features=lambda images: images.float().mean(dim=(2, 3)))
        return Detector("Inception-v3 of 2015", tmp_path / "w.pth", "0" * 64, "", network)

    with monkeypatch.context() as patch:
        patch.setattr(fid_bias, "open_detector", open_detector)
        _, found, words = run("--detector=inception")
    assert asked == [("inception", None)]
    assert found["detector"]["name"] == "Inception-v3 of 2015"
    assert "FID at n images" in words
    assert "Features: Inception-v3 of 2015." in words

    monkeypatch.setattr("dnnlib.weights.download", lambda url, **_: _refuse(url))
    done, _, _ = run("--detector=inception")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "ROOTED_DETECTOR_DIR" in done.stderr


def _refuse(url: str) -> None:
    raise UserError(f"cannot download {url}")
