"""Decision boundaries of small networks on two spirals (section 4.3, Figure 2): cross-entropy against RLO-3.

    python -m rooted.experiments.spirals

1500 points, 70 % for training, fully connected networks of 2, 3 and 4 layers of width 100, full-batch steps
of learning rate 0.01, 1000, 100 and 50 of them, as in the paper; by Adam, where the paper names no optimizer.
Beside it every loss with its own learning rate, chosen on a fifth of the training points of three seeds. Several
seeds (data, split and start weights) train as one batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from dnnlib import make_folder, write_json
from dnnlib.cli import Command, Number, door
from rooted.experiments.many_networks import forward, start_weights
from rooted.experiments.reporting import pyplot, save_figure, seed_interval, to_markdown, write_csv
from rooted.functional import rooted_nll
from torch_utils.machine.environment import provenance

WIDTH = 100
PAPER_RATE = 0.01
RATES = (0.003, 0.01, 0.03, 0.1)
TUNING_SEEDS = 3
ITERATIONS = {2: 1000, 3: 100, 4: 50}
GRID = 161


@dataclass(frozen=True)
class Points:
    """A batch of S data sets: `x` float32 (S, N, 2) in about [-1, 1], `y` int64 (S, N) in {0, 1}."""

    x: Tensor
    y: Tensor

    def part(self, start: float, stop: float) -> "Points":
        """The samples between two shares of N; the order is random."""
        count = self.x.shape[1]
        chosen = slice(round(start * count), round(stop * count))
        return Points(self.x[:, chosen], self.y[:, chosen])

    def first(self, count: int) -> "Points":
        """The first data sets."""
        return Points(self.x[:count], self.y[:count])

    def repeat(self, times: int) -> "Points":
        """Every data set `times` times in a row."""
        return Points(self.x.repeat_interleave(times, 0), self.y.repeat_interleave(times, 0))


def two_spirals(count: int, turns: float, noise: float, seeds: list[int]) -> Points:
    """Two interleaved spirals, `count` points together per seed, in random order.

    The radius goes to 1; `noise` is the deviation of both coordinates.
    """
    xs, ys = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.arange(count) % 2)
        radius = np.sqrt(rng.uniform(0.01, 1, count))
        angle = 2 * math.pi * turns * radius + math.pi * y
        x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, noise, (count, 2))
        xs.append(torch.tensor(x, dtype=torch.float32))
        ys.append(torch.tensor(y))
    return Points(torch.stack(xs), torch.stack(ys))


def train(
    layers: int, points: Points, seeds: list[int], rates: Tensor, loss: Callable[[Tensor], Tensor], iterations: int
) -> list[tuple[Tensor, Tensor]]:
    """Train S networks on their own data sets by full-batch Adam, each with its own learning rate (S)."""
    parameters = start_weights([2, *[WIDTH] * (layers - 1), 2], seeds)
    flat = [p.requires_grad_(True) for pair in parameters for p in pair]
    first, second = ([torch.zeros_like(p) for p in flat] for _ in range(2))
    rates = rates[:, None, None]
    for step in range(1, iterations + 1):
        nll = F.cross_entropy(forward(parameters, points.x).transpose(1, 2), points.y, reduction="none")
        gradients = torch.autograd.grad(loss(nll).mean(1).sum(), flat)
        with torch.no_grad():
            for p, g, m, v in zip(flat, gradients, first, second, strict=True):
                m.lerp_(g, 0.1)
                v.lerp_(g.square(), 0.001)
                p -= rates * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    return [(weight.detach(), bias.detach()) for weight, bias in parameters]


def accuracies(parameters: list[tuple[Tensor, Tensor]], points: Points) -> Tensor:
    """Share of right predictions (S)."""
    return (forward(parameters, points.x).argmax(2) == points.y).double().mean(1)


def probability_map(parameters: list[tuple[Tensor, Tensor]], extent: float) -> Tensor:
    """Probability of class 1 on a square of side 2 extent: (S, GRID, GRID), rows by y from below."""
    axis = torch.linspace(-extent, extent, GRID)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y], 2).view(1, -1, 2).expand(len(parameters[0][0]), -1, -1)
    return forward(parameters, grid).softmax(2)[..., 1].view(-1, GRID, GRID)


def margins(probabilities: Tensor, extent: float, points: Points, right: Tensor) -> np.ndarray:
    """Distance of every point (S, N) to the decision boundary in the plane, negative where misclassified.

    The boundary is where a row or column of the map crosses one half, found by linear interpolation.
    """
    from scipy.spatial import cKDTree

    axis = np.linspace(-extent, extent, GRID)
    result = np.full(points.y.shape, np.nan)
    for s, values in enumerate(probabilities.numpy() - 0.5):
        crossings = []
        for field, flipped in ((values, False), (values.T, True)):
            i, j = np.nonzero(field[:, :-1] * field[:, 1:] <= 0)
            gap = field[i, j] - field[i, j + 1]
            share = np.divide(field[i, j], gap, out=np.full(len(gap), 0.5), where=gap != 0)
            along, across = axis[j] + share * (axis[1] - axis[0]), axis[i]
            crossings.append(np.stack([across, along] if flipped else [along, across], 1))
        boundary = np.concatenate(crossings)
        if len(boundary):
            distance = cKDTree(boundary).query(points.x[s].numpy())[0]
            result[s] = np.where(right[s].numpy(), distance, -distance)
    return result


def compare(data: Points, seeds: list[int], losses: dict[str, Callable[[Tensor], Tensor]], extent: float) -> list[dict]:
    """Per number of layers, loss and kind of rate ("paper", "chosen"): accuracies, margins and maps over seeds."""
    fitting, held_out = data.part(0, 0.56), data.part(0.56, 0.7)
    training, test = data.part(0, 0.7), data.part(0.7, 1)
    runs = []
    for layers, name in tqdm([(n, name) for n in ITERATIONS for name in losses], desc="networks", unit="setting"):
        loss, iterations, many = losses[name], ITERATIONS[layers], len(RATES)
        tuning = seeds[:TUNING_SEEDS]
        repeated = [seed for seed in tuning for _ in RATES]
        rates = torch.tensor(RATES * len(tuning))
        tuned = train(layers, fitting.first(len(tuning)).repeat(many), repeated, rates, loss, iterations)
        scores = accuracies(tuned, held_out.first(len(tuning)).repeat(many)).view(len(tuning), many).mean(0)
        chosen = RATES[int(scores.argmax())]
        rates = torch.tensor([PAPER_RATE, chosen] * len(seeds))
        final = train(layers, training.repeat(2), [s for s in seeds for _ in range(2)], rates, loss, iterations)
        maps, twice = probability_map(final, extent), test.repeat(2)
        right = forward(final, twice.x).argmax(2) == twice.y
        distances = margins(maps, extent, twice, right)
        for index, (kind, rate) in enumerate((("paper", PAPER_RATE), ("chosen", chosen))):
            runs.append(
                {
                    "layers": layers,
                    "loss": name,
                    "rate": kind,
                    "lr": rate,
                    "iterations": iterations,
                    "train accuracy": accuracies(final, training.repeat(2))[index::2].tolist(),
                    "test accuracy": right.double().mean(1)[index::2].tolist(),
                    "mean margin": np.mean(distances[index::2], axis=1).tolist(),
                    "lowest decile of margins": np.quantile(distances[index::2], 0.1, axis=1).tolist(),
                    "map": maps[index],
                }
            )
    return runs


def draw(runs: list[dict[str, Any]], data: Points, shown: tuple[str, str], extent: float, path: Path) -> None:
    """The six panels of Figure 2 for the first seed at the paper's rate: losses in rows, layers in columns."""
    plt = pyplot()
    figure, axes = plt.subplots(2, len(ITERATIONS), figsize=(10.5, 7.2), layout="constrained")
    test = data.part(0.7, 1)
    for row, name in enumerate(shown):
        for column, layers in enumerate(ITERATIONS):
            (run,) = [r for r in runs if (r["layers"], r["loss"], r["rate"]) == (layers, name, "paper")]
            axis = axes[row, column]
            square = (-extent, extent, -extent, extent)
            picture = axis.imshow(run["map"], origin="lower", extent=square, cmap="RdBu_r", vmin=0, vmax=1)
            axis.contour(run["map"], [0.5], colors="white", linewidths=1.6, extent=square)
            colors = np.where(test.y[0].numpy() == 1, "#fddbc7", "#d1e5f0")
            axis.scatter(*test.x[0].T.numpy(), s=11, c=colors, edgecolors="black", linewidths=0.4)
            axis.set(xticks=[], yticks=[])
            axis.set_title(
                f"{name}, {layers} layers, {run['iterations']} iterations\n"
                f"test {100 * run['test accuracy'][0]:.1f} %, mean margin {run['mean margin'][0]:.3f}",
                fontsize=10,
            )
    figure.colorbar(picture, ax=axes, label="probability of the red class", shrink=0.7)
    save_figure(figure, path)


def summary(runs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """One row per run: means over seeds with 95 % intervals."""
    rows = []
    for run in runs:
        row = {key: str(run[key]) for key in ("layers", "iterations", "loss", "rate", "lr")}
        for key in ("train accuracy", "test accuracy"):
            row[key] = "{:.2f} ± {:.2f}".format(*seed_interval(100 * value for value in run[key]))
        for key in ("mean margin", "lowest decile of margins"):
            row[key] = "{:.4f} ± {:.4f}".format(*seed_interval(run[key]))
        rows.append(row)
    return rows


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.option("--k", type=Number(min=0, min_open=True), default=3, help="Root of the rooted loss.")
@click.option("--form", type=click.Choice(["convex", "bounded"]), default="convex", help="Form in the figure.")
@click.option("--seeds", type=click.IntRange(min=1), default=5)
@click.option("--points", type=click.IntRange(min=20), default=1500)
@click.option("--turns", type=Number(min=0, min_open=True), default=1.5, help="Turns of each arm.")
@click.option("--noise", type=Number(min=0), default=0.02, help="Deviation of the points.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/spirals"))
@door
def main(k: float, form: str, seeds: int, points: int, turns: float, noise: float, out: Path) -> None:
    """Train, measure, draw."""
    folder = make_folder(out, "`out`")
    seed_list = list(range(seeds))
    data = two_spirals(points, turns, noise, seed_list)
    extent = 1.15 + 2 * noise
    losses: dict[str, Callable[[Tensor], Tensor]] = {"CE": lambda nll: nll}
    for name in ("convex", "bounded"):
        losses[f"RLO-{k:g} {name}"] = lambda nll, name=name: rooted_nll(nll, k=k, form=name)
    runs = compare(data, seed_list, losses, extent)
    draw(runs, data, ("CE", f"RLO-{k:g} {form}"), extent, folder / "spirals.png")
    rows = summary(runs)
    write_csv(folder / "spirals.csv", rows)
    raw = [{key: value for key, value in run.items() if key != "map"} for run in runs]
    settings = {"k": k, "seeds": seeds, "points": points, "turns": turns, "noise": noise, "optimizer": "Adam"}
    write_json(folder / "results.json", {"settings": settings, "provenance": provenance("cpu", "numpy"), "runs": raw})
    click.echo(to_markdown(rows))
    click.echo(f"wrote {folder}/spirals.png, spirals.csv, results.json")


if __name__ == "__main__":
    main()
