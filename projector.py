"""Find latents that show given pictures: `python projector.py --network=FILE --target=PICTURE --outdir=DIR`."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import torch
from tqdm import tqdm

from dnnlib import UserError, make_folder
from dnnlib.cli import (
    SEED,
    Command,
    class_option,
    device_option,
    door,
    network_option,
    offline_option,
    sha256_option,
)
from generation.latents import parse_class
from projection import load_distance, project
from projection.distance import Distance
from projection.optimization import NOISE_INITS, SPACES, ProjectionResult, Step
from projection.outputs import can_plot, measurements, write_outputs
from projection.targets import Target, find_targets, load_target
from projection.video import Film
from torch_utils.devices import choose_device
from torch_utils.video import require_ffmpeg
from training.snapshot import Snapshot, load_snapshot


@click.command(cls=Command)
@network_option
@click.option("--target", "targets", required=True, multiple=True, metavar="PICTURE|DIR",
              help="What to project; may be given several times. Pictures are cropped to their central square; align "
              "faces first as the training data was (docs/projector.md names a tool).")  # fmt: skip
@click.option("--outdir", required=True, metavar="DIR", help="For the files; with several targets a folder for each.")
@click.option("--space", type=click.Choice(SPACES), default="w",
              help="One latent for all layers, or one for each: closer, but edits worse.")  # fmt: skip
@click.option("--noise-init", type=click.Choice(NOISE_INITS), default="network",
              help="Noise maps to start from: the network's own, or new ones.")  # fmt: skip
@click.option("--num-steps", type=click.IntRange(min=1), default=1000, help="Steps of the optimisation.")
@click.option("--pti-steps", type=click.IntRange(min=0), default=0,
              help="Then fit the network itself (pivotal tuning), for each target; 350 is usual.")  # fmt: skip
@click.option("--distance", default="lpips", metavar="lpips|pixel|FILE",
              help="What is minimised: LPIPS (VGG16), several pixel scales (no download), or TorchScript.")  # fmt: skip
@class_option
@click.option("--seed", type=SEED, default=303, help="Of everything random.")
@click.option("--save-video", type=bool, metavar="BOOL", help="proj.mp4 of the optimisation  [if ffmpeg is there].")
@click.option("--video-every", type=click.IntRange(min=1), default=4, help="Steps from frame to frame.")
@click.option("--batch", type=click.IntRange(min=1), default=8,
              help="Targets optimised at once; the result does not depend on it.")  # fmt: skip
@device_option
@sha256_option
@offline_option
@door
def main(
    network: str,
    targets: tuple[str, ...],
    outdir: str,
    space: str,
    noise_init: str,
    num_steps: int,
    pti_steps: int,
    distance: str,
    class_text: str | None,
    seed: int,
    save_video: bool | None,
    video_every: int,
    batch: int,
    device: str,
    network_sha256: str | None,
    offline: bool,
) -> None:
    """Project pictures into the latent space of a trained network.

    For each target, --outdir gets target.png, proj.png, comparison.png, projected_w.npz (key w, for
    generate.py --projected-w), projected_noise.safetensors, loss.csv, loss.png, projection.json, proj.mp4
    and, after pivotal tuning, tuned-network.safetensors. The step with the smallest distance is kept.

    \b
    Examples:
      python projector.py --network=network.safetensors --target=face.png --outdir=out
      python projector.py --network=network.safetensors --target=faces/ --space=w+ --distance=pixel --outdir=out
    """  # noqa: D301 - click wants the character \\b
    found = find_targets(targets)
    if save_video is None:
        save_video = _can_write_video()
    elif save_video:
        require_ffmpeg()
    where = choose_device(device)
    snapshot = load_snapshot(network, sha256=network_sha256, offline=offline)
    G = snapshot.generator
    label = _label(snapshot, class_text)
    pictures = torch.stack([load_target(t.path, G.img_channels, G.img_resolution) for t in found])
    measure = load_distance(distance, where, offline=offline)
    folders = _make_folders(Path(outdir), found)

    settings = {
        "network": Path(network).name, "network_hash": snapshot.hash, "space": space, "noise_init": noise_init,
        "num_steps": num_steps, "pti_steps": pti_steps, "distance": measure.name, "class": class_text, "seed": seed,
    }  # fmt: skip
    if not can_plot():
        click.echo("loss.png is left out: it needs matplotlib (pip install 'rooted-stylegan[projection]')", err=True)
    for first in range(0, len(found), batch):
        part = slice(first, first + batch)
        films = [Film(picture) for picture in pictures[part]] if save_video else []
        with _progress(num_steps + pti_steps * len(found[part]), films, video_every) as report:
            result = project(
                G, pictures[part], c=label, space=space, noise_init=noise_init, num_steps=num_steps,
                pti_steps=pti_steps, distance=measure, seed=seed, device=where, progress=report,
            )  # fmt: skip
        for i, target in enumerate(found[part]):
            write_outputs(
                folders[first + i], result, i, pictures[first + i], {"target": target.path.name, **settings}, snapshot
            )
            if films:
                films[i].write(folders[first + i] / "proj.mp4")
            click.echo(_summary(target, result, i, measure, folders[first + i]))


def _label(snapshot: Snapshot, name: str | None) -> torch.Tensor | None:
    """The label [c_dim] of a class given by number, name or mixture."""
    c_dim = snapshot.generator.c_dim
    if c_dim == 0 and name is not None:
        raise UserError("--class: this network is not conditional; leave it out")
    label = parse_class(name, c_dim, snapshot.metadata.get("class_names"))
    return None if label is None else label[0]


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


if __name__ == "__main__":
    main()
