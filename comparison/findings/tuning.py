"""The search for learning rates: every loss with the same rates, seeds and length, because k changes the gradients."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from comparison.findings.curves import better_direction, final_value
from comparison.findings.model import Search, Trial
from comparison.runs.collect import read_run
from comparison.runs.design import Design
from comparison.runs.jobs import searched, trial_folder


def choose_rates(outdir: Path, design: Design) -> Search | None:
    """The trials and the rate chosen for each loss; None while a trial is missing.

    The rate with the best mean final value of the first metric is chosen. A rate with a diverged seed is never.
    """
    assert design.tuning is not None
    found: dict[str, list[Trial]] = {}
    metric = None
    for loss in searched(design):
        found[loss.key] = []
        for rate in design.tuning.rates:
            runs = [read_run(trial_folder(outdir, loss, rate, seed)) for seed in design.tuning.seeds]
            diverged = sum(run.diverged for run in runs)
            finished = [run for run in runs if run.finished and not run.diverged]
            if len(finished) + diverged < len(runs):
                return None
            metric = metric or next((key for run in finished for key in run.curves), None)
            values = [final_value(run.curves[metric]) for run in finished if metric in run.curves]
            found[loss.key].append(Trial(rate, float(np.mean(values)) if values else None, diverged))
    rates, notes = {}, []
    for loss in searched(design):
        best = _best(found[loss.key], metric or "")
        if best is None:
            notes.append(f"{loss.label}: every rate diverged or gave no value; its runs use the configuration's rate.")
            continue
        found[loss.key] = [replace(trial, chosen=trial is best) for trial in found[loss.key]]
        rates[loss.key] = best.rate
        if best.rate in (min(design.tuning.rates), max(design.tuning.rates)) and len(design.tuning.rates) > 1:
            notes.append(
                f"{loss.label}: the best rate, {best.rate:g}, lies at the edge of the search; "
                "a better one may lie beyond."
            )
    return Search(metric, design.tuning.kimg, list(design.tuning.seeds), found, rates, notes)


def _best(trials: list[Trial], metric: str) -> Trial | None:
    usable = [trial for trial in trials if trial.mean is not None and math.isfinite(trial.mean) and not trial.diverged]
    choose = min if better_direction(metric) == "lower" else max
    return choose(usable, key=lambda trial: trial.mean) if usable else None
