"""Bootstrap intervals: how far a metric would scatter if images were drawn anew.

Generated and real images are resampled independently, with replacement. The interval is the reported value
plus the 2.5 and 97.5 percentiles of the resampled values' deviations from their mean. It speaks of the scatter
at the given number of images; bias, such as FID's at few images, is not part of it and shifts resamples further,
which is why deviations from their own mean are taken.
"""

from collections.abc import Iterator

import numpy as np

from metrics.randomness import RESAMPLES, stream

LEVEL = 0.95


def resamples(count: int, size: int, seed: int, which: int) -> Iterator[np.ndarray]:
    """`count` index arrays [size] with repeats; `which` is 0 for real and 1 for generated images."""
    for index in range(count):
        yield stream(seed, RESAMPLES, 2 * index + which).integers(size, size=size)


def multiplicities(count: int, size: int, seed: int, which: int) -> np.ndarray:
    """How often each index occurs in each of the resamples: int [count, size]."""
    return np.stack([np.bincount(rows, minlength=size) for rows in resamples(count, size, seed, which)])


def interval(value: float, replicates: np.ndarray) -> tuple[float, float]:
    """The interval around `value` from resampled values [B]."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    return float(value + low), float(value + high)
