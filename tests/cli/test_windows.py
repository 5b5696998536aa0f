"""What Windows has not, no door needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_door_does_its_work_without_what_unix_alone_has(tmp_path):
    pytest.importorskip("matplotlib")
    command = [sys.executable, str(ROOT / "tests" / "cli" / "without_unix.py"), str(tmp_path)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path)}
    environment["PATH"] = os.environ["PATH"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Traceback" not in log
    assert (tmp_path / "out" / "seed0000.png").is_file()
