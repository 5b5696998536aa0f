"""Projection of images into the latent space of a generator: W, W+, then optionally pivotal tuning.

Karras et al. 2020 (StyleGAN2), appendix D; Abdal et al. 2019 for W+; Roich et al. 2021 for pivotal tuning. All targets
are optimised side by side. They share nothing but the random numbers, so that each ends where it would alone.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.func import functional_call

from projection import noise as noise_maps
from projection.distance import Distance, load_distance
from projection.pivotal import tune
from projection.schedule import NOISE_INITS, SPACES, Schedule
from training.networks import Generator

W_SAMPLES = 10_000
W_SEED = 123


@dataclass(frozen=True)
class Step:
    """What `progress` is called with after every step.

    Attributes:
        stage: "latent" or "tuning"; step: from 0 of total.
        distance: [N], of the targets under optimisation (tuning: of one).
        images: [N, C, R, R] in about [-1, 1].
        targets: their indices.
    """

    stage: str
    step: int
    total: int
    distance: torch.Tensor
    images: torch.Tensor
    targets: list[int]


@dataclass
class ProjectionResult:
    """The best step of every target, on the CPU.

    Attributes:
        ws: [N, num_ws, w_dim] float32.
        noise: constant noise buffers of the synthesis network by name, [N, R, R] each.
        images: [N, C, R, R] float32, what ws and noise give (after tuning: by the tuned generators).
        distance, psnr: [N]; psnr in dB for values in [-1, 1], clipped.
        best_step: [N], the step of `curve` that ws is from.
        curve: by column ("distance", "noise", "rate"), one value [N] (rate: a number) for every step.
        tuned: one generator for each target after pivotal tuning, its noise buffers set; else empty.
        pivot_distance, pivot_psnr: [N], before tuning.
        tuning_curve: distance for every tuning step and target, [pti_steps, N].
    """

    ws: torch.Tensor
    noise: dict[str, torch.Tensor]
    images: torch.Tensor
    distance: torch.Tensor
    psnr: torch.Tensor
    best_step: torch.Tensor
    curve: dict[str, np.ndarray]
    tuned: list[Generator] = field(default_factory=list)
    pivot_distance: torch.Tensor | None = None
    pivot_psnr: torch.Tensor | None = None
    tuning_curve: np.ndarray | None = None


def project(
    G: Generator,
    targets: torch.Tensor,
    *,
    c: torch.Tensor | None = None,
    space: str = "w",
    noise_init: str = "network",
    num_steps: int = 1000,
    pti_steps: int = 0,
    distance: Distance | str = "auto",
    seed: int = 303,
    schedule: Schedule | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[Step], bool | None] | None = None,
) -> ProjectionResult:
    """Find latents and noise whose images come closest to `targets`.

    Args:
        G: the generator; it is not changed.
        targets: [N, C, H, W] of G's channels and size, float in [-1, 1] or uint8.
        c: label [c_dim] for all or [N, c_dim], needed by conditional generators; it sets the starting point.
        space: "w" (one w for all layers) or "w+" (one for each layer: closer, but edits worse).
        noise_init: what the noise maps start from: "network" (its own constant maps) or "random" (drawn with `seed`).
        num_steps: of the latents' optimisation.
        pti_steps: of pivotal tuning afterwards: the generator itself is fitted, for each target on its own.
        distance: a `Distance` or its name (see `load_distance`).
        seed: of the noise added to the latents, and of random noise maps.
        schedule: None for StyleGAN2's.
        device: None for that of G.
        progress: called after every step; True ends the projection there, with the best so far.

    Raises:
        ValueError: targets or labels of another shape, unknown space or noise_init.
        UserError: the weights of the distance are missing.
    """
    device = torch.device(device) if device is not None else next(G.parameters()).device
    G = copy.deepcopy(G).eval().requires_grad_(False).to(device)
    targets = _check_targets(G, targets).to(device)
    labels = _check_labels(G, c, len(targets)).to(device)
    if space not in SPACES:
        raise ValueError(f"space is {space!r}; it must be w or w+")
    if noise_init not in NOISE_INITS:
        raise ValueError(f"noise_init is {noise_init!r}; it must be network or random")
    distance = load_distance(distance, device) if isinstance(distance, str) else distance
    result, stopped = _optimize_latents(
        G, targets, labels, space, noise_init, num_steps, distance, seed, schedule or Schedule(),
        progress or (lambda step: None),
    )  # fmt: skip
    if pti_steps and not stopped:
        _tune_all(G, targets, distance, result, pti_steps, progress or (lambda step: None))
    return result


@torch.no_grad()
def latent_statistics(G: Generator, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [N, w_dim] and standard deviation [N] of W for each label [N, c_dim], from 10 000 latents.

    The deviation is one number: the square root of the mean squared distance from the mean.
    """
    z = torch.from_numpy(np.random.RandomState(W_SEED).randn(W_SAMPLES, G.z_dim).astype(np.float32))
    means, deviations = {}, {}
    for label in labels.unique(dim=0) if G.c_dim else labels[:1]:
        parts = []
        for chunk in z.split(1000):
            chunk = chunk.to(labels.device)
            c = label.expand(len(chunk), -1) if G.c_dim else None
            parts.append(G.mapping(chunk, c)[:, 0].double().cpu())
        w = torch.cat(parts)
        key = tuple(label.tolist())
        means[key] = w.mean(dim=0)
        deviations[key] = ((w - means[key]).square().sum() / W_SAMPLES).sqrt()
    keys = [tuple(label.tolist()) for label in labels]
    mean = torch.stack([means[key] for key in keys]).float()
    return mean.to(labels.device), torch.stack([deviations[key] for key in keys]).float().to(labels.device)


def psnr(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, [N], of images in [-1, 1] (clipped to it)."""
    error = (images.clamp(-1, 1) - targets).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


def _optimize_latents(
    G: Generator,
    targets: torch.Tensor,
    labels: torch.Tensor,
    space: str,
    noise_init: str,
    num_steps: int,
    distance: Distance,
    seed: int,
    schedule: Schedule,
    progress: Callable[[Step], bool | None],
) -> tuple[ProjectionResult, bool]:
    """The result, and whether `progress` ended it."""
    count = len(targets)
    draw = torch.Generator().manual_seed(seed)
    w_avg, w_std = latent_statistics(G, labels)
    deviations = w_std.tolist()
    layers = 1 if space == "w" else G.num_ws
    w = w_avg[:, None].repeat(1, layers, 1).requires_grad_(True)
    maps = noise_maps.initial_noise(G.synthesis, count, draw if noise_init == "random" else None)
    for noise in maps.values():
        noise.requires_grad_(True)
    optimizer = torch.optim.Adam([w, *maps.values()], betas=(0.9, 0.999), lr=schedule.learning_rate)
    with torch.no_grad():
        target_features = distance.features(targets)
    best = _Best(count, G, maps, targets)
    rows: dict[str, list] = {"distance": [], "noise": [], "rate": []}
    stop: bool | None = False

    for step in range(num_steps):
        t = step / num_steps
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(t)
        jitter = torch.randn(1, layers, G.w_dim, generator=draw).to(w.device)
        scale = w.new_tensor([schedule.latent_noise(t, deviation) for deviation in deviations])
        ws = (w + jitter * scale[:, None, None]).expand(-1, G.num_ws, -1)
        images = render(G, ws, maps)
        distances = (distance.features(images) - target_features).square().sum(dim=1)
        penalty = noise_maps.regularization(maps.values())
        best.update(step, distances, ws, maps, images)

        optimizer.zero_grad(set_to_none=True)
        (distances + schedule.noise_weight * penalty).sum().backward()
        optimizer.step()
        noise_maps.standardize(maps.values())
        rows["distance"].append(distances.detach().cpu().numpy())
        rows["noise"].append(penalty.detach().cpu().numpy())
        rows["rate"].append(schedule.rate(t))
        stop = progress(Step("latent", step, num_steps, distances.detach(), images.detach(), list(range(count))))
        if stop:
            break
    return best.result({key: np.array(values) for key, values in rows.items()}), bool(stop)


def render(G: Generator, ws: torch.Tensor, maps: dict[str, torch.Tensor]) -> torch.Tensor:
    """Images of ws [N, num_ws, w_dim] with own noise maps [N, 1, R, R] for each.

    Modulation is never fused, which would round differently for one image than for several.
    """
    return functional_call(G.synthesis, maps, (ws,), {"noise_mode": "const", "fused_modconv": False})


class _Best:
    """The step with the smallest distance so far, for each target."""

    def __init__(self, count: int, G: Generator, maps: dict[str, torch.Tensor], targets: torch.Tensor) -> None:
        self.targets = targets
        self.distance = torch.full([count], float("inf"), device=targets.device)
        self.step = torch.zeros(count, dtype=torch.int64, device=targets.device)
        self.ws = torch.zeros(count, G.num_ws, G.w_dim, device=targets.device)
        self.images = torch.zeros_like(targets)
        self.noise = {name: torch.zeros_like(noise) for name, noise in maps.items()}

    @torch.no_grad()
    def update(
        self, step: int, distance: torch.Tensor, ws: torch.Tensor, maps: dict[str, torch.Tensor], images: torch.Tensor
    ) -> None:
        better = distance < self.distance
        self.distance = torch.where(better, distance, self.distance)
        self.step = torch.where(better, step, self.step)
        self.ws[better] = ws[better]
        self.images[better] = images[better]
        for name, noise in maps.items():
            self.noise[name][better] = noise[better]

    def result(self, curve: dict[str, np.ndarray]) -> ProjectionResult:
        return ProjectionResult(
            ws=self.ws.cpu(),
            noise={name: noise[:, 0].cpu() for name, noise in self.noise.items()},
            images=self.images.cpu(),
            distance=self.distance.cpu(),
            psnr=psnr(self.images, self.targets).cpu(),
            best_step=self.step.cpu(),
            curve=curve,
        )


def _tune_all(
    G: Generator,
    targets: torch.Tensor,
    distance: Distance,
    result: ProjectionResult,
    steps: int,
    progress: Callable[[Step], None],
) -> None:
    """Tune a generator for each target around its pivot and update `result`."""
    result.pivot_distance, result.pivot_psnr = result.distance.clone(), result.psnr.clone()
    curves = []
    for i, target in enumerate(targets):

        def report(step: int, value: torch.Tensor, image: torch.Tensor, i: int = i) -> None:
            progress(Step("tuning", step, steps, value, image, [i]))

        own = copy.deepcopy(G)
        noise_maps.set_noise(own.synthesis, {name: noise[i] for name, noise in result.noise.items()})
        tuned = tune(own, result.ws[i : i + 1].to(target.device), target[None], distance, steps, report)
        result.tuned.append(tuned.G.cpu())
        result.images[i] = tuned.image[0].cpu()
        result.distance[i] = tuned.distance.cpu()
        curves.append(tuned.curve)
    result.psnr = psnr(result.images, targets.cpu())
    result.tuning_curve = np.stack(curves, axis=1)


def _check_targets(G: Generator, targets: torch.Tensor) -> torch.Tensor:
    shape = (G.img_channels, *G.config.img_size)
    if targets.ndim != 4 or tuple(targets.shape[1:]) != shape or not len(targets):
        raise ValueError(f"targets must be [N, {', '.join(map(str, shape))}] with N >= 1, got {list(targets.shape)}")
    return targets.to(torch.float32) / 127.5 - 1 if targets.dtype == torch.uint8 else targets.to(torch.float32)


def _check_labels(G: Generator, c: torch.Tensor | None, count: int) -> torch.Tensor:
    if not G.c_dim:
        return torch.zeros(count, 0)
    if c is None or c.shape[-1] != G.c_dim or c.ndim not in (1, 2) or (c.ndim == 2 and len(c) != count):
        raise ValueError(f"the generator is conditional: c must be [{G.c_dim}] or [{count}, {G.c_dim}]")
    return c.to(torch.float32).expand(count, -1).clone()
