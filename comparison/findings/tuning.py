"""The search for learning rates and R1 weights: the same effort for every loss, as k changes gradients and logits."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from comparison.findings.curves import better_direction, final_value
from comparison.findings.model import Search, Trial
from comparison.runs.collect import read_run
from comparison.runs.design import Design
from comparison.runs.jobs import points, trial_folder


def choose(outdir: Path, design: Design) -> Search | None:
    """The trials and what was chosen for each loss; None while a trial is missing.

    The point with the best mean final value of the first metric is chosen, never one with a diverged seed.
    """
    assert design.tuning is not None
    found: dict[str, list[Trial]] = {}
    metric = None
    for loss in design.losses:
        for point in points(design.tuning, loss):
            runs = [read_run(trial_folder(outdir, loss, point, seed)) for seed in design.tuning.seeds]
            diverged = sum(run.diverged for run in runs)
            finished = [run for run in runs if run.finished and not run.diverged]
            if len(finished) + diverged < len(runs):
                return None
            metric = metric or next((key for run in finished for key in run.curves), None)
            values = [final_value(run.curves[metric]) for run in finished if metric in run.curves]
            mean = float(np.mean(values)) if values else None
            found.setdefault(loss.key, []).append(Trial(point.rate, point.gamma, mean, diverged))
    labels = {loss.key: loss.label for loss in design.losses}
    chosen, notes = {}, []
    for key, trials in found.items():
        best = _best(trials, metric or "")
        if best is None:
            notes.append(f"{labels[key]}: all trials diverged or gave no value; its runs use train.py's values.")
            continue
        found[key] = [replace(trial, chosen=trial is best) for trial in trials]
        chosen[key] = best
        notes += _edges(labels[key], best, trials)
    rates = {key: trial.rate for key, trial in chosen.items() if trial.rate is not None}
    gammas = {key: trial.gamma for key, trial in chosen.items() if trial.gamma is not None}
    return Search(metric, design.tuning.kimg, list(design.tuning.seeds), found, rates, gammas, notes)


def _best(trials: list[Trial], metric: str) -> Trial | None:
    usable = [trial for trial in trials if trial.mean is not None and math.isfinite(trial.mean) and not trial.diverged]
    choose = min if better_direction(metric) == "lower" else max
    return choose(usable, key=lambda trial: trial.mean) if usable else None


def _edges(label: str, best: Trial, trials: list[Trial]) -> list[str]:
    """A note where the best value is the lowest or the highest that was tried."""
    notes = []
    for name, what in (("rate", "learning rate"), ("gamma", "R1 weight")):
        tried = {getattr(trial, name) for trial in trials} - {None}
        value = getattr(best, name)
        if len(tried) > 1 and value in (min(tried), max(tried)):
            notes.append(
                f"{label}: the best {what}, {value:g}, lies at the edge of the search; a better one may lie beyond."
            )
    return notes
