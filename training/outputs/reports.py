"""What a run does at a tick: report, draw, write the networks and measure them, each when it is due."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from torch_utils.processes.distributed import World
from torch_utils.statistics import Summary
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.health import HealthMonitor
from training.options.keep import Keep
from training.outputs.board import Board
from training.outputs.evaluator import Evaluator
from training.outputs.grids import Grids
from training.outputs.snapshots import Snapshots
from training.outputs.ticks import stats_record, status_line
from training.progress import Progress
from training.run_dir import FAKES, FAKES_INIT, SNAPSHOTS, RunDir


@dataclass
class Reports:
    """Everything that a run leaves besides its checkpoints; all processes call it, the main one writes.

    Attributes:
        config, dataset, run, world: of the run.
        progress: where it is; its ticks are counted here.
        device: where the networks are.
        log: takes a line.
        keep: which network snapshots stay; None for all.
        evaluator: measures `config.metrics`.
        health: is told what came out.
    """

    config: TrainingConfig
    dataset: ImageDataset
    run: RunDir
    world: World
    progress: Progress
    device: torch.device
    log: Callable[[str], None]
    keep: Keep | None
    evaluator: Evaluator | None
    health: HealthMonitor

    def __post_init__(self) -> None:
        assert not self.config.metrics or self.evaluator is not None
        self.snapshots = Snapshots(self.config, self.dataset, self.run, self.progress, self.keep, self.evaluator)
        self._grids = Grids(self.config, self.run, self.dataset, self.device)
        self._board = Board(self.run.path, self.progress) if self.world.is_main else None

    def begin(self, G_ema: torch.nn.Module) -> None:
        """Draw the training images, and what the networks give before they are trained."""
        if self.world.is_main:
            self._grids.reals()
            self._draw(G_ema, FAKES_INIT)

    def tick(
        self,
        networks: Mapping[str, torch.nn.Module],
        summaries: Mapping[str, Summary],
        phase_seconds: Mapping[str, float],
        p: float,
        warnings: list[str],
        *,
        done: bool,
    ) -> bool:
        """End a tick; True if the networks were written.

        Said are the statistics since the last tick, the mean time of each phase, the augmentation probability p and the
        warnings. When the run is done, everything is due.
        """
        config, progress, is_main = self.config, self.progress, self.world.is_main
        record = stats_record(summaries, phase_seconds, progress, p, self.device)
        self.log(status_line(record))
        self._warn(warnings)
        tolerating = contextlib.nullcontext if done else self.run.tolerating  # what is last would not come again
        if is_main and (done or _due(progress.tick, config.image_snapshot_ticks)):
            with tolerating("fakes"):
                self._draw(networks["G_ema"], FAKES.name(progress.nimg))
        taken = done or _due(progress.tick, config.network_snapshot_ticks)
        values = self._snapshot(networks, p, tolerating) if taken else {}
        if is_main:
            with tolerating("statistics"):
                self.run.append_stats(record)
            curves = {name: value["mean"] for name, value in record.items() if isinstance(value, dict)}
            curves |= {f"Metrics/{key}": value for key, value in values.items()}
            with tolerating("TensorBoard"):
                self._board.write(curves, progress.nimg / 1e3)
        progress.end_tick()
        return taken

    def _draw(self, G_ema: torch.nn.Module, name: str) -> None:
        variety = self._grids.fakes(G_ema, name)
        self._warn(self.health.drawn(variety) if variety is not None else [])

    def _warn(self, warnings: list[str]) -> None:
        for warning in warnings:
            self.log(f"warning: {warning}")

    def _snapshot(
        self, networks: Mapping[str, torch.nn.Module], p: float, tolerating: Callable[[str], Any]
    ) -> dict[str, float]:
        """Write the networks, compute the metrics, keep the best; the metrics' values by name."""
        nimg, values, written = self.progress.nimg, {}, False
        if self.world.is_main:
            with tolerating("networks"):
                self.snapshots.write(networks, p)
                written = True
        if self.config.metrics:
            name = SNAPSHOTS.name(nimg)
            values = self.evaluator.compute(networks["G_ema"], self.dataset, self.device, name, nimg)
        if written:
            with tolerating("the best networks"):
                if values:
                    self._judge(*next(iter(values.items())))
            self.snapshots.prune(next(iter(values), None))
        return values

    def _judge(self, name: str, value: float) -> None:
        self.snapshots.judge(name, value)
        best, higher = self.progress.best, self.evaluator.higher_is_better(name)
        if best.get("metric") == name:  # another one may have been first before
            self._warn(self.health.evaluated(name, value, best, higher_is_better=higher))

    def close(self) -> None:
        """Close the files."""
        if self._board is not None:
            self._board.close()


def _due(tick: int, interval: int) -> bool:
    """Whether something that happens every `interval` ticks (0: only at the end) happens at this one."""
    return interval > 0 and tick % interval == 0
