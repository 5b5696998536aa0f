"""Generated images as a function of (seed, sample index): latents, labels, noise.

Sample i belongs to block i // BLOCK. The numbers of a block come from counter-based generators (Philox,
Salmon et al. 2011) keyed by (seed, block), one stream for each purpose, so that neither the batch size nor
the number of processes nor the number of samples changes sample i. Inside a block the generator runs in
units of `generator_unit(resolution)` images, each with its own noise seed; a unit is never cut.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from dnnlib import UserError
from metrics.blocks import BLOCK
from metrics.randomness import LABELS, LATENTS, NOISE, stream
from torch_utils.media.images import to_uint8
from training.networks import Generator, set_precision


class LabelSource(Protocol):
    """What labels are drawn from: a dataset."""

    label_dim: int

    def __len__(self) -> int: ...

    def labels(self, indices: Any) -> torch.Tensor:
        """Float32 [N, label_dim]."""


def generator_unit(resolution: int) -> int:
    """Images per forward pass of the generator: about half a GiB for its widest activation at 128 x 128 and above."""
    return max(4, min(32, 8192 // resolution))


@contextlib.contextmanager
def private_randomness(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


class GeneratedImages:
    """Images 0, 1, 2, ... of a generator, psi 1, random noise, labels drawn from a dataset.

    Args:
        G: generator with the call `G.mapping(z, c)`, `G.synthesis(ws, noise_mode=...)` and the attributes
            z_dim, c_dim, img_resolution, img_channels. A copy is evaluated; `G` itself is left alone.
        labels: the dataset for a conditional generator's labels, else None.
        seed: 0 or more.
        device: where to compute.

    Raises:
        UserError: a conditional generator and no dataset with labels of its width.
    """

    def __init__(self, G: Any, labels: LabelSource | None, seed: int, device: torch.device) -> None:
        self.G = inference_copy(G, device)
        self.seed, self.device = seed, device
        self.labels = labels if G.c_dim > 0 else None
        if G.c_dim > 0 and (labels is None or labels.label_dim != G.c_dim):
            width = 0 if labels is None else labels.label_dim
            raise UserError(
                f"the network takes labels of width {G.c_dim}, the dataset has labels of width {width}; "
                "give the dataset it was trained on with `data`"
            )

    def latents(self, block: int) -> torch.Tensor:
        """Z of a whole block, float32 [BLOCK, z_dim]."""
        return self._normal(LATENTS, block, BLOCK)

    def block_labels(self, block: int) -> torch.Tensor | None:
        """C of a whole block, float32 [BLOCK, c_dim]; None for an unconditional generator."""
        if self.labels is None:
            return None
        indices = stream(self.seed, LABELS, block).integers(len(self.labels), size=BLOCK)
        return self.labels.labels(indices).to(self.device)

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Images start ... stop - 1 of one block: uint8 [stop - start, C, R, R] on the device.

        Raises:
            UserError: the generator gives NaN or infinity.
        """
        block = start // BLOCK
        z, c = self.latents(block), self.block_labels(block)
        noise_seeds = self.noise_seeds(NOISE, block)
        unit = generator_unit(self.G.img_resolution)
        images = []
        with torch.no_grad(), private_randomness(self.device):
            for index, low in enumerate(range(0, stop - start, unit)):
                part = slice(low, low + unit)
                ws = self.G.mapping(z[part], None if c is None else c[part])
                torch.manual_seed(noise_seeds[index])
                images.append(finite(self.G.synthesis(ws, noise_mode="random")))
        return to_uint8(torch.cat(images)[: stop - start])

    def noise_seeds(self, purpose: int, block: int) -> list[int]:
        """One seed for each unit that a block may hold."""
        return stream(self.seed, purpose, block).integers(2**63, size=BLOCK).tolist()

    def _normal(self, purpose: int, block: int, rows: int) -> torch.Tensor:
        values = stream(self.seed, purpose, block).standard_normal((rows, self.G.z_dim), dtype=np.float32)
        return torch.from_numpy(values).to(self.device)


def inference_copy(G: Any, device: torch.device) -> Any:
    """`G` on the device, in evaluation mode and float32; a copy, so that a metric leaves the network in training alone.

    Float32 whatever precision it trains in, so that the values during training are those of its snapshots. A step
    along a path of latents would drown in the rounding of less.
    """
    if not isinstance(G, torch.nn.Module):
        return G
    G = copy.deepcopy(G).eval().requires_grad_(False).to(device)
    if isinstance(G, Generator):
        set_precision(G, torch.float32, 0)
    return G


def finite(img: torch.Tensor) -> torch.Tensor:
    """Return `img`; NaN or infinity is an error, because quantisation to uint8 would hide it."""
    if not torch.isfinite(img).all():
        raise UserError("the generator's images hold NaN or infinity, so no metric can be computed of them")
    return img
