"""Measure generated images: `python calc_metrics.py --network=FILE --data=faces.zip --metrics=fid50k_full`."""

if __name__ == "__main__":
    raise SystemExit(
        "error: the command is `rooted-stylegan metrics`, or `python calc_metrics.py` at the top of a checkout"
    )

import dataclasses
import os
import sys
from dataclasses import dataclass

import click

from dnnlib.cli import SEED, Command, NameList, door, given_arguments
from dnnlib.options import NETWORK, NetworkFileOptions, option, takes_options

IMAGES, HOW = "Images", "What to measure, and how"
COUNT = click.IntRange(min=1)


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Options(NetworkFileOptions):
    """The options of `calc_metrics.py`."""

    networks: tuple[str, ...] = option(
        NETWORK, "Network file or URL; repeatable.", unit="FILE", flags=("--network",), multiple=True)
    run_dir: str | None = option(NETWORK, "All snapshots of a run directory.", unit="DIR", flags=("--run",))
    last: bool = option(NETWORK, "With --run: the newest snapshot only.", bool, False)
    best: bool = option(NETWORK, "With --run: the one with the best recorded metric.", bool, False)
    real: str | None = option(IMAGES, "Compare two folders or zips: the real images.", unit="PATH")
    fake: str | None = option(IMAGES, "Compare two folders or zips: the images to judge.", unit="PATH")
    data: str | None = option(
        IMAGES, "Training data; network: the path that the network's file names.", unset="with --run: the run's",
        unit="PATH")
    mirror: bool | None = option(IMAGES, "Whether the data was mirrored.", bool, unset="as at training")
    names: tuple[str, ...] = option(
        HOW, "Names separated by commas; --list-metrics.", NameList(), (), unit="LIST", flags=("--metrics",),
        unset="fid50k_full, or fd_lite0_2k,swd without detector")
    seed: int = option(HOW, "Of latents, labels, noise, subsets.", SEED, 0, unit="SEED")
    bootstrap: int = option(HOW, "95 % intervals from so many resamples, say 100.", int, 0, unit="RESAMPLES")
    detector: str | None = option(HOW, "TorchScript network instead of Inception, VGG16 or DINOv2.", unit="FILE")
    detector_sha256: str | None = option(HOW, "Refuse a detector's file with another SHA-256.", unit="HEX")
    batch_size: int = option(HOW, "Images at a time.", COUNT, 64, unit="IMAGES", flags=("--batch",))
    pictures: str | None = option(
        HOW, "Where the pages of pictures of copies go.", unit="DIR", unset="the run's directory")
    gpus: int = option(HOW, "Processes on this machine.", COUNT, 1, unit="PROCESSES")
    progress: bool = option(HOW, "Show progress on stderr.", bool, True, flags=("--verbose",))
    list_metrics: bool = option(HOW, "Print the names of metrics and stop.", bool, False)
# fmt: on


@click.command(cls=Command)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Measure networks, or a folder of images, against real images.

    Prints one JSON line per metric: the results and what they were computed from. If training_options.json lies
    beside a network, the line is added to metric-NAME.jsonl there, unless it says nothing new.

    \b
    Examples:
      python calc_metrics.py --network=net.safetensors --data=network --metrics=fid50k_full,kid50k_full
      python calc_metrics.py --run=training-runs/00000-faces --metrics=fid5k_train,swd --bootstrap=100
      python calc_metrics.py --run=training-runs/00000-faces --best --metrics=pr50k3_full,ppl2_wend --gpus=4
      python calc_metrics.py --real=faces.zip --fake=out/ --metrics=kid5k_full --detector=my-network.pt
    """  # noqa: D301
    if options.list_metrics:
        from metrics.names import list_names

        click.echo("\n".join(list_names()))
        click.echo(
            "Names can hold any count and real set: fid2k_train, kid300_full, pr5k3, swd1k; see docs/metrics.md."
        )
        return
    from metrics.command import Request, evaluate
    from metrics.settings import EvaluationSettings

    for_evaluation = ("seed", "bootstrap", "detector", "detector_sha256", "offline", "batch_size")
    for_request = (
        "networks",
        "run_dir",
        "real",
        "fake",
        "names",
        "data",
        "mirror",
        "network_sha256",
        "pictures",
        "progress",
    )
    settings = EvaluationSettings(**{name: getattr(options, name) for name in for_evaluation})
    which = "best" if options.best else "last" if options.last else "all"
    request = Request(**{name: getattr(options, name) for name in for_request}, which=which, settings=settings)
    if options.gpus > 1 and "RANK" not in os.environ:
        from torch_utils.processes.launch import launch

        sys.exit(launch("metrics", options.gpus, given_arguments()))
    from torch_utils.machine.devices import choose_device
    from torch_utils.processes.distributed import world
    from torch_utils.processes.watch import Watch

    with (
        world(choose_device(options.device).type) as here,
        Watch(here, remedy="ending; give the command again"),
    ):
        device = choose_device(options.device, here.local_rank if here.size > 1 else None)
        settings = dataclasses.replace(settings, world=here, device=device)
        evaluate(dataclasses.replace(request, settings=settings))
