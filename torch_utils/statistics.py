"""Running statistics of named quantities between two reports: count, mean, standard deviation.

Accumulated on the device that the values live on, so that reporting never waits for it, in float64.
Values that are not finite are counted on their own and left out of the mean: one infinite loss must
neither be hidden nor spoil the numbers of the rest of the run.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch

from torch_utils.processes.distributed import World


@dataclass(frozen=True)
class Summary:
    """Count, mean and standard deviation (1/N) of the finite values, and how many were not finite."""

    num: int
    mean: float
    std: float
    nonfinite: int


_NAME = re.compile(r"[\w/. -]{1,200}", re.ASCII)  # it becomes that of a curve


class Statistics:
    """Collects values by name.

    `report` may be called with tensors of any shape; `summaries` reduces over all processes and starts
    a new interval. The state dict holds the sums of every process, so that a run continued in the
    middle of an interval reports exactly what the uninterrupted one does.
    """

    def __init__(self, world: World | None = None, device: torch.device | str = "cpu") -> None:
        self._world = world or World()
        self._device = torch.device(device)
        self._sums: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def report(self, name: str, value: torch.Tensor | float) -> None:
        """Add all elements of `value` to the statistic `name`."""
        value = torch.as_tensor(value, device=self._device).detach().to(torch.float64).flatten()
        finite = torch.isfinite(value)
        kept = torch.where(finite, value, 0.0)
        count = finite.sum(dtype=torch.float64)
        moments = torch.stack([count, kept.sum(), kept.square().sum(), value.numel() - count])
        if name in self._sums:
            self._sums[name] += moments
        else:
            self._sums[name] = moments

    def summaries(self) -> dict[str, Summary]:
        """The statistics since the last call over all processes, by name in the order of first report."""
        names = list(dict.fromkeys(name for names in self._world.gather_object(list(self._sums)) for name in names))
        if not names:
            return {}
        zero = torch.zeros(4, dtype=torch.float64, device=self._device)
        table = self._world.all_reduce(torch.stack([self._sums.get(name, zero) for name in names])).tolist()
        # In place: a captured CUDA graph goes on adding to the same tensors.
        for moments in self._sums.values():
            moments.zero_()
        return {name: _summary(*row) for name, row in zip(names, table, strict=True) if row[0] + row[3]}

    def tensors(self) -> list[torch.Tensor]:
        """The sums, which `report` adds to in place."""
        return list(self._sums.values())

    def state_dict(self) -> dict[str, Any]:
        """The sums of every process, by rank; a collective call."""
        mine = {name: moments.tolist() for name, moments in self._sums.items()}
        return {"by_rank": self._world.gather_object(mine)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up this rank's sums; on another number of processes the main process takes them all."""
        by_rank = state["by_rank"]
        if len(by_rank) == self._world.size:
            mine = [by_rank[self._world.rank]]
        else:
            mine = by_rank if self._world.is_main else []
        self._sums = {}
        for sums in mine:
            for name, moments in sums.items():
                tensor = torch.as_tensor(moments, dtype=torch.float64, device=self._device)
                if tensor.shape != (4,) or not tensor.isfinite().all() or not _NAME.fullmatch(name):
                    raise ValueError("one of the statistics is none")
                self._sums[name] = self._sums[name] + tensor if name in self._sums else tensor


def _summary(num: float, total: float, squares: float, nonfinite: float) -> Summary:
    mean = total / num if num else float("nan")
    std = max(squares / num - mean * mean, 0.0) ** 0.5 if num else float("nan")
    return Summary(int(num), mean, std, int(nonfinite))
