"""Train one classifier with one loss: exact continuation, mixed precision, several processes, honest timing."""

import copy
import json
import math
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dnnlib import UserError, make_folder, write_json
from rooted.experiments.classification.config import DivergedError, Runtime, TrainConfig
from rooted.experiments.classification.evaluation import autocast, evaluate, loss_seconds, normalised, synchronize
from rooted.experiments.classification.fast_model import FastNet
from rooted.experiments.classification.image_data import ImageSet, augmented, flips_by_turns
from rooted.experiments.classification.image_models import create
from torch_utils.checkpoint import Checkpoints
from torch_utils.machine.environment import provenance

WHITENED = 5000  # images whose patches set the first layer of a FastNet


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

    Returns the record: history by epoch, final accuracy, cross-entropy, own loss, calibration, seconds, data, place.
    Every random draw is a function of (seed, epoch), so that an interrupted run continues exactly.
    """
    if folder is not None and (folder / "result.json").is_file():
        record = _read_result(folder / "result.json")
        _check_same(record["config"], config, f"{folder / 'result.json'}")
        if record.get("data", training.digest) != training.digest:
            raise UserError(f"{folder / 'result.json'} was made with other images or labels; choose another --out")
        return record
    state, main = _State(config, training, runtime), runtime.world.is_main
    if folder is not None:
        checkpoints = state.checkpoints(make_folder(folder, "`out`"))
        checkpoints.load_latest(runtime.world)
        writer = SummaryWriter(folder, purge_step=state.epoch + 1) if main else None
    with tqdm(
        total=config.epochs,
        initial=state.epoch,
        desc=f"{config.loss.describe()} seed {config.seed}",
        unit="epoch",
        disable=not main,
    ) as bar:  # closed by an error too, whose message then has a line of its own
        while state.epoch < config.epochs:
            row = state.train_epoch(training)
            row.update(evaluate(state.averaged or state.model, test, state.loss, runtime, config))
            state.history.append(row)
            if folder is not None:
                checkpoints.save(state.epoch, write=main)
                for key, value in row.items() if main else ():
                    writer.add_scalar(key, value, row["epoch"])
            bar.update()
            bar.set_postfix(accuracy=f"{100 * row['accuracy']:.2f}")
    per_call = loss_seconds(state.loss, config.batch // runtime.world.size, len(training.classes), runtime.device)
    last = state.history[-1]
    seconds = sum(row["seconds"] for row in state.history) / config.epochs
    steps = max(len(training.y) // config.batch, 1)
    record = {
        "config": asdict(config),
        "loss": config.loss.describe(),
        "seed": config.seed,
        "data": training.digest,
        "environment": provenance(runtime.device),
        **{key: last[key] for key in ("accuracy", "cross_entropy", "own_loss", "calibration_error")},
        "seconds_per_epoch": seconds,
        "share_of_loss": per_call * steps / seconds,
        "history": state.history,
    }
    if folder is not None and main:
        writer.close()
        write_json(folder / "result.json", record)
    return record


class _State:
    """All that changes while training."""

    def __init__(self, config: TrainConfig, training: ImageSet, runtime: Runtime) -> None:
        torch.manual_seed(config.seed)
        self.config, self.runtime = config, runtime
        self.model = create(config.model, len(training.classes), training.x.shape[-1], config.pretrained)
        if isinstance(self.model, FastNet):
            chosen = torch.randperm(len(training.y))[:WHITENED]
            self.model.whiten(normalised(training.x[chosen], Runtime(torch.device("cpu"), False, False)))
        self.model.to(runtime.device, memory_format=runtime.layout)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False) if config.ema else None
        self.loss = config.loss.build(config.label_smoothing)
        if config.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.model.parameters(),
                config.lr,
                momentum=config.momentum,
                nesterov=True,
                weight_decay=config.weight_decay,
            )
        else:
            kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
            self.optimizer = kind(self.model.parameters(), config.lr, weight_decay=config.weight_decay)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=config.precision == "fp16")
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        forward: nn.Module = self.model
        if runtime.world.size > 1:
            forward = nn.parallel.DistributedDataParallel(self.model)
        self.forward = torch.compile(forward) if runtime.compile else forward

    def train_epoch(self, data: ImageSet) -> dict[str, float]:
        """One pass over the data, less the last incomplete batch; the row for the history."""
        config, runtime = self.config, self.runtime
        torch.manual_seed(1_000_000 * config.seed + 1000 * self.epoch)
        order = torch.randperm(len(data.y))
        turns = flips_by_turns(len(order), self.epoch, config.seed) if config.flips == "turns" else None
        torch.manual_seed(1_000_000 * config.seed + 1000 * self.epoch + 1 + runtime.world.rank)
        batch = min(config.batch, len(order))
        steps, share = len(order) // batch, batch // runtime.world.size
        total, right = torch.zeros((), device=runtime.device), torch.zeros((), device=runtime.device)
        self.model.train()
        synchronize(runtime.device)
        start, processor = time.perf_counter(), time.process_time()
        for step in range(steps):
            at = step * batch + runtime.world.rank * share
            chosen = order[at : at + share]
            x = normalised(data.x[chosen], runtime)
            y = data.y[chosen].to(runtime.device, non_blocking=True)
            x = augmented(x, config.padding, config.cutout, None if turns is None else turns[chosen])
            x = x.contiguous(memory_format=runtime.layout)
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
        synchronize(runtime.device)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        self.epoch += 1
        if not math.isfinite(total.item()):
            raise DivergedError("the loss", "is", config)
        accuracy = right.item() / (steps * share)
        row = {"epoch": self.epoch, "train_loss": total.item() / steps, "train_accuracy": accuracy}
        row |= {"seconds": seconds, "processor_seconds": processor}
        return {**row, "images_per_second": steps * batch / seconds}

    @torch.no_grad()
    def _average(self) -> None:
        for mean, now in zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - self.config.ema)
            else:
                mean.copy_(now)

    def state_dict(self) -> dict[str, Any]:
        """What is neither in the model nor in the optimizer."""
        return {"config": asdict(self.config), "epoch": self.epoch, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse; UserError where the settings differ."""
        _check_same(state["config"], self.config, "the checkpoint")
        self.epoch, self.history = state["epoch"], state["history"]

    def checkpoints(self, folder: Path) -> Checkpoints:
        """Where all that changes is kept."""
        parts = {"progress": self, "model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        # The settings come first, so that they are compared before anything is taken up.
        return Checkpoints(folder, {**parts, "averaged": self.averaged or nn.Identity()}, keep=1)


def _read_result(path: Path) -> dict[str, Any]:
    """The record of a finished run; UserError where the file is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    needed = ("config", "loss", "seed", "accuracy", "cross_entropy", "own_loss", "calibration_error", "history")
    missing = [key for key in needed if not isinstance(record, dict) or key not in record]
    if missing:
        raise UserError(f"{path} is not the record of a run (it lacks {missing[0]}); delete it to make it again")
    return record


def _check_same(saved: dict[str, Any], config: TrainConfig, what: str) -> None:
    defaults = {item.name: item.default for item in fields(TrainConfig)}  # of settings that earlier records lack
    for key, value in json.loads(json.dumps(asdict(config))).items():
        if saved.get(key, defaults.get(key)) != value:
            raise UserError(
                f"{what} was made with {key} {saved.get(key)}, not {value}; choose another --out or the old settings"
            )
