"""The CUDA kernels on a GPU against the PyTorch expressions: `pytest -m gpu`.

The tests of the operators themselves run there as well, by the fixture `device`; here are the sizes, layouts and types
that only kernels care about, and streams, threads and graphs.
"""

import threading

import pytest
import torch

from torch_utils.ops import describe_implementations, use_implementation
from torch_utils.ops.activation import activations
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.conv import modulated_conv2d
from torch_utils.ops.native.kernels import Kernels
from torch_utils.ops.scaling import channel_products, scale_channels
from torch_utils.ops.upfirdn2d import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DTYPES = {torch.float64: 1e-10, torch.float32: 3e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
LAYOUTS = (torch.contiguous_format, torch.channels_last)
FIR = setup_filter([1, 3, 3, 1])
LONG = setup_filter(range(1, 13))
SKEW = torch.tensor([[1.0, 2, 0], [3, -5, 7]]) / 9
CASES = [
    {"f": FIR},
    {"f": FIR, "padding": (2, 1, 2, 1)},
    {"f": FIR, "up": 2, "padding": (2, 1, 2, 1), "gain": 4},
    {"f": FIR, "down": 2, "padding": 1},
    {"f": LONG, "up": 2, "padding": (6, 5, 6, 5), "gain": 4},
    {"f": LONG, "down": 2, "padding": (5, 5, 5, 5), "flip_filter": True},
    {"f": SKEW, "up": (2, 3), "down": (3, 1), "padding": (-1, 4, 3, -2), "gain": -0.5},
    {"f": SKEW, "up": (5, 1), "down": (1, 7), "padding": (8, 4, 3, 2)},
    {"f": None, "padding": (-1, 2, 2, -1)},
]


@pytest.fixture(autouse=True)
def _full_float32():
    """The convolutions of the PyTorch expressions are the reference here."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def test_kernels_are_usable():
    assert describe_implementations() == "operators: CUDA kernels, compiled by NVRTC for this GPU"


def gradients(run, *inputs):
    """The result, its gradients, and those of the squares of the gradients: zeros where these depend on no input."""
    y = run(*inputs)
    torch.manual_seed(1)
    first = torch.autograd.grad(y, inputs, torch.randn(y.shape).to(y), create_graph=True)
    square = sum(g.square().sum() for g in first)
    if not square.requires_grad:
        return [y, *first, *map(torch.zeros_like, inputs)]
    return [y, *first, *torch.autograd.grad(square, inputs, materialize_grads=True)]


def compare(run, tolerance, *inputs):
    results = {}
    for choice in ("native", "torch"):
        with use_implementation(choice):
            results[choice] = gradients(run, *inputs)
    for found, expected in zip(results["native"], results["torch"], strict=True):
        assert found.dtype == expected.dtype
        scale = max(1.0, float(expected.detach().abs().max()))
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("size", [(2, 3, 17, 33), (3, 16, 20, 9)])
def test_upfirdn2d(dtype, layout, options, size):
    torch.manual_seed(0)
    x = torch.randn(size, device="cuda").to(dtype).contiguous(memory_format=layout).requires_grad_()
    f = None if options["f"] is None else options["f"].cuda()
    rest = {name: value for name, value in options.items() if name != "f"}
    compare(lambda x: upfirdn2d(x, f, **rest), DTYPES[dtype], x)


@pytest.mark.parametrize("shape", [(8, 512, 64, 64), (4, 64, 257, 257), (2, 3, 512, 512)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operator", [filter2d, upsample2d, downsample2d])
def test_upfirdn2d_at_the_sizes_of_the_networks(shape, layout, operator):
    x = torch.randn(shape, device="cuda").contiguous(memory_format=layout).requires_grad_()
    f = FIR.cuda()
    compare(lambda x: operator(x, f), 3e-5, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", activations)
@pytest.mark.parametrize(("gain", "clamp"), [(None, None), (0.8, 0.4), (-1.3, 0.4)])
@pytest.mark.parametrize(("shape", "dim", "layout"), [
    ((5, 7), 1, LAYOUTS[0]),
    ((2, 8, 5, 4), 1, LAYOUTS[0]),
    ((2, 8, 5, 4), 1, LAYOUTS[1]),
    ((2, 16, 16, 16), 1, LAYOUTS[1]),
    ((3, 4, 64), 2, LAYOUTS[0]),
    ((1001,), 0, LAYOUTS[0]),
])  # fmt: skip
def test_bias_act(dtype, act, gain, clamp, shape, dim, layout):
    torch.manual_seed(0)
    x = torch.randn(shape, device="cuda").to(dtype)
    # On a grid that keeps every activation clear of its kink and of the clamp, by four roundings of bfloat16 and more.
    x = (x * 4).round() / 4 + 0.11
    if len(shape) == 4:
        x = x.contiguous(memory_format=layout)
    b = torch.randint(-2, 3, [shape[dim]], device="cuda").to(dtype) / 2
    run = lambda x, b: bias_act(x, b, dim=dim, act=act, gain=gain, clamp=clamp)  # noqa: E731
    compare(run, DTYPES[dtype] * 8, x.requires_grad_(), b.requires_grad_())


@pytest.mark.parametrize("choice", ["native", "auto"])
def test_gradcheck(choice):
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, device="cuda", requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, device="cuda", requires_grad=True)
    with use_implementation(choice):
        run = lambda x, b: bias_act(upfirdn2d(x, FIR.cuda(), up=2, padding=2), b, act="swish")  # noqa: E731
        assert torch.autograd.gradcheck(run, (x, b))
        assert torch.autograd.gradgradcheck(run, (x, b), fast_mode=True)


@pytest.fixture
def launched(monkeypatch):
    """Names of the kernels as they are started, without the check at first use."""
    assert describe_implementations().startswith("operators: CUDA kernels")
    names, run = [], Kernels.run
    monkeypatch.setattr(Kernels, "run", lambda self, launch: names.append(launch.entry) or run(self, launch))
    return names


# Shapes, and for how many images there is noise.
SCALED = [
    ((2, 3, 17, 33), 2),
    ((3, 16, 20, 9), 1),
    ((32, 512, 4, 4), 32),
    ((2, 2056, 3, 8), 0),
    ((4, 64, 128, 128), 4),
    ((2, 32, 257, 255), 1),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "images"), SCALED)
def test_scaling(dtype, layout, shape, images, launched):
    """Against the expressions in float64: these round factors, noise and each step to 16 bits."""
    torch.manual_seed(0)
    x, b = (torch.randn(shape, device="cuda").to(dtype).contiguous(memory_format=layout) for _ in range(2))
    s = torch.randn(shape[:2], device="cuda")
    noise = torch.randn(images, 1, *shape[2:], device="cuda") if images else None
    leaves = [t for t in (x, s, b, noise) if t is not None]
    wide = [t.double().requires_grad_() for t in leaves]
    leaves = [t.requires_grad_() for t in leaves]

    def run(x, s, b, noise=None):
        y = scale_channels(x, s, noise)
        return torch.cat([y.flatten(), (channel_products(y, b) + channel_products(b)).flatten().to(y.dtype)])

    with use_implementation("native"):
        found = gradients(run, *leaves)
        assert scale_channels(x, s, noise).is_contiguous(memory_format=layout)
    assert {name.split("_")[0] for name in launched} == {"scale", "products"}
    with use_implementation("torch"):
        expected = gradients(run, *wide)
    for one, other in zip(found, expected, strict=True):
        scale = max(1.0, float(other.detach().square().mean().sqrt()))
        error = (one.double() - other).detach().square().mean().sqrt()
        assert error < DTYPES[dtype if dtype != torch.float64 else torch.float32] * scale


@pytest.mark.parametrize("shape", [(32, 512, 16, 16), (16, 64, 256, 256), (16, 32, 512, 512)])
def test_scaling_at_the_sizes_of_the_networks(shape):
    x = torch.randn(shape, device="cuda", dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    s, noise = torch.randn(shape[:2], device="cuda"), torch.randn(shape[0], 1, *shape[2:], device="cuda")
    y = scale_channels(x, s, noise)
    expected = torch.addcmul(noise, x.float(), s[:, :, None, None])
    torch.testing.assert_close(y.float(), expected, rtol=8e-3, atol=1e-3)
    sums = channel_products(x, y)
    assert torch.equal(sums, channel_products(x, y))
    torch.testing.assert_close(sums.double(), (x.double() * y.double()).sum([2, 3]), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_bias_gradient_is_summed_by_the_kernels(layout, launched):
    x = torch.randn(4, 64, 96, 64, device="cuda").contiguous(memory_format=layout).requires_grad_()
    b = torch.randn(64, device="cuda", requires_grad=True)
    compare(lambda x, b: bias_act(x, b, act="lrelu"), 1e-4, x, b)
    assert f"products_{'last' if layout == torch.channels_last else 'planes'}_vector" in launched


@pytest.mark.parametrize("layout", LAYOUTS)
def test_modulated_convolution_takes_the_kernels(layout, launched):
    torch.manual_seed(0)
    shapes = (4, 16, 8, 8), (24, 16, 3, 3), (4, 16), (4, 1, 8, 8)
    inputs = [torch.randn(shape, device="cuda", dtype=torch.float64) for shape in shapes]
    inputs[0] = inputs[0].contiguous(memory_format=layout)
    inputs = [t.requires_grad_() for t in inputs]
    run = lambda x, w, s, noise: modulated_conv2d(x, w, s, noise=noise, padding=1, fused=False)  # noqa: E731
    compare(run, 1e-8, *inputs)
    assert {name.split("_")[0] for name in launched} == {"scale", "products"}


def replayed(step, static):
    """What a step that was captured in a graph gives for another value of its input."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    static.copy_(torch.randn_like(static))
    for _ in range(2):
        graph.replay()
    return [t.clone() for t in captured]


def test_scaling_in_a_captured_graph():
    """First and second derivatives; what the first stage of a sum leaves for the second is the graph's own memory."""
    torch.manual_seed(0)
    static = torch.randn(4, 32, 64, 64, device="cuda").contiguous(memory_format=torch.channels_last)
    factors, noise = torch.randn(4, 32, device="cuda"), torch.randn(1, 1, 64, 64, device="cuda")

    def step():
        x, s = static.detach().requires_grad_(), factors.detach().requires_grad_()
        first = torch.autograd.grad(scale_channels(x, s, noise).pow(2).sum(), (x, s), create_graph=True)
        return [t.detach() for t in (*first, *torch.autograd.grad(sum(g.square().sum() for g in first), (x, s)))]

    with use_implementation("native"):
        captured = replayed(step, static)
    with use_implementation("torch"):
        for found, expected in zip(captured, step(), strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * scale)


def test_capture_in_a_graph():
    """First and second derivatives are captured and replayed with new input."""
    torch.manual_seed(0)
    f = FIR.cuda()
    static = torch.randn(2, 8, 16, 16, device="cuda")

    def step():
        x = static.detach().requires_grad_()
        y = bias_act(downsample2d(x, f), torch.ones(8, device="cuda"), act="lrelu", clamp=1.5)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        return y.detach(), second

    with use_implementation("native"):
        captured = replayed(step, static)
    with use_implementation("torch"):
        for found, expected in zip(captured, step(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_on_another_stream_and_thread():
    x, f = torch.randn(2, 8, 64, 64, device="cuda"), FIR.cuda()
    found = []

    def work():
        with use_implementation("native"), torch.cuda.stream(torch.cuda.Stream()):
            found.append(filter2d(x, f))
            torch.cuda.current_stream().synchronize()

    torch.cuda.synchronize()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with use_implementation("torch"):
        torch.testing.assert_close(found[0], filter2d(x, f), rtol=1e-4, atol=1e-5)
