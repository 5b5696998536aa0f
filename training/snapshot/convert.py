"""Convert networks between file formats; run as `python -m training.convert SOURCE DESTINATION`.

Sources: snapshots of this project, official StyleGAN2-ADA pickles, and checkpoints of rosinality/stylegan2-pytorch.
Destinations by suffix: `.safetensors` (a snapshot), `.pt` (rosinality's layout), `.onnx` (the generator).
"""

import io
import os
from pathlib import Path
from typing import Any

import torch

from dnnlib import UserError, atomic_write
from dnnlib.cli import say
from torch_utils.arrays import is_torch_archive, read_torch
from training.networks import Generator
from training.snapshot.build import build_network
from training.snapshot.card import write_card
from training.snapshot.export_onnx import export_onnx
from training.snapshot.load import find_network, load_snapshot
from training.snapshot.own_format import Snapshot, save_snapshot
from training.snapshot.rosinality import (
    discriminator_from_rosinality,
    discriminator_to_rosinality,
    generator_from_rosinality,
    generator_to_rosinality,
)
from training.snapshot.swap import swap_layers

_SUFFIXES = (".safetensors", ".pt", ".onnx")
_MEAN_OF = 4096  # latents


def load_rosinality(path: str | os.PathLike) -> Snapshot:
    """Networks from a checkpoint of rosinality/stylegan2-pytorch: CPU, float32, eval. No code in the file is run.

    Where `latent_avg` is missing, w_avg is computed. Optimizer states and arguments are left behind. The config has
    conv_clamp None, as that program does not clamp.

    Raises:
        UserError: the file cannot be read without running code, or is not in that layout.
    """
    content = read_torch(path)
    if not isinstance(content, dict) or not any(_is_state(content.get(key)) for key in ("g", "d", "g_ema")):
        raise UserError(
            f"{path} is no checkpoint of rosinality/stylegan2-pytorch: it has no states 'g', 'd' or 'g_ema'"
        )
    mean = content.get("latent_avg")
    if mean is not None and not (isinstance(mean, torch.Tensor) and mean.is_floating_point()):
        raise UserError(f"{path} has a 'latent_avg' that is no tensor of numbers")
    networks: dict[str, Any] = {"G": None, "D": None, "G_ema": None}
    for name, key in (("G", "g"), ("D", "d"), ("G_ema", "g_ema")):
        state = content.get(key)
        if _is_state(state):
            config, tensors = (
                discriminator_from_rosinality(state) if key == "d" else generator_from_rosinality(state, mean)
            )
            networks[name] = build_network(name, config, tensors, str(path))
    if mean is None:
        for name in ("G", "G_ema"):
            if networks[name] is not None:
                networks[name].mapping.w_avg.copy_(_mean_of_w(networks[name]))
    metadata = {"class_names": None, "imported_from": "rosinality/stylegan2-pytorch"}
    if mean is None:
        metadata["w_avg_of"] = _MEAN_OF
    return Snapshot(**networks, metadata=metadata)


@torch.no_grad()
def _mean_of_w(G: Generator) -> torch.Tensor:
    """The mean of w over `_MEAN_OF` latents, as that program computes it where it is not given."""
    z = torch.randn(_MEAN_OF, G.z_dim, generator=torch.Generator().manual_seed(0))
    return G.mapping(z)[:, 0].mean(dim=0)


def save_rosinality(path: str | os.PathLike, snapshot: Snapshot) -> None:
    """Write a checkpoint that rosinality/stylegan2-pytorch loads, atomically.

    Raises:
        UserError: a network that the layout cannot express (conditional, not RGB, not square, another discriminator).
    """
    content: dict[str, Any] = {}
    for key, network in (("g", snapshot.G), ("g_ema", snapshot.G_ema)):
        if network is not None:
            content[key] = generator_to_rosinality(network)
            content["latent_avg"] = network.mapping.w_avg.clone()
    if snapshot.D is not None:
        content["d"] = discriminator_to_rosinality(snapshot.D)
    stream = io.BytesIO()
    torch.save(content, stream)
    with atomic_write(path) as file:
        file.write(stream.getvalue())


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(t, torch.Tensor) for key, t in value.items())
    )


def convert(
    sources: tuple[str, ...],
    destination: Path,
    *,
    ema_only: bool,
    swap: bool,
    from_resolution: int | None,
    card: bool,
    trunc: float,
    trunc_cutoff: int | None,
    opset: int | None,
    network_sha256: str | None,
) -> None:
    """Convert as the options of `python -m training.convert` say, and say what was written.

    Raises:
        UserError: options that do not belong together, or a source that cannot be read.
    """
    suffix = destination.suffix.lower()
    if card == (suffix in _SUFFIXES):
        remedy = "a folder's for --card" if card else f"end in {', '.join(_SUFFIXES)} to say what to write"
        raise UserError(f"{destination}: the name must {'be ' if card else ''}{remedy}")
    if len(sources) != 1 + swap or swap != (from_resolution is not None):
        raise UserError("give one SOURCE, or two with --swap and --from-resolution, then the DESTINATION")
    paths = [find_network(source, sha256=network_sha256) for source in sources]
    snapshots = [_load(path) for path in paths]
    snapshot = _swapped(paths, snapshots, from_resolution) if swap else snapshots[0]
    if ema_only:
        snapshot = Snapshot(None, None, snapshot.generator, snapshot.metadata)
    if card:
        write_card(destination, snapshot, paths[0])
    elif suffix == ".safetensors":
        save_snapshot(destination, G=snapshot.G, D=snapshot.D, G_ema=snapshot.G_ema, metadata=snapshot.metadata)
    elif suffix == ".pt":
        _note_clamp(snapshot)
        save_rosinality(destination, snapshot)
    else:
        difference = export_onnx(
            snapshot.generator, destination, truncation_psi=trunc, truncation_cutoff=trunc_cutoff, opset=opset
        )
        say(f"largest difference between ONNX and PyTorch: {difference:.2g}")
    say(f"wrote {destination}")


def _load(path: Path) -> Snapshot:
    snapshot = load_rosinality(path) if is_torch_archive(path) else load_snapshot(path)
    if count := snapshot.metadata.get("w_avg_of"):
        say(f"note: {path} has no latent_avg; the mean w was computed from {count} latents", err=True)
    return snapshot


def _swapped(paths: list[Path], snapshots: list[Snapshot], from_resolution: int) -> Snapshot:
    """The generator of both, with the first one's classes and training data; says of which files it was made."""
    coarse, fine = snapshots
    swap = {"coarse": paths[0].name, "coarse_hash": coarse.hash, "fine": paths[1].name, "fine_hash": fine.hash}
    kept = {key: coarse.metadata.get(key) for key in ("class_names", "training_set", "dataset_hash")}
    metadata = {**kept, "layer_swap": {**swap, "from_resolution": from_resolution}}
    return Snapshot(None, None, swap_layers(coarse.generator, fine.generator, from_resolution), metadata)


def _note_clamp(snapshot: Snapshot) -> None:
    if any(n is not None and n.config.conv_clamp is not None for n in (snapshot.G, snapshot.D, snapshot.G_ema)):
        say("note: rosinality's networks do not clamp activations; beyond the limit outputs differ", err=True)
