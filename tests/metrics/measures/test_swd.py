"""The sliced Wasserstein distance on Laplacian pyramids."""

import numpy as np
import pytest
import torch

from metrics.measures.swd import (
    enlarge,
    laplacian_pyramid,
    normalised_rows,
    patch_descriptors,
    pyramid_levels,
    resampled_distances,
    sliced_wasserstein,
)


def distances(a: np.ndarray, b: np.ndarray, seed: int = 0) -> dict[str, float]:
    left, right = (patch_descriptors(torch.from_numpy(images), 0, seed) for images in (a, b))
    return {level: sliced_wasserstein(left[level], right[level], seed=seed) for level in left}


@pytest.mark.parametrize(
    ("resolution", "levels"),
    [(8, [8]), (16, [16]), (32, [32, 16]), (64, [64, 32, 16]), (256, [256, 128, 64, 32, 16]), (24, [24])],
)
def test_levels(resolution, levels):
    assert pyramid_levels(resolution, resolution) == [(level, level) for level in levels]


def test_levels_of_oblong_images():
    assert pyramid_levels(64, 96) == [(64, 96), (32, 48), (16, 24)]
    images = torch.randint(0, 256, (3, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = patch_descriptors(images, 0, seed=0)
    assert {level: tuple(rows.shape) for level, rows in found.items()} == dict.fromkeys(("32", "16"), (3, 128, 3, 7, 7))
    # Patches come from all of the image: the right third is in sight of some.
    bright = images.clone()
    bright[:, :, :, 36:] = 255
    assert not torch.equal(patch_descriptors(bright, 0, seed=0)["32"], found["32"])


def test_pyramid_adds_up_to_the_image():
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    pyramid = laplacian_pyramid(images, 3)
    assert [band.shape[-1] for band in pyramid] == [32, 16, 8]
    rebuilt = pyramid[-1]
    for band in reversed(pyramid[:-1]):
        rebuilt = band + enlarge(rebuilt, band.shape[2:])
    assert torch.allclose(rebuilt, images)


def test_flat_images_have_no_detail():
    high, low = laplacian_pyramid(torch.full((1, 1, 16, 16), 7.0), 2)
    assert high.abs().max() < 1e-5
    assert torch.allclose(low, torch.tensor(7.0))


def test_patches_are_cut_out_of_the_image(make_images):
    images = make_images(3, resolution=16)
    patches = patch_descriptors(torch.from_numpy(images), 0, 0)["16"]
    assert patches.shape == (3, 128, 3, 7, 7)
    windows = np.lib.stride_tricks.sliding_window_view(images[1], (7, 7), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    windows = windows.reshape(-1, 3 * 49).astype(np.float32)
    found = patches[1].reshape(128, -1).float().numpy()
    nearest = np.abs(found[:, None] - windows[None]).max(axis=2).min(axis=1)
    assert nearest.max() == 0  # integers up to 255 are exact in float16
    assert len(np.unique(found, axis=0)) > 40


def test_normalisation_is_by_channel():
    values = normalised_rows((torch.randn(40, 8, 2, 7, 7) * torch.tensor([3.0, 9.0]).view(2, 1, 1) + 5).half())
    channels = values.view(-1, 2, 49)
    assert torch.allclose(channels.mean(dim=(0, 2)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(channels.square().mean(dim=(0, 2)), torch.ones(2), atol=1e-3)
    assert normalised_rows(torch.full((2, 3, 1, 7, 7), 4.0)).abs().max() == 0


def test_equal_sets_in_any_order_are_at_distance_zero(make_images):
    images = make_images(64)
    assert distances(images, images) == {"32": 0, "16": 0}
    descriptors = patch_descriptors(torch.from_numpy(images), 0, 0)["16"]
    assert sliced_wasserstein(descriptors, descriptors.flip(0), seed=0) < 1e-3


def test_symmetric(make_images):
    a, b = make_images(32, 0), make_images(32, 1)
    there, back = distances(a, b), distances(b, a)
    assert there == pytest.approx(back, rel=1e-9)


def test_mixture_of_gaussians_by_quantiles():
    """Normalised sets of which one has heavy tails: the distance is that of the 1-D laws of any projection."""
    random = np.random.default_rng(0)
    a = torch.from_numpy(random.standard_normal((4000, 4, 1, 7, 7))).half()
    assert sliced_wasserstein(a, a.flip(0) * 3 + 1, seed=0) == pytest.approx(0, abs=1.0)  # normalised away
    mixture = a * torch.from_numpy(random.choice([0.2, 1.4], size=(4000, 4, 1, 1, 1))).half()
    # Given its scale s a projection is N(0, s^2 / E s^2): quantiles of the mixture against those of N(0, 1).
    scales = np.array([0.2, 1.4]) / np.sqrt((0.2**2 + 1.4**2) / 2)
    draws = random.standard_normal(400_000)
    mixed = np.sort(draws * random.choice(scales, size=draws.size))
    expected = np.abs(np.sort(random.standard_normal(draws.size)) - mixed).mean() * 1000
    assert sliced_wasserstein(a, mixture, seed=0) == pytest.approx(expected, rel=0.05)


def test_tells_blur_from_noise_by_level(make_images):
    """Pixel noise shows in the finest level, a change of the large structure in the coarsest."""
    real, other = make_images(64, 0), make_images(64, 1)
    random = np.random.RandomState(0)
    noisy = np.clip(other + random.randint(-20, 21, other.shape), 0, 255).astype(np.uint8)
    coarse = other.copy()
    coarse[:, :, 16:] = coarse[:, :, :16]
    base, with_noise, with_copy = (distances(real, images) for images in (other, noisy, coarse))
    assert with_noise["32"] > 3 * base["32"]
    assert with_noise["32"] > with_noise["16"]
    assert with_copy["16"] > base["16"]


def test_more_channels_and_small_images(make_images):
    for channels, resolution in ((1, 8), (2, 16), (4, 32)):
        a = make_images(16, 0, channels, resolution)
        assert all(value > 0 for value in distances(a, make_images(16, 1, channels, resolution)).values())


def test_resampled_distances(make_images):
    a, b = (patch_descriptors(torch.from_numpy(make_images(40, seed)), 0, 0)["16"] for seed in (0, 1))
    once = np.ones((1, 40), dtype=int)
    [value] = resampled_distances(a, b, (once, once), seed=0)
    assert value == pytest.approx(sliced_wasserstein(a, b, seed=0, directions=32), rel=1e-5)
    random = np.random.default_rng(0)
    drawn = [np.stack([np.bincount(random.integers(40, size=40), minlength=40) for _ in range(10)]) for _ in "ab"]
    values = resampled_distances(a, b, (drawn[0], drawn[1]), seed=0)
    assert values.shape == (10,)
    assert values.std() > 0
    rows = [torch.from_numpy(np.repeat(np.arange(40), drawn[i][3])) for i in range(2)]
    # Patches of the resample, normalised by the whole set as in `resampled_distances`.
    whole = [normalised_rows(x).view(40, 128, 3, 7, 7) for x in (a, b)]
    direct = _unnormalised(whole[0][rows[0]], whole[1][rows[1]])
    assert values[3] == pytest.approx(direct, rel=1e-4)


def _unnormalised(a: torch.Tensor, b: torch.Tensor) -> float:
    from metrics.measures.swd import random_directions

    rows = [x.flatten(0, 1).flatten(1) for x in (a, b)]
    axes = torch.cat(random_directions(rows[0].shape[1], 32, 0))
    left, right = ((axes @ row.T).sort(dim=1).values for row in rows)
    return float((left - right).abs().mean()) * 1000
