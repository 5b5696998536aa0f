"""The report for bug reports names what such reports need."""

import getpass
import re
import socket

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from torch_utils import doctor


def _report(*arguments: str) -> str:
    result = CliRunner().invoke(doctor.main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_report(tmp_path):
    report = _report(f"--outdir={tmp_path / 'not' / 'there'}")
    titles = [line for line in report.splitlines() if not line.startswith(" ")]
    assert titles == ["Versions", "Machine", "Devices", "Operators", "Space"]
    assert f"torch {torch.__version__}" in report
    assert re.search(r"operators: \w+", report)
    assert re.search(r"disk [\d.]+ of [\d.]+ GiB free", report)
    assert re.search(r"memory [\d.]+ of [\d.]+ GiB free", report)
    if not torch.cuda.is_available():
        assert "no CUDA device is usable; PyTorch is built" in report
    assert socket.gethostname() not in re.sub(r"\d", "", report).split()
    assert getpass.getuser() not in report.split()
    assert not (tmp_path / "not").exists()


def test_a_package_that_is_absent_is_said_to_be(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "surely-not-a-package"))
    assert "surely-not-a-package not installed" in doctor.versions()


def test_data_that_can_be_trained_on_and_data_that_cannot(tmp_path):
    random = np.random.RandomState(0)
    for number in range(4):
        Image.fromarray(random.randint(0, 256, (16, 24, 3), np.uint8)).save(tmp_path / f"{number}.png")
    good = doctor.data_check(str(tmp_path))
    assert good[0] == "24 x 16, 3 channels"
    (bad,) = doctor.data_check(str(tmp_path / "absent"))
    assert bad.startswith("cannot be trained on: error: ")
    assert "absent" in bad
