"""What a run leaves for people: grids of images, statistics, TensorBoard, snapshots, metrics."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.tensorboard import SummaryWriter

import metrics
from dnnlib import UserError, copy_whole, write_json
from torch_utils.distributed import World
from torch_utils.images import make_grid, save_image, to_uint8
from torch_utils.statistics import Summary
from torch_utils.timing import format_time
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.progress import Progress
from training.run_dir import SNAPSHOTS, RunDir, names
from training.snapshot import save_snapshot


class Grids:
    """Pictures of real and generated images with the same latents in the same place for the whole run.

    With labels, each row shows one class, in turn. Latents depend on the run's seed only.
    """

    def __init__(self, config: TrainingConfig, run: RunDir, dataset: ImageDataset, device: torch.device) -> None:
        self._run, self._dataset, self._device = run, dataset, device
        self._batch = config.batch_gpu
        self._columns, rows = config.grid or grid_size(dataset.resolution)
        count = self._columns * rows
        generator = torch.Generator().manual_seed(config.random_seed)
        self._z = torch.randn(count, config.G_kwargs.z_dim, generator=generator)
        self._indices = grid_indices(dataset, self._columns, rows)
        self._c = dataset.labels(self._indices)

    def reals(self) -> None:
        """Write `reals.png`."""
        images = self._dataset.images(self._indices)
        save_image(self._run.path / names.REALS, make_grid(images, self._columns))

    @torch.no_grad()
    def fakes(self, G_ema: torch.nn.Module, name: str) -> None:
        """Write the generated images as `name`, with constant noise, in small batches."""
        parts = [
            to_uint8(G_ema(z.to(self._device), c.to(self._device), noise_mode="const")).cpu()
            for z, c in zip(self._z.split(self._batch), self._c.split(self._batch), strict=True)
        ]
        save_image(self._run.path / name, make_grid(torch.cat(parts), self._columns))


def grid_size(resolution: int) -> tuple[int, int]:
    """Columns and rows that fill about 1920 x 1080 pixels: 4 to 20 by 2 to 10 images."""
    return int(np.clip(1920 // resolution, 4, 20)), int(np.clip(1080 // resolution, 2, 10))


def grid_indices(dataset: ImageDataset, columns: int, rows: int) -> np.ndarray:
    """Which images a grid shows: without labels a fixed sample, with labels one class per row, in turn."""
    random = np.random.RandomState(0)
    order = random.permutation(len(dataset))
    if not dataset.has_labels or dataset.label_dim == 0:
        return np.resize(order, columns * rows)
    groups: dict[tuple, list[int]] = {}
    for index in order:
        groups.setdefault(tuple(dataset.label(int(index))), []).append(int(index))
    keys = sorted(groups, reverse=True)
    rows_of_images = []
    for row in range(rows):
        members = groups[keys[row % len(keys)]]
        start = row // len(keys) * columns
        rows_of_images.append([members[(start + i) % len(members)] for i in range(columns)])
    return np.concatenate(rows_of_images).astype(np.int64)


class Board:
    """TensorBoard's event file; steps are thousands of images. Values that are not finite are left out.

    Points of an earlier session from after its last checkpoint are declared void, as they will come again.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        first = progress.tick_nimg // 1000 + 1 if progress.tick else 0
        with self._writing():
            self._writer = SummaryWriter(str(folder), purge_step=first)

    def write(self, values: Mapping[str, float], kimg: float) -> None:
        """Add one point to each of the named curves.

        Raises:
            UserError: the disk is full or the folder went away.
        """
        with self._writing():
            for name, value in values.items():
                if np.isfinite(value):
                    self._writer.add_scalar(name, value, global_step=int(kimg))
            self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        with self._writing():
            self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write TensorBoard's file in {self._folder}: {error.strerror}; free space and run the same "
                "command again"
            ) from error


def status_line(progress: Progress, seconds: Mapping[str, float], p: float, device: torch.device) -> str:
    """The line that the reference prints for each tick."""
    return " ".join(
        [
            f"tick {progress.tick:<5d}",
            f"kimg {progress.nimg / 1e3:<8.1f}",
            f"time {format_time(progress.elapsed):<12s}",
            f"sec/tick {seconds['sec_per_tick']:<7.1f}",
            f"sec/kimg {seconds['sec_per_kimg']:<7.2f}",
            f"maintenance {seconds['maintenance_sec']:<6.1f}",
            f"cpumem {cpu_memory_gb():<6.2f}",
            f"gpumem {gpu_memory_gb(device):<6.2f}",
            f"augment {p:.3f}",
        ]
    )


def cpu_memory_gb() -> float:
    """Resident memory of this process in GiB."""
    return psutil.Process(os.getpid()).memory_info().rss / 2**30


def gpu_memory_gb(device: torch.device) -> float:
    """Peak of allocated memory on the device in GiB; 0 on the CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def stats_record(
    summaries: Mapping[str, Summary],
    timings: Mapping[str, float],
    seconds: Mapping[str, float],
    progress: Progress,
    p: float,
    device: torch.device,
) -> dict[str, Any]:
    """One line of `stats.jsonl`: every statistic as {num, mean, std}, in the reference's order and names.

    `nonfinite` is added to a statistic that had such values; they are not in its mean.
    """
    record: dict[str, Any] = {}
    for name, summary in summaries.items():
        record[name] = {"num": summary.num, "mean": summary.mean, "std": summary.std}
        if summary.nonfinite:
            record[name]["nonfinite"] = summary.nonfinite
    scalars = {
        "Progress/tick": progress.tick,
        "Progress/kimg": progress.nimg / 1e3,
        "Timing/total_sec": progress.elapsed,
        "Timing/sec_per_tick": seconds["sec_per_tick"],
        "Timing/sec_per_kimg": seconds["sec_per_kimg"],
        "Timing/maintenance_sec": seconds["maintenance_sec"],
        "Resources/cpu_mem_gb": cpu_memory_gb(),
        "Resources/peak_gpu_mem_gb": gpu_memory_gb(device),
        "Progress/augment": p,
        "Timing/total_hours": progress.elapsed / 3600,
        "Timing/total_days": progress.elapsed / 86400,
        **{f"Timing/{name}": value for name, value in timings.items()},
    }
    record.update({name: {"num": 1, "mean": value, "std": 0.0} for name, value in scalars.items()})
    record["timestamp"] = time.time()
    return record


class Snapshots:
    """Network snapshots of a run: written, measured, the best one kept apart, old ones removed.

    Args:
        keep_last, keep_best: how many of the newest and of the best stay; None keeps all.
        metadata: what every snapshot of the run carries.
    """

    def __init__(
        self,
        config: TrainingConfig,
        run: RunDir,
        progress: Progress,
        metadata: dict[str, Any],
        *,
        keep_last: int | None = None,
        keep_best: int | None = None,
    ) -> None:
        self._config, self._run, self._progress, self._metadata = config, run, progress, metadata
        self._keep_last, self._keep_best = keep_last, keep_best

    def write(self, networks: Mapping[str, torch.nn.Module], p: float) -> Path:
        """Write the networks after `progress.nimg` images."""
        path = self._run.path / SNAPSHOTS.name(self._progress.nimg)
        metadata = {**self._metadata, "cur_nimg": self._progress.nimg, "augment_p": p}
        save_snapshot(path, **networks, metadata=metadata)
        self._progress.snapshots = [s for s in self._progress.snapshots if s["file"] != path.name]
        self._progress.snapshots.append({"file": path.name, "nimg": self._progress.nimg, "value": None})
        return path

    def judge(self, name: str, value: float) -> None:
        """Note the first metric's value of the newest snapshot; keep the snapshot as `best` if it is."""
        newest = self._progress.snapshots[-1]
        newest["value"] = value if np.isfinite(value) else None
        best = self._progress.best
        sign = -1 if metrics.higher_is_better(name) else 1
        if newest["value"] is None or (best and sign * value >= sign * best["value"]):
            return
        self._progress.best = {"metric": name, "value": value, "nimg": newest["nimg"], "file": newest["file"]}
        copy_whole(self._run.path / newest["file"], self._run.path / names.BEST)
        write_json(self._run.path / names.BEST_RECORD, self._progress.best)

    def prune(self, name: str | None) -> None:
        """Remove snapshots that are neither among the newest nor among the best."""
        if self._keep_last is None and self._keep_best is None:
            return
        entries = self._progress.snapshots
        kept = entries[-max(self._keep_last or 1, 1) :]
        if self._keep_best and name is not None:
            measured = [entry for entry in entries if entry["value"] is not None]
            measured.sort(key=lambda entry: entry["value"], reverse=metrics.higher_is_better(name))
            kept = kept + [entry for entry in measured[: self._keep_best] if entry not in kept]
        for entry in entries:
            if entry not in kept:
                with contextlib.suppress(FileNotFoundError):
                    (self._run.path / entry["file"]).unlink()
        self._progress.snapshots = [entry for entry in entries if entry in kept]


class RunMetrics:
    """The metrics of a run, computed at its snapshots.

    A detector that cannot be had is asked for once; its metrics are then written down as not computed, with the
    reason, and the run goes on.
    """

    def __init__(self, config: TrainingConfig, run: RunDir, world: World, log: Callable[[str], None]) -> None:
        self._config, self._run, self._world, self._log = config, run, world, log
        self._offline = False

    def compute(
        self, G_ema: torch.nn.Module, dataset: ImageDataset, device: torch.device, snapshot: str, nimg: int
    ) -> dict[str, float]:
        """Append a line to each `metric-<name>.jsonl`; the values by name. All processes call it together."""
        if not self._config.metrics:
            return {}
        results = metrics.compute(
            self._config.metrics,
            G=G_ema,
            dataset=dataset,
            seed=self._config.random_seed,
            device=device,
            offline=self._offline,
            world=self._world,
            mark_unavailable=True,
        )
        values: dict[str, float] = {}
        for result in results:
            if result.not_computed is None:
                values.update(result.results)
                shown = "  ".join(f"{key} {value:.4f}" for key, value in result.results.items())
                self._log(f"metric {shown}  ({format_time(result.total_time)})")
            elif not self._offline:
                self._log(f"warning: {result.metric} is not computed in this run: {result.not_computed}")
            if self._world.is_main:
                record = result.record(snapshot=snapshot, num_gpus=self._world.size)
                self._run.append_metric({**record, "nimg": nimg, "source": "training"})
        self._offline |= any(result.not_computed is not None for result in results)
        return values
