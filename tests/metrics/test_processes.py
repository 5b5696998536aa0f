"""The same numbers from one, two and three processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metrics.processes import BLOCK, blocks_in_order, main_only

HERE = Path(__file__).resolve().parent


def start_processes(folder: Path, size: int) -> list[subprocess.Popen]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), str(HERE)]),
        "WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, str(HERE / "evaluate_in_processes.py"), str(folder)],
            env={**environment, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def test_equal_results_from_one_two_and_three_processes(detector_file, tmp_path):
    (tmp_path / "stand-in.pt").write_bytes(detector_file.read_bytes())
    for size in (1, 2, 3):
        for process in start_processes(tmp_path, size):
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    [alone] = [json.loads((tmp_path / "1-0.json").read_text())]
    assert len(alone["outcome"]) == 12
    for size in (2, 3):
        for rank in range(size):
            outcome = json.loads((tmp_path / f"{size}-{rank}.json").read_text())
            assert outcome["outcome"] == alone["outcome"]  # to the last bit
            assert "NaN or infinity" in outcome["failure"]  # known everywhere, nobody waits for ever
            text, told_once = outcome["unavailable"]
            assert "missing.pt" in text
            assert told_once


def test_blocks_cover_all_samples_once():
    seen = []

    def compute(start, stop):
        return {"index": torch.arange(start, stop)}

    for start, results in blocks_in_order(BLOCK, 3 * BLOCK + 5, compute):
        assert results["index"][0] == start
        seen += results["index"].tolist()
    assert seen == list(range(BLOCK, 3 * BLOCK + 5))
    assert list(blocks_in_order(0, 0, compute)) == []


def test_alone_an_error_is_itself():
    with pytest.raises(ZeroDivisionError):
        main_only(lambda: 1 / 0)
    assert main_only(lambda: 3) == 3
