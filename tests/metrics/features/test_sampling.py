"""Image i is a function of (seed, i), and sampling leaves no trace."""

import numpy as np
import pytest
import torch

from dnnlib import UserError
from metrics.blocks import BLOCK
from metrics.features.sampling import GeneratedImages, generator_unit
from metrics.randomness import LABELS, LATENTS, stream

CPU = torch.device("cpu")


def all_images(source: GeneratedImages, count: int) -> torch.Tensor:
    return torch.cat([source.images(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)])


def test_streams_are_independent_of_each_other():
    draws = {
        (seed, purpose, block): tuple(stream(seed, purpose, block).integers(2**63, size=4))
        for seed in (0, 1, 2**40)
        for purpose in (LATENTS, LABELS)
        for block in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)


def test_latents_are_standard_normal_and_differ(make_generator):
    source = GeneratedImages(make_generator(), None, 3, CPU)
    z = torch.cat([source.latents(block) for block in range(200)])
    assert z.dtype == torch.float32
    assert len(torch.unique(z[:, 0])) > 0.99 * len(z)
    assert abs(float(z.mean())) < 4 / z.numel() ** 0.5
    assert float(z.var()) == pytest.approx(1, abs=0.03)


def test_image_does_not_depend_on_the_count_or_on_the_other_images(make_generator):
    source = GeneratedImages(make_generator(), None, 0, CPU)
    many, few = all_images(source, 150), all_images(source, 70)
    assert many.shape == (150, 3, 32, 32)
    assert torch.equal(many[:70], few)
    assert torch.equal(source.images(64, 70), many[64:70])
    assert not torch.equal(all_images(GeneratedImages(make_generator(), None, 1, CPU), 70), few)


def test_noise_is_fresh_for_every_image(make_generator):
    """With constant latents images differ by their noise alone."""
    G = make_generator()
    torch.nn.init.zeros_(G.to_w)
    images = all_images(GeneratedImages(G, None, 0, CPU), 130).float()
    assert len(torch.unique(images.flatten(1), dim=0)) == 130


def test_the_global_random_state_and_the_network_are_left_alone(make_generator):
    G = make_generator().train()
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    np_before = np.random.get_state()[1].copy()
    all_images(GeneratedImages(G, None, 0, CPU), 20)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(np_before, np.random.get_state()[1])
    assert G.training
    assert G.to_w.requires_grad


def test_labels_follow_the_dataset(make_generator, dataset):
    source = GeneratedImages(make_generator(c_dim=3), dataset, 0, CPU)
    labels = torch.cat([source.block_labels(block) for block in range(50)])
    assert labels.shape == (50 * BLOCK, 3)
    assert torch.all(labels.sum(dim=1) == 1)
    assert torch.allclose(labels.mean(dim=0), torch.full((3,), 1 / 3), atol=0.03)
    assert GeneratedImages(make_generator(), dataset, 0, CPU).block_labels(0) is None


@pytest.mark.parametrize("with_dataset", [False, True])
def test_labels_of_another_width_are_refused(make_generator, dataset, with_dataset):
    with pytest.raises(UserError, match=r"takes labels of width 5.*`data`"):
        GeneratedImages(make_generator(c_dim=5), dataset if with_dataset else None, 0, CPU)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_not_swallowed(make_generator, bad):
    G = make_generator()
    with torch.no_grad():
        G.to_img[0, 0] = bad
    with pytest.raises(UserError, match="NaN or infinity"):
        GeneratedImages(G, None, 0, CPU).images(0, 4)


def test_units_divide_blocks():
    for resolution in (4, 32, 64, 128, 256, 512, 1024, 2048):
        assert BLOCK // 2 % generator_unit(resolution) == 0
