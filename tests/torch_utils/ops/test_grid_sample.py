"""grid_sample on each device: the definition in loops, both paths, derivatives inside, at the border and outside."""

import math

import pytest
import torch

from torch_utils.ops import grid_sample as module
from torch_utils.ops.grid_sample import builtin_is_twice_differentiable, gather_bilinear, grid_sample


def by_loops(image, grid):
    batch, channels, height, width = image.shape
    y = torch.zeros(batch, channels, *grid.shape[1:3], dtype=image.dtype)
    for n in range(batch):
        for i in range(grid.shape[1]):
            for j in range(grid.shape[2]):
                px = (float(grid[n, i, j, 0]) + 1) / 2 * width - 0.5
                py = (float(grid[n, i, j, 1]) + 1) / 2 * height - 0.5
                for r in range(height):
                    for c in range(width):
                        weight = max(0, 1 - abs(px - c)) * max(0, 1 - abs(py - r))
                        y[n, :, i, j] += weight * image[n, :, r, c]
    return y


@pytest.fixture(params=["builtin", "gathered"])
def sample(request, monkeypatch):
    if request.param == "gathered":
        monkeypatch.setattr(module, "builtin_is_twice_differentiable", lambda device_type: False)
    return grid_sample


def test_equals_loops(device, sample):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    grid = torch.rand(2, 6, 7, 2, dtype=torch.float64) * 3 - 1.5
    grid[0, 0, 0] = torch.tensor([1e12, -1e12])
    found = sample(image.to(device, copy=True).requires_grad_(), grid.to(device))
    assert found.device == device
    torch.testing.assert_close(found.detach().cpu(), by_loops(image, grid), rtol=1e-12, atol=1e-12)


def test_gradients(device, sample):
    torch.manual_seed(1)
    image = torch.randn(1, 2, 4, 4).to(device, torch.float64).requires_grad_()
    # Pixel positions with fractions between 0.2 and 0.8, from outside on the left to outside on the right.
    pixels = torch.arange(-2, 6, dtype=torch.float64) + 0.2 + 0.6 * torch.rand(8, dtype=torch.float64)
    places = (pixels + 0.5) / 2 - 1
    grid = torch.stack([places, places.roll(3)], dim=-1).reshape(1, 2, 4, 2).to(device).requires_grad_()
    # On a GPU neighbours are summed in any order.
    assert torch.autograd.gradcheck(sample, (image, grid), nondet_tol=1e-10)
    assert torch.autograd.gradgradcheck(sample, (image, grid), nondet_tol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_paths_agree(device, dtype):
    image, grid = torch.randn(2, 3, 9, 8).to(device, dtype), (torch.rand(2, 5, 5, 2) * 2.4 - 1.2).to(device)
    with torch.no_grad():
        found = grid_sample(image, grid)
    assert found.dtype == dtype
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(gather_bilinear(image, grid.to(dtype)), found, rtol=tolerance, atol=tolerance)


def test_a_sampler_without_second_derivative_is_noticed(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("derivative for aten::grid_sampler_2d_backward is not implemented")

    monkeypatch.setattr(module.F, "grid_sample", refuse)
    assert not builtin_is_twice_differentiable.__wrapped__("cpu")


def test_a_wrong_second_derivative_is_noticed(monkeypatch):
    monkeypatch.setattr(
        module.F, "grid_sample", lambda image, grid, **options: gather_bilinear(image, grid.detach()) + grid.sum()
    )
    assert not builtin_is_twice_differentiable.__wrapped__("cpu")


def test_not_a_number_in_the_image_stays_local(device, sample):
    image = torch.zeros(1, 1, 4, 4, device=device, requires_grad=True)
    with torch.no_grad():
        image[0, 0, 0, 0] = math.nan
    grid = torch.tensor([[[[0.75, 0.75]]]], device=device)
    assert float(sample(image, grid).detach()) == 0
