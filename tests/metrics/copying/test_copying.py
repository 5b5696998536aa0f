"""Correlation of pictures, the search for what one shows again, copies made on purpose, and the corrected share."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from metrics.copying.correlation import fine_structure, largest_correlation, reduced
from metrics.copying.page import pairs_page
from metrics.copying.planted import PlantedCopies, planted_copy
from metrics.copying.prevalence import Proportion, corrected_share
from metrics.copying.search import best_matches
from training.dataset import ImageDataset

CPU = torch.device("cpu")


def shifted(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    return images.roll((down, right), (-2, -1))


def test_correlation_finds_shifted_copies_whatever_their_brightness(textures):
    images = torch.from_numpy(textures(6))
    x = fine_structure(images)
    brighter = (images.float() * 0.9 + 12).to(torch.uint8)
    assert largest_correlation(fine_structure(shifted(brighter, 2, -1)), x).min() > 0.95
    assert largest_correlation(x, x.roll(1, 0)).max() < 0.6
    assert largest_correlation(fine_structure(shifted(images, 8, 8)), x).max() < 0.6, "beyond the shifts looked at"


def test_correlation_by_its_definition():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, 20, 16, generator=random)
    best = torch.full((3,), -1.0)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            window = y[:, 1 + down : 19 + down, 1 + right : 15 + right].flatten(1)
            best = torch.maximum(best, torch.cosine_similarity(x[:, 1:19, 1:15].flatten(1), window))
    assert torch.allclose(largest_correlation(x, y), best, atol=1e-5)


def test_flat_pictures_correlate_with_nothing():
    flat = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    assert largest_correlation(fine_structure(flat), fine_structure(flat)).abs().max() < 1e-3


def test_pictures_are_reduced_to_64_and_made_rgb():
    assert reduced(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).shape == (2, 3, 32, 32)
    assert reduced(torch.zeros(2, 4, 128, 256, dtype=torch.uint8)).shape == (2, 3, 64, 128)


@pytest.mark.parametrize(("height", "width", "cell"), [(64, 64, (96, 96)), (64, 96, (96, 64)), (64, 48, (72, 96))])
def test_a_page_shows_pictures_in_their_shape(height, width, cell):
    left = torch.full((5, 3, height, width), 200, dtype=torch.uint8)
    right = torch.full((5, 3, height, width), 40, dtype=torch.uint8)
    with Image.open(io.BytesIO(pairs_page("title", "what", left, right, list("abcde")))) as page:
        pixels = np.asarray(page)
    assert len(pixels) == 44 + 2 * (cell[1] + 24)
    row = pixels[50, :, 0]
    assert [(row == value).sum() for value in (200, 40, 208)] == [4 * cell[0]] * 3


def test_the_search_excludes_what_it_is_told_to(textures):
    images = torch.from_numpy(textures(12))
    features = images.float().flatten(1)
    own = torch.arange(12)[:, None]
    same = best_matches(features, images, features, lambda i: images[i])
    assert torch.equal(same.index, own[:, 0])
    others = best_matches(features, images, features, lambda i: images[i], excluded=own)
    assert (others.index != own[:, 0]).all()
    assert others.score.max() < 0.6


def test_planted_copies_are_functions_of_seed_and_index(make_images, textures):
    dataset = ImageDataset.from_arrays(make_images(9, channels=4), xflip=True)
    a, b = PlantedCopies(dataset, 3, CPU), PlantedCopies(dataset, 3, CPU)
    assert torch.equal(a.images(0, 5)[2:], b.images(2, 5))
    assert a.images(0, 5).shape == (5, 3, 32, 32)
    image = textures(1)[0]
    assert planted_copy(image, np.random.default_rng(0), mirrored=False).shape == image.shape


def test_the_corrected_share_covers_the_truth():
    random = np.random.default_rng(0)
    for truth in (0.0, 0.05, 0.5, 1.0):
        covered = 0
        for _ in range(100):
            share = truth * 0.95 + (1 - truth) * 0.02
            found, recall, alarms = (
                Proportion(int(random.binomial(n, p)), n) for n, p in ((1000, share), (300, 0.95), (400, 0.02))
            )
            value, low, high = corrected_share(found, recall, alarms)
            assert 0 <= value <= 1
            covered += low <= truth <= high
        assert covered >= 88
    assert corrected_share(Proportion(3, 10), Proportion(1, 10), Proportion(2, 10)) == (0.3, 0.0, 1.0)
