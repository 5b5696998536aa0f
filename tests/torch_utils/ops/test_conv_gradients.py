"""Convolutions with their own gradients: PyTorch's values and derivatives, and no work that nobody asked for."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from torch_utils.ops import conv_gradients
from torch_utils.ops.conv_gradients import conv2d, conv_transpose2d


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch):
    monkeypatch.setattr(conv_gradients, "pays", lambda x: True)


geometries = st.fixed_dictionaries(
    {"stride": st.integers(1, 3), "padding": st.tuples(*[st.integers(0, 2)] * 2), "groups": st.sampled_from([1, 2])}
)
kernels = st.tuples(st.integers(1, 3), st.integers(1, 3))
sizes = st.tuples(st.integers(3, 8), st.integers(3, 8))


def derivatives(run, x, w):
    """The result, its gradients, and those of the sum of their squares."""
    y = run(x, w)
    torch.manual_seed(1)
    first = torch.autograd.grad(y, (x, w), torch.randn(y.shape).to(y), create_graph=True)
    second = torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (x, w))
    return [y, *first, *second]


@settings(max_examples=40, derandomize=True)
@given(geometry=geometries, kernel=kernels, size=sizes, transposed=st.booleans(), channels_last=st.booleans())
def test_derivatives_are_those_of_pytorch(device, geometry, kernel, size, transposed, channels_last):
    own, reference = (conv_transpose2d, F.conv_transpose2d) if transposed else (conv2d, F.conv2d)
    if transposed and min(
        stride_of * geometry["stride"] + k - 2 * p
        for stride_of, k, p in zip((size[0] - 1, size[1] - 1), kernel, geometry["padding"], strict=True)
    ) < 1:  # fmt: skip
        return  # nothing is left of the image
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64, generator=generator).to(device)
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    shape = (4, 6 // geometry["groups"]) if transposed else (6, 4 // geometry["groups"])
    w = torch.randn(*shape, *kernel, dtype=torch.float64, generator=generator).to(device)
    x, w = x.requires_grad_(), w.requires_grad_()
    found = derivatives(lambda x, w: own(x, w, **geometry), x, w)
    expected = derivatives(lambda x, w: reference(x, w, **geometry), x, w)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("run", [conv2d, conv_transpose2d])
def test_third_derivatives(device, run):
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(2, 2, 3, 2, dtype=torch.float64, device=device, requires_grad=True)

    def gradient(x, w):
        y = run(x, w, stride=2, padding=(1, 0), groups=1)
        return torch.autograd.grad(y.pow(3).sum(), (x, w), create_graph=True)

    assert torch.autograd.gradgradcheck(gradient, (x, w), nondet_tol=1e-9)


class ConvolutionCounter(TorchDispatchMode):
    """Convolutions that are executed; those of gradients in the weights apart."""

    def __init__(self):
        super().__init__()
        self.convolutions = self.weight_gradients = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.convolutions += func is torch.ops.aten.convolution.default
        self.weight_gradients += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("leaf", [True, False])
def test_a_gradient_in_the_images_makes_none_in_the_weights(device, leaf):
    """As R1 asks for it; the penalty's own gradient is one of each kind and no more."""
    x = torch.randn(2, 4, 6, 6, device=device, requires_grad=True)
    parameter = torch.randn(4, 4, 3, 3, device=device, requires_grad=True)
    weights = lambda: parameter if leaf else parameter * 2  # noqa: E731
    with ConvolutionCounter() as first:
        y = conv2d(x, weights(), stride=1, padding=(1, 1), groups=1)
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with ConvolutionCounter() as second:
        gradient.square().sum().backward(inputs=[parameter])
    assert first.convolutions == 2
    assert first.weight_gradients == 0
    assert second.convolutions == 0
    assert second.weight_gradients == 1
    expected = torch.autograd.grad(
        torch.autograd.grad(F.conv2d(x, weights(), padding=1).sum(), x, create_graph=True)[0].square().sum(), parameter
    )[0]
    torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-3)


def test_the_layout_of_a_single_channel_is_kept(device):
    """Of one channel strides alone tell that images are channels_last, and so will be what is made of them."""
    x = torch.empty_strided([2, 1, 6, 6], [36, 1, 6, 1], device=device).fill_(0.5).requires_grad_()
    w = torch.ones(4, 1, 3, 3, device=device, requires_grad=True)
    found = conv2d(x, w, stride=1, padding=(1, 1), groups=1)
    assert found.stride() == F.conv2d(x, w, padding=1).stride()
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("reentrant", [True, False])
def test_in_a_backward_pass_that_computes_forward_anew(device, reentrant):
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(3, 3, 3, 3, dtype=torch.float64, device=device, requires_grad=True)

    def run(x, w):
        return conv2d(x, 2 * w, stride=1, padding=(1, 1), groups=1).square()

    found = []
    for y in (run(x, w), checkpoint(run, x, w, use_reentrant=reentrant)):
        y.sum().backward()
        found.append([x.grad, w.grad])
        x.grad = w.grad = None
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inference_keeps_no_graph(device, mode):
    with mode():
        y = conv2d(torch.ones(1, 1, 3, 3, device=device), torch.ones(1, 1, 1, 1, device=device, requires_grad=True),
                   stride=1, padding=(0, 0), groups=1)  # fmt: skip
    assert y.grad_fn is None
