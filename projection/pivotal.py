"""Pivotal tuning (Roich et al. 2021): the latents stay, the generator moves until it shows the target there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from projection.distance import Distance
from training.networks import Generator

LEARNING_RATE = 3e-4
PIXEL_WEIGHT = 1.0


@dataclass(frozen=True)
class Tuned:
    """The generator at its best step, its image [1, C, R, R], distance [] and the distances of all steps [steps]."""

    G: Generator
    image: torch.Tensor
    distance: torch.Tensor
    curve: np.ndarray


def tune(
    G: Generator,
    ws: torch.Tensor,
    target: torch.Tensor,
    distance: Distance,
    steps: int,
    progress: Callable[[int, torch.Tensor, torch.Tensor], None],
) -> Tuned:
    """Fit the synthesis weights of G, in place, so that ws [1, num_ws, w_dim] gives target [1, C, R, R].

    The loss is the distance plus the mean squared pixel difference (eq. 2 of the paper, with weight 1); noise is
    constant. The paper's locality regularisation is left out: the tuned generator is meant for this one image.
    """
    parameters = list(G.synthesis.requires_grad_(True).parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    with torch.no_grad():
        target_features = distance.features(target)
    best_loss, curve = float("inf"), []
    best: tuple[list[torch.Tensor], torch.Tensor, torch.Tensor] | None = None
    for step in range(steps + 1):  # the last round only measures what the last update gave
        image = G.synthesis(ws, noise_mode="const", fused_modconv=False)
        measured = (distance.features(image) - target_features).square().sum()
        loss = measured + PIXEL_WEIGHT * (image - target).square().mean()
        if loss.item() < best_loss:
            best_loss = loss.item()
            best = ([p.detach().clone() for p in parameters], image.detach(), measured.detach())
        if step == steps:
            break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        curve.append(measured.item())
        progress(step, measured.detach()[None], image.detach())
    if best is None:
        raise FloatingPointError("pivotal tuning met no finite loss; the generator or the target is not finite")
    with torch.no_grad():
        for parameter, value in zip(parameters, best[0], strict=True):
            parameter.copy_(value)
    return Tuned(G.requires_grad_(False), best[1], best[2], np.array(curve))
