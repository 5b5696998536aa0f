"""Reading finished and unfinished run directories: curves, losses' health, sample pictures, settings."""

import contextlib
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from comparison.findings.curves import Curve
from dnnlib import UserError

SAMPLES = re.compile(r"fakes(\d+)\.png")
SNAPSHOT = re.compile(r"network-snapshot-(\d+)\.safetensors")


@dataclass(frozen=True)
class Run:
    """What one run directory holds.

    Attributes:
        options: the content of training_options.json; empty when the run has not begun.
        nimg: images shown so far; seconds: training time for them, without evaluation and saving.
        finished: whether `total_kimg` was reached.
        diverged: losses or metrics ended infinite or not a number.
        nonfinite: how many loss values were not finite over the run.
        curves: by metric key (`fid50k_full`, `swd`, ...).
        not_computed: why a metric has no value at some evaluation, by the metric's name.
        samples: sample grids, image count -> PNG; snapshots likewise.
    """

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    nimg: int = 0
    seconds: float = 0.0
    finished: bool = False
    diverged: bool = False
    nonfinite: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)
    samples: dict[int, Path] = field(default_factory=dict)
    snapshots: dict[int, Path] = field(default_factory=dict)


def read_run(folder: Path) -> Run:
    """Read a run directory; a folder where nothing was written yet gives an empty `Run`.

    Raises:
        UserError: a file in it that cannot be read.
    """
    options_file = folder / "training_options.json"
    if not options_file.is_file():
        return Run(folder)
    options = json.loads(_text(options_file))
    ticks = read_jsonl(folder / "stats.jsonl")
    progress = _progress(ticks)
    curves = {
        key: curve
        for file in sorted(folder.glob("metric-*.jsonl"))
        for key, curve in _metric_curves(file, progress).items()
    }
    nimg = round(progress[-1][0]) if progress else 0
    total = float(options.get("total_kimg", math.inf)) * 1000
    return Run(
        folder=folder,
        options=options,
        nimg=nimg,
        seconds=progress[-1][1] if progress else 0.0,
        finished=nimg >= total - 0.5,
        diverged=gave_up(folder) or any(curve.diverged for curve in curves.values()) or _losses_diverged(ticks),
        nonfinite=sum(_nonfinite(tick) for tick in ticks),
        curves=curves,
        not_computed=_not_computed(folder),
        samples=_numbered(folder, "fakes*.png", SAMPLES),
        snapshots=_numbered(folder, "network-snapshot-*.safetensors", SNAPSHOT),
    )


def failure_file(folder: Path) -> Path:
    """What is written beside a run's folder when its process fails: {"status", "message", "diverged"}."""
    return folder.with_name(f"{folder.name}.failed.json")


def gave_up(folder: Path) -> bool:
    """Whether the run was given up because its gradients were not finite."""
    path = failure_file(folder)
    return path.is_file() and bool(json.loads(_text(path)).get("diverged"))


def images_shown(folder: Path) -> int:
    """The image count of the last tick, without reading the whole of stats.jsonl; 0 before the first."""
    path = folder / "stats.jsonl"
    if not path.is_file():
        return 0
    with open(path, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 65536))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return round(_mean(json.loads(line), "Progress/kimg") * 1000)
    return 0


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; [] when it does not exist, and without a last line cut off in mid-write."""
    if not path.is_file():
        return []
    lines = _text(path).splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise UserError(f"{path} line {number} is not JSON ({error}); delete the line to go on") from error
    return records


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _mean(record: dict[str, Any], key: str) -> float:
    """The mean of a statistic in one line of stats.jsonl; not-a-number where it is null or missing."""
    value = record.get(key)
    value = value.get("mean") if isinstance(value, dict) else value
    return float("nan") if value is None else float(value)


def _progress(ticks: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """(images, training seconds) at every tick, without evaluation and saving ("maintenance")."""
    points: list[tuple[float, float]] = []
    seconds = 0.0
    for tick in ticks:
        images, duration = _mean(tick, "Progress/kimg") * 1000, _mean(tick, "Timing/sec_per_tick")
        seconds += duration if math.isfinite(duration) else 0.0
        if math.isfinite(images):
            points.append((images, seconds))
    return points


def _metric_curves(file: Path, progress: list[tuple[float, float]]) -> dict[str, Curve]:
    """Curves of all results in a metric file; where one image count was evaluated twice, the later line counts."""
    values: dict[str, dict[int, float]] = {}
    for record in read_jsonl(file):
        nimg = _evaluated_at(record)
        if nimg is None:
            continue
        for key, value in record.get("results", {}).items():
            values.setdefault(key, {})[nimg] = float("nan") if value is None else float(value)
    ticks = np.array(progress or [(0.0, 0.0)])
    curves = {}
    for key, points in values.items():
        nimg = sorted(points)
        seconds = np.interp(nimg, ticks[:, 0], ticks[:, 1])
        curves[key] = Curve(tuple(nimg), tuple(seconds.tolist()), tuple(points[n] for n in nimg))
    return curves


def _not_computed(folder: Path) -> dict[str, str]:
    return {
        record["metric"]: record["not_computed"]
        for file in sorted(folder.glob("metric-*.jsonl"))
        for record in read_jsonl(file)
        if record.get("not_computed")
    }


def _evaluated_at(record: dict[str, Any]) -> int | None:
    """The image count of a metric line: named in it, or in thousands in its snapshot's name."""
    for key in ("cur_nimg", "nimg"):
        if record.get(key) is not None:
            return int(record[key])
    match = SNAPSHOT.search(str(record.get("snapshot_pkl") or ""))
    return int(match.group(1)) * 1000 if match else None


def _losses_diverged(ticks: list[dict[str, Any]]) -> bool:
    """Whether the last tick that trained at all had no finite loss."""
    for tick in reversed(ticks):
        losses = [tick[key] for key in ("Loss/G/loss", "Loss/D/loss") if isinstance(tick.get(key), dict)]
        if not losses:
            continue
        return any(not math.isfinite(_mean({"loss": loss}, "loss")) for loss in losses)
    return False


def _nonfinite(tick: dict[str, Any]) -> int:
    return sum(
        int(value.get("nonfinite", 0))
        for key, value in tick.items()
        if key.startswith("Loss/") and isinstance(value, dict)
    )


def _numbered(folder: Path, pattern: str, name: re.Pattern[str]) -> dict[int, Path]:
    found = {}
    for path in folder.glob(pattern):
        match = name.fullmatch(path.name)
        if match:
            found[int(match.group(1)) * 1000] = path
    return dict(sorted(found.items()))
