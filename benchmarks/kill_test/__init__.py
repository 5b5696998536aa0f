"""Interrupt training runs at random moments, continue them, and compare with a run that was left alone.

    python -m benchmarks.kill_test --runs=30
    python -m benchmarks.kill_test --runs=30 --precision=bf16 --kind=kill --kind="kill in a save"

Every run is a tiny configuration on the built-in faces, with a checkpoint at every step, so that many interruptions
fall inside a save. A run passes if its networks, its checkpoint, its statistics (timings aside) and its grids are
equal, bit for bit, to those of the uninterrupted run.
"""

from benchmarks.kill_test.comparing import differences, state, statistics
from benchmarks.kill_test.runs import BF16, TINY, finish, kill, start

__all__ = ["BF16", "TINY", "differences", "finish", "kill", "start", "state", "statistics"]
