"""Factors per image and channel and the sums that are their gradients: the definition, every order of derivative."""

import pytest
import torch

from torch_utils.ops import scaling_torch
from torch_utils.ops.scaling import channel_products, scale_channels
from torch_utils.ops.scaling_torch import differentiable_products, differentiable_scale

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def inputs(device, layout, images=2):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, device=device).contiguous(memory_format=layout)
    s, noise = (torch.randn(shape, dtype=torch.float64, device=device) for shape in ((2, 3), (images, 1, 4, 5)))
    return [t.requires_grad_() for t in (x, s, noise)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [None, (), (4, 5), (1, 1, 4, 5), (2, 1, 4, 5), (2, 3, 4, 5), (1, 3, 1, 1)])
def test_definition(device, layout, shape):
    x, s, _ = inputs(device, layout)
    noise = None if shape is None else torch.randn(shape, dtype=x.dtype, device=device)
    expected = x * s[:, :, None, None] + (0 if noise is None else noise)
    y = scale_channels(x, s, noise)
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous(memory_format=layout) or shape == x.shape  # PyTorch's sum has the layout of its first term
    torch.testing.assert_close(channel_products(x, y), (x * y).sum([2, 3]))
    torch.testing.assert_close(channel_products(x), x.sum([2, 3]))


def test_sums_of_16_bits_are_float32(device):
    x = torch.full([1, 8, 64, 64], 1.0, dtype=torch.bfloat16, device=device)
    x[..., ::2] = 3
    for found in (channel_products(x, x), channel_products(x) * 2.5):
        assert found.dtype == torch.float32
        assert torch.equal(found, torch.full_like(found, 5 * 64 * 64))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("images", [1, 2])
def test_derivatives(device, layout, images):
    """Of the functions that are any implementation's gradients, here the expressions'."""
    x, s, noise = inputs(device, layout, images)
    b = torch.randn_like(x).requires_grad_()

    def both(x, s, noise, b):
        y = differentiable_scale(x, s, noise, scaling_torch)
        return y, differentiable_products(y, b, scaling_torch), differentiable_products(y, None, scaling_torch)

    assert torch.autograd.gradcheck(both, (x, s, noise, b), fast_mode=True)
    assert torch.autograd.gradgradcheck(both, (x, s, noise, b), fast_mode=True)

    def gradient(x, s, noise, b):
        y, first, second = both(x, s, noise, b)
        total = y.pow(3).sum() + first.pow(3).sum() + second.pow(2).sum()
        return torch.autograd.grad(total, (x, s, noise, b), create_graph=True)

    assert torch.autograd.gradgradcheck(gradient, (x, s, noise, b), fast_mode=True)


class Counting:
    """The expressions, and how often each was asked for."""

    def __init__(self):
        self.calls = []

    def scale(self, x, s, noise):
        self.calls.append("scale")
        return scaling_torch.scale(x, s, noise)

    def products(self, a, b):
        self.calls.append("products")
        return scaling_torch.products(a, b)


@pytest.mark.parametrize("leaf", [True, False])
def test_only_the_gradients_that_are_asked_for(device, leaf):
    x, s, noise = inputs(device, torch.contiguous_format)
    kernels = Counting()
    arguments = (x, s, noise) if leaf else (x * 2, s * 2, noise * 2)
    y = differentiable_scale(*arguments, kernels)
    torch.autograd.grad(y.sum(), x, retain_graph=True)
    assert kernels.calls == ["scale", "scale"]
    torch.autograd.grad(y.sum(), s, retain_graph=True)
    assert kernels.calls == ["scale", "scale", "products"]
    torch.autograd.grad(y.sum(), noise)
    assert len(kernels.calls) == 3


def test_dtypes_of_gradients(device):
    """Factors and noise have dtypes of their own."""
    x = torch.randn(2, 8, 3, 3, device=device).bfloat16().requires_grad_()
    s, noise = (torch.randn(shape, device=device, requires_grad=True) for shape in ([2, 8], [1, 1, 3, 3]))
    found = torch.autograd.grad(differentiable_scale(x, s, noise, scaling_torch).sum(), (x, s, noise))
    expected = torch.autograd.grad(scaling_torch.scale(x, s, noise).sum(), (x, s, noise))
    assert [g.dtype for g in found] == [torch.bfloat16, torch.float32, torch.float32]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.1)
