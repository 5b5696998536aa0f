"""The folder of a run: what its files are called and hold, who trains in it, and how it stands."""

from training.run_dir.folder import RunDir, State
from training.run_dir.names import FAKES, FAKES_INIT, SNAPSHOTS

__all__ = ["FAKES", "FAKES_INIT", "SNAPSHOTS", "RunDir", "State"]
