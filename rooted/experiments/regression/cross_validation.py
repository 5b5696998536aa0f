"""Nested cross-validation of many settings at once: test accuracy of all of them, validation accuracy to choose by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from rooted.experiments.regression.linear import Problems, accuracy, gradient_descent, lbfgs, with_intercept
from rooted.experiments.regression.tabular import Table

INF = float("inf")


@dataclass(frozen=True)
class Grid:
    """The settings that are tried: roots (inf: logistic), L2 strengths, learning rates (ignored by L-BFGS)."""

    ks: list[float]
    l2s: list[float]
    lrs: list[float] = field(default_factory=lambda: [0.01])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes in the order (k, l2, lr)."""
        return len(self.ks), len(self.l2s), len(self.lrs)


@dataclass(frozen=True)
class Scores:
    """Accuracies of every setting in every split: `test` and `validation`, both (splits, k, l2, lr)."""

    grid: Grid
    test: np.ndarray
    validation: np.ndarray

    def chosen(self, rooted: bool, l2: bool) -> tuple[np.ndarray, list[tuple[float, float, float]]]:
        """Test accuracy (splits) of the setting with the best validation accuracy, and those settings.

        Ties go to the larger k, then the stronger penalty, then the smaller rate: the tamer problem.
        """
        allowed = np.zeros(self.grid.shape, bool)
        rows = [i for i, k in enumerate(self.grid.ks) if np.isfinite(k) == rooted]
        columns = [i for i, strength in enumerate(self.grid.l2s) if (strength > 0) == l2]
        allowed[np.ix_(rows, columns, range(len(self.grid.lrs)))] = True
        results, settings = [], []
        for test, validation in zip(self.test, self.validation, strict=True):
            best = np.where(allowed, validation, -1)
            i, j, r = max(
                np.argwhere(best == best.max()),
                key=lambda at: (self.grid.ks[at[0]], self.grid.l2s[at[1]], -self.grid.lrs[at[2]]),
            )
            results.append(test[i, j, r])
            settings.append((self.grid.ks[i], self.grid.l2s[j], self.grid.lrs[r]))
        return np.array(results), settings

    def best_on_test(self, l2: bool, count: int = 3) -> list[tuple[float, np.ndarray]]:
        """The paper's way: the roots with the best mean TEST accuracy, with their accuracies (splits).

        With `l2` the penalty of each root is the one best on validation; the learning rate is the grid's first.
        """
        candidates = []
        for i, k in enumerate(self.grid.ks):
            if not np.isfinite(k):
                continue
            columns = [j for j, strength in enumerate(self.grid.l2s) if (strength > 0) == l2]
            j = max(columns, key=lambda j: self.validation[:, i, j, 0].mean())
            candidates.append((k, self.test[:, i, j, 0]))
        return sorted(candidates, key=lambda item: -item[1].mean())[:count]


def standardised(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Zero mean and unit deviation on `train`, the same map on the others; constant columns stay."""
    mean, deviation = train.mean(0), train.std(0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return [(part - mean) / deviation for part in (train, *others)]


def unscaled(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """The features as they are."""
    return [train, *others]


def to_unit_range(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """The range of `train` to [0, 1], the same map on the others."""
    low, span = train.min(0), np.ptp(train, axis=0)
    return [(part - low) / np.where(span > 0, span, 1.0) for part in (train, *others)]


SCALINGS: dict[str, Callable[..., list[np.ndarray]]] = {
    "standardised": standardised,
    "unscaled": unscaled,
    "unit range": to_unit_range,
}
INITS = ("zero", "uniform", "normal")


def splits(table: Table, folds: int, seeds: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of training and test samples, stratified; `folds` for each seed."""
    for seed in seeds:
        yield from StratifiedKFold(folds, shuffle=True, random_state=seed).split(table.x, table.y)


def fit_and_score(
    table: Table,
    train: np.ndarray,
    test: np.ndarray,
    grid: Grid,
    solver: str,
    iterations: int,
    scaling: str = "standardised",
    init: str = "zero",
    seed: int = 0,
) -> np.ndarray:
    """Fit every setting on `train`; accuracy on `test` in the grid's shape.

    `solver` is "gd" or "optimum". `init` is "zero", "uniform" (torch's linear layer) or "normal" (unit variance).
    """
    x_train, x_test = (as_tensor(part) for part in SCALINGS[scaling](table.x[train], table.x[test]))
    y_train, y_test = torch.from_numpy(table.y[train]), torch.from_numpy(table.y[test])
    problems = Problems.grid(grid.ks, grid.l2s, grid.lrs, x_train.dtype)
    outputs = 1 if table.classes == 2 else table.classes
    if solver == "optimum":
        w = lbfgs(x_train, y_train, problems, outputs, iterations, tolerance=1e-4)
    else:
        start = start_weights(init, x_train.shape[1], outputs, seed).expand(len(problems), -1, -1)
        w = gradient_descent(x_train, y_train, problems, outputs, iterations, start)
    return accuracy(w, x_test, y_test).numpy().reshape(grid.shape)


def as_tensor(x: np.ndarray) -> Tensor:
    """Features with an intercept column, float32."""
    return with_intercept(torch.from_numpy(x).float())


def start_weights(init: str, features: int, outputs: int, seed: int) -> Tensor:
    """Start weights (features, outputs) of one kind of initialisation."""
    generator = torch.Generator().manual_seed(seed)
    if init == "zero":
        return torch.zeros(features, outputs)
    if init == "normal":
        return torch.randn(features, outputs, generator=generator)
    return (2 * torch.rand(features, outputs, generator=generator) - 1) / features**0.5


@dataclass(frozen=True)
class Protocol:
    """How every setting of a grid is fitted, and what it is chosen by."""

    name: str
    grid: Grid
    solver: str
    iterations: int
    inner_folds: int


def score_split(table: Table, protocol: Protocol, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of all settings for one outer split, on `test` and on folds inside `train`: grid's shape each."""
    grid, solver, iterations = protocol.grid, protocol.solver, protocol.iterations
    inner = StratifiedKFold(protocol.inner_folds, shuffle=True, random_state=0).split(table.x[train], table.y[train])
    validation = [fit_and_score(table, train[a], train[b], grid, solver, iterations) for a, b in inner]
    return fit_and_score(table, train, test, grid, solver, iterations), np.mean(validation, axis=0)
