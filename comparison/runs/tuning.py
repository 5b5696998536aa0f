"""The search for learning rates: every loss with the same rates, seeds and length, because k changes the gradients."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from comparison.findings.curves import better_direction, final_value
from comparison.runs.collect import read_run
from comparison.runs.design import Design
from comparison.runs.layout import trial_flags, trial_folder
from comparison.runs.losses import LossSpec
from comparison.runs.runner import Job


def trial_jobs(outdir: Path, design: Design) -> list[Job]:
    """One job for each loss, rate and seed; losses that name their rates are not searched."""
    assert design.tuning is not None
    return [
        Job(
            name=f"tuning {trial_folder(outdir, loss, rate, seed).name}",
            folder=trial_folder(outdir, loss, rate, seed),
            flags=trial_flags(outdir, design, loss, rate, seed),
            kimg=design.tuning.kimg,
        )
        for loss in searched(design)
        for rate in design.tuning.rates
        for seed in design.tuning.seeds
    ]


def searched(design: Design) -> list[LossSpec]:
    """The losses whose learning rates are searched for."""
    return [loss for loss in design.losses if not {"glr", "dlr"} & dict(loss.settings).keys()]


def choose_rates(outdir: Path, design: Design) -> dict[str, Any] | None:
    """The trials and the rate chosen for each loss; None while a trial is missing.

    The rate with the best mean final value of the first metric is chosen. A rate with a diverged seed is never.

    Returns:
        {"metric", "kimg", "seeds", "trials": {loss: [{rate, mean, diverged, chosen}]}, "rates": {loss: rate},
        "notes": [str]} as JSON values.
    """
    assert design.tuning is not None
    trials: dict[str, list[dict[str, Any]]] = {}
    metric = None
    for loss in searched(design):
        trials[loss.key] = []
        for rate in design.tuning.rates:
            runs = [read_run(trial_folder(outdir, loss, rate, seed)) for seed in design.tuning.seeds]
            diverged = sum(run.diverged for run in runs)
            finished = [run for run in runs if run.finished and not run.diverged]
            if len(finished) + diverged < len(runs):
                return None
            metric = metric or next((key for run in finished for key in run.curves), None)
            values = [final_value(run.curves[metric]) for run in finished if metric in run.curves]
            mean = float(np.mean(values)) if values else None
            trials[loss.key].append({"rate": rate, "mean": mean, "diverged": diverged, "chosen": False})
    rates, notes = {}, []
    for loss in searched(design):
        best = _best(trials[loss.key], metric or "")
        if best is None:
            notes.append(f"{loss.label}: every rate diverged or gave no value; its runs use the configuration's rate.")
            continue
        best["chosen"] = True
        rates[loss.key] = best["rate"]
        if best["rate"] in (min(design.tuning.rates), max(design.tuning.rates)) and len(design.tuning.rates) > 1:
            notes.append(
                f"{loss.label}: the best rate, {best['rate']:g}, lies at the edge of the search; "
                "a better one may lie beyond."
            )
    return {
        "metric": metric,
        "kimg": design.tuning.kimg,
        "seeds": list(design.tuning.seeds),
        "trials": trials,
        "rates": rates,
        "notes": notes,
    }


def _best(trials: list[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    usable = [t for t in trials if t["mean"] is not None and math.isfinite(t["mean"]) and not t["diverged"]]
    if not usable:
        return None
    return (min if better_direction(metric) == "lower" else max)(usable, key=lambda trial: trial["mean"])
