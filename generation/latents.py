"""What a picture starts from: latents by seed, labels by name, and what projector.py found."""

import os
from collections.abc import Sequence

import numpy as np
import safetensors
import safetensors.torch
import torch

from dnnlib import UserError, first_line
from dnnlib.files import open_regular, read_regular
from dnnlib.seeds import check_seed
from torch_utils.arrays import ARRAY_ERRORS, is_torch_archive, read_array, read_arrays, read_torch
from training.networks import Generator

_MOST_NOISE_BYTES = 1 << 28
_NAMES = ("w", "latents", "latent")  # of latents in files


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


def label_vector(label: Sequence[float], c_dim: int) -> torch.Tensor:
    """The label c [1, c_dim] float32 with these numbers, as multi-hot and continuous labels are given.

    Raises:
        UserError: the network's labels have another length, or it has none.
    """
    if len(label) != c_dim:
        has = f"labels of {c_dim} numbers" if c_dim else "no labels"
        raise UserError(f"`label` has {len(label)} numbers; this network has {has}")
    return torch.tensor([label], dtype=torch.float32)


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
    """ws [N, num_ws, w_dim] float32 from a file of `projector.py` or of another program, read as data.

    An `.npz` with `w`, `latents` or `latent`; an `.npy`; a tensor of `torch.save`, by itself, under such a name, or as
    rosinality's projector writes it, a latent for each picture. Shapes: [N, num_ws, w_dim] or [num_ws, w_dim], which
    have a latent for each layer, and [N, w_dim] or [w_dim], whose latents all layers get.

    Raises:
        UserError: the file cannot be read, has no latents, or of another shape or with non-finite numbers.
    """
    w = _read_latents(projected_w)
    has_layers = w.ndim in (2, 3) and w.shape[-2:] == (num_ws, w_dim)
    if not w.size or w.shape[-1:] != (w_dim,) or not (has_layers or w.ndim < 3):
        raise UserError(
            f"`projected_w`: {projected_w} holds latents of shape {list(w.shape)}; this network takes "
            f"[N, {num_ws}, {w_dim}], [{num_ws}, {w_dim}], [N, {w_dim}] or [{w_dim}]"
        )
    with np.errstate(over="ignore"):
        ws = w.astype(np.float32) if w.dtype.kind == "f" else None
    if ws is None or not np.isfinite(ws).all():
        raise UserError(f"`projected_w`: {projected_w} holds w with values that are not finite numbers")
    ws = torch.from_numpy(ws)
    return ws.reshape(-1, num_ws, w_dim) if has_layers else ws.reshape(-1, 1, w_dim).repeat(1, num_ws, 1)


def _read_latents(path: str | os.PathLike) -> np.ndarray:
    where = f"`projected_w`: {path}"
    try:
        with open_regular(path) as stream:
            is_npy = stream.read(6) == b"\x93NUMPY"
        read = read_array if is_npy else read_torch if is_torch_archive(path) else _read_npz
        content = read(path)
    except (UserError, *ARRAY_ERRORS) as error:
        raise UserError(f"{where} cannot be read as an .npz, .npy or .pt file ({first_line(error)})") from error
    if isinstance(content, dict):
        pictures = [value["latent"] for value in content.values() if isinstance(value, dict) and "latent" in value]
        kinds = {(p.shape, p.dtype) if isinstance(p, torch.Tensor) else None for p in pictures}
        alike = len(kinds) == 1 and None not in kinds
        found = [content[name] for name in _NAMES if name in content]
        content = found[0] if found else torch.stack(pictures) if alike else None
    if isinstance(content, torch.Tensor):
        if not content.is_floating_point():
            raise UserError(f"{where} holds latents of {content.dtype}, which are no floating-point numbers")
        content = content.detach().float().numpy()
    if not isinstance(content, np.ndarray):
        raise UserError(f"{where} has no array named {', '.join(map(repr, _NAMES))}; projector.py writes 'w'")
    return content


def _read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    return read_arrays(path, _NAMES)


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
