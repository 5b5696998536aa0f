"""Measure generated images: `python calc_metrics.py --network=FILE --metrics=fid50k_full,kid50k_full`."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dnnlib.cli import BOOL, SEED, Command, NameList, device_option, door, offline_option, sha256_option


@click.command(cls=Command)
@click.option("--network", "networks", metavar="FILE", multiple=True, help="Network file or URL; can be repeated.")
@click.option("--run", "run_dir", metavar="DIR", help="All snapshots of a run directory; see --best and --last.")
@click.option("--last", "which", flag_value="last", help="With --run: the newest snapshot only.")
@click.option("--best", "which", flag_value="best", help="With --run: the one with the best recorded metric.")
@click.option("--real", metavar="PATH", help="Compare two folders or zips: the real images.")
@click.option("--fake", metavar="PATH", help="Compare two folders or zips: the images to judge.")
@click.option("--metrics", "names", type=NameList(), default=(), show_default=False, metavar="LIST",
              help="Names separated by commas  [fid50k_full, or swd without a detector]; --list-metrics.")  # fmt: skip
@click.option("--data", metavar="PATH", help="Training data, if it is not where it was at training.")
@click.option("--mirror", **BOOL, help="Whether the data was mirrored  [as at training].")
@click.option("--seed", type=SEED, default=0, help="Of latents, labels, noise, subsets.")
@click.option("--bootstrap", type=int, default=0, metavar="B", help="95 % intervals from B resamples, say 100.")
@click.option("--detector", metavar="FILE", help="TorchScript network instead of Inception, VGG16 or DINOv2.")
@click.option("--detector-sha256", metavar="HEX", help="Refuse a detector's file with another SHA-256.")
@offline_option
@sha256_option
@device_option
@click.option("--batch", "batch_size", type=click.IntRange(min=1), default=64, help="Images at a time.")
@click.option("--gpus", type=click.IntRange(min=1), default=1, help="Processes on this machine.")
@click.option("--verbose", "progress", **BOOL, default=True, help="Show progress on stderr.")
@click.option("--list-metrics", is_flag=True, help="Print the names of metrics and stop.")
@door
def main(**flags: Any) -> None:
    """Measure networks, or a folder of images, against real images.

    Prints one JSON line per metric: the results and what they were computed from. If training_options.json lies
    beside a network, the line is added to metric-NAME.jsonl there, unless it says nothing new.

    \b
    Examples:
      python calc_metrics.py --network=run/network-snapshot-005000.safetensors --metrics=fid50k_full,kid50k_full
      python calc_metrics.py --run=training-runs/00000-faces --metrics=fid5k_train,swd --bootstrap=100
      python calc_metrics.py --run=training-runs/00000-faces --best --metrics=pr50k3_full,ppl2_wend --gpus=4
      python calc_metrics.py --real=faces.zip --fake=out/ --metrics=kid5k_full --detector=my-network.pt
    """  # noqa: D301
    from metrics.names import list_names

    if flags.pop("list_metrics"):
        click.echo("\n".join(list_names()))
        click.echo(
            "Names can hold any count and real set: fid2k_train, kid300_full, pr5k3, swd1k; see docs/metrics.md."
        )
        return
    gpus, device_name = flags.pop("gpus"), flags.pop("device")
    from metrics.command import Request
    from metrics.settings import EvaluationSettings

    of_evaluation = ("seed", "bootstrap", "detector", "detector_sha256", "offline", "batch_size")
    settings = EvaluationSettings(**{name: flags.pop(name) for name in of_evaluation})
    request = Request(**{**flags, "which": flags["which"] or "all"}, settings=settings)
    if gpus > 1 and "RANK" not in os.environ:
        from torch_utils.launch import launch

        sys.exit(launch(Path(__file__).resolve(), gpus, sys.argv[1:]))
    _evaluate(request, device_name)


def _evaluate(request: Any, device_name: str) -> None:
    from metrics.command import evaluate
    from torch_utils.devices import choose_device
    from torch_utils.distributed import world
    from torch_utils.watch import Watch

    with (
        world(choose_device(device_name).type) as here,
        Watch(here, remedy="ending; give the command again"),
    ):
        device = choose_device(device_name, here.local_rank if here.size > 1 else None)
        evaluate(replace(request, settings=replace(request.settings, world=here, device=device)))


if __name__ == "__main__":
    main()
