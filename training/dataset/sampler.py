"""The order in which training sees the images: a pure function of the image number, so it can start anywhere."""

import functools

import numpy as np

from dnnlib.seeds import check_seed


def image_index(n: int | np.ndarray, size: int, seed: int) -> int | np.ndarray:
    """Return the index of the `n`-th training image in a data set of `size` images.

    Every epoch (`size` consecutive image numbers) is a fresh permutation of all images. The result depends on
    (n, size, seed) alone: not on what was asked before, on the number of processes or on the NumPy version
    (the legacy generator, whose stream is frozen, makes the permutations). So a run continues, and several
    processes share the order, by nothing but the image number.

    Args:
        n: image number or numbers, >= 0, of any shape.
        size: number of images, >= 1 (after subset and mirroring).
        seed: see `dnnlib.seeds`; another seed is another order.

    Returns:
        An int for an int; otherwise an int64 array of the shape of `n`.
    """
    check_seed(seed)
    numbers = np.asarray(n, dtype=np.int64)
    assert size >= 1
    assert numbers.size == 0 or numbers.min() >= 0
    epochs, places = np.divmod(numbers, size)
    indices = np.empty_like(numbers)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        indices[inside] = _permutation(size, seed, int(epoch))[places[inside]]
    return int(indices) if np.isscalar(n) or numbers.ndim == 0 else indices


@functools.lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    words = [seed, epoch & 0xFFFFFFFF, epoch >> 32]
    order = np.random.RandomState(words).permutation(size).astype(np.int64)
    order.setflags(write=False)
    return order
