"""A metric over one run, and what is read off it: final, best, average value, images and seconds to reach a value."""

import math
from collections.abc import Sequence

import numpy as np

import metrics
from comparison.findings.model import Band, Better
from comparison.runs.collect import Curve

COLLAPSE_FACTOR = 2.0  # a run whose last value is this many times worse than its own best one has collapsed


def better_direction(metric: str) -> Better:
    """Whether lower or higher values of a metric, or of one of its results, are better."""
    return "higher" if metrics.higher_is_better(metric) else "lower"


def final_value(curve: Curve) -> float:
    """The value at the largest image count."""
    return curve.value[-1]


def best_value(curve: Curve, better: Better) -> tuple[float, int]:
    """The best value and the image count where it was first seen."""
    pick = min if better == "lower" else max
    best = pick(curve.value)
    return best, curve.nimg[curve.value.index(best)]


def average_value(curve: Curve) -> float:
    """The mean of the curve over images (trapezoids): low when a run gets good early, even if all end alike."""
    if len(curve.nimg) < 2:
        return curve.value[0]
    x = np.asarray(curve.nimg, dtype=np.float64)
    y = np.asarray(curve.value, dtype=np.float64)
    return float(np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)) / (x[-1] - x[0]))


def collapsed(curve: Curve, metric: str) -> bool:
    """Whether the last value is `COLLAPSE_FACTOR` times worse than the best one of the same run.

    Never by a metric of copying, which is best where nothing has been learned.
    """
    if metrics.tells_copying(metric):
        return False
    better = better_direction(metric)
    best, _ = best_value(curve, better)
    last = final_value(curve)
    return last > COLLAPSE_FACTOR * best if better == "lower" else last < best / COLLAPSE_FACTOR


def first_reached(curve: Curve, level: float, better: Better) -> tuple[float, float, float] | None:
    """Images, training seconds and processor seconds until the curve first reaches `level`; None: never.

    Linear between evaluations; infinite processor seconds where the run did not record them.
    """
    sign = 1.0 if better == "lower" else -1.0
    gaps = [sign * (v - level) for v in curve.value]
    for i, gap in enumerate(gaps):
        if gap > 0:
            continue
        if i == 0:
            images = float(curve.nimg[0])
        else:
            images = curve.nimg[i - 1] + gaps[i - 1] / (gaps[i - 1] - gap) * (curve.nimg[i] - curve.nimg[i - 1])
        seconds, processor = (
            float(np.interp(images, curve.nimg, spent)) if spent else math.inf
            for spent in (curve.seconds, curve.processor)
        )
        return images, seconds, processor
    return None


def band(curves: Sequence[Curve]) -> Band | None:
    """The seeds' spread at the image counts common to all `curves`; None without curves or common counts."""
    if not curves:
        return None
    common = sorted(set.intersection(*(set(c.nimg) for c in curves)))
    if not common:
        return None
    rows = np.array([[c.value[c.nimg.index(n)] for n in common] for c in curves])
    seconds = np.array([[c.seconds[c.nimg.index(n)] for n in common] for c in curves])
    sd = rows.std(axis=0, ddof=1).tolist() if len(curves) > 1 else [None] * len(common)
    return Band(
        nimg=common,
        seconds=seconds.mean(axis=0).tolist(),
        mean=rows.mean(axis=0).tolist(),
        low=rows.min(axis=0).tolist(),
        high=rows.max(axis=0).tolist(),
        sd=sd,
        n=len(curves),
    )
