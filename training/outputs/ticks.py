"""What is said of a tick: the line that the log shows, and the record in `stats.jsonl`."""

import os
import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch

from torch_utils.statistics import Summary
from torch_utils.timing import format_time
from training.progress import Progress


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
