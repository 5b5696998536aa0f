"""Reading finished and unfinished run directories: curves, losses' health, sample pictures, settings."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from comparison.runs.design import Design
from comparison.runs.jobs import run_folder
from dnnlib import UserError, read_json
from dnnlib.typed import fits
from training.run_dir import FAKES, SNAPSHOTS, RunDir, State
from training.run_dir.names import OPTIONS

_KEY = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Curve:
    """One metric over one run: image counts, training seconds (without evaluation) and values, all of equal length.

    `processor` are the seconds of the processor; empty for runs that did not record them.
    """

    nimg: tuple[int, ...]
    seconds: tuple[float, ...]
    value: tuple[float, ...]
    processor: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.nimg) == len(self.seconds) == len(self.value)
        assert all(a < b for a, b in zip(self.nimg, self.nimg[1:], strict=False)), "image counts must increase"

    @property
    def diverged(self) -> bool:
        """Whether any value is infinite or not a number."""
        return not all(math.isfinite(v) for v in self.value)


@dataclass(frozen=True)
class Run:
    """What one run directory holds.

    Attributes:
        options: the content of training_options.json; empty when the run has not begun.
        nimg: images shown so far; seconds: training time for them, without evaluation and saving; processor: processor
            seconds of that, 0 where they were not recorded.
        finished: whether training has reached its end.
        diverged: training was given up, or losses or metrics ended infinite or not a number.
        nonfinite: how many loss values were not finite over the run.
        curves: by metric key (`fid50k_full`, `swd`, ...).
        not_computed: why a metric has no value at some evaluation, by the metric's name.
        samples: sample grids, image count -> PNG; snapshots likewise.
        pictures: by metric the pages that belong to its results, image count -> PNG.
    """

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    nimg: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    finished: bool = False
    diverged: bool = False
    nonfinite: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)
    samples: dict[int, Path] = field(default_factory=dict)
    snapshots: dict[int, Path] = field(default_factory=dict)
    pictures: dict[str, dict[int, Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.curves:
            if not _KEY.fullmatch(key):  # it becomes part of the names of figures
                raise UserError(f"{self.folder}: '{key[:80]}' is no name of a metric's result; delete the record of it")


Runs = Mapping[str, Mapping[int, Run]]
"""Runs by the loss's key and the seed."""


def read_runs(outdir: Path, design: Design) -> Runs:
    """Every run of the design, begun or not.

    Raises:
        UserError: runs on different images, which must not be compared.
    """
    runs = {
        loss.key: {seed: read_run(run_folder(outdir, loss, seed)) for seed in design.seeds} for loss in design.losses
    }
    check_same_images(runs, design.seeds)
    return runs


def check_same_images(runs: Runs, seeds: Sequence[int]) -> None:
    """UserError where runs of one seed saw different images, and must not be compared."""
    for seed in seeds:
        hashes = {
            run.options["dataset_hash"]: run.folder.name
            for by_seed in runs.values()
            if isinstance((run := by_seed[seed]).options.get("dataset_hash"), str)
        }
        if len(hashes) > 1:
            names = " and ".join(hashes.values())
            raise UserError(f"the runs {names} saw different images (their dataset_hash differs); delete one and rerun")


def read_run(folder: Path) -> Run:
    """Read a run directory; a folder where nothing was written yet gives an empty `Run`.

    Raises:
        UserError: a file in it that cannot be read.
    """
    run = RunDir(folder)
    if not run.has_begun:
        return Run(folder)
    ticks = run.stats()
    progress = _progress(ticks)
    results = [run.metric(name) for name in run.metrics()]
    curves = {key: curve for records in results for key, curve in _metric_curves(records, progress).items()}
    return Run(
        folder=folder,
        options=run.options(),
        nimg=round(progress[-1][0]) if progress else 0,
        seconds=progress[-1][1] if progress else 0.0,
        processor=progress[-1][2] if progress else 0.0,
        finished=run.state is State.FINISHED,
        diverged=gave_up(folder) or any(curve.diverged for curve in curves.values()) or _losses_diverged(ticks),
        nonfinite=sum(_nonfinite(tick) for tick in ticks),
        curves=curves,
        not_computed={
            record["metric"]: record["not_computed"]
            for records in results
            for record in records
            if fits(record.get("metric"), str) and fits(record.get("not_computed"), str)
        },
        samples=FAKES.find(folder),
        snapshots=SNAPSHOTS.find(folder),
        pictures={name: found for name in run.metrics() if (found := run.pictures(name))},
    )


def data_options(run: Run) -> dict[str, Any]:
    """What the run's options say of its data: `path`, `resolution`, ...

    Raises:
        UserError: they say nothing of use.
    """
    named = run.options.get("training_set_kwargs")
    known = named if fits(named, dict[str, Any]) else {}
    if not (fits(known.get("path"), str | None) and fits(known.get("resolution"), int) and known["resolution"] > 0):
        raise UserError(f"{run.folder / OPTIONS} is damaged: 'training_set_kwargs' has no path and resolution")
    return known


def image_size(run: Run) -> tuple[int, int]:
    """Width and height of the run's images in pixels. Raises UserError as `data_options`."""
    resolution = data_options(run)["resolution"]
    networks = run.options.get("G_kwargs")
    base_size = networks.get("base_size") if fits(networks, dict[str, Any]) else None
    height, width = (
        base_size if fits(base_size, tuple[int, int]) and 1 < min(base_size) <= max(base_size) < 8 else (4, 4)
    )
    return width * resolution // 4, height * resolution // 4


def failure_file(folder: Path) -> Path:
    """What is written beside a run's folder when its process fails: {"status", "message", "diverged"}."""
    return folder.with_name(f"{folder.name}.failed.json")


def gave_up(folder: Path) -> bool:
    """Whether training gave the run up; of runs before there was such a state the failure file tells it."""
    path = failure_file(folder)
    if path.exists():
        record = read_json(path)
        if not fits(record, dict[str, Any]):
            raise UserError(f"{path} is damaged: it holds no object; delete it, then the same command runs this again")
        if record.get("diverged"):
            return True
    return RunDir(folder).state is State.DIVERGED


def _mean(record: dict[str, Any], key: str) -> float:
    """The mean of a statistic in one line of stats.jsonl; not-a-number where it is null, missing or no number."""
    value = record.get(key)
    return _number(value.get("mean") if isinstance(value, dict) else value)


def _number(value: Any) -> float:
    return float(value) if fits(value, float) else float("nan")


def _progress(ticks: list[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """(images, training seconds, processor seconds) at every tick, without evaluation and saving ("maintenance")."""
    points: list[tuple[float, float, float]] = []
    spent = [0.0, 0.0]
    for tick in ticks:
        images = _mean(tick, "Progress/kimg") * 1000
        for i, name in enumerate(("sec_per_tick", "processor_sec_per_tick")):
            duration = _mean(tick, f"Timing/{name}")
            spent[i] += duration if math.isfinite(duration) else 0.0
        if math.isfinite(images):
            points.append((images, *spent))
    return points


def _metric_curves(records: list[dict[str, Any]], progress: list[tuple[float, float, float]]) -> dict[str, Curve]:
    """Curves of all results of a metric; where one image count was evaluated twice, the later one counts."""
    values: dict[str, dict[int, float]] = {}
    for record in records:
        nimg = _evaluated_at(record)
        if nimg is None:
            continue
        results = record.get("results")
        for key, value in results.items() if isinstance(results, dict) else ():
            values.setdefault(key, {})[nimg] = _number(value)
    ticks = np.array(progress or [(0.0, 0.0, 0.0)])
    curves = {}
    for key, points in values.items():
        nimg = sorted(points)
        seconds, processor = (tuple(np.interp(nimg, ticks[:, 0], ticks[:, i]).tolist()) for i in (1, 2))
        recorded = processor if ticks[-1, 2] else ()
        curves[key] = Curve(tuple(nimg), seconds, tuple(points[n] for n in nimg), recorded)
    return curves


def _evaluated_at(record: dict[str, Any]) -> int | None:
    """The image count of a metric line: named in it, or in thousands in its snapshot's name."""
    for key in ("cur_nimg", "nimg"):
        if fits(record.get(key), float):
            return int(record[key])
    named = record.get("snapshot_pkl")
    return SNAPSHOTS.nimg(Path(named).name) if isinstance(named, str) else None


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
        value["nonfinite"]
        for key, value in tick.items()
        if key.startswith("Loss/") and isinstance(value, dict) and fits(value.get("nonfinite"), int)
    )
