"""What every experiment leaves behind: CSV files, figures, intervals."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib import UserError, atomic_write


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One line per row; the first row's keys are the header."""
    rows = list(rows)
    with atomic_write(path, "w") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def to_markdown(rows: list[dict[str, str]]) -> str:
    """The rows as a Markdown table."""
    header = list(rows[0])
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(str(row[key]) for key in header) + " |" for row in rows)]) + "\n"


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG and close it."""
    from matplotlib import pyplot as plt

    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)


def pyplot() -> Any:
    """matplotlib's pyplot with the backend that needs no display; UserError where it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("matplotlib is not installed; pip install 'rooted-stylegan[experiments]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def corrected_interval(values: np.ndarray, test_share: float) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval over repeated cross-validation splits.

    Splits share training data, so the variance is corrected by 1/J + test/train (Nadeau and Bengio, 2003).

    Args:
        values: (J), one per split, J >= 2.
        test_share: test samples over all samples, 1/5 for five folds.
    """
    from scipy.stats import t

    count = len(values)
    variance = np.var(values, ddof=1) * (1 / count + test_share / (1 - test_share))
    return float(values.mean()), float(t.ppf(0.975, count - 1) * math.sqrt(variance))


def seed_interval(values: Iterable[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t interval over seeds; nan half-width for one seed."""
    from scipy.stats import t

    values = np.asarray(list(values), float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
