"""How much memory a run will take, said before it starts, and how much it took."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from training.config import TrainingConfig

# Saved feature maps per layer and image, in units of the layer's output, in the most demanding phase, and what the
# process needs besides; fitted to the peaks of benchmarks/speed/memory.py on a CPU (docs/results/running.md).
# On CUDA it is cautious: 1.9 and 1.4 times what eager phases took on an H200 (64 x 64, 32 images; 256 x 256, 16).
_COPIES_PER_LAYER = 5.5
# With graphs the feature maps of a micro-batch are there twice: in the graphs' own memory, and in that of the eager
# runs before and after each capture. There that added 1.12 and 1.20 times what the estimate counts for the maps.
_WITH_GRAPHS = 2.25
_TOLERANCE = 1.33
_BASE_BYTES = {"cpu": 0.75e9, "cuda": 1.2e9}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a process is expected to need: `fixed` plus `per_image` for each image of a micro-batch."""

    fixed: float
    per_image: float

    def total(self, batch_gpu: int) -> float:
        """Bytes for a micro-batch of that many images."""
        return self.fixed + self.per_image * batch_gpu

    def fitting_batch_gpu(self, available: float, batch_per_process: int) -> int | None:
        """The largest divisor of `batch_per_process` that fits; None if not even one image does."""
        sizes = [n for n in range(batch_per_process, 0, -1) if batch_per_process % n == 0]
        return next((n for n in sizes if self.total(n) <= available), None)


def estimate(config: TrainingConfig, parameters: int) -> MemoryEstimate:
    """Estimate for one process of the run; `parameters` is the number of parameters of G and D together."""
    element = 4 if config.precision.dtype == "float32" else 2
    per_image = 0.0
    highest = resolution = config.G_kwargs.img_resolution
    while resolution >= 4:
        reduced = config.precision.dtype != "float32" and resolution << config.precision.num_fp16_res > highest
        channels = config.G_kwargs.channels(resolution) + config.D_kwargs.channels(resolution)
        height, width = config.G_kwargs.size(resolution)
        per_image += 2 * channels * height * width * (element if reduced else 4)
        resolution //= 2
    if config.uses_graphs:
        per_image *= _WITH_GRAPHS
    # Weights, gradients, both Adam moments and the average of the generator: about 5 copies.
    fixed = parameters * 4 * 5 + _BASE_BYTES.get(config.device, 1e9)
    return MemoryEstimate(fixed, per_image * _COPIES_PER_LAYER)


def without_graphs(config: TrainingConfig) -> TrainingConfig:
    """The same with eager phases."""
    return dataclasses.replace(config, precision=dataclasses.replace(config.precision, cuda_graphs=False))


def excess_of_graphs(config: TrainingConfig, parameters: int, device: torch.device) -> str | None:
    """A line that says why a run that would use graphs should not: too little memory is free; None if it suffices."""
    needed, available = estimate(config, parameters).total(config.batch_gpu), available_bytes(device)
    if needed <= available:
        return None
    return (
        f"memory: phases run without CUDA graphs, for which about {needed / 2**30:.1f} GiB are expected and "
        f"{available / 2**30:.1f} GiB are free; `cuda_graphs`=1 insists"
    )


def available_bytes(device: torch.device) -> float:
    """Free memory of the device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def peak_bytes(device: torch.device) -> float:
    """The most memory that this process has used so far on the device."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    # Not ru_maxrss: that includes the process that this one was started from.
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found.group(1)) * 1024.0
    now = psutil.Process().memory_info()
    return float(getattr(now, "peak_wset", now.rss))  # the most on Windows; elsewhere what is used now


def comparison(expected: float, used: float) -> str:
    """A line about the memory that the first step took beside what was expected, or a warning."""
    text = f"memory: {used / 2**30:.1f} GiB used at most in the first step, {expected / 2**30:.1f} GiB were expected"
    if used <= _TOLERANCE * expected:
        return text
    return f"warning: {text}; if it grows too large for this machine, lower `batch_gpu`"


def advice(config: TrainingConfig, parameters: int, device: torch.device, sharing: int = 1) -> str:
    """A line about the expected memory, or a warning.

    Call it before the networks are made: what they take must not count twice. `sharing` processes of the run share
    the memory of the machine, where the device is its processor.
    """
    expected = estimate(config, parameters)
    available = available_bytes(device) / (sharing if device.type == "cpu" else 1)
    needed = expected.total(config.batch_gpu)
    text = (
        f"memory: about {needed / 2**30:.1f} GiB expected for `batch_gpu`={config.batch_gpu}, "
        f"{available / 2**30:.1f} GiB free"
    )
    if needed <= available:
        return text
    if estimate(without_graphs(config), parameters).total(config.batch_gpu) <= available:
        return f"warning: {text}: `cuda_graphs`=0 should fit"
    fitting = expected.fitting_batch_gpu(available, config.batch_size // config.num_gpus)
    remedy = (
        f"`batch_gpu`={fitting} should fit" if fitting else "not even one image fits; lower `cbase` or the resolution"
    )
    return f"warning: {text}: {remedy}"
