"""Perceptual path lengths with distances that can be worked out by hand."""

import numpy as np
import pytest
import torch

from metrics.features.sampling import GeneratedImages
from metrics.measures.path_length import mean_path_length, path_lengths, prepare
from metrics.names import parse_metric
from metrics.settings import EvaluationSettings
from torch_utils.slerp import slerp

CPU = torch.device("cpu")


class Linear(torch.nn.Module):
    """An image whose pixels are the latent itself (W = Z), so that distances in images are distances in latents."""

    z_dim, c_dim, img_resolution, img_channels = 192, 0, 8, 3

    def mapping(self, z, c=None):
        return z[:, None].repeat(1, 2, 1)

    def synthesis(self, ws, noise_mode="random"):
        return ws.mean(dim=1).view(-1, 3, 8, 8) + (torch.randn(len(ws), 3, 8, 8) if noise_mode == "random" else 0)


class SquaredPixels:
    """The squared difference of images in [-1, 1]."""

    def distance(self, a, b):
        return ((a.double() - b.double()) / 127.5).square().flatten(1).sum(dim=1)


def lengths(name: str) -> np.ndarray:
    generated = GeneratedImages(Linear(), None, 0, CPU)
    return path_lengths(parse_metric(name), generated, SquaredPixels(), EvaluationSettings())


def test_linear_generator_in_w():
    """|(w1 - w0) eps|^2 / eps^2 = |w1 - w0|^2, about 2 D; equal noise at both ends cancels."""
    found = lengths("ppl2_wend_200")
    assert found.shape == (200,)
    generated = GeneratedImages(Linear(), None, 0, CPU)
    z = torch.cat([generated.latents(block) for block in range(7)])[:400].view(200, 2, -1)
    expected = (z[:, 1] - z[:, 0]).square().sum(dim=1).numpy()
    # A step of 1e-4 in float32 pixels of size 1 keeps three digits.
    assert np.allclose(found, expected, rtol=0.05)
    assert mean_path_length(found) == pytest.approx(2 * 192, rel=0.05)


def test_whole_path_and_crop():
    assert mean_path_length(lengths("ppl_wfull_200")) == pytest.approx(2 * 192 / 4, rel=0.1)  # a quarter of the area


def test_spherical_path_has_the_squared_angle_as_length():
    found = lengths("ppl_zend_200") * 4  # of the quarter that the crop leaves, on average
    assert np.mean(found) == pytest.approx((np.pi / 2) ** 2, rel=0.1)


def test_slerp():
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 50, 16, generator=random, dtype=torch.float64)
    unit_a, unit_b = (torch.nn.functional.normalize(x, dim=-1) for x in (a, b))
    t = torch.rand(50, 1, generator=random, dtype=torch.float64)
    points = slerp(a, b, t)
    angle = (unit_a * unit_b).sum(dim=-1).arccos()
    assert torch.allclose(points.norm(dim=-1), torch.ones(50, dtype=torch.float64))
    assert torch.allclose((points * unit_a).sum(dim=-1).arccos(), t[:, 0] * angle)
    assert torch.allclose(slerp(a, b, torch.ones_like(t)), unit_b)


def test_trimmed_mean():
    values = np.arange(1001.0)
    values[-1] = 1e9
    assert mean_path_length(values) == pytest.approx(np.arange(10, 991).mean())


def test_images_are_cropped_and_averaged():
    ramp = torch.arange(64.0).expand(1, 1, 64, 64) / 32 - 1
    cropped = prepare(ramp, True)
    assert cropped.shape == (1, 1, 32, 32)
    assert cropped[0, 0, 0, 0] == pytest.approx(16 / 64 * 255)
    assert prepare(torch.zeros(1, 3, 1024, 1024), False).shape == (1, 3, 256, 256)
    assert prepare(torch.zeros(1, 3, 1024, 1024), True).shape == (1, 3, 128, 128)
    assert torch.all(prepare(torch.zeros(1, 3, 64, 64), False) == 127.5)
