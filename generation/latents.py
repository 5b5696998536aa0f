"""What a picture starts from: latents by seed, labels by name, and what projector.py found."""

import os
from collections.abc import Sequence

import numpy as np
import safetensors
import safetensors.torch
import torch

from dnnlib import UserError, first_line
from dnnlib.files import read_regular
from dnnlib.seeds import check_seed
from torch_utils.arrays import ARRAY_ERRORS, read_arrays
from training.networks import Generator

_MOST_NOISE_BYTES = 1 << 28


def latents_from_seeds(seeds: Sequence[int], z_dim: int) -> torch.Tensor:
    """z [N, z_dim] float32, one row per seed, as StyleGAN2-ADA draws it: RandomState(seed).randn(1, z_dim).

    Raises:
        UserError: a seed that NumPy's generator does not take.
    """
    for seed in seeds:
        check_seed(seed, "seeds")
    rows = [np.random.RandomState(seed).randn(1, z_dim) for seed in seeds]
    return torch.from_numpy(np.concatenate(rows)).to(torch.float32)


@torch.inference_mode()
def sample_w(G: Generator, label: torch.Tensor | None, count: int = 1 << 14) -> torch.Tensor:
    """w [count, w_dim] float32 on the CPU of the z that RandomState(0) draws, always the same, without truncation.

    Args:
        G: the network, on any device.
        label: c [1, c_dim]; None for an unconditional network.
        count: how many.
    """
    device = G.mapping.w_avg.device
    z = torch.from_numpy(np.random.RandomState(0).randn(count, G.z_dim).astype(np.float32))
    c = None if label is None else label.to(device)
    parts = [G.mapping(some.to(device), c if c is None else c.expand(len(some), -1))[:, 0] for some in z.split(4096)]
    return torch.cat(parts).cpu()


def parse_class(class_text: str | None, c_dim: int, class_names: Sequence[str] | None = None) -> torch.Tensor | None:
    """The label c [1, c_dim] float32 that `class_text` describes; None for an unconditional network.

    Args:
        class_text: an index (`3`), a name (`cat`), or a mixture of either (`cat=0.5,dog=0.5`), whose weights are
            scaled to sum 1. Digits are an index if there is such a class, and a name otherwise.
        c_dim: length of the network's labels; 0 for an unconditional one.
        class_names: names by index, if the network has them.

    Raises:
        UserError: no class for a conditional network, an unknown one, or weights that are no mixture.
    """
    if c_dim == 0:
        return None
    if class_text is None:
        raise UserError(f"this network is conditional: give `class_text`, {_choices(c_dim, class_names)}")
    label = torch.zeros(1, c_dim)
    names = list(class_names or ())
    if "=" not in class_text or class_text in names:
        label[0, _class_index(class_text, c_dim, names)] = 1
        return label
    for part in class_text.split(","):
        name, _, weight = part.rpartition("=")
        label[0, _class_index(name.strip(), c_dim, names)] += _weight(weight, class_text)
    if label.sum() <= 0:
        raise UserError(f"`class_text`={class_text}: the weights of the mixture are all zero")
    return label / label.sum()


def _class_index(text: str, c_dim: int, names: list[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < c_dim:
        return int(text)
    if text in names[:c_dim]:
        return names.index(text)
    raise UserError(f"`class_text`: the network has no class '{text}'; choose {_choices(c_dim, names)}")


def _weight(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise UserError(f"`class_text`={whole}: '{text}' is no weight; write a mixture as cat=0.7,dog=0.3")
    return value


def _choices(c_dim: int, names: Sequence[str] | None) -> str:
    listed = f" or a name ({', '.join(names[:20])}{', ...' if len(names) > 20 else ''})" if names else ""
    return f"an index from 0 to {c_dim - 1}{listed}"


def load_projected(projected_w: str | os.PathLike, num_ws: int, w_dim: int) -> torch.Tensor:
    """ws [N, num_ws, w_dim] float32 from an .npz file with the array `w`, as `projector.py` writes it.

    Raises:
        UserError: the file cannot be read, has no array `w`, or one of another shape or with non-finite numbers.
    """
    try:
        w = read_arrays(projected_w, ("w",)).get("w")
    except ARRAY_ERRORS as error:
        raise UserError(f"`projected_w`: {projected_w} cannot be read as an .npz file ({first_line(error)})") from error
    if w is None:
        raise UserError(f"`projected_w`: {projected_w} has no array named 'w'; projector.py writes such files")
    expected = f"[N, {num_ws}, {w_dim}]"
    if w.ndim != 3 or w.shape[1:] != (num_ws, w_dim) or not len(w):
        raise UserError(f"`projected_w`: {projected_w} holds w of shape {list(w.shape)}; this network takes {expected}")
    with np.errstate(over="ignore"):
        ws = w.astype(np.float32) if w.dtype.kind == "f" else None
    if ws is None or not np.isfinite(ws).all():
        raise UserError(f"`projected_w`: {projected_w} holds w with values that are not finite numbers")
    return torch.from_numpy(ws)


def load_noise(projected_noise: str | os.PathLike, G: torch.nn.Module) -> None:
    """Replace the constant noise of G by the maps that `projector.py` wrote, for the latent that it found with them.

    Raises:
        UserError: the file cannot be read, or its maps are not those of this network.
    """
    try:
        maps = safetensors.torch.load(read_regular(projected_noise, _MOST_NOISE_BYTES))
    except (OSError, ValueError, LookupError, safetensors.SafetensorError) as error:
        raise UserError(
            f"`projected_noise`: {projected_noise} cannot be read as a safetensors file ({first_line(error)})"
        ) from error
    buffers = {name: buffer for name, buffer in G.named_buffers() if name.endswith("noise_const")}
    if {name: t.shape for name, t in maps.items()} != {name: b.shape for name, b in buffers.items()}:
        raise UserError(
            f"`projected_noise`: {projected_noise} does not hold the noise maps of this network; take projector.py's"
        )
    if not all(t.is_floating_point() and t.isfinite().all() for t in maps.values()):
        raise UserError(f"`projected_noise`: {projected_noise} holds values that are not finite numbers")
    for name, buffer in buffers.items():
        buffer.copy_(maps[name])
