"""One interruption of each kind; `python -m benchmarks.kill_test` goes on at random."""

import random

import pytest

from benchmarks.kill_test.__main__ import table
from benchmarks.kill_test.disks import Disk
from benchmarks.kill_test.interruptions import STATUSES, Outcome, interrupted_run


@pytest.mark.parametrize(
    "kind", ["reader gone", "streams closed", "terminal closed", "terminal closed, nohup", "disk full"]
)
def test_an_interruption_loses_nothing(whole_command, tmp_path, kind):
    """The disk is full by a limit on the process's files, which needs no privileges."""
    outcome = interrupted_run(Disk(tmp_path, is_mounted=False), "run", whole_command, [kind], random.Random(0))
    assert (outcome.differences, outcome.lost) == ([], [])


def test_the_table_counts_what_happened():
    outcomes = [
        Outcome(["kill", "disk full"], inside_saves=1),
        Outcome(["kill"], differences=["stats.jsonl"], lost=["kill: status 1"]),
    ]
    text = table(outcomes, "a full tmpfs")
    assert "| kill | 2 | 1 |" in text
    assert "2 runs, 3 interruptions, 1 inside a save (disk full: a full tmpfs): 1 runs differ, 1 lost." in text
    assert set(STATUSES) >= {"kill", "disk full"}
