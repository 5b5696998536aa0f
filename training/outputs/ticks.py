"""What is said of a tick: the line that the log shows, and the record in `stats.jsonl`."""

import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch

from torch_utils.statistics import Summary
from torch_utils.timing import format_time
from training.progress import Progress


def stats_record(
    summaries: Mapping[str, Summary],
    phase_seconds: Mapping[str, float],
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
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    scalars = {
        "Progress/tick": progress.tick,
        "Progress/kimg": progress.nimg / 1e3,
        "Timing/total_sec": progress.elapsed,
        **{f"Timing/{name}": seconds for name, seconds in progress.tick_seconds().items()},
        "Resources/cpu_mem_gb": psutil.Process().memory_info().rss / 2**30,
        "Resources/peak_gpu_mem_gb": peak / 2**30,
        "Progress/augment": p,
        "Timing/total_hours": progress.elapsed / 3600,
        "Timing/total_days": progress.elapsed / 86400,
        **{f"Timing/{name}": value for name, value in phase_seconds.items()},
    }
    record.update({name: {"num": 1, "mean": value, "std": 0.0} for name, value in scalars.items()})
    record["timestamp"] = time.time()
    return record


def status_line(record: Mapping[str, Any]) -> str:
    """The line that the reference prints for each tick, from its `stats_record`."""
    columns = {
        "tick": ("Progress/tick", "<5d"),
        "kimg": ("Progress/kimg", "<8.1f"),
        "time": ("Timing/total_sec", "<12s"),
        "sec/tick": ("Timing/sec_per_tick", "<7.1f"),
        "sec/kimg": ("Timing/sec_per_kimg", "<7.2f"),
        "maintenance": ("Timing/maintenance_sec", "<6.1f"),
        "cpumem": ("Resources/cpu_mem_gb", "<6.2f"),
        "gpumem": ("Resources/peak_gpu_mem_gb", "<6.2f"),
        "augment": ("Progress/augment", ".3f"),
    }
    values = {title: record[name]["mean"] for title, (name, _) in columns.items()}
    values["time"] = format_time(values["time"])
    return " ".join(f"{title} {values[title]:{form}}" for title, (_, form) in columns.items())
