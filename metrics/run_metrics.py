"""The metrics of a training run: computed at its snapshots, written to its directory."""

from collections.abc import Sequence

import torch

from metrics.evaluation import compute
from metrics.names import check_names, higher_is_better
from metrics.results import Result
from torch_utils.processes.distributed import World
from torch_utils.timing import format_time
from training.dataset import ImageDataset
from training.run_dir import RunDir


class RunMetrics:
    """What a run is handed to measure its networks: a `training.outputs.evaluator.Evaluator`.

    A detector that is not here is asked for once; its metrics are then written down as not computed, with the
    reason, and the run goes on.

    Raises:
        UserError: no metric has one of the names.
    """

    higher_is_better = staticmethod(higher_is_better)

    def __init__(self, names: Sequence[str], run: RunDir, world: World, *, seed: int) -> None:
        check_names(names)
        self.names, self._run, self._world, self._seed = tuple(names), run, world, seed
        self._offline = False
        self._said: list[str] = []

    def compute(
        self, G_ema: torch.nn.Module, dataset: ImageDataset, device: torch.device, snapshot: str, nimg: int
    ) -> dict[str, float]:
        """Append a line to each `metric-<name>.jsonl`; the values by name. All processes call it together."""
        results = compute(
            self.names,
            G=G_ema,
            dataset=dataset,
            seed=self._seed,
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
                self._remark(result)
            elif not self._offline:
                self._log(f"warning: {result.metric} is not computed in this run: {result.not_computed}")
            if self._world.is_main:
                record = result.record(snapshot=snapshot, num_gpus=self._world.size)
                with self._run.tolerating(result.metric):
                    self._run.append_metric({**record, "nimg": nimg, "source": "training"})
                    if result.picture is not None:
                        self._run.write_picture(result.metric, nimg, result.picture)
        self._offline |= any(result.not_computed is not None for result in results)
        return values

    def _remark(self, result: Result) -> None:
        """Say what belongs to a result; a warning again only after its cause had gone, a note once."""
        warned = f"{result.metric} warns"
        if result.warning is None and warned in self._said:
            self._said.remove(warned)
        for line in result.remarks():
            cause = warned if line.startswith("warning") else line
            if cause not in self._said:
                self._said.append(cause)
                self._log(line)

    def _log(self, line: str) -> None:
        if self._world.is_main:
            self._run.log(line)
