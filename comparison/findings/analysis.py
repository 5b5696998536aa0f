"""From runs to results: summaries of every loss, paired differences to CE, images and seconds to reach values."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

import metrics
from comparison.findings import curves, sentences, statistics
from comparison.findings.model import (
    Band,
    Better,
    Comparison,
    Counts,
    Interval,
    Level,
    LossSummary,
    MetricFindings,
    PointOverK,
    Reached,
    RunSummary,
)
from comparison.runs.collect import Curve, Run, Runs
from comparison.runs.losses import LossSpec

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


def analyse_metric(metric: str, losses: Sequence[LossSpec], runs: Runs, levels: Sequence[float] = ()) -> MetricFindings:
    """Everything about one metric.

    `levels` are the values to be reached; without any, those of the reference along its run.
    """
    better = curves.better_direction(metric)
    summaries = {
        loss.key: {seed: summary for seed, run in runs[loss.key].items() if (summary := summarise(run, metric, better))}
        for loss in losses
    }
    bands = {loss.key: curves.band(_usable(runs[loss.key], metric)) for loss in losses}
    reference = next((loss for loss in losses if loss.is_reference), None)
    reach = [(level, None) for level in levels]
    if not reach and not metrics.tells_copying(metric):  # nobody waits for copies
        reach = reference_levels(bands[reference.key] if reference else None)
    return MetricFindings(
        better=better,
        curves={key: band for key, band in bands.items() if band},
        summary={key: _loss_summary(by_seed) for key, by_seed in summaries.items()},
        comparisons=compare_with(reference, losses, summaries, runs, metric, better) if reference else [],
        reach=[_reach(level, share, losses, runs, metric, better) for level, share in reach],
    )


def summarise(run: Run, metric: str, better: Better) -> RunSummary | None:
    """Final, best and average value of a finished run with finite values; None for any other run."""
    curve = run.curves.get(metric)
    if curve is None or not run.finished or run.diverged:
        return None
    return RunSummary(
        curves.final_value(curve),
        *curves.best_value(curve, better),
        curves.average_value(curve),
        curves.collapsed(curve, metric),
    )


def interval(values: Sequence[float]) -> Interval:
    """Mean, standard deviation and 95 % interval of one value per seed."""
    if not values:
        return Interval(0)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Interval(len(values), float(np.mean(values)), sd, *(statistics.bootstrap_interval(values) or ()))


def compare_with(
    reference: LossSpec,
    losses: Sequence[LossSpec],
    summaries: Mapping[str, Mapping[int, RunSummary]],
    runs: Runs,
    metric: str,
    better: Better,
) -> list[Comparison]:
    """Paired differences (loss minus reference, same seed) of final, best and average value.

    Holm's correction is over the losses compared with the reference, for each quantity on its own.
    """
    others = [loss for loss in losses if not loss.is_reference]
    names = {loss.key: loss.label for loss in losses}
    rows = []
    for quantity in QUANTITIES:
        family = []
        for loss in others:
            pairs = {
                seed: (getattr(summary, quantity), getattr(summaries[reference.key][seed], quantity))
                for seed, summary in sorted(summaries[loss.key].items())
                if seed in summaries[reference.key]
            }
            differences = [value - other for value, other in pairs.values()]
            family.append(
                Comparison(
                    **vars(interval(differences)),
                    loss=loss.key,
                    reference=reference.key,
                    quantity=quantity,
                    seeds=list(pairs),
                    differences=differences,
                    better_in=sum(d < 0 if better == "lower" else d > 0 for d in differences),
                    reference_mean=float(np.mean([other for _, other in pairs.values()])) if pairs else None,
                    p=statistics.sign_flip_test(differences),
                    smallest_p=statistics.smallest_p(len(differences)),
                    tests=len(others),
                    left_out=_left_out(runs, (loss, reference), list(pairs)),
                )
            )
        for row, p in zip(family, statistics.holm([row.p for row in family]), strict=True):
            row = replace(row, p_holm=p)
            said = sentences.comparison(row, metric, better, names)
            rows.append(replace(row, verdict=sentences.verdict(row), sentence=said))
    return rows


def reference_levels(band: Band | None) -> list[tuple[float, float]]:
    """The reference's mean values at shares of its run, with the shares."""
    if band is None or len(band.nimg) < 2:
        return []
    positions = [(band.nimg[0] + share * (band.nimg[-1] - band.nimg[0]), share) for share in REACH_AT]
    return [(float(np.interp(position, band.nimg, band.mean)), share) for position, share in positions]


def k_curve(losses: Sequence[LossSpec], found: MetricFindings) -> list[PointOverK]:
    """The final value over k, for every family of losses that at least two k were run with; ordered by k."""
    families: dict[str, list[LossSpec]] = {}
    for loss in losses:
        if loss.loss.k is not None:
            families.setdefault(loss.family, []).append(loss)
    return [
        PointOverK(
            **vars(final),
            loss=loss.key,
            k=loss.loss.k,
            form=loss.loss.form,
            saturating=loss.loss.saturating,
            family=loss.family,
        )
        for members in families.values()
        if len({member.loss.k for member in members}) > 1
        for loss in sorted(members, key=lambda member: member.loss.k)
        if (final := found.summary[loss.key].final).n
    ]


def counts(members: Collection[Run]) -> Counts:
    """What became of the runs of a loss."""
    return Counts(
        planned=len(members),
        begun=sum(bool(run.options) for run in members),
        finished=sum(run.finished for run in members),
        diverged=sum(run.diverged for run in members),
        collapsed=sum(
            any(curves.collapsed(curve, key) for key, curve in run.curves.items() if not curve.diverged)
            for run in members
            if run.finished
        ),
        nonfinite_losses=sum(run.nonfinite for run in members),
    )


def _reach(
    level: float, share: float | None, losses: Sequence[LossSpec], runs: Runs, metric: str, better: Better
) -> Level:
    """When each loss gets to a value, which is from that share of the reference's run."""
    row = Level(level, share, {})
    for loss in losses:
        reached = [curves.first_reached(curve, level, better) for curve in _usable(runs[loss.key], metric)]
        medians = [_median([r[i] if r else math.inf for r in reached]) for i in (0, 1, 2)]
        row.losses[loss.key] = Reached(len(reached), sum(r is not None for r in reached), *medians)
    return row


def _usable(by_seed: Mapping[int, Run], metric: str) -> list[Curve]:
    """Curves of the runs that did not diverge; unfinished ones are in, as far as they have come."""
    return [run.curves[metric] for run in by_seed.values() if metric in run.curves and not run.diverged]


def _loss_summary(by_seed: Mapping[int, RunSummary]) -> LossSummary:
    intervals = [interval([getattr(summary, quantity) for summary in by_seed.values()]) for quantity in QUANTITIES]
    return LossSummary(*intervals, seeds=dict(sorted(by_seed.items())))


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


def _median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    middle = float(np.median(values))
    return middle if math.isfinite(middle) else None
