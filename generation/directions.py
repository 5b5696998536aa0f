"""Directions of w along which pictures change, found without labels: principal components, or by the affine weights."""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import safetensors
import safetensors.torch
import torch

from dnnlib import UserError, atomic_write, first_line
from dnnlib.files import read_regular
from generation.latents import sample_w
from generation.options import USUAL_COUNT
from training.networks import Generator

_LARGEST_FILE = 1 << 28
_NAME = re.compile(r"\w[\w -]{0,59}")  # it becomes a file's name


@dataclass(frozen=True)
class Directions:
    """Some directions of w.

    Attributes:
        names: of each, without repetition.
        vectors: [n, w_dim] float32 of length 1, on the CPU.
        scales: [n] float32: how far strength 1 goes, the standard deviation of w along the direction.
        layers: for each, which of the num_ws copies of w it moves.
    """

    names: tuple[str, ...]
    vectors: torch.Tensor
    scales: torch.Tensor
    layers: tuple[tuple[int, ...], ...]

    def move(self, ws: torch.Tensor, index: int, strengths: torch.Tensor) -> torch.Tensor:
        """ws [N, num_ws, w_dim] moved along direction `index` by `strengths` [N] or [1]: a new tensor like ws."""
        step = (strengths.reshape(-1, 1) * self.scales[index] * self.vectors[index]).to(ws)
        moved = ws.clone()
        moved[:, list(self.layers[index])] += step[:, None]
        return moved

    def choose(self, text: str) -> "Directions":
        """Those that `text` lists, as `0-3,7` (or `0..3`), by name (`smile`), or under another name (`smile=7`).

        Raises:
            UserError: there is no such direction, or a name is twice or cannot be a file's.
        """
        chosen: dict[str, int] = {}
        for part in text.split(","):
            name, named, what = part.strip().rpartition("=")
            found = self._find(what.strip())
            if named and len(found) > 1:
                raise UserError(f"`direction`={text}: '{part}' gives one name to several directions; name one by one")
            for index in found:
                name = _checked_name(name.strip() if named else self.names[index], "`direction`")
                if name in chosen:
                    raise UserError(f"`direction`={text} has '{name}' twice; give each once")
                chosen[name] = index
        indices = list(chosen.values())
        layers = tuple(self.layers[index] for index in indices)
        return Directions(tuple(chosen), self.vectors[indices], self.scales[indices], layers)

    def _find(self, what: str) -> list[int]:
        if what in self.names:
            return [self.names.index(what)]
        span = re.fullmatch(r"([0-9]{1,6})(?:(?:-|\.\.)([0-9]{1,6}))?", what)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (0, -1)
        if not first <= last < len(self.names):
            some = ", ".join(self.names[:USUAL_COUNT])
            raise UserError(f"`direction`: there is no direction '{what}'; choose 0 to {len(self.names) - 1} or {some}")
        return list(range(first, last + 1))


def pca_directions(
    G: Generator, *, label: torch.Tensor | None = None, layers: Sequence[int] | None = None, count: int = USUAL_COUNT
) -> Directions:
    """The principal components of w, the largest first (Harkonen et al. 2020, "GANSpace", section 2.2).

    Args:
        G: the network.
        label: c [1, c_dim], whose w are looked at; None for an unconditional network.
        layers: which copies of w are to be moved; None for all. The components are the same.
        count: how many at most.

    Raises:
        UserError: a layer that the network does not have.
    """
    w = sample_w(G, label).double()
    vectors = torch.linalg.eigh(torch.cov(w.T).reshape(G.w_dim, G.w_dim)).eigenvectors
    return _directions("pca", w, vectors.T.flip(0)[:count], _checked_layers(layers, G.num_ws))


def sefa_directions(
    G: Generator, *, label: torch.Tensor | None = None, layers: Sequence[int] | None = None, count: int = USUAL_COUNT
) -> Directions:
    """What changes the styles of `layers` most: right singular vectors of their stacked affine weights.

    Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs", equation 5. Arguments and errors as of
    `pca_directions`; the label only matters for the scales.
    """
    chosen = _checked_layers(layers, G.num_ws)
    singular = torch.linalg.svd(affine_weights(G, chosen).cpu().double(), full_matrices=False).Vh
    return _directions("sefa", sample_w(G, label).double(), singular[:count], chosen)


METHODS: dict[str, Callable[..., Directions]] = {"pca": pca_directions, "sefa": sefa_directions}


def affine_weights(G: Generator, layers: Sequence[int]) -> torch.Tensor:
    """[sum of channels, w_dim]: the weights from w to styles of all convolutions that these copies of w feed."""
    weights: list[torch.Tensor] = []
    first = 0
    for resolution in G.synthesis.block_resolutions:
        block = getattr(G.synthesis, f"b{resolution}")
        convolutions = [block.conv1] if block.is_first else [block.conv0, block.conv1]
        # The torgb of a block shares its w with the first convolution of the next block.
        fed = [layer for i, layer in enumerate([*convolutions, block.torgb], first) if i in layers]
        weights += [layer.affine.weight.detach() for layer in fed]
        first += block.num_convs
    return torch.cat(weights)


def save_directions(path: str | os.PathLike, directions: Directions, num_ws: int) -> None:
    """Add named directions to the file `path`, in place of those of the same name.

    It is a safetensors file with a tensor [num_ws, w_dim] for each: what strength 1 adds to ws.

    Raises:
        UserError: the file cannot be written, or is there and holds something else.
    """
    w_dim = directions.vectors.shape[1]
    known = load_directions(path, num_ws, w_dim) if os.path.exists(path) else None
    tensors = {}
    for group in filter(None, (known, directions)):
        zero = torch.zeros(1, num_ws, w_dim)
        tensors |= {name: group.move(zero, index, torch.ones(1))[0] for index, name in enumerate(group.names)}
    with atomic_write(path) as stream:
        stream.write(safetensors.torch.save(dict(sorted(tensors.items()))))


def load_directions(path: str | os.PathLike, num_ws: int, w_dim: int) -> Directions:
    """The directions in a file of `save_directions`, in the order of their names.

    Raises:
        UserError: the file cannot be read, or its directions do not fit a network with these sizes.
    """
    try:
        tensors = safetensors.torch.load(read_regular(path, _LARGEST_FILE))
    except (OSError, ValueError, LookupError, safetensors.SafetensorError) as error:
        raise UserError(f"`directions`: {path} cannot be read as a safetensors file ({first_line(error)})") from error
    where = f"`directions`: {path}"
    if not tensors:
        raise UserError(f"{where} holds no directions")
    found = []
    for name, tensor in sorted(tensors.items()):
        _checked_name(name, where)
        if list(tensor.shape) != [num_ws, w_dim]:
            raise UserError(
                f"{where} holds '{name}' of shape {list(tensor.shape)}; this network takes [{num_ws}, {w_dim}]"
            )
        moves = tensor.float()
        layers = moves.abs().amax(dim=1).nonzero().flatten().tolist() if moves.isfinite().all() else []
        if not layers or not (moves[layers] == moves[layers[0]]).all():
            raise UserError(f"{where} holds '{name}', which is not one vector of finite numbers in some layers")
        found.append((name, moves[layers[0]], tuple(layers)))
    names, vectors, layers = zip(*found, strict=True)
    stacked = torch.stack(vectors)
    scales = stacked.norm(dim=1)
    return Directions(names, stacked / scales[:, None], scales, layers)


def find_directions(
    what: str, G: Generator, *, label: torch.Tensor | None, layers: Sequence[int] | None = None
) -> Directions:
    """All directions of a method ("pca", "sefa"), or those of a file; `layers` are those to move, None for all.

    Raises:
        UserError: as of the functions above.
    """
    if what in METHODS:
        return METHODS[what](G, label=label, layers=layers, count=G.w_dim)
    found = load_directions(what, G.num_ws, G.w_dim)
    if layers is None:
        return found
    return dataclasses.replace(found, layers=(_checked_layers(layers, G.num_ws),) * len(found.names))


def _directions(stem: str, w: torch.Tensor, vectors: torch.Tensor, layers: tuple[int, ...]) -> Directions:
    """Named, with the largest entry positive, so that the same network gives the same directions everywhere."""
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    vectors = vectors * largest.sign()
    names = tuple(f"{stem}{index:02d}" for index in range(len(vectors)))
    scales = ((w - w.mean(dim=0)) @ vectors.T).square().mean(dim=0).sqrt()
    return Directions(names, vectors.float(), scales.float(), (layers,) * len(vectors))


def _checked_layers(layers: Sequence[int] | None, num_ws: int) -> tuple[int, ...]:
    chosen = tuple(range(num_ws) if layers is None else sorted(set(layers)))
    if not chosen or chosen[-1] >= num_ws:
        raise UserError(
            f"`direction_layers`: the network's layers are 0 to {num_ws - 1}, not {max(chosen, default='')}"
        )
    return chosen


def _checked_name(name: str, where: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise UserError(f"{where}: a direction cannot be called {name[:60]!r}; use letters, digits, - and _")
    return name
