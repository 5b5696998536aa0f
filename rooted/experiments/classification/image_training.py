"""Train one classifier with one loss: exact continuation, mixed precision, several processes, honest timing."""

import copy
import json
import math
import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dnnlib import UserError, atomic_write, first_line, make_folder, write_json
from rooted import FocalLoss, RootedCrossEntropyLoss
from rooted.experiments.classification.image_data import ImageSet, augmented
from rooted.experiments.classification.image_models import create


@dataclass(frozen=True)
class LossConfig:
    """Which loss: "ce", "focal" (gamma 3, alpha 0.25 as in the paper's code) or "rlo" with its settings."""

    name: str
    k: float | None = None
    form: str | None = None
    multiplier: float | None = None

    def describe(self) -> str:
        """A short name for folders and tables."""
        if self.name != "rlo":
            return self.name
        return f"rlo-k{self.k:g}-{self.form}" + (f"-m{self.multiplier:g}" if self.multiplier else "")

    def build(self, label_smoothing: float) -> nn.Module:
        """The loss module."""
        if self.name == "ce":
            return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        if self.name == "focal":
            return FocalLoss(gamma=3.0, alpha=0.25, label_smoothing=label_smoothing)
        return RootedCrossEntropyLoss(
            k=self.k, form=self.form, multiplier=self.multiplier, label_smoothing=label_smoothing
        )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run's result but the data."""

    loss: LossConfig
    model: str
    pretrained: bool
    epochs: int
    batch: int
    optimizer: str
    lr: float
    weight_decay: float
    warmup: float
    label_smoothing: float
    padding: int
    cutout: int
    ema: float
    precision: str
    seed: int


class DivergedError(UserError):
    """A loss or the logits are not finite: a mistake in the settings, but a result in a search for the rate."""

    def __init__(self, what: str, verb: str, config: TrainConfig) -> None:
        remedy = "lower --lr" + (" or raise --k" if config.loss.name == "rlo" else "")
        super().__init__(f"{what} of {config.loss.describe()} {verb} not finite at lr {config.lr:g}; {remedy}")


@dataclass(frozen=True)
class Runtime:
    """Where it runs; none of it decides what is computed, up to rounding."""

    device: torch.device
    compile: bool
    channels_last: bool
    rank: int = 0
    world: int = 1


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Linear warm-up over the share `warmup` of all steps, then a cosine to 0."""
    start = config.warmup * steps
    if step < start:
        return config.lr * (step + 1) / start
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - start) / max(steps - start, 1)))


def train(
    config: TrainConfig, training: ImageSet, test: ImageSet, runtime: Runtime, folder: Path | None
) -> dict[str, Any]:
    """Train and evaluate; with a `folder`, write checkpoint, events and result.json, and continue from them.

    Returns the record: per-epoch history, final accuracy, cross-entropy, own loss, calibration error, seconds.
    Every random draw is a function of (seed, epoch), so that an interrupted run continues exactly.
    """
    if folder is not None and (folder / "result.json").is_file():
        record = _read_result(folder / "result.json")
        _check_same(record["config"], config, folder / "result.json")
        return record
    state = _State(config, training, runtime)
    if folder is not None:
        make_folder(folder, "`out`")
        state.load(folder / "checkpoint.pt")
    writer = _writer(folder, state.epoch) if runtime.rank == 0 else None
    with tqdm(
        total=config.epochs,
        initial=state.epoch,
        desc=f"{config.loss.describe()} seed {config.seed}",
        unit="epoch",
        disable=runtime.rank != 0,
    ) as bar:  # closed by an error too, whose message then has a line of its own
        while state.epoch < config.epochs:
            row = state.train_epoch(training)
            row.update(evaluate(state.averaged or state.model, test, state.loss, runtime, config))
            state.history.append(row)
            if runtime.rank == 0 and folder is not None:
                state.save(folder / "checkpoint.pt")
                for key, value in row.items():
                    writer.add_scalar(key, value, row["epoch"])
            bar.update()
            bar.set_postfix(accuracy=f"{100 * row['accuracy']:.2f}")
    per_call = loss_seconds(state.loss, config.batch // runtime.world, len(training.classes), runtime.device)
    last = state.history[-1]
    seconds = sum(row["seconds"] for row in state.history) / config.epochs
    steps = max(len(training.y) // config.batch, 1)
    record = {
        "config": asdict(config),
        "loss": config.loss.describe(),
        "seed": config.seed,
        **{key: last[key] for key in ("accuracy", "cross_entropy", "own_loss", "calibration_error")},
        "seconds_per_epoch": seconds,
        "share_of_loss": per_call * steps / seconds,
        "history": state.history,
    }
    if folder is not None and runtime.rank == 0:
        writer.close()
        write_json(folder / "result.json", record)
    return record


class _State:
    """All that changes while training; what `save` writes is what `load` restores."""

    def __init__(self, config: TrainConfig, training: ImageSet, runtime: Runtime) -> None:
        torch.manual_seed(config.seed)
        self.config, self.runtime = config, runtime
        self.model = create(config.model, len(training.classes), training.x.shape[-1], config.pretrained)
        layout = torch.channels_last if runtime.channels_last else torch.contiguous_format
        self.model.to(runtime.device, memory_format=layout)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False) if config.ema else None
        self.loss = config.loss.build(config.label_smoothing)
        if config.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.model.parameters(), config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
            )
        else:
            kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
            self.optimizer = kind(self.model.parameters(), config.lr, weight_decay=config.weight_decay)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=config.precision == "fp16")
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        forward: nn.Module = self.model
        if runtime.world > 1:
            forward = nn.parallel.DistributedDataParallel(self.model)
        self.forward = torch.compile(forward) if runtime.compile else forward

    def train_epoch(self, data: ImageSet) -> dict[str, float]:
        """One pass over the data, less the last incomplete batch; the row for the history."""
        config, runtime = self.config, self.runtime
        torch.manual_seed(1_000_000 * config.seed + 1000 * self.epoch)
        order = torch.randperm(len(data.y))
        torch.manual_seed(1_000_000 * config.seed + 1000 * self.epoch + 1 + runtime.rank)
        batch = min(config.batch, len(order))
        steps, share = len(order) // batch, batch // runtime.world
        total, right = torch.zeros((), device=runtime.device), torch.zeros((), device=runtime.device)
        self.model.train()
        _synchronize(runtime.device)
        start = time.perf_counter()
        for step in range(steps):
            at = step * batch + runtime.rank * share
            chosen = order[at : at + share]
            x = normalised(data.x[chosen], runtime)
            y = data.y[chosen].to(runtime.device, non_blocking=True)
            x = augmented(x, config.padding, config.cutout)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.epoch * steps + step, config.epochs * steps, config)
            with autocast(config, runtime):
                logits = self.forward(x)
            loss = self.loss(logits.float(), y)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.averaged is not None:
                self._average()
            total += loss.detach()
            right += (logits.argmax(1) == y).sum()
        _synchronize(runtime.device)
        seconds = time.perf_counter() - start
        self.epoch += 1
        if not math.isfinite(total.item()):
            raise DivergedError("the loss", "is", config)
        accuracy = right.item() / (steps * share)
        row = {"epoch": self.epoch, "train_loss": total.item() / steps, "train_accuracy": accuracy}
        return {**row, "seconds": seconds, "images_per_second": steps * batch / seconds}

    @torch.no_grad()
    def _average(self) -> None:
        for mean, now in zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - self.config.ema)
            else:
                mean.copy_(now)

    def save(self, path: Path) -> None:
        """Write everything atomically."""
        content = {
            "config": json.dumps(asdict(self.config)),
            "epoch": self.epoch,
            "history": self.history,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with atomic_write(path) as stream:
            torch.save(content, stream)

    def load(self, path: Path) -> None:
        """Continue from `path` where it exists; tensors and plain values only are read."""
        if not path.is_file():
            return
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged files
            reason = first_line(error)
            raise UserError(f"{path} is not a readable checkpoint ({reason}); delete it to start afresh") from error
        _check_same(json.loads(content["config"]), self.config, path)
        self.model.load_state_dict(content["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        self.epoch, self.history = content["epoch"], content["history"]


def _read_result(path: Path) -> dict[str, Any]:
    """The record of a finished run; UserError where the file is damaged."""
    numbers = ("seed", "accuracy", "cross_entropy", "own_loss", "calibration_error", "seconds_per_epoch")
    try:
        record = json.loads(path.read_text())
        if not isinstance(record["config"], dict) or not isinstance(record["loss"], str):
            raise ValueError("config or loss is of a wrong kind")
        for values, keys in (
            (record, (*numbers, "share_of_loss")),
            *((row, ("epoch", "train_loss", "accuracy", "cross_entropy")) for row in record["history"]),
        ):
            for key in keys:
                if not isinstance(values[key], int | float):
                    raise ValueError(f"{key} is not a number")
    except (ValueError, KeyError, TypeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path} is not the record of a run ({what}); delete it to make it again") from error
    return record


def _check_same(saved: dict[str, Any], config: TrainConfig, path: Path) -> None:
    for key, value in json.loads(json.dumps(asdict(config))).items():
        if saved.get(key) != value:
            raise UserError(
                f"{path} was made with {key} {saved.get(key)}, not {value}; choose another --out or the old settings"
            )


def normalised(x: Tensor, runtime: Runtime) -> Tensor:
    """Images uint8 to float about [-2, 2] on the device, in the model's memory layout."""
    layout = torch.channels_last if runtime.channels_last else torch.contiguous_format
    x = x.to(runtime.device, non_blocking=True).to(torch.float32, memory_format=layout)
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
            parts.append(model(normalised(data.x[at : at + 1000], runtime)).float().cpu())
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
        _synchronize(device)
        start = time.perf_counter()
        torch.autograd.grad(loss(logits, y), logits)
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[15]


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _writer(folder: Path | None, epoch: int) -> Any:
    if folder is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder, purge_step=epoch + 1)


def start_processes(device: str) -> Runtime:
    """The device of this process; under torchrun the process group as well. UserError where it is not here."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    own_gpu = world > 1 and device == "cuda"
    name = f"cuda:{os.environ['LOCAL_RANK']}" if own_gpu else device
    try:
        place = torch.device(name)
        torch.zeros(1, device=place).item()  # "meta" takes the tensor, but has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UserError(f"--device={name}: no such device here; choose auto, cpu, cuda or cuda:N") from error
    if world > 1:
        dist.init_process_group("nccl" if own_gpu else "gloo")
        if own_gpu:
            torch.cuda.set_device(place)
    return Runtime(place, compile=False, channels_last=place.type != "cpu", rank=rank, world=world)
