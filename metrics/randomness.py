"""Counter-based random streams: the numbers for one purpose and block are a function of (seed, purpose, block)."""

import numpy as np

LATENTS, LABELS, NOISE, PATH_POSITIONS, PATH_NOISE, PATCHES, DIRECTIONS, CHOICE, RESAMPLES = range(9)


def stream(seed: int, purpose: int, block: int = 0) -> np.random.Generator:
    """The independent stream of one purpose and block (Philox, Salmon et al. 2011, keyed by seed and block)."""
    key = np.array([seed, block], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, purpose]))
