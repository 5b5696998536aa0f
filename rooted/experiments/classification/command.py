"""Image classification with cross-entropy, focal and rooted losses (section 4.3 and 4.5: Tables 2 and 3, Figure 3).

    python -m rooted.experiments.classification --preset=smoke                  # CPU, minutes
    python -m rooted.experiments.classification --preset=paper --model=vit-s    # the paper's recipe
    torchrun --nproc_per_node=2 -m rooted.experiments.classification --preset=modern

Every loss trains with several seeds; with `--tune-lr` each has its own learning rate, chosen on a tenth of the
training images. Running the same command again continues where it stopped.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from dnnlib import UserError, make_folder, write_json
from dnnlib.cli import Command, Number, door
from rooted.experiments.classification import image_data
from rooted.experiments.classification.config import DivergedError, LossConfig, Runtime, TrainConfig
from rooted.experiments.classification.fast_model import WIDTHS
from rooted.experiments.classification.image_data import ImageSet
from rooted.experiments.classification.image_training import train
from rooted.experiments.reporting import pyplot, save_figure, seed_interval, to_markdown, write_csv
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from torch_utils.processes.distributed import world

# fmt: off
PRESETS: dict[str, dict[str, Any]] = {
    # A small ResNet on 2,500 images: minutes on two CPU cores. Says that everything works, not which loss is best.
    "smoke":  {"model": "resnet18-narrow", "epochs": 5, "batch": 64, "optimizer": "sgd", "lr": 0.1,
               "weight_decay": 5e-4, "warmup": 0.2, "padding": 4, "cutout": 0, "ema": 0.0, "limit": 2500, "seeds": 1},
    # Section 4.3: Adam, batch 512, cosine, crop and flip; lr and epochs by model, see `paper_values`.
    "paper":  {"model": "resnet50", "epochs": None, "batch": 512, "optimizer": "adam", "lr": None, "weight_decay": 0.0,
               "warmup": 0.0, "padding": 4, "cutout": 0, "ema": 0.0, "limit": None, "seeds": 3},
    # A CIFAR baseline of today: SGD with Nesterov momentum, warm-up and cosine, crop, flip and cutout.
    # Short and small, for a processor too: with bfloat16 units an epoch takes about 75 processor seconds.
    "fast":   {"model": "fast", "epochs": 30, "batch": 256, "optimizer": "sgd", "lr": 0.3, "weight_decay": 5e-4,
               "warmup": 0.2, "padding": 2, "cutout": 8, "ema": 0.99, "limit": None, "seeds": 3,
               "label_smoothing": 0.2, "momentum": 0.85, "flips": "turns", "evaluate_flips": True},
    "modern": {"model": "resnet18", "epochs": 60, "batch": 512, "optimizer": "sgd", "lr": 0.4, "weight_decay": 5e-4,
               "warmup": 0.1, "padding": 4, "cutout": 8, "ema": 0.0, "limit": None, "seeds": 3},
}
# fmt: on


RECIPE = {"label_smoothing": 0.0, "momentum": 0.9, "flips": "random", "evaluate_flips": False}
"""What a preset may have besides what all have."""


def paper_values(model: str, pretrained: bool) -> tuple[int, float]:
    """Epochs and learning rate of the paper: 10 epochs fine-tuned, ViT 200, others 100; ResNet 1e-3, others 1e-4."""
    epochs = 10 if pretrained else 200 if model.startswith("vit") else 100
    return epochs, 1e-3 if model.startswith("resnet") else 1e-4


def parse_losses(losses: str, ks: str, form: str, multiplier: float | None) -> list[LossConfig]:
    """The losses to compare; rlo once for each root and form. UserError for unknown names and roots out of range."""
    configs = []
    for name in losses.split(","):
        if name in ("ce", "focal"):
            configs.append(LossConfig(name))
        elif name == "rlo":
            for text in ks.split(","):
                try:
                    k = float(text)
                except ValueError as error:
                    raise UserError(f"--k: '{text}' is not a number; give roots such as 5,8,10") from error
                if not 0 < k < float("inf"):
                    raise UserError(f"--k: {text} is out of range; the root must be finite and above 0")
                forms = ("bounded", "convex") if form == "both" else (form,)
                configs += [LossConfig("rlo", k, one, multiplier) for one in forms]
        else:
            raise UserError(f"--losses: unknown loss '{name}'; choose from ce, focal, rlo")
    return configs


def tuned_rate(
    config: TrainConfig, rates: list[float], epochs: int, data: ImageSet, runtime: Runtime, folder: Path
) -> float:
    """The learning rate with the best accuracy on a tenth of the training images, held out; trials go to `folder`."""
    order = torch.randperm(len(data.y), generator=torch.Generator().manual_seed(12345))
    count = max(len(order) // 10, 1)
    held_out, rest = data.select(order[:count]), data.select(order[count:])
    scores = {}
    for rate in rates:
        try:
            trial = folder / f"{config.loss.describe()}-lr{rate:g}"
            scores[rate] = train(replace(config, lr=rate, epochs=epochs), rest, held_out, runtime, trial)["accuracy"]
        except DivergedError as error:  # a diverged rate is a result of the search
            click.echo(f"lr {rate:g}: {error}")
    if not scores:
        raise UserError("--tune-lr: training diverged at each of these rates; give smaller ones")
    return max(scores, key=lambda rate: (scores[rate], -rate))


def summary(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """One row per loss: means over seeds with 95 % intervals."""
    rows = []
    for name in dict.fromkeys(record["loss"] for record in records):
        runs = [record for record in records if record["loss"] == name]

        def cell(key: str, scale: float, digits: int, runs: list[dict[str, Any]] = runs) -> str:
            mean, half = seed_interval(scale * run[key] for run in runs)
            return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if len(runs) > 1 else "")

        rows.append(
            {
                "loss": name,
                "lr": f"{runs[0]['config']['lr']:g}",
                "seeds": str(len(runs)),
                "test accuracy %": cell("accuracy", 100, 2),
                "test cross-entropy": cell("cross_entropy", 1, 4),
                "calibration error %": cell("calibration_error", 100, 2),
                "s per epoch": cell("seconds_per_epoch", 1, 2),
                "of that the loss %": cell("share_of_loss", 100, 3),
            }
        )
    return rows


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Training loss, test accuracy and test cross-entropy against the epoch, one line per run."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    names = list(dict.fromkeys(record["loss"] for record in records))
    for record in records:
        color, epochs = f"C{names.index(record['loss'])}", [row["epoch"] for row in record["history"]]
        for axis, key in zip(axes, ("train_loss", "accuracy", "cross_entropy"), strict=True):
            first = record["seed"] == min(r["seed"] for r in records)
            text = record["loss"] if first else None
            axis.plot(epochs, [row[key] for row in record["history"]], color=color, label=text, marker=".")
    for axis, title in zip(axes, ("own training loss", "test accuracy", "test cross-entropy"), strict=True):
        axis.set(xlabel="epoch", title=title)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.option("--preset", type=click.Choice(list(PRESETS)), default="smoke")
@click.option("--data", default="cifar10", help="cifar10, cifar100, food101, .npz of JPEGs, or folder.")
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"))
@click.option("--size", type=click.IntRange(min=8), help="Side of the images in pixels.")
@click.option("--limit", type=click.IntRange(min=10), help="Training images to use; a fifth as many for the test.")
@click.option(
    "--model", help="fast, fast-wide, vit-s, vit-b, vit-l, swin-t, resnet18/34/50/101, or any of timm's names."
)
@click.option("--pretrained", is_flag=True, help="Fine-tune timm's weights.")
@click.option("--losses", default="ce,focal,rlo", help="Comma-separated.")
@click.option("--k", "ks", default="8", help="Roots of rlo, comma-separated.")
@click.option("--form", type=click.Choice(["bounded", "convex", "both"]), default="both")
@click.option("--multiplier", type=Number(min=0, min_open=True), help="m of rlo; k if left out.")
@click.option("--label-noise", type=Number(0, 1), default=0.0, help="Share of wrong labels.")
@click.option("--label-smoothing", type=Number(0, 1), help="0 if neither this nor the preset says.")
@click.option("--epochs", type=click.IntRange(min=1))
@click.option("--batch", type=click.IntRange(min=1), help="Images per step, all processes together.")
@click.option("--lr", type=Number(min=0, min_open=True))
@click.option("--tune-lr", help="Rates to choose from for every loss, comma-separated.")
@click.option("--tune-epochs", type=click.IntRange(min=1), help="Epochs of that choice; a third if left out.")
@click.option("--ema", type=Number(0, 1, max_open=True), help="Decay of averaged weights; 0: none.")
@click.option("--seeds", type=click.IntRange(min=1))
@click.option("--device", default="auto")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto")
@click.option("--compile", "compiled", is_flag=True, help="Compile the model.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/classification"))
@door
def main(preset: str, data: str, data_dir: Path, out: Path, **options: Any) -> None:
    """Train all losses with all seeds; write tables, curves and results.json."""
    given = {key: value for key, value in options.items() if value is not None}
    values = {**options, **RECIPE, **PRESETS[preset], **given}
    losses = parse_losses(values["losses"], values["ks"], values["form"], values["multiplier"])
    rates = _rates(values["tune_lr"])
    epochs, rate = paper_values(values["model"], values["pretrained"])
    values["epochs"], values["lr"] = values["epochs"] or epochs, values["lr"] or rate
    with world(choose_device(values["device"]).type) as here:
        device = choose_device(values["device"], here.local_rank if here.size > 1 else None)
        channels_last = device.type != "cpu" or values["model"] in WIDTHS
        runtime = Runtime(device, values["compiled"], channels_last, here)
        _compare({**values, "preset": preset, "data": data}, losses, rates, runtime, data_dir, out)


def _compare(
    values: dict[str, Any], losses: list[LossConfig], rates: list[float], runtime: Runtime, data_dir: Path, out: Path
) -> None:
    precision = values["precision"]
    if precision == "auto":
        precision = "bf16" if runtime.device.type == "cuda" or _fast_in_bf16(values["model"]) else "fp32"
    if values["batch"] % runtime.world.size:
        raise UserError(f"--batch={values['batch']} is not divisible by the {runtime.world.size} processes")
    training, test = image_data.load(values["data"], data_dir, values["size"], values["limit"])
    noisy = image_data.with_label_noise(training.y, values["label_noise"], len(training.classes), seed=0)
    training = replace(training, y=noisy)
    folder = make_folder(out, "`out`")

    names = ("model", "pretrained", "epochs", "batch", "optimizer", "lr", "weight_decay", "warmup", "label_smoothing")
    names += ("padding", "cutout", "ema", "momentum", "flips", "evaluate_flips")
    common = {name: values[name] for name in names}
    configs = [TrainConfig(loss=loss, precision=precision, seed=0, **common) for loss in losses]
    if rates:
        tune_epochs = values["tune_epochs"] or max(values["epochs"] // 3, 1)
        trials = folder / "tuning"
        configs = [
            replace(config, lr=tuned_rate(config, rates, tune_epochs, training, runtime, trials)) for config in configs
        ]
    # Seed by seed, so that what is done at any moment has the same seeds for every loss.
    runs = [replace(config, seed=seed) for seed in range(values["seeds"]) for config in configs]
    records = [train(run, training, test, runtime, folder / f"{run.loss.describe()}-seed{run.seed}") for run in runs]
    if runtime.world.is_main:
        rows = summary(records)
        write_csv(folder / "classification.csv", rows)
        draw(records, folder / "curves.png")
        where = provenance(runtime.device, "numpy")
        write_json(folder / "results.json", {"settings": values, "provenance": where, "runs": records})
        click.echo(to_markdown(rows))
        click.echo(f"wrote {folder}/results.json, classification.csv, curves.png")


def _fast_in_bf16(model: str) -> bool:
    """Whether the model gains from bfloat16 on this CPU."""
    capabilities = torch.cpu.get_capabilities()
    return model in WIDTHS and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _rates(text: str | None) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UserError(f"--tune-lr={text} is not a list of numbers such as 0.1,0.3") from error
    if any(not 0 < rate < float("inf") for rate in rates):
        raise UserError(f"--tune-lr={text}: every rate must be above 0")
    return rates
