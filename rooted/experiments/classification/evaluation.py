"""What a classifier is worth: accuracy, cross-entropy, calibration, and the time of its loss."""

import time
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rooted.experiments.classification.config import DivergedError, Runtime, TrainConfig
from rooted.experiments.classification.image_data import ImageSet


def normalised(x: Tensor, runtime: Runtime) -> Tensor:
    """Images uint8 to float about [-2, 2] on the device, in the model's memory layout."""
    x = x.to(runtime.device, non_blocking=True).to(torch.float32, memory_format=runtime.layout)
    return (x - 120.0) / 64.0


def autocast(config: TrainConfig, runtime: Runtime) -> Any:
    """The autocast context of the run's precision."""
    if config.precision == "fp32":
        return nullcontext()
    return torch.autocast(runtime.device.type, {"bf16": torch.bfloat16, "fp16": torch.float16}[config.precision])


@torch.no_grad()
def evaluate(
    model: nn.Module, data: ImageSet, loss: nn.Module, runtime: Runtime, config: TrainConfig
) -> dict[str, float]:
    """Accuracy, mean cross-entropy, the loss itself and the calibration error (15 bins) on `data`.

    Raises:
        DivergedError: logits that are not finite, which have no accuracy and no confidence.
    """
    model.eval()
    parts = []
    for at in range(0, len(data.y), 1000):
        with autocast(config, runtime):
            x = normalised(data.x[at : at + 1000], runtime)
            out = model(x).float()
            parts.append(((out + model(x.flip(3)).float()) / 2 if config.evaluate_flips else out).cpu())
    logits = torch.cat(parts)
    if not logits.isfinite().all():
        raise DivergedError("the logits", "are", config)
    return {
        "accuracy": (logits.argmax(1) == data.y).double().mean().item(),
        "cross_entropy": F.cross_entropy(logits, data.y).item(),
        "own_loss": loss(logits, data.y).item(),
        "calibration_error": calibration_error(logits, data.y),
    }


def calibration_error(logits: Tensor, y: Tensor, bins: int = 15) -> float:
    """Expected calibration error: mean |confidence - accuracy| over equal bins of confidence, by their sizes."""
    confidence, predicted = logits.softmax(1).double().max(1)
    index = (confidence * bins).long().clamp(max=bins - 1)
    gap = confidence - (predicted == y).double()
    return torch.zeros(bins, dtype=torch.float64).index_add_(0, index, gap).abs().sum().item() / len(y)


def loss_seconds(loss: nn.Module, batch: int, classes: int, device: torch.device) -> float:
    """Median seconds of the loss alone, forward and backward, on logits of that shape."""
    logits, y = torch.randn(batch, classes, device=device, requires_grad=True), torch.zeros(batch, dtype=torch.long)
    y, times = y.to(device), []
    for _ in range(30):
        synchronize(device)
        start = time.perf_counter()
        torch.autograd.grad(loss(logits, y), logits)
        synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[15]


def synchronize(device: torch.device) -> None:
    """Wait for what the device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
