"""What the benchmarks share: timing on a device."""

import time
from collections.abc import Callable

import numpy as np
import torch


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(function: Callable[[], None], device: torch.device, repeats: int, cpu_time: bool = False) -> float:
    """Median time of a call, after one that is not counted.

    With `cpu_time`, the processor time of this process: with one thread it is hardly moved by what else runs.
    """
    clock = time.process_time if cpu_time else time.perf_counter
    function()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = clock()
        function()
        synchronize(device)
        times.append(clock() - start)
    return float(np.median(times))
