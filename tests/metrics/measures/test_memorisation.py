"""auth and ct by their definitions."""

import numpy as np
import pytest
import torch

from metrics.measures.memorisation import authenticity, copy_test, mann_whitney_z


def test_authenticity():
    real = torch.tensor([[0.0], [10.0], [30.0]])
    generated = torch.tensor([[1.0], [25.0], [60.0], [-15.0]])
    assert authenticity(real, generated).tolist() == [False, False, True, True]
    mirrored = torch.cat([real, real + 0.1])  # beside each image its own mirrored one, which must not count
    assert authenticity(mirrored, generated, originals=3).tolist() == [False, False, True, True]


def test_copy_test_is_mann_whitney():
    random = np.random.default_rng(0)
    x, y = random.normal(size=400), random.normal(size=300)
    assert abs(mann_whitney_z(x, y)) < 3
    assert mann_whitney_z(x - 1, y) < -10 < 10 < mann_whitney_z(x + 1, y)
    cells = [np.arange(300) % 2, np.arange(400) % 2]
    assert copy_test([y, x - 1], cells) < -7
    assert copy_test([y, x], [cells[0], np.zeros(400, dtype=int)]) == pytest.approx(mann_whitney_z(x, y[::2]))
