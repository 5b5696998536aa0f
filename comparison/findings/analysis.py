"""From runs to results: summaries of every loss, paired differences to CE, images and seconds to reach values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from comparison.findings import curves, sentences, statistics
from comparison.findings.curves import Better, Curve
from comparison.runs.collect import Run
from comparison.runs.losses import LossSpec

Runs = Mapping[str, Mapping[int, Run]]  # loss key -> seed -> run
QUANTITIES = ("final", "best", "average")
REACH_AT = (0.25, 0.5, 0.75, 1.0)  # the reference's value at these shares of its run is what the others have to reach


def metric_keys(runs: Runs, named: Sequence[str]) -> tuple[list[str], list[str]]:
    """The results that any run was evaluated for: those that the metrics' names promise, and their details.

    `fid50k` gives a result of this name; `pr50k3` gives two beside it, both promised; `swd2k` gives itself and, as
    details, its value at every scale. Standard deviations (`is50k_std`) are no results to compare.
    """
    found: dict[str, None] = {}
    for by_seed in runs.values():
        for run in by_seed.values():
            found.update(dict.fromkeys(key for key in run.curves if not key.endswith("_std")))
    main = [key for key in found if key in named]
    main += [key for key in found if not any(key == name or key.startswith(f"{name}_") for name in main)]
    return main, [key for key in found if key not in main]


def analyse_metric(metric: str, losses: Sequence[LossSpec], runs: Runs, levels: Sequence[float] = ()) -> dict[str, Any]:
    """Everything about one metric as JSON values; see docs/compare.md for the meaning of each.

    `levels` are the values to be reached; without any, those of the reference along its run.
    """
    better = curves.better_direction(metric)
    summaries = {
        loss.key: {seed: summary for seed, run in runs[loss.key].items() if (summary := summarise(run, metric, better))}
        for loss in losses
    }
    bands = {loss.key: curves.band(_usable(runs[loss.key], metric)) for loss in losses}
    reference = next((loss for loss in losses if loss.is_reference), None)
    return {
        "better": better,
        "curves": {key: asdict(band) for key, band in bands.items() if band},
        "summary": {key: _loss_summary(by_seed) for key, by_seed in summaries.items()},
        "comparisons": compare_with(reference, losses, summaries, runs, metric, better) if reference else [],
        "reach": reach_table(
            [(level, None) for level in levels] or reference_levels(bands[reference.key] if reference else None),
            losses,
            runs,
            metric,
            better,
        ),
    }


def summarise(run: Run, metric: str, better: Better) -> dict[str, Any] | None:
    """Final, best and average value of a finished run with finite values; None for any other run."""
    curve = run.curves.get(metric)
    if curve is None or not run.finished or run.diverged:
        return None
    best, best_nimg = curves.best_value(curve, better)
    return {
        "final": curves.final_value(curve),
        "best": best,
        "best_nimg": best_nimg,
        "average": curves.average_value(curve),
        "collapsed": curves.collapsed(curve, better),
    }


def interval_summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation, 95 % interval and count of one value per seed, as JSON values."""
    if not values:
        return {"n": 0, "mean": None, "sd": None, "low": None, "high": None}
    low, high = statistics.bootstrap_interval(values) or (None, None)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"n": len(values), "mean": float(np.mean(values)), "sd": sd, "low": low, "high": high}


def compare_with(
    reference: LossSpec,
    losses: Sequence[LossSpec],
    summaries: Mapping[str, Mapping[int, dict[str, Any]]],
    runs: Runs,
    metric: str,
    better: Better,
) -> list[dict[str, Any]]:
    """Paired differences (loss minus reference, same seed) of final, best and average value.

    Holm's correction is over the losses compared with the reference, for each quantity on its own.
    """
    others = [loss for loss in losses if not loss.is_reference]
    rows = []
    for quantity in QUANTITIES:
        family = []
        for loss in others:
            seeds = sorted(set(summaries[loss.key]) & set(summaries[reference.key]))
            differences = [
                summaries[loss.key][seed][quantity] - summaries[reference.key][seed][quantity] for seed in seeds
            ]
            wins = sum(d < 0 if better == "lower" else d > 0 for d in differences)
            family.append(
                {
                    "loss": loss.key,
                    "reference": reference.key,
                    "quantity": quantity,
                    "seeds": seeds,
                    "differences": differences,
                    "better_in": wins,
                    **{key: value for key, value in interval_summary(differences).items() if key != "sd"},
                    "reference_mean": _mean([summaries[reference.key][seed][quantity] for seed in seeds]),
                    "p": statistics.sign_flip_test(differences),
                    "smallest_p": statistics.smallest_p(len(differences)),
                    "tests": len(others),
                    "left_out": _left_out(runs, (loss, reference), seeds),
                }
            )
        for row, p in zip(family, statistics.holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
            names = {loss.key: loss.label for loss in losses}
            row["verdict"] = sentences.verdict(row)
            row["sentence"] = sentences.comparison(row, metric, better, names)
        rows += family
    return rows


def reference_levels(band: curves.Band | None) -> list[tuple[float, float]]:
    """The reference's mean values at shares of its run, with the shares."""
    if band is None or len(band.nimg) < 2:
        return []
    positions = [(band.nimg[0] + share * (band.nimg[-1] - band.nimg[0]), share) for share in REACH_AT]
    return [(float(np.interp(position, band.nimg, band.mean)), share) for position, share in positions]


def reach_table(
    levels: Sequence[tuple[float, float | None]], losses: Sequence[LossSpec], runs: Runs, metric: str, better: Better
) -> list[dict[str, Any]]:
    """For every (value, share of the reference's run it is from): images and seconds until each loss gets there.

    The median is over all seeds, counting a seed that never gets there as infinite; it is None where that half
    of the seeds or more did not.
    """
    rows = []
    for level, share in levels:
        row: dict[str, Any] = {"level": level, "share_of_reference_run": share, "losses": {}}
        for loss in losses:
            usable = _usable(runs[loss.key], metric)
            reached = [curves.first_reached(curve, level, better) for curve in usable]
            row["losses"][loss.key] = {
                "runs": len(usable),
                "reached": sum(r is not None for r in reached),
                "images": _median([r[0] if r else math.inf for r in reached]),
                "seconds": _median([r[1] if r else math.inf for r in reached]),
            }
        rows.append(row)
    return rows


def k_curve(metric: str, losses: Sequence[LossSpec], results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The final value over k, for every family of losses that at least two k were run with; ordered by k."""
    families: dict[str, list[LossSpec]] = {}
    for loss in losses:
        if loss.loss.k is not None:
            families.setdefault(loss.family, []).append(loss)
    return [
        {
            "loss": loss.key,
            "k": loss.loss.k,
            "form": loss.loss.form,
            "saturating": loss.loss.saturating,
            "family": loss.family,
            **results["summary"][loss.key]["final"],
        }
        for members in families.values()
        if len({member.loss.k for member in members}) > 1
        for loss in sorted(members, key=lambda member: member.loss.k)
        if results["summary"][loss.key]["final"]["n"]
    ]


def counts(losses: Sequence[LossSpec], runs: Runs) -> dict[str, dict[str, int]]:
    """For every loss: runs planned, begun, finished, diverged, collapsed (in any metric), losses not finite."""
    table = {}
    for loss in losses:
        members = list(runs[loss.key].values())
        table[loss.key] = {
            "planned": len(members),
            "begun": sum(bool(run.options) for run in members),
            "finished": sum(run.finished for run in members),
            "diverged": sum(run.diverged for run in members),
            "collapsed": sum(
                any(
                    curves.collapsed(curve, curves.better_direction(key))
                    for key, curve in run.curves.items()
                    if not curve.diverged
                )
                for run in members
                if run.finished
            ),
            "nonfinite_losses": sum(run.nonfinite for run in members),
        }
    return table


def _usable(by_seed: Mapping[int, Run], metric: str) -> list[Curve]:
    """Curves of the runs that did not diverge; unfinished ones are in, as far as they have come."""
    return [run.curves[metric] for run in by_seed.values() if metric in run.curves and not run.diverged]


def _loss_summary(by_seed: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {
        quantity: interval_summary([values[quantity] for values in by_seed.values()]) for quantity in QUANTITIES
    }
    summary["seeds"] = {str(seed): values for seed, values in sorted(by_seed.items())}
    return summary


def _left_out(runs: Runs, pair: tuple[LossSpec, LossSpec], seeds: Sequence[int]) -> list[str]:
    """Why seeds that were planned are not among the pairs: one phrase for each run that diverged or is unfinished."""
    reasons = []
    for loss in pair:
        for seed, run in sorted(runs[loss.key].items()):
            if seed in seeds:
                continue
            if run.diverged:
                reasons.append(f"{loss.label} seed {seed} diverged")
            elif not run.finished:
                reasons.append(f"{loss.label} seed {seed} is not finished")
    return reasons


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    middle = float(np.median(values))
    return middle if math.isfinite(middle) else None
