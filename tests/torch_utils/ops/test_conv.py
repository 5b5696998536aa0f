"""conv2d_resample and modulated_conv2d on each device: loops over their definitions, numerical derivatives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_utils.ops import use_implementation
from torch_utils.ops.conv import conv2d_resample, modulated_conv2d
from torch_utils.ops.upfirdn2d import downsampling_padding, setup_filter, upfirdn2d, upsampling_padding

relaxed = settings(max_examples=80, derandomize=True)
FIR = setup_filter([1, 3, 3, 1])
ODD = setup_filter([[1, 2, 0.5], [0, 3, 1], [1, 1, 4], [2, 0, 1]])
NONDETERMINISM = 1e-10  # cuDNN's gradients of weights may be summed in any order


def step_by_step(x, w, f, up, down, padding, groups, flip_weight, flip_filter):
    """Enlarge and filter, convolve, filter and reduce, in this order."""
    around = np.array([padding] * 4)
    around += upsampling_padding(f, (up, up)) if up > 1 else 0
    around += downsampling_padding(f, (down, down)) if down > 1 else 0
    x = upfirdn2d(x, f if up > 1 else None, up=up, padding=around.tolist(), gain=up**2, flip_filter=flip_filter)
    x = convolution_by_loops(x, w if flip_weight else w.flip([2, 3]), groups)
    return upfirdn2d(x, f, down=down, flip_filter=flip_filter) if down > 1 else x


def convolution_by_loops(x, w, groups):
    batch, _, height, width = x.shape
    out_channels, per_group, rows, columns = w.shape
    y = torch.zeros(batch, out_channels, height - rows + 1, width - columns + 1, dtype=x.dtype)
    for o in range(out_channels):
        first = o // (out_channels // groups) * per_group
        for i in range(per_group):
            for r in range(rows):
                for c in range(columns):
                    window = x[:, first + i, r : r + y.shape[2], c : c + y.shape[3]]
                    y[:, o] += w[o, i, r, c] * window
    return y


@relaxed
@given(
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3), (1, 3)]),
    up=st.sampled_from([1, 2, 3]),
    down=st.sampled_from([1, 2, 3]),
    padding=st.integers(0, 2),
    groups=st.sampled_from([1, 2]),
    f=st.sampled_from([None, FIR, ODD, setup_filter(range(1, 9))]),
    flip_weight=st.booleans(),
    flip_filter=st.booleans(),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    seed=st.integers(0, 99),
)
def test_conv2d_resample_equals_its_steps(
    device, kernel, up, down, padding, groups, f, flip_weight, flip_filter, size, seed
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 4, *size, dtype=torch.float64, generator=generator)
    w = torch.randn(6, 4 // groups, *kernel, dtype=torch.float64, generator=generator)
    options = {"up": up, "down": down, "padding": padding, "groups": groups}
    options |= {"flip_weight": flip_weight, "flip_filter": flip_filter}
    found = conv2d_resample(x.to(device), w.to(device), None if f is None else f.to(device), **options)
    assert found.device == device
    expected = step_by_step(x, w, f, up, down, padding, groups, flip_weight, flip_filter)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-9)


def test_conv2d_resample_pads_each_side_as_told(device):
    x, w = torch.randn(1, 2, 5, 6).to(device, torch.float64), torch.randn(3, 2, 3, 3).to(device, torch.float64)
    found = conv2d_resample(x, w, padding=[0, 1, 2, 3])
    torch.testing.assert_close(found, F.conv2d(F.pad(x, [0, 1, 2, 3]), w))
    with pytest.raises(ValueError, match="at least 1"):
        conv2d_resample(x, w, up=0)


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("options", [{}, {"up": 2}, {"down": 2}, {"up": 2, "down": 2}])
@pytest.mark.parametrize("kernel", [1, 3])
def test_conv2d_resample_gradients(device, choice, options, kernel):
    x = torch.randn(1, 2, 4, 5).to(device, torch.float64).requires_grad_()
    w = torch.randn(2, 2, kernel, kernel).to(device, torch.float64).requires_grad_()
    f = FIR.to(device)
    run = lambda x, w: conv2d_resample(x, w, f, padding=kernel // 2, flip_weight=False, **options)  # noqa: E731
    with use_implementation(choice):
        assert torch.autograd.gradcheck(run, (x, w), nondet_tol=NONDETERMINISM)
        assert torch.autograd.gradgradcheck(run, (x, w), fast_mode=True, nondet_tol=NONDETERMINISM)


def modulated_by_loops(x, weight, styles, noise, demodulate, **options):
    """Each image with its own weights, as the paper writes it."""
    images = []
    for n in range(len(x)):
        own = weight * styles[n][None, :, None, None]
        if demodulate:
            own = torch.stack([w / torch.sqrt((w**2).sum() + 1e-8) for w in own])
        images.append(conv2d_resample(x[n : n + 1], own, **options))
    y = torch.cat(images)
    return y if noise is None else y + noise


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(("kernel", "up", "down"), [(3, 1, 1), (3, 2, 1), (3, 1, 2), (1, 1, 1)])
@pytest.mark.parametrize("noisy", [True, False])
def test_modulated_conv2d_equals_loops(device, fused, demodulate, kernel, up, down, noisy):
    torch.manual_seed(2)
    x, weight = torch.randn(3, 4, 6, 8).double(), torch.randn(5, 4, kernel, kernel).double()
    styles = torch.randn(3, 4).double()
    size = [6 * up // down, 8 * up // down]
    noise = torch.randn(3, 1, *size).double() if noisy else None
    options = {"up": up, "down": down, "padding": kernel // 2, "flip_weight": False}
    found = modulated_conv2d(
        x.to(device),
        weight.to(device),
        styles.to(device),
        noise=None if noise is None else noise.to(device),
        resample_filter=FIR.to(device),
        demodulate=demodulate,
        fused=fused,
        **options,
    )
    expected = modulated_by_loops(x, weight, styles, noise, demodulate, f=FIR, **options)
    assert found.shape == (3, 5, *size)
    assert found.device == device
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(("kernel", "options"), [(3, {}), (3, {"up": 2}), (3, {"down": 2}), (1, {})])
def test_modulated_conv2d_gradients(device, choice, fused, demodulate, kernel, options):
    torch.manual_seed(3)
    shapes = [2, 2, 4, 4], [2, 2, kernel, kernel], [2, 2], []
    *inputs, noise = (torch.randn(shape).to(device, torch.float64).requires_grad_() for shape in shapes)
    f = FIR.to(device)

    def run(x, weight, styles, noise):
        return modulated_conv2d(
            x,
            weight,
            styles,
            noise=noise,
            padding=kernel // 2,
            resample_filter=f,
            demodulate=demodulate,
            fused=fused,
            **options,
        )

    with use_implementation(choice):
        assert torch.autograd.gradcheck(run, (*inputs, noise), fast_mode=True, nondet_tol=NONDETERMINISM)
        assert torch.autograd.gradgradcheck(run, (*inputs, noise), fast_mode=True, nondet_tol=NONDETERMINISM)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_modulated_conv2d_in_16_bits(device, fused, dtype):
    """Styles and weights whose products would overflow float16 still give the result of float32."""
    torch.manual_seed(4)
    x, weight, styles = (torch.randn(shape).to(device) for shape in ([2, 16, 8, 8], [8, 16, 3, 3], [2, 16]))
    weight, styles = weight * 300, styles * 300
    found = modulated_conv2d(x.to(dtype), weight, styles, padding=1, fused=fused)
    assert found.dtype == dtype
    expected = modulated_conv2d(x, weight, styles, padding=1, fused=fused)
    error = (found.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 8 * torch.finfo(dtype).eps


def test_modulated_conv2d_names_mismatches():
    with pytest.raises(ValueError, match="do not match"):
        modulated_conv2d(torch.ones(2, 3, 4, 4), torch.ones(5, 3, 3, 3), torch.ones(1, 3))
