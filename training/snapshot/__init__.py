"""Networks to share: snapshots of this project, and the import of what other programs wrote."""

from training.snapshot.file import Snapshot, load_snapshot, save_snapshot

__all__ = ["Snapshot", "load_snapshot", "save_snapshot"]
