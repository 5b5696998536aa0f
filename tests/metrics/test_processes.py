"""The same numbers from one, two and three processes."""

import json
import socket
from pathlib import Path

import torch

from metrics.blocks import BLOCK, blocks_in_order
from torch_utils.processes.distributed import World

HERE = Path(__file__).resolve().parent


def test_equal_results_from_one_two_and_three_processes(run_ranks, detector_file, tmp_path):
    (tmp_path / "stand-in.pt").write_bytes(detector_file.read_bytes())
    for size in (1, 2, 3):
        for rank in run_ranks(HERE / "evaluate_in_processes.py", size, tmp_path):
            assert rank.status == 0, rank.stderr
    [alone] = [json.loads((tmp_path / "1-0.json").read_text())]
    assert len(alone["outcome"]) == 14
    for size in (2, 3):
        for rank in range(size):
            outcome = json.loads((tmp_path / f"{size}-{rank}.json").read_text())
            assert outcome["outcome"] == alone["outcome"]  # to the last bit
            assert "NaN or infinity" in outcome["failure"]  # known everywhere, nobody waits for ever
            text, told_once = outcome["unavailable"]
            assert "missing.pt" in text
            assert told_once


def test_a_process_that_hangs_in_an_evaluation_ends_it_and_is_named(run_ranks):
    ranks = run_ranks(HERE / "hanging_evaluation.py", 2)
    assert [rank.status for rank in ranks] == [1, 1], ranks
    assert f"rank 1 on {socket.gethostname()} has been in the same step" in ranks[0].stderr
    assert f"ending process {ranks[0].pid}" in ranks[0].stderr


def test_blocks_cover_all_samples_once():
    seen = []

    def compute(start, stop):
        return {"index": torch.arange(start, stop)}

    for start, results in blocks_in_order(World(), BLOCK, 3 * BLOCK + 5, compute):
        assert results["index"][0] == start
        seen += results["index"].tolist()
    assert seen == list(range(BLOCK, 3 * BLOCK + 5))
    assert list(blocks_in_order(World(), 0, 0, compute)) == []
