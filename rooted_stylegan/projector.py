"""Find latents that show given pictures: `python projector.py --network=FILE --target=PICTURE --outdir=DIR`."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from tqdm import tqdm

from dnnlib import UserError, make_folder
from dnnlib.cli import SEED, Command, door, say
from dnnlib.options import option, takes_options
from generation.options import NetworkOptions
from projection import load_distance, project
from projection.distance import Distance
from projection.optimization import NOISE_INITS, SPACES, ProjectionResult, Step
from projection.outputs import can_plot, measurements, write_outputs
from projection.targets import Target, find_targets, load_target
from projection.video import Film
from torch_utils.machine.devices import choose_device
from torch_utils.media.video import require_ffmpeg
from torch_utils.published.centerface import FaceFinder

TARGETS, HOW = "What to project, and where to", "How"
COUNT = click.IntRange(min=1)


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """What to project, and how."""

    targets: tuple[str, ...] = option(
        TARGETS, "Pictures, or folders of them; repeatable. They are cropped in the middle to the network's shape; "
        "faces need --align.",
        unit="PICTURE|DIR", flags=("--target",), required=True, multiple=True)
    align: bool = option(
        TARGETS, "Show the largest face of each picture as FFHQ does, for networks of such faces (extra faces).",
        bool, False)
    outdir: str = option(TARGETS, "For the files; with several targets a folder for each.", unit="DIR", required=True)
    save_video: bool | None = option(TARGETS, "proj.mp4 of the optimisation.", bool, unset="if ffmpeg is there")
    video_every: int = option(TARGETS, "Steps from frame to frame.", COUNT, 4, unit="STEPS")
    space: str = option(
        HOW, "One latent for all layers, or one for each: closer, but edits worse.", click.Choice(SPACES), "w")
    noise_init: str = option(
        HOW, "Noise maps to start from: the network's own, or random ones.", click.Choice(NOISE_INITS), "network")
    num_steps: int = option(HOW, "Of the optimisation.", COUNT, 1000, unit="STEPS")
    pti_steps: int = option(
        HOW, "Then fit the network itself (pivotal tuning), for each target; 350 is usual.", click.IntRange(min=0), 0,
        unit="STEPS")
    distance: str = option(
        HOW, "What is minimised: LPIPS (VGG16), features of EfficientNet-Lite0, pixels, or TorchScript; auto takes the "
        "first that is here and fetches nothing.", str, "auto", unit="auto|lpips|lite0|pixel|FILE")
    seed: int = option(HOW, "Of everything random.", SEED, 303, unit="SEED")
    batch: int = option(
        HOW, "Targets optimised at once; the result does not depend on it.", COUNT, 8, unit="PICTURES")
# fmt: on


@click.command(cls=Command)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Project pictures into the latent space of a trained network.

    For each target, --outdir gets target.png, proj.png, comparison.png, projected_w.npz (key w, for
    generate.py --projected-w), projected_noise.safetensors, loss.csv, loss.png, projection.json, proj.mp4
    and, after pivotal tuning, tuned-network.safetensors. The step with the smallest distance is kept.

    \b
    Examples:
      python projector.py --network=network.safetensors --target=face.png --outdir=out
      python projector.py --network=network.safetensors --target=faces/ --space=w+ --distance=pixel --outdir=out
    """  # noqa: D301 - click wants the character \\b
    note = functools.partial(say, err=True)
    found = find_targets(options.targets, note)
    save_video = _can_write_video() if options.save_video is None else options.save_video
    if options.save_video:
        require_ffmpeg()
    device = choose_device(options.device)
    snapshot = options.load()
    G = snapshot.generator
    if G.c_dim == 0 and options.class_text is not None:
        raise UserError("--class: this network is not conditional; leave it out")
    label = options.label_for(snapshot)
    finder = FaceFinder("`align`") if options.align else None
    pictures = torch.stack([load_target(t.path, G.img_channels, *G.config.img_size, finder=finder) for t in found])
    distance = load_distance(options.distance, device, offline=options.offline, note=note)
    folders = _make_folders(Path(options.outdir), found)

    how = {name: getattr(options, name) for name in ("space", "noise_init", "num_steps", "pti_steps", "seed")}
    settings = {
        "network": Path(options.network).name, "network_hash": snapshot.hash, **how, "distance": distance.name,
        "class": options.class_text, "align": options.align, "label": options.label,
    }  # fmt: skip
    if not can_plot():
        say("loss.png is left out: it needs matplotlib (pip install 'rooted-stylegan[projection]')", err=True)
    for first in range(0, len(found), options.batch):
        part = slice(first, first + options.batch)
        films = [Film(picture) for picture in pictures[part]] if save_video else []
        steps = options.num_steps + options.pti_steps * len(found[part])
        with _progress(steps, films, options.video_every) as report:
            c = None if label is None else label[0]
            result = project(G, pictures[part], c=c, distance=distance, device=device, progress=report, **how)
        for i, target in enumerate(found[part]):
            write_outputs(
                folders[first + i], result, i, pictures[first + i], {"target": target.path.name, **settings}, snapshot
            )
            if films:
                films[i].write(folders[first + i] / "proj.mp4")
            say(_summary(target, result, i, distance, folders[first + i]))


def _can_write_video() -> bool:
    try:
        require_ffmpeg()
    except UserError:
        return False
    return True


def _make_folders(outdir: Path, targets: list[Target]) -> list[Path]:
    folders = [outdir] if len(targets) == 1 else [outdir / target.name for target in targets]
    return [make_folder(folder, "`outdir`") for folder in folders]


@contextlib.contextmanager
def _progress(total: int, films: list[Film], video_every: int) -> Iterator[Callable[[Step], None]]:
    """A function to be called with every `Step`: moves the bar and appends to the films."""
    with tqdm(total=total, unit="step", disable=None) as bar:

        def report(step: Step) -> None:
            bar.update()
            bar.set_postfix_str(f"{step.stage} distance {step.distance.mean():.4g}", refresh=False)
            if films and (step.step % video_every == 0 or step.step == step.total - 1):
                for image, i in zip(step.images, step.targets, strict=True):
                    films[i].add(image)

        yield report


def _summary(target: Target, result: ProjectionResult, i: int, distance: Distance, folder: Path) -> str:
    values = measurements(result, i)
    before = f" (before tuning {values['pivot_distance']:.4g})" if "pivot_distance" in values else ""
    return (
        f"{target.path.name}: {distance.name} distance {values['final_distance']:.4g}{before}, "
        f"PSNR {values['psnr_db']:.2f} dB, best step {values['best_step']} -> {folder}"
    )
