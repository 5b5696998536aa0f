"""The same numbers from one, two and three processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from metrics.blocks import BLOCK, blocks_in_order
from torch_utils.distributed import World

HERE = Path(__file__).resolve().parent


def start_processes(script: str, *arguments: str, size: int) -> list[subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), str(HERE)]),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            env={**environment, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def test_equal_results_from_one_two_and_three_processes(detector_file, tmp_path):
    (tmp_path / "stand-in.pt").write_bytes(detector_file.read_bytes())
    for size in (1, 2, 3):
        for process in start_processes("evaluate_in_processes.py", str(tmp_path), size=size):
            _, errors = process.communicate()
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


def test_a_process_that_hangs_in_an_evaluation_ends_it_and_is_named():
    processes = start_processes("hanging_evaluation.py", size=2)
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1], errors
    assert f"rank 1 on {socket.gethostname()} has been in the same step" in errors[0]
    assert f"ending process {processes[0].pid}" in errors[0]


def test_blocks_cover_all_samples_once():
    seen = []

    def compute(start, stop):
        return {"index": torch.arange(start, stop)}

    for start, results in blocks_in_order(World(), BLOCK, 3 * BLOCK + 5, compute):
        assert results["index"][0] == start
        seen += results["index"].tolist()
    assert seen == list(range(BLOCK, 3 * BLOCK + 5))
    assert list(blocks_in_order(World(), 0, 0, compute)) == []
