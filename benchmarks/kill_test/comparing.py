"""Whether two run directories hold the same run, timings aside."""

from pathlib import Path
from typing import Any

from torch_utils.checkpoint import list_checkpoints, unpack
from training.run_dir import SNAPSHOTS, RunDir, names

_TIMINGS = ("Timing/", "Resources/", "timestamp")
_COUNTERS_OF_TIME = ("elapsed", "tick_elapsed", "maintenance", "processor", "tick_processor")


def differences(run_dir: Path, reference: Path) -> list[str]:
    """What is not the same in two run directories, timings aside; empty if everything is."""
    found = []
    ours, theirs = _files(run_dir), _files(reference)
    if ours != theirs:
        found.append(f"files {sorted(ours ^ theirs)}")
    found += [
        name for name in sorted(ours & theirs) if (run_dir / name).read_bytes() != (reference / name).read_bytes()
    ]
    if statistics(run_dir) != statistics(reference):
        found.append(names.STATS)
    if not _same(state(run_dir), state(reference)):
        found.append("checkpoint")
    return found


def _files(run_dir: Path) -> set[str]:
    return {path.name for path in [*run_dir.glob("*.png"), *SNAPSHOTS.find(run_dir).values()]}


def statistics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `stats.jsonl` without timings and use of resources."""
    return [
        {name: value for name, value in record.items() if not name.startswith(_TIMINGS)}
        for record in RunDir(run_dir).stats()
    ]


def state(run_dir: Path) -> dict[str, Any]:
    """The newest checkpoint without the time that was spent."""
    content = unpack(list_checkpoints(run_dir)[0])
    for name in _COUNTERS_OF_TIME:
        content["progress"].pop(name, None)  # earlier runs lack some
    return content


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "numpy"):
        return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return set(a) == set(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b
