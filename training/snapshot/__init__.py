"""Networks to share: snapshots of this project, and the import of what other programs wrote."""

from training.snapshot.load import load_snapshot
from training.snapshot.own_format import Snapshot, save_snapshot

__all__ = ["Snapshot", "load_snapshot", "save_snapshot"]
