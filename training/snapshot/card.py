"""A folder to share: the networks, a card that says what they are, and a grid of pictures, as model hubs show them."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib import UserError, atomic_write, make_folder
from dnnlib.errors import printable
from torch_utils.media.images import make_grid, save_image, to_uint8
from torch_utils.timing import format_time
from training.networks import Generator
from training.run_dir import RunDir
from training.snapshot.own_format import Snapshot, save_snapshot

NETWORKS, CARD, GRID = "network.safetensors", "README.md", "grid.png"
_COLUMNS, _ROWS = 6, 4

# Model hubs read the lines between the dashes.
_CARD = """\
---
license:  # yours to choose, as it depends on the training pictures
library_name: rooted-stylegan
pipeline_tag: unconditional-image-generation
tags:
- stylegan2
- stylegan2-ada
- gan
- image-generation
---

# {title}

![Generated pictures](grid.png)

*{caption}*

## What it is

A StyleGAN2 generator, {origin}.

{facts}

## Numbers

{numbers}

## Use

With Rooted StyleGAN, from this folder (or `--network=hf://OWNER/REPO/network.safetensors`):

    {command}

The file is [safetensors](https://github.com/huggingface/safetensors); it holds no code.
"""


def write_card(folder: Path, snapshot: Snapshot, source: Path) -> None:
    """Write `network.safetensors`, `README.md` and `grid.png`.

    Of the training data's place only its name is told, in the networks' file too.

    Args:
        folder: made where it is missing.
        snapshot: what is shared.
        source: the file that it was read from; in a run's directory, the run's numbers are told.

    Raises:
        UserError: there is such a card, which may have been edited, or the folder cannot be written.
    """
    G, metadata = snapshot.generator, dict(snapshot.metadata)
    if (folder / CARD).exists():
        raise UserError(f"{folder / CARD} exists and may have been edited; move it or choose another folder")
    make_folder(folder, "`destination`")
    training_set = _record(metadata, "training_set")
    if training_set.get("path"):
        metadata["training_set"] = {**training_set, "path": Path(training_set["path"]).name}
    save_snapshot(folder / NETWORKS, G=snapshot.G, D=snapshot.D, G_ema=snapshot.G_ema, metadata=metadata)
    save_image(folder / GRID, make_grid(_pictures(G), _COLUMNS))
    run = RunDir(source.resolve().parent)
    nimg = metadata.get("cur_nimg")
    facts = [*_networks(snapshot), *_training(metadata), *(_run(run, nimg) if run.has_begun and nimg else ())]
    facts.append(("SHA-256 of `network.safetensors`", hashlib.sha256((folder / NETWORKS).read_bytes()).hexdigest()))
    numbers = [*_numbers(run, nimg)] if run.has_begun and nimg else []
    imported = metadata.get("imported_from")
    origin = f"converted by Rooted StyleGAN from: {imported}" if imported else "trained with Rooted StyleGAN"
    if imported == "official pickle":
        origin += ", whose licence (NVIDIA's) stays with it"
    rows = "a class in each row, in turn, " if G.c_dim else ""
    card = _CARD.format(
        title=_cell(folder.resolve().name),
        caption=f"Seeds 0 to {_COLUMNS * _ROWS - 1}, {rows}without truncation, with constant noise; not selected.",
        origin=_cell(origin),
        facts=_table(("", ""), facts),
        numbers=_table(("metric", "value", "of"), numbers) if numbers else "None were found beside the network.",
        command=f"python generate.py --network={NETWORKS} --grid={_COLUMNS}x{_ROWS} --outdir=out"
        + (" --class=0" if G.c_dim else ""),
    )
    with atomic_write(folder / CARD, "w") as stream:
        stream.write(card)


@torch.no_grad()
def _pictures(G: Generator) -> torch.Tensor:
    """uint8 [N, C, H, W], of the latents that `generate.py` has for seeds 0, 1, ..."""
    z = torch.from_numpy(np.stack([np.random.RandomState(seed).randn(G.z_dim) for seed in range(_COLUMNS * _ROWS)]))
    classes = torch.arange(len(z)) // _COLUMNS % max(G.c_dim, 1)
    c = torch.nn.functional.one_hot(classes, G.c_dim).float() if G.c_dim else None
    parts = [
        G(z[[i]].float(), None if c is None else c[[i]], noise_mode="const", fused_modconv=False) for i in range(len(z))
    ]
    return to_uint8(torch.cat(parts))


Facts = Iterator[tuple[str, str]]


def _networks(snapshot: Snapshot) -> Facts:
    G = snapshot.generator
    height, width = G.config.img_size
    kind = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}[G.img_channels]
    yield "pictures", f"{height} x {width} (height x width), {kind}"
    yield "labels", f"{G.c_dim} numbers" if G.c_dim else "none"
    yield "latents", f"z {G.z_dim}, w {G.w_dim} for {G.num_ws} layers"
    for name in ("G_ema", "G", "D"):
        network = getattr(snapshot, name)
        if network is not None:
            yield f"parameters of {name}", f"{sum(p.numel() for p in network.parameters()):,}"


def _training(metadata: Mapping[str, Any]) -> Facts:
    data = _record(metadata, "training_set")
    if data.get("path"):
        more = [f"{data['max_size']} images chosen by the seed"] if data.get("max_size") else []
        more += ["with x-flips"] if data.get("xflip") else []
        yield "trained on", ", ".join([data["path"], *more])
    if metadata.get("dataset_hash"):
        yield "content hash of the data", metadata["dataset_hash"]
    if metadata.get("class_names"):
        yield "classes", ", ".join(metadata["class_names"])
    if metadata.get("cur_nimg"):
        yield "images shown in training", f"{metadata['cur_nimg'] / 1000:g} kimg"
    for key, title in (("loss", "loss"), ("layer_swap", "layers of two networks"), ("versions", "versions")):
        if record := _record(metadata, key):
            yield title, ", ".join(f"{name} {value}" for name, value in record.items())


def _record(metadata: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The dictionary of that name in what someone's file says; {} where it is none."""
    value = metadata.get(key)
    return value if isinstance(value, dict) else {}


def _run(run: RunDir, nimg: int) -> Facts:
    options = run.options()
    yield "configuration", str(options.get("description", ""))
    yield "batch", f"{options.get('batch_size')} images"
    ticks = [tick for tick in run.stats() if round(tick["Progress/kimg"]["mean"] * 1000) <= nimg]
    if ticks:
        seconds = format_time(ticks[-1]["Timing/total_sec"]["mean"])
        yield "training time", f"{seconds} on {options.get('num_gpus')} x {options.get('device')}"


def _numbers(run: RunDir, nimg: int) -> Iterator[tuple[str, str, str]]:
    """The run's results for this network, the latest of each metric."""
    for name in run.metrics():
        latest = [line for line in run.metric(name) if line.get("nimg") == nimg and line.get("results")][-1:]
        for line in latest:
            of = line.get("computed_from") or {}
            kinds = (("num_gen", "generated"), ("num_real", "real"))
            counts = [f"{of[key]} {kind}" for key, kind in kinds if of.get(key)]
            for key, value in line["results"].items():
                yield key, f"{value:.4g}" if isinstance(value, float) else str(value), ", ".join(counts)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Text of others as one line that ends no cell and begins no tag."""
    return printable(str(text), 300).replace("|", "\\|").replace("<", "&lt;")
