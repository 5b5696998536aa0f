"""From latents to quantised pictures, in batches, on any device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from generation.latents import latents_from_seeds
from generation.options import NO_TRUNCATION, PICTURES_AT_ONCE
from torch_utils.media.images import to_uint8
from training.networks import Generator


@dataclass(frozen=True)
class Renderer:
    """A generator and how to draw with it.

    Attributes:
        G: on `device`, in evaluation mode.
        device: where to compute.
        label: c [1, c_dim], or None for an unconditional network.
        psi: truncation (Karras et al. 2019, appendix B); 1 for none.
        cutoff: truncate only the first so many layers; None for all.
        noise_mode: "const", "random" or "none".
        batch_size: pictures computed at once.
        noise_seed: of random noise, for every picture; None for seeds of their own.
        edit: what moves ws [N, num_ws, w_dim] before they are drawn; None for nothing.
        center: [w_dim] on `device`, what is truncated towards; None for the network's mean w.
    """

    G: Generator
    device: torch.device
    label: torch.Tensor | None = None
    psi: float = NO_TRUNCATION
    cutoff: int | None = None
    noise_mode: str = "const"
    batch_size: int = PICTURES_AT_ONCE
    noise_seed: int | None = None
    edit: Callable[[torch.Tensor], torch.Tensor] | None = None
    center: torch.Tensor | None = None

    def ws_from_seeds(self, seeds: Sequence[int]) -> torch.Tensor:
        """Truncated ws [N, num_ws, w_dim] on the CPU."""
        return self.ws_from_latents(latents_from_seeds(seeds, self.G.z_dim))

    @torch.inference_mode()
    def ws_from_latents(self, z: torch.Tensor) -> torch.Tensor:
        """Truncated ws [N, num_ws, w_dim] on the CPU, from z [N, z_dim]."""
        c = None if self.label is None else self.label.to(self.device).expand(len(z), -1)
        ws = self.G.mapping(z.to(self.device), c)
        return (ws if self.psi == 1 else self.G.mapping.truncate(ws, self.psi, self.cutoff, self.center)).cpu()

    @torch.inference_mode()
    def pictures(self, ws: torch.Tensor, noise_seeds: Sequence[int] | None = None) -> Iterator[torch.Tensor]:
        """Yield uint8 [C, R, R] CPU tensors, one for each of ws [N, num_ws, w_dim].

        With random noise each picture is drawn alone, after seeding with its entry of `noise_seeds` (0, 1, ... if
        None; `self.noise_seed` where that is given), so that it does not depend on the pictures drawn beside it.
        """
        if self.edit is not None:
            ws = self.edit(ws)
        if self.noise_seed is not None:
            noise_seeds = [self.noise_seed] * len(ws)
        if self.noise_mode == "random":
            for seed, w in zip(noise_seeds or range(len(ws)), ws.split(1), strict=True):
                torch.manual_seed(seed)
                yield self._batch(w)[0]
        else:
            for batch in ws.split(self.batch_size):
                yield from self._batch(batch)

    def _batch(self, ws: torch.Tensor) -> torch.Tensor:
        # Not fused, whatever the batch size: a picture then does not depend on how many are drawn with it.
        images = self.G.synthesis(ws.to(self.device), noise_mode=self.noise_mode, fused_modconv=False)
        return to_uint8(images).cpu()
