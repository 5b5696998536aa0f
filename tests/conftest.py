"""What every test shares: the folders of optional data, and one thread per pytest worker."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("ROOTED_SHARED", ROOT.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"no folder {name} with the numbers or data to compare with (set ROOTED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The folder of reference numbers; the test is skipped where it is absent."""
    return _shared("fixtures")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data to try with; the test is skipped where it is absent."""
    return _shared("data")


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        # For the programs that tests start, too: two workers with two threads each would wait for one another.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
