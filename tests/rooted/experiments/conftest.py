"""What the tests of image classification share."""

import pytest
import torch

from rooted.experiments.classification.image_data import ImageSet


@pytest.fixture(scope="module")
def small() -> ImageSet:
    """48 noisy images of three classes, each of which is brighter in one colour."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(48) % 3
    x = torch.randint(0, 100, (48, 3, 32, 32), generator=generator, dtype=torch.uint8)
    x[torch.arange(48), y] += 100
    return ImageSet(x, y, ["a", "b", "c"])
