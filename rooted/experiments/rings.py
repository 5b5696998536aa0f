"""Eight Gaussians on a ring and a loss for each player: what the theory calls unsound, tried in two dimensions.

    python -m rooted.experiments.rings

For every pair (alpha_D, alpha_G) of a grid and every seed a small GAN is trained by Adam, without regularisation; the
same seed means the same weights at the start, data and latents for every pair. Once with as many steps of the
discriminator as of the generator, and once with five of them, which is nearer to the best discriminator that the theory
presumes. The generator is non-saturating. Measured: modes covered, share of the samples off the data, and the norm of
the generator's gradient over training.
"""

import itertools
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from dnnlib import make_folder, write_json
from dnnlib.cli import Command, IntegerRanges, Number, NumberList, door
from rooted import adversarial_loss
from rooted.experiments.many_networks import forward, start_weights
from rooted.experiments.reporting import pyplot, save_figure, seed_interval, to_markdown
from torch_utils.machine.environment import provenance

MODES, RADIUS, SIGMA = 8, 2.0, 0.15
ON_DATA = 3 * SIGMA  # 99 % of the data is as near to a mode
COVERED = 0.02  # of the samples at least, for a mode to count; an even share is 0.125
WIDTH, LATENT, BATCH, RATE, SAMPLES = 32, 4, 64, 2e-3, 1000
AVERAGE = 0.98  # of the generator's weights, a step
LOG_EVERY = 20  # steps from one gradient norm to the next

_leaky = partial(F.leaky_relu, negative_slope=0.2)


@dataclass(frozen=True)
class Outcome:
    """What was measured, for every alpha_D, alpha_G and seed.

    Attributes:
        modes: of eight, (D, G, S); off: share of samples off the data, (D, G, S).
        norms: of the generator's gradient, (steps / LOG_EVERY, D, G, S).
    """

    modes: Tensor
    off: Tensor
    norms: Tensor

    @property
    def final_norms(self) -> Tensor:
        """Those of the last tenth of training."""
        return self.norms[-max(len(self.norms) // 10, 1) :]


class Players:
    """The same network for every pair of orders and every seed, with its optimizer."""

    def __init__(self, sizes: list[int], pairs: int, seeds: list[int]) -> None:
        start = start_weights(sizes, seeds)
        self.layers = [tuple(part.repeat(pairs, 1, 1).requires_grad_(True) for part in layer) for layer in start]
        self.parameters = [part for layer in self.layers for part in layer]
        self._adam = torch.optim.Adam(self.parameters, lr=RATE, betas=(0.0, 0.99))

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (R, N, out) of R networks for their inputs (R, N, in)."""
        return forward(self.layers, x, _leaky)

    def update(self, losses: Tensor) -> Tensor:
        """A step of Adam on the mean over the last dimension, each network on its own; the gradients' norms (R)."""
        gradients = torch.autograd.grad(losses.mean(-1).sum(), self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._adam.step()
        return torch.stack([gradient.square().sum((1, 2)) for gradient in gradients]).sum(0).sqrt()


def centres() -> Tensor:
    """The modes, (8, 2)."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angles.cos(), angles.sin()], 1)


def play(orders: list[float], seeds: list[int], steps: int, d_steps: int) -> Outcome:
    """Train a GAN for every pair of orders and every seed, all as one batch."""
    shape = len(orders), len(orders), len(seeds)
    pairs = len(orders) ** 2
    losses = [adversarial_loss(alpha=order) for order in orders]
    random = [torch.Generator().manual_seed(seed) for seed in seeds]
    G = Players([LATENT, WIDTH, WIDTH, 2], pairs, seeds)
    D = Players([2, WIDTH, WIDTH, 1], pairs, [1_000_000 + seed for seed in seeds])

    def latents(size: int) -> Tensor:
        return torch.stack([torch.randn(size, LATENT, generator=r) for r in random]).repeat(pairs, 1, 1)

    def data(size: int) -> Tensor:
        modes = torch.stack([centres()[torch.randint(MODES, (size,), generator=r)] for r in random])
        noise = torch.stack([torch.randn(size, 2, generator=r) for r in random])
        return (modes + SIGMA * noise).repeat(pairs, 1, 1)

    def logits(points: Tensor) -> Tensor:
        return D(points).view(*shape, -1)

    average = [part.detach().clone() for part in G.parameters]
    norms = []
    for step in tqdm(range(steps), desc=f"{d_steps} to 1", unit="step", disable=None):
        for _ in range(d_steps):
            with torch.no_grad():
                fakes = G(latents(BATCH))
            real, fake = logits(data(BATCH)), logits(fakes)
            D.update(torch.stack([loss.discriminator(real[i], fake[i]) for i, loss in enumerate(losses)]))
        fake = logits(G(latents(BATCH)))
        norm = G.update(torch.stack([loss.generator(fake[:, j]) for j, loss in enumerate(losses)], dim=1))
        if step % LOG_EVERY == 0:
            norms.append(norm.view(shape))
        with torch.no_grad():
            for mean, part in zip(average, G.parameters, strict=True):
                mean.lerp_(part, 1 - AVERAGE)
    with torch.no_grad():
        samples = forward(list(zip(average[::2], average[1::2], strict=True)), latents(SAMPLES), _leaky)
    modes, off = judge(samples)
    return Outcome(modes.view(shape), off.view(shape), torch.stack(norms))


def judge(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Modes covered and share off the data, (S) each, of samples (S, N, 2); what is not finite is off the data."""
    distance, nearest = torch.cdist(samples, centres().expand(len(samples), -1, -1)).nan_to_num(math.inf).min(-1)
    on = distance <= ON_DATA
    counts = (F.one_hot(nearest, MODES) * on[..., None]).sum(1)
    return (counts >= COVERED * samples.shape[1]).sum(-1), 1 - on.double().mean(1)


def is_sound(order_d: float, order_g: float) -> bool:
    """Whether the generator minimises a divergence against the best discriminator."""
    return adversarial_loss(alpha=order_d, generator=f"alpha={order_g}").warning is None


def draw(outcomes: dict[int, Outcome], orders: list[float], path: Path) -> None:
    """A row for each number of discriminator steps: modes, share off the data, gradient at the end and over time."""
    plt = pyplot()
    size = 15, 3.7 * len(outcomes)
    figure, axes = plt.subplots(len(outcomes), 4, figsize=size, squeeze=False, layout="constrained")
    for row, (d_steps, outcome) in zip(axes, outcomes.items(), strict=True):
        _map(row[0], orders, "modes covered, of 8", outcome.modes.double().mean(-1), "{:.1f}", "viridis", (0, MODES))
        _map(row[1], orders, "share of samples off the data", outcome.off.mean(-1), "{:.2f}", "viridis_r", (0, 1))
        norms = _typical(outcome.final_norms)
        _map(row[2], orders, "log10 of the final gradient norm", norms, "{:.1f}", "coolwarm", (-2.5, 2.5))
        row[0].set_ylabel(f"{d_steps} step{'s' if d_steps > 1 else ''} of D to one of G\n\nalpha of D")
        last = len(orders) - 1
        for i, j in dict.fromkeys([*((i, i) for i in range(len(orders))), (last, 0), (0, last)]):
            row[3].semilogy(
                np.arange(len(outcome.norms)) * LOG_EVERY,
                10 ** _typical(outcome.norms[:, i, j], (-1,)),
                "-" if is_sound(orders[i], orders[j]) else "--",
                linewidth=1,
                label=f"{orders[i]:g}, {orders[j]:g}",
            )
        row[3].set(xlabel="step of G")
        row[3].set_title("gradient norm, median over seeds", fontsize=10)
        row[3].legend(title="alpha of\nD, G", fontsize=8, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        row[3].grid(alpha=0.3)
    save_figure(figure, path)


def _map(
    axis: Any, orders: list[float], title: str, values: Tensor, pattern: str, colours: str, span: tuple[float, float]
) -> None:
    """A coloured table over both orders; unsound pairs have a red frame."""
    from matplotlib.patches import Rectangle

    axis.imshow(values, origin="lower", cmap=colours, vmin=span[0], vmax=span[1])
    box = {"facecolor": "black", "alpha": 0.45, "linewidth": 0, "pad": 1.5}
    for (i, order_d), (j, order_g) in itertools.product(enumerate(orders), repeat=2):
        text = pattern.format(values[i, j])
        axis.text(j, i, text, ha="center", va="center", fontsize=8, color="white", bbox=box)
        if not is_sound(order_d, order_g):
            axis.add_patch(Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, edgecolor="red", linewidth=2))
    axis.set(xlabel="alpha of G", xticks=range(len(orders)), yticks=range(len(orders)))
    axis.set_xticklabels([f"{order:g}" for order in orders])
    axis.set_yticklabels([f"{order:g}" for order in orders])
    axis.set_title(title, fontsize=10)


def _typical(norms: Tensor, dims: tuple[int, ...] = (0, -1)) -> Tensor:
    """log10 of the median over steps and seeds; what is zero or not finite counts as 1e-12 or 1e12."""
    logarithms = norms.double().nan_to_num(1e12, 1e12).clamp(1e-12, 1e12).log10()
    return torch.as_tensor(np.median(logarithms.numpy(), axis=dims))


def table(outcome: Outcome, orders: list[float]) -> list[dict[str, str]]:
    """One row per pair, means over seeds with 95 % intervals; `*` marks unsound pairs."""
    norms = 10 ** _typical(outcome.final_norms)
    rows = []
    for (i, order_d), (j, order_g) in itertools.product(enumerate(orders), repeat=2):
        mark = "" if is_sound(order_d, order_g) else " *"
        rows.append(
            {
                "alpha of D": f"{order_d:g}",
                "alpha of G": f"{order_g:g}",
                "1/alpha_D + 1/alpha_G": f"{1 / order_d + 1 / order_g:.2f}{mark}",
                "modes": "{:.1f} ± {:.1f}".format(*seed_interval(outcome.modes[i, j].tolist())),
                "off the data": "{:.3f} ± {:.3f}".format(*seed_interval(outcome.off[i, j].tolist())),
                "final gradient norm": f"{norms[i, j]:.2g}",
            }
        )
    return rows


ORDERS = NumberList(Number(min=0, min_open=True))


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.option("--alphas", type=ORDERS, default="0.5,1,2,3,6", show_default=True, help="Orders of both players.")
@click.option("--seeds", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Of the generator.")
@click.option("--d-steps", type=IntegerRanges(), default="1,5", show_default=True, help="Of D for each of these.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/rings"), show_default=True)
@door
def main(alphas: tuple[float, ...], seeds: int, steps: int, d_steps: list[int], out: Path) -> None:
    """Train, measure, draw."""
    folder, orders = make_folder(out, "--out"), list(alphas)
    outcomes = {n: play(orders, list(range(seeds)), steps, n) for n in d_steps}
    draw(outcomes, orders, folder / "rings.png")
    runs: list[dict[str, Any]] = []
    for n, outcome in outcomes.items():
        click.echo(f"\n{n} steps of D to one of G (*: unsound)\n\n{to_markdown(table(outcome, orders))}")
        norms = [round(norm, 2) for norm in _typical(outcome.final_norms).flatten().tolist()]
        runs.append(
            {"d_steps": n, "modes": outcome.modes.tolist(), "off": outcome.off.tolist(), "log10 final norms": norms}
        )
    settings = {"alphas": orders, "seeds": seeds, "steps": steps, "sigma": SIGMA, "lr": RATE, "batch": BATCH}
    write_json(folder / "results.json", {"settings": settings, "provenance": provenance("cpu", "numpy"), "runs": runs})
    click.echo(f"\nwrote {folder}/rings.png, results.json")


if __name__ == "__main__":
    main()
