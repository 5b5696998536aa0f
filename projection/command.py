"""What `projector.py` does: find the targets, project them together, write a folder for each."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dnnlib import UserError, make_folder
from dnnlib.cli import say
from projection.distance import Distance, load_distance
from projection.optimization import ProjectionResult, Step, project
from projection.outputs import can_plot, measurements, write_outputs
from projection.targets import Target, find_targets, load_target
from projection.video import Film
from torch_utils.machine.devices import choose_device
from torch_utils.media.video import require_ffmpeg
from torch_utils.published.centerface import FaceFinder


def find(options: Any) -> None:
    """Do what the options of `projector.py` say.

    Raises:
        UserError: options that do not belong together, or files that cannot be used.
    """
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
