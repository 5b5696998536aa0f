"""Figure 1 of arXiv 2310.03890, and the fair version: each method with its own best learning rate.

Shows per iteration the own training objective above its optimum, the test accuracy, the gradient's
norm, and the condition number of the Hessian, which the paper says the rooted loss improves (Lemmas 1 and 2).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rooted.experiments.regression.cross_validation import INF, as_tensor, splits, standardised
from rooted.experiments.regression.linear import (
    Problems,
    accuracy,
    condition_number,
    gradient_descent,
    lbfgs,
    objective,
)
from rooted.experiments.regression.tabular import Table
from rooted.experiments.reporting import pyplot, save_figure

ROOTS = (INF, 3.0, 11.0)
RATES = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
L2 = 1e-3  # every objective has a finite optimum, also where the classes are separable
CONDITION_POINTS = 6


def label(k: float) -> str:
    """LR or RLO-k."""
    return "LR" if np.isinf(k) else f"RLO-{k:g}"


def study(table: Table, iterations: int) -> list[dict[str, Any]]:
    """Rows of (data set, method, rate kind, learning rate, iteration, gap, accuracy, gradient norm, condition number).

    `gap` is (L - L*)/(L0 - L*) of the method's own objective on the training part of the first fold. The rate kind
    is "paper" (0.01) or "best": the one with the smallest final gap among `RATES`.
    """
    train, test = next(splits(table, 5, [0]))
    x_train, x_test = (as_tensor(part).double() for part in standardised(table.x[train], table.x[test]))
    y_train, y_test = torch.from_numpy(table.y[train]), torch.from_numpy(table.y[test])
    outputs = 1 if table.classes == 2 else table.classes
    problems = Problems.grid(list(ROOTS), [L2], RATES, torch.float64)
    at_optimum = lbfgs(x_train, y_train, Problems.grid(list(ROOTS), [L2], [0.0], torch.float64), outputs, 500)
    lowest = objective(at_optimum, x_train, y_train, Problems.grid(list(ROOTS), [L2], [0.0], torch.float64))[0]
    lowest = lowest.repeat_interleave(len(RATES))

    gaps, norms, accuracies, weights = [], [], [], {}
    points = set(np.unique(np.geomspace(1, iterations, CONDITION_POINTS).astype(int)).tolist())

    def watch(iteration: int, w: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor) -> None:
        gaps.append(value - lowest)
        norms.append(gradient.square().sum((1, 2)).sqrt())
        accuracies.append(accuracy(w, x_test, y_test))
        if iteration in points:
            weights[iteration] = w

    gradient_descent(x_train, y_train, problems, outputs, iterations, watch=watch)
    gap = torch.stack(gaps) / gaps[0]
    final = torch.nan_to_num(gap[-1], nan=torch.inf).view(len(ROOTS), len(RATES))
    rows = []
    for i, k in enumerate(ROOTS):
        for kind, j in (("paper", 0), ("best", int(final[i].argmin()))):
            p = i * len(RATES) + j
            for iteration in range(iterations + 1):
                # Beyond iteration 20 every fourth point draws the same curve.
                if iteration > 20 and iteration % 4 and iteration not in points:
                    continue
                condition = ""
                if iteration in points:
                    condition = condition_number(weights[iteration][p], x_train, y_train, k)
                rows.append(
                    {
                        "data set": table.name,
                        "method": label(k),
                        "rate": kind,
                        "lr": RATES[j],
                        "iteration": iteration,
                        "gap": gap[iteration, p].item(),
                        "accuracy": accuracies[iteration][p].item(),
                        "gradient norm": norms[iteration][p].item(),
                        "condition number": condition,
                    }
                )
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One column per data set; dashed: the paper's learning rate, solid: each method's best."""
    plt = pyplot()
    names = list(dict.fromkeys(row["data set"] for row in rows))
    keys = ("gap", "accuracy", "gradient norm", "condition number")
    titles = ("own objective above optimum", "test accuracy", "gradient norm", "Hessian condition number")
    figure, axes = plt.subplots(
        len(keys), len(names), figsize=(3.1 * len(names) + 0.8, 9.5), squeeze=False, sharex="col", layout="constrained"
    )
    colors = dict(zip((label(k) for k in ROOTS), ("black", "#d6604d", "#4393c3"), strict=True))
    for column, name in enumerate(names):
        for method, color in colors.items():
            for kind, style in (("paper", "--"), ("best", "-")):
                chosen = [r for r in rows if (r["data set"], r["method"], r["rate"]) == (name, method, kind)]
                text = f"{method}, lr {chosen[0]['lr']:g}"
                for axis, key in zip(axes[:, column], keys, strict=True):
                    points = [(r["iteration"] + 1, r[key]) for r in chosen if r[key] != ""]
                    axis.plot(*zip(*points, strict=True), style, color=color, label=text, linewidth=1.3)
        for axis, key in zip(axes[:, column], keys, strict=True):
            axis.set_xscale("log")
            axis.grid(alpha=0.3)
            if key != "accuracy":
                axis.set_yscale("log")
            if key == "gap":
                axis.set_ylim(1e-5, 1.5)
        axes[0, column].set_title(name)
        axes[0, column].legend(fontsize=7, frameon=False)
        axes[-1, column].set_xlabel("iteration + 1")
    for axis, title in zip(axes[:, 0], titles, strict=True):
        axis.set_ylabel(title)
    save_figure(figure, path)
