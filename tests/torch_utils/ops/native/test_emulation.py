"""The CUDA sources and their launch layouts, run on the CPU and compared with the PyTorch expressions.

What this does not show is what a GPU adds: the conversions in PTX, caches, streams. See test_gpu.py.
"""

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from cuda_emulation import Emulator

from torch_utils.ops import bias_act_torch, scaling, scaling_torch, upfirdn2d_torch, use_implementation
from torch_utils.ops.activation import Options, activations
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.conv import modulated_conv2d
from torch_utils.ops.geometry import Geometry
from torch_utils.ops.native import availability, library
from torch_utils.ops.native import bias_act as native_bias_act
from torch_utils.ops.native import scaling as native_scaling
from torch_utils.ops.native import upfirdn2d as native_upfirdn2d
from torch_utils.ops.upfirdn2d import upfirdn2d

pytestmark = pytest.mark.skipif(not Emulator.possible(), reason="no g++ to compile the CUDA sources as C++")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
LAYOUTS = (torch.contiguous_format, torch.channels_last)
# Each entry costs a compilation; the numbers that vary freely are sizes, paddings, gain, flip, layout.
NUMBERS = [
    ((1, 1), (1, 1), (4, 4), torch.float32),
    ((2, 2), (1, 1), (4, 4), torch.float32),
    ((1, 1), (2, 2), (4, 4), torch.float32),
    ((2, 1), (1, 1), (1, 12), torch.float32),
    ((1, 1), (1, 2), (12, 1), torch.float32),
    ((3, 2), (2, 3), (5, 3), torch.float64),
    ((2, 2), (1, 1), (4, 4), torch.float16),
    ((1, 1), (1, 1), (4, 4), torch.bfloat16),
    ((5, 1), (1, 6), (3, 7), torch.float32),
    ((2, 3), (3, 2), (9, 9), torch.float64),
]
relaxed = settings(max_examples=10, derandomize=True)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Emulator:
    return Emulator(tmp_path_factory.mktemp("emulation"))


def surrounded(x: torch.Tensor, layout: torch.memory_format) -> torch.Tensor:
    """The same values amid NaN: whatever is read outside shows in the results."""
    x = x.contiguous(memory_format=layout)
    room = torch.full([x.numel() + 128], math.nan, dtype=x.dtype)
    start = 64 + (-(room.data_ptr() // x.element_size() + 64)) % (16 // x.element_size())
    view = room[start : start + x.numel()].as_strided(x.shape, x.stride())
    return view.copy_(x)


@pytest.mark.parametrize(("up", "down", "taps", "dtype"), NUMBERS)
@relaxed
@given(data=st.data())
def test_upfirdn2d(emulator, up, down, taps, dtype, data):
    channels = data.draw(st.sampled_from([1, 3, 8, 16]), "channels")
    height, width = data.draw(st.integers(1, 50), "height"), data.draw(st.integers(1, 50), "width")
    padding = tuple(data.draw(st.lists(st.integers(-3, 14), min_size=4, max_size=4), "padding"))
    geometry = Geometry(up, down, padding)
    rows, columns = geometry.output_size(height, width, taps)
    if rows < 1 or columns < 1:
        return
    flip, gain = data.draw(st.booleans(), "flip"), data.draw(st.sampled_from([1.0, 4.0, -0.7]), "gain")
    layout = data.draw(st.sampled_from(LAYOUTS), "layout")
    torch.manual_seed(data.draw(st.integers(0, 99), "seed"))
    x = torch.randn(data.draw(st.integers(1, 3), "batch"), channels, height, width, dtype=dtype)
    f = torch.randn(taps)

    found = native_upfirdn2d.run(
        emulator, surrounded(x, layout), surrounded(f, torch.contiguous_format), geometry, flip, gain
    )

    wide = torch.promote_types(dtype, torch.float32)
    expected = upfirdn2d_torch.apply(x.to(wide), f, geometry, flip, gain)
    assert found.shape == expected.shape
    assert found.dtype == dtype
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found.to(wide), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize(
    ("size", "channels"), [((17, 33), 2), ((65, 65), 1), ((4, 4), 70), ((129, 7), 1), ((16, 16), 9)]
)
@pytest.mark.parametrize(("up", "down"), [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))])
def test_upfirdn2d_fills_every_pixel_of_many_tiles(emulator, size, channels, up, down):
    x, f = torch.randn(2, channels, *size), torch.randn(4, 4)
    geometry = Geometry(up, down, (2, 1, 2, 1))
    found = native_upfirdn2d.run(emulator, x, f, geometry, False, 1.0)
    torch.testing.assert_close(found, upfirdn2d_torch.apply(x, f, geometry, False, 1.0), rtol=1e-4, atol=1e-4)
    assert emulator.ran[-1] == "upfirdn2d_tiled"


def test_upfirdn2d_takes_the_kernel_meant_for_the_layout(emulator):
    geometry = Geometry((1, 1), (1, 1), (2, 1, 2, 1))
    f = torch.ones(4, 4)
    images = torch.randn(1, 8, 6, 6)
    native_upfirdn2d.run(emulator, images, f, geometry, False, 1.0)
    assert emulator.ran[-1] == "upfirdn2d_tiled"
    native_upfirdn2d.run(emulator, images.contiguous(memory_format=torch.channels_last), f, geometry, False, 1.0)
    assert emulator.ran[-1] == "upfirdn2d_channels_last"
    odd = images[:, :3].contiguous(memory_format=torch.channels_last)
    native_upfirdn2d.run(emulator, odd, f, geometry, False, 1.0)
    assert emulator.ran[-1] == "upfirdn2d_any"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("act", activations)
@relaxed
@given(data=st.data())
def test_bias_act(emulator, dtype, act, data):
    shape = data.draw(st.sampled_from([(7, 5), (3, 8, 5, 4), (2, 16, 3, 3), (1, 4, 1, 1), (33,), (5, 8, 64)]), "shape")
    layout = data.draw(st.sampled_from(LAYOUTS), "layout") if len(shape) == 4 else torch.contiguous_format
    dim = data.draw(st.integers(0, len(shape) - 1), "dim")
    gain, clamp = (
        data.draw(st.sampled_from([1.0, 2**0.5, -0.5]), "gain"),
        data.draw(st.sampled_from([-1.0, 0.5]), "clamp"),
    )
    options = Options(dim, act, activations[act].def_alpha, gain, clamp)
    torch.manual_seed(data.draw(st.integers(0, 99), "seed"))
    x, grad, direction = (torch.randn(shape, dtype=dtype) for _ in range(3))
    b = torch.randn(shape[dim], dtype=dtype) if data.draw(st.booleans(), "biased") else None
    offset = data.draw(st.sampled_from([0, 1]), "offset")

    def place(t):
        if offset == 0 or len(shape) == 4:
            return surrounded(t, layout)
        return torch.cat([t.new_full([1], math.nan), t.reshape(-1)])[1:].reshape(shape)  # not aligned to 16 bytes

    wide = torch.promote_types(dtype, torch.float32)
    w = [None if t is None else t.to(wide) for t in (x, b, grad, direction)]
    y = native_bias_act.run(emulator, 0, place(x), b, None, None, options)
    close(y, bias_act_torch.expression(w[0], w[1], options), dtype)
    assert y.is_contiguous(memory_format=layout)

    reference = y if options.slope_from_result else place(x)
    slope = native_bias_act.run(emulator, 1, reference, b, place(grad), None, options)
    expected = bias_act_torch.slope(w[2], w[0], w[1], options)
    away = away_from_kinks(w[0], w[1], expected, options, TOLERANCE[dtype])
    close(slope[away], expected[away], dtype)

    curve = native_bias_act.run(emulator, 2, place(x), b, place(grad), place(direction), options)
    expected = bias_act_torch.curve(w[2], w[3], w[0], w[1], options)
    close(curve[away], expected[away], dtype)


def away_from_kinks(x, b, slope, options, margin):
    """Where rounding cannot move an element to another piece of the function."""
    u = x if b is None else x + b.reshape([-1 if axis == options.dim else 1 for axis in range(x.ndim)])
    y = bias_act_torch.expression(u, None, options._replace(clamp=-1.0))
    return (u.abs() > margin) & ((y.abs() - options.clamp).abs() > 8 * margin)


def close(found, expected, dtype):
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_bias_act_with_wide_indices(emulator, monkeypatch):
    """The variant for more than 2**30 elements, on few."""
    x, b = torch.randn(3, 8, 5, 4), torch.randn(8)
    options = Options(1, "lrelu", 0.2, 2.0, 1.0)
    original = native_bias_act.variant
    monkeypatch.setattr(native_bias_act, "variant", lambda dtype, act, count: original(dtype, act, 2**31))
    y = native_bias_act.run(emulator, 0, x, b, None, None, options)
    torch.testing.assert_close(y, bias_act_torch.apply(x, b, options))


@pytest.fixture
def registered(emulator, monkeypatch):
    """The registered operators run the kernels, with the gradients that are registered for them."""

    def run_bias_act(order, x, b, grad, direction, options):
        return native_bias_act.run(emulator, order, x, b, grad, direction, options)

    def run_upfirdn2d(x, f, geometry, flip, gain):
        return native_upfirdn2d.run(emulator, x, f, geometry, flip, gain)

    monkeypatch.setattr(library, "_expressions", run_bias_act)
    monkeypatch.setattr(upfirdn2d_torch, "apply", run_upfirdn2d)
    emulator.ran.clear()
    with use_implementation("native"):
        yield


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("act", "clamp"), [("lrelu", 0.9), ("swish", None)])
def test_numerical_derivatives_of_the_kernels(emulator, registered, act, clamp, layout):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    f = torch.tensor([[1.0, 2, 0], [3, -5, 7]]) / 9
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def run(x, b):
        return upfirdn2d(bias_act(x, b, act=act, clamp=clamp), f, up=2, down=(1, 2), padding=2, gain=1.5)

    assert torch.autograd.gradcheck(run, (x, b))
    assert torch.autograd.gradgradcheck(run, (x, b))
    kinds = {name.rsplit("_", 1)[0] for name in emulator.ran}
    assert {"bias_act_0", "bias_act_1"} <= kinds
    assert ("bias_act_2" in kinds) == (act == "swish")
    assert any(name.startswith("upfirdn2d") for name in emulator.ran)


SCALED = [
    (2, 8, 6, 5),
    (3, 16, 4, 4),
    (1, 3, 17, 9),  # no whole packs
    (2, 1, 7, 8),
    (3, 24, 5, 16),  # threads that have no channels
    (1, 2056, 2, 4),  # several blocks for the channels of a pixel in bfloat16, several rounds of threads in float32
    (1, 300, 3, 3),
    (2, 32, 40, 64),  # several blocks for the pixels of an image
    (1, 2, 1, 1),
    (1, 5, 90, 64),  # several blocks for a plane, not all of one length
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SCALED)
def test_scaling(emulator, dtype, layout, shape):
    torch.manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)
    x, b = (torch.randn(shape, dtype=dtype) for _ in range(2))
    s = torch.randn(shape[:2], dtype=wide)
    place = lambda t: surrounded(t, layout)  # noqa: E731
    for images in (0, 1, shape[0]):
        noise = torch.randn(images, 1, *shape[2:], dtype=wide) if images else None
        placed = surrounded(noise, torch.contiguous_format) if images else None
        y = native_scaling.scale(emulator, place(x), surrounded(s, torch.contiguous_format), placed)
        close(y, scaling_torch.scale(x.to(wide), s, noise), dtype)
        assert y.dtype == dtype
        assert y.is_contiguous(memory_format=layout)
    for other in (b, None):
        found = native_scaling.products(emulator, place(x), None if other is None else place(other))
        assert found.dtype == wide
        expected = scaling_torch.products(x.double(), None if other is None else other.double())
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(
            found.double(), expected, rtol=tolerance, atol=tolerance * shape[2] * shape[3] ** 0.5
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scaling_takes_packs_where_they_fit(emulator, layout):
    name = "last" if layout == torch.channels_last else "planes"
    x, s = torch.randn(2, 8, 4, 4).contiguous(memory_format=layout), torch.ones(2, 8)
    native_scaling.scale(emulator, x, s, None)
    assert emulator.ran[-1] == f"scale_{name}_vector"
    native_scaling.products(emulator, x, None)
    assert emulator.ran[-1] == f"products_{name}_vector"
    room = torch.randn(x.numel() + 1)[1:].as_strided(x.shape, x.stride())  # not aligned to 16 bytes
    torch.testing.assert_close(native_scaling.products(emulator, room, x), (room * x).sum([2, 3]))
    assert emulator.ran[-1] == f"products_{name}_scalar"
    native_scaling.scale(emulator, x[:, :3, :3, :3], s[:, :3], None)
    assert emulator.ran[-1] == "scale_planes_scalar"


@pytest.mark.parametrize("shape", [
    (32, 512, 4, 4), (32, 512, 16, 16), (16, 64, 256, 256), (16, 32, 512, 512), (1, 3, 2**16, 2**16), (5, 1000, 1, 1),
    (1, 5000, 333, 77), (70000, 2, 3, 3),
])  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("operator", ["scale", "products"])
def test_every_place_is_visited_by_one_thread(shape, layout, dtype, operator):
    """The numbers that are handed to the kernels, at sizes that are not run here."""
    x = torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)
    goals = {"scale": (native_scaling._SCALE_BLOCKS, native_scaling._SCALE_STEPS),
             "products": (native_scaling._SUM_BLOCKS, native_scaling._SUM_STEPS)}[operator]  # fmt: skip
    _, grid, walk = native_scaling._walk(layout, (x,), *goals)
    places = walk.outer * walk.inner * walk.columns
    assert x.numel() % places == 0
    assert walk.part * (walk.splits - 1) < walk.inner <= walk.part * walk.splits
    assert walk.width * walk.lanes <= 256
    assert walk.part < 2**31
    assert grid < 2**31
    if layout == torch.channels_last:
        assert grid == walk.outer * walk.chunks * walk.splits
        assert walk.width * (walk.chunks - 1) < walk.columns <= walk.width * walk.chunks
    else:
        assert walk.width * walk.lanes == 256
        assert grid == -(-walk.outer // walk.lanes) * walk.splits


class Emulated:
    """In the place of the kernels behind the gradients."""

    def __init__(self, emulator):
        self._emulator = emulator

    def scale(self, x, s, noise):
        return native_scaling.scale(self._emulator, x, s, noise)

    def products(self, a, b):
        return native_scaling.products(self._emulator, a, b)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numerical_derivatives_of_modulation(emulator, monkeypatch, layout):
    monkeypatch.setattr(scaling, "_native", lambda x: True)
    monkeypatch.setattr(library, "_scaling", Emulated(emulator))
    emulator.ran.clear()
    torch.manual_seed(0)
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    shapes = [4, 2, 3, 1], [2, 2], [2, 1, 3, 4]
    others = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]

    def run(x, weight, styles, noise):
        return modulated_conv2d(x, weight, styles, noise=noise, padding=(0, 1), fused=False)

    assert torch.autograd.gradcheck(run, (x, *others))
    assert torch.autograd.gradgradcheck(run, (x, *others), fast_mode=True)
    assert {name.split("_")[0] for name in emulator.ran} == {"scale", "products"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bias_gradient_by_the_kernels(emulator, layout):
    x = torch.randn(3, 8, 5, 6).contiguous(memory_format=layout).requires_grad_()
    sums = scaling_torch.channel_sums(x, Emulated(emulator))
    torch.testing.assert_close(sums, x.sum([0, 2, 3]))
    assert emulator.ran[-1].startswith("products_last" if layout == torch.channels_last else "products_planes")
    (gradient,) = torch.autograd.grad(sums, x, torch.arange(8.0))
    assert torch.equal(gradient, torch.arange(8.0)[None, :, None, None].expand_as(x))


def test_empty_batch(emulator):
    geometry = Geometry((1, 1), (1, 1), (2, 1, 2, 1))
    assert native_upfirdn2d.run(emulator, torch.ones(0, 3, 8, 8), torch.ones(4, 4), geometry, False, 1.0).shape == (
        0,
        3,
        8,
        8,
    )
    options = Options(1, "relu", 0.0, 1.0, -1.0)
    assert native_bias_act.run(emulator, 0, torch.ones(0, 3), torch.ones(3), None, None, options).shape == (0, 3)
    assert native_scaling.scale(emulator, torch.ones(0, 3, 8, 8), torch.ones(0, 3), None).shape == (0, 3, 8, 8)
    assert torch.equal(native_scaling.products(emulator, torch.ones(2, 3, 0, 8), None), torch.zeros(2, 3))


def test_the_check_at_first_use_passes(emulator):
    availability.check_results(emulator, torch.device("cpu"))


def test_the_check_at_first_use_notices_wrong_results(emulator):
    class Broken:
        def run(self, launch):
            if launch.variant.source == "upfirdn2d":
                launch.arguments[4].gain *= 1.1
            emulator.run(launch)

    with pytest.raises(availability.NativeError, match=r"upfirdn2d.*differ"):
        availability.check_results(Broken(), torch.device("cpu"))
