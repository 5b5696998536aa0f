"""The generator's noise maps as variables of the optimisation, one set for each target."""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

SMALLEST = 8  # pixels; the pyramid of the regularisation ends there


def noise_names(synthesis: torch.nn.Module) -> list[str]:
    """Names of the constant noise buffers [R, R] of a synthesis network."""
    return [name for name, _ in synthesis.named_buffers() if name.endswith("noise_const")]


def initial_noise(
    synthesis: torch.nn.Module, count: int, draw: torch.Generator | None = None
) -> dict[str, torch.Tensor]:
    """Maps to start from, the same for every target: [count, 1, R, R] by layer.

    Without `draw` they are the network's own constant maps, with which pictures that it made itself are found again;
    with it, new ones from N(0, 1), as in StyleGAN2's projector.
    """
    buffers = dict(synthesis.named_buffers())
    maps = {}
    for name in noise_names(synthesis):
        own = buffers[name]
        start = own if draw is None else torch.randn(own.shape, generator=draw).to(own)
        maps[name] = start.expand(count, 1, -1, -1).clone()
    return maps


def regularization(maps: Iterable[torch.Tensor]) -> torch.Tensor:
    """How far noise maps [N, 1, H, W] are from white: squared correlations with their neighbours, [N].

    On a pyramid of 2 x 2 means down to 8 pixels, the squared mean of n times n shifted by one pixel, in both
    directions, cyclically (Karras et al. 2020, eq. 5).
    """
    total = torch.zeros(())
    for level in maps:
        while True:
            for axis in (2, 3):
                correlation = (level * level.roll(1, dims=axis)).mean(dim=(1, 2, 3))
                total = total.to(correlation.device) + correlation.square()
            if min(level.shape[2:]) <= SMALLEST:
                break
            level = F.avg_pool2d(level, kernel_size=2)
    return total


@torch.no_grad()
def standardize(maps: Iterable[torch.Tensor]) -> None:
    """Bring every map [N, 1, H, W] back to mean 0 and mean square 1, in place."""
    for noise in maps:
        noise -= noise.mean(dim=(1, 2, 3), keepdim=True)
        noise *= noise.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()


def set_noise(synthesis: torch.nn.Module, maps: Mapping[str, torch.Tensor]) -> None:
    """Put the maps [H, W] of one target into the constant noise buffers, in place."""
    buffers = dict(synthesis.named_buffers())
    for name, noise in maps.items():
        buffers[name].copy_(noise.reshape(buffers[name].shape))
