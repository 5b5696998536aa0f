"""What the tests of the networks share: when two results are the same."""

from collections.abc import Callable
from functools import partial

import pytest
import torch


@pytest.fixture
def same(device) -> Callable[[torch.Tensor, torch.Tensor], bool]:
    """`same(a, b)` of what a network computed twice: bit for bit on the processor.

    Up to float32's rounding on a GPU, where a convolution may take another algorithm, or another order of its sums,
    each time.
    """
    tolerance = 0.0 if device.type == "cpu" else 1e-4
    return partial(torch.allclose, rtol=tolerance, atol=tolerance)
