"""Table 1 of arXiv 2310.03890 as published, and the same columns from measured scores."""

import numpy as np

from rooted.experiments.regression.cross_validation import Scores
from rooted.experiments.reporting import corrected_interval

# Accuracy in percent, mean and deviation over five folds; the best root in brackets.
PUBLISHED = {
    "wine": ("90 ± 4.15", "89.44 ± 5.66", "97.22 ± 1.75 (3)", "95.55 ± 2.22 (11)"),
    "ionosphere": ("81.4 ± 2.73", "83.94 ± 2.1", "86.47 ± 1.69 (3)", "86.47 ± 1.12 (4)"),
    "madelon": ("52.03 ± 1.9", "50.83 ± 1.51", "54.36 ± 0.71 (6)", "54.13 ± 1.42 (19)"),
    "spectf": ("80.49 ± 3.92", "88.25 ± 1.69", "84 ± 3.10 (20)", "88.5 ± 1.83 (20)"),
    "spect": ("80.49 ± 3.92", "88.25 ± 1.69", "84 ± 3.10 (20)", "88.5 ± 1.83 (20)"),
}


def rows_of_table(scores: dict[tuple[str, str], Scores], folds: int) -> list[dict[str, str]]:
    """One row per data set and protocol, after the published row; percent, mean ± deviation over splits.

    The last column is RLO less LR, both with what validation chose, with its corrected 95 % interval.
    """
    rows = []
    for name, protocol in scores:
        if not any(row["data set"] == name for row in rows):
            published = dict(
                zip(("LR", "LR-L2", "RLO best on test", "RLO-L2 best on test"), PUBLISHED[name], strict=True)
            )
            rows.append(_row(name, "published", published))
        rows.append(_row(name, protocol, _measured(scores[name, protocol], folds)))
    return rows


COLUMNS = ("LR", "LR-L2", "RLO", "RLO-L2", "RLO best on test", "RLO-L2 best on test", "RLO - LR (95 %)")


def _row(name: str, protocol: str, cells: dict[str, str]) -> dict[str, str]:
    return {"data set": name, "protocol": protocol, **{column: cells.get(column, "") for column in COLUMNS}}


def _measured(scores: Scores, folds: int) -> dict[str, str]:
    cells: dict[str, str] = {}
    penalties = [l2 for l2 in (False, True) if any((strength > 0) == l2 for strength in scores.grid.l2s)]
    for l2 in penalties:
        suffix = "-L2" if l2 else ""
        logistic, _ = scores.chosen(rooted=False, l2=l2)
        rooted, settings = scores.chosen(rooted=True, l2=l2)
        roots = sorted({k for k, _, _ in settings})
        cells[f"LR{suffix}"] = _mean_deviation(logistic)
        cells[f"RLO{suffix}"] = f"{_mean_deviation(rooted)} (k {roots[0]:g}..{roots[-1]:g})"
        if len(scores.grid.lrs) == 1:
            best = scores.best_on_test(l2)
            cells[f"RLO{suffix} best on test"] = "; ".join(f"{_mean_deviation(acc)} ({k:g})" for k, acc in best)
        mean, half = corrected_interval(100 * (rooted - logistic), 1 / folds)
        cells["RLO - LR (95 %)"] = f"{mean:+.2f} ± {half:.2f}"
    return cells


def rows_of_variants(variants: dict[tuple[str, str, str], tuple[list[float], np.ndarray]]) -> list[dict[str, str]]:
    """One row per data set, scaling and start: accuracy of LR and of each root, one repetition of the folds."""
    rows = []
    for (name, scaling, init), (ks, accuracies) in variants.items():
        cells = {"LR" if np.isinf(k) else f"RLO-{k:g}": _mean_deviation(accuracies[:, i]) for i, k in enumerate(ks)}
        rows.append({"data set": name, "scaling": scaling, "start": init, **cells})
    return rows


def _mean_deviation(accuracies: np.ndarray) -> str:
    return f"{100 * accuracies.mean():.2f} ± {100 * accuracies.std():.2f}"
