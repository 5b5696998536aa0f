"""What a metric gives: numbers, their intervals, and what they were computed from."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch_utils.timing import format_time
from training.run_dir import RunDir

_IDENTITY = ("metric", "snapshot_pkl", "results", "intervals", "not_computed")


@dataclass(frozen=True)
class Result:
    """One metric of one network or folder.

    Attributes:
        metric: its name; with a detector file of the user the name carries the file's hash.
        results: the numbers by key; one key, the metric's name, for most metrics.
        intervals: 95 % intervals by the same keys; empty without `bootstrap`, unless the metric has its own.
        provenance: data, detector, counts, seed and versions, as JSON values.
        total_time: seconds.
        num_gpus: number of processes.
        not_computed: why there are no numbers, None if there are.
        picture, warning: a PNG and a line for the user that belong to the numbers; not part of the record.
    """

    metric: str
    results: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    total_time: float = 0.0
    num_gpus: int = 1
    not_computed: str | None = None
    picture: bytes | None = None
    warning: str | None = None

    def remarks(self) -> list[str]:
        """What to tell the user besides the numbers."""
        alpha = self.provenance.get("alpha")
        return [
            *([f"note: images with transparency are {alpha}"] if alpha else []),
            *([f"warning: {self.warning}"] if self.warning else []),
        ]

    def record(self, snapshot: str | None = None, num_gpus: int | None = None) -> dict[str, Any]:
        """The object of a line of `metric-<name>.jsonl`: the reference's keys, then where the numbers come from.

        Args:
            snapshot: the network's file, relative to the run directory.
            num_gpus: number of processes, if not the one of the computation.
        """
        record: dict[str, Any] = {
            "results": self.results,
            "metric": self.metric,
            "total_time": self.total_time,
            "total_time_str": format_time(self.total_time),
            "num_gpus": self.num_gpus if num_gpus is None else num_gpus,
            "snapshot_pkl": snapshot,
            "timestamp": time.time(),
        }
        if self.intervals:
            record["intervals"] = {key: list(bounds) for key, bounds in self.intervals.items()}
        if self.not_computed is not None:
            record["not_computed"] = self.not_computed
        return {**record, "computed_from": self.provenance}


def append_record(folder: str | os.PathLike, record: dict[str, Any]) -> bool:
    """Append a record to `metric-<name>.jsonl` in a run directory, unless an equal one is there.

    Equal means: the same numbers of the same snapshot, whenever, however fast and by which program.

    Returns:
        Whether the line was written.
    """
    run = RunDir(Path(folder))
    if any(_identity(old) == _identity(record) for old in run.metric(record["metric"])):
        return False
    run.append_metric(record)
    return True


def _identity(record: dict[str, Any]) -> str:
    return json.dumps({key: record.get(key) for key in _IDENTITY}, sort_keys=True)
