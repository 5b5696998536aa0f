"""Metrics during a run."""

from collections.abc import Callable

import torch

import metrics
from torch_utils.distributed import World
from torch_utils.timing import format_time
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.run_dir import RunDir


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
