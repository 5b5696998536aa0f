"""A process that leaves its group can end: a thread of the group would abort it in the interpreter's last moments."""

import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("leaving_worker.py")


@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read from /proc")
@pytest.mark.parametrize("mistaken", [False, True])
def test_no_thread_of_the_group_is_left(run_ranks, mistaken):
    for rank in run_ranks(WORKER, 2, mistaken):
        assert rank.status == 0, rank.stderr
        assert "pt_gloo_runloop" not in rank.stdout.split()
        assert rank.stdout
