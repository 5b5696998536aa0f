"""upfirdn2d against loops over its definition, the reference numbers, and numerical derivatives, on each device."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_utils.ops import upfirdn2d_torch, use_implementation
from torch_utils.ops.upfirdn2d import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

relaxed = settings(max_examples=60, derandomize=True)


def by_loops(x, f, up, down, padding, flip_filter, gain):
    """The four steps as they are described, one pixel at a time."""
    (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1) = up, down, padding
    batch, channels, height, width = x.shape
    spread = np.zeros([batch, channels, height * up_y, width * up_x])
    spread[:, :, ::up_y, ::up_x] = x
    padded = np.pad(spread, [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))])
    padded = padded[:, :, max(-y0, 0) : padded.shape[2] - max(-y1, 0), max(-x0, 0) : padded.shape[3] - max(-x1, 0)]
    kernel = f if flip_filter else f[::-1, ::-1]
    rows, columns = kernel.shape
    result = np.zeros([batch, channels, padded.shape[2] - rows + 1, padded.shape[3] - columns + 1])
    for i in range(result.shape[2]):
        for j in range(result.shape[3]):
            result[:, :, i, j] = (padded[:, :, i : i + rows, j : j + columns] * kernel).sum((2, 3)) * gain
    return result[:, :, ::down_y, ::down_x]


factors = st.tuples(st.integers(1, 4), st.integers(1, 4))


def options(*gains):
    return st.fixed_dictionaries(
        {
            "up": factors,
            "down": factors,
            "padding": st.tuples(*[st.integers(-2, 6)] * 4),
            "flip_filter": st.booleans(),
            "gain": st.sampled_from(gains),
        }
    )


@relaxed
@given(
    options=options(1.0, 4.0, -0.25),
    taps=st.integers(1, 12),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
@pytest.mark.parametrize("choice", ["torch", "native"])
def test_one_dimension_equals_two(device, choice, options, taps, size):
    """Images of few channels take blocks of banded matrices on the CPU, filters of two dimensions never do."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, *size, dtype=torch.float64, generator=generator).to(device)
    f = torch.randn(taps, dtype=torch.float64, generator=generator).to(device)
    if choice == "native":
        f = (f * 4).round()  # the operator's taps are float32: here they are exact, and so are their products
    with use_implementation(choice):
        try:
            expected = upfirdn2d(x, torch.outer(f, f), **options)
        except ValueError:
            return  # nothing is left of the image
        found = upfirdn2d(x, f, **options)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@relaxed
@given(
    options=options(1.0, 4.0, -0.3),
    taps=st.one_of(st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 12))),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    channels=st.sampled_from([1, 5]),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("choice", ["torch", "native"])
def test_equals_loops(device, choice, options, taps, size, layout, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, channels, *size, dtype=torch.float64, generator=generator).contiguous(memory_format=layout)
    f = torch.randn(taps, generator=generator)
    # float32 taps, gain included, are what the operator promises for float64 images as well.
    root = abs(options["gain"]) ** (f.ndim / 2)
    scaled = (f * root).double()
    square = (torch.outer(scaled, scaled) if f.ndim == 1 else scaled).numpy()
    sign = 1 if options["gain"] > 0 else -1
    (up_x, up_y), (x0, x1, y0, y1) = options["up"], options["padding"]
    if size[0] * up_y + y0 + y1 < square.shape[0] or size[1] * up_x + x0 + x1 < square.shape[1]:
        with use_implementation(choice), pytest.raises(ValueError, match="nothing is left"):
            upfirdn2d(x.to(device), f.to(device), **options)
        return
    expected = by_loops(x.numpy(), square, **{**options, "gain": sign})
    with use_implementation(choice):
        found = upfirdn2d(x.to(device), f.to(device), **options)
    assert found.device == device
    np.testing.assert_allclose(found.cpu().numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_equals_reference_numbers(fixtures_dir, device, choice, requires_grad):
    numbers = np.load(fixtures_dir / "ops_basic.npz")
    for case in json.loads(bytes(numbers["upfirdn_cases_json"])):
        x, f, y = (torch.from_numpy(numbers[f"upfirdn{case['i']}.{name}"]).to(device) for name in "xfy")
        with use_implementation(choice):
            found = upfirdn2d(
                x.requires_grad_(requires_grad),
                f if f.numel() else None,
                up=case["up"],
                down=case["down"],
                padding=case["padding"],
                flip_filter=case["flip"],
                gain=case["gain"],
            )
        torch.testing.assert_close(found.detach(), y, rtol=1e-10, atol=1e-10)


GRADIENT_CASES = [
    {"up": 1, "down": 1, "padding": (2, 1)},
    {"up": 2, "down": 1, "padding": (2, 1, 2, 1), "gain": 4},
    {"up": 1, "down": 2, "padding": (1, 1, 1, 1), "flip_filter": True},
    {"up": (2, 3), "down": (3, 1), "padding": (-1, 4, 3, -2), "gain": -0.5},
]


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("options", GRADIENT_CASES)
@pytest.mark.parametrize("f", [torch.tensor([[1.0, 2, 0], [3, 5, 7]]), torch.tensor([1.0, 3, 3, 1]) / 8])
def test_gradients(device, choice, options, f):
    f = f.to(device)
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64).to(device).requires_grad_()
    with use_implementation(choice):
        run = lambda x: upfirdn2d(x, f, **options)  # noqa: E731
        assert torch.autograd.gradcheck(run, x)
        assert torch.autograd.gradgradcheck(run, x)


def test_gradients_of_any_order(device):
    """The gradient of |A x|^2 / 2 is A'A x; taking it again and again gives (A'A)^(2^n - 1) x."""
    x = torch.randn(1, 1, 4, 5, dtype=torch.float64).to(device).requires_grad_()
    f = torch.tensor([[1.0, 2], [3, 4]], device=device) / 10
    run = lambda x: upfirdn2d(x, f, up=2, padding=1)  # noqa: E731
    y = run(x)
    for _ in range(4):
        (y,) = torch.autograd.grad(y.square().sum() / 2, x, create_graph=True)
    columns = torch.stack([run(e.reshape(1, 1, 4, 5)).flatten() for e in torch.eye(20).to(x)], dim=1)
    expected = torch.linalg.matrix_power(columns.t() @ columns, 8) @ x.flatten()
    torch.testing.assert_close(y.flatten(), expected)


def test_the_filter_can_be_learned(device):
    f = torch.randn(3, 4, dtype=torch.float64).to(device).requires_grad_()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64).to(device).requires_grad_()
    run = lambda x, f: upfirdn2d(x, f, up=2, down=(1, 2), padding=3, gain=1.5)  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, f), nondet_tol=1e-10)
    with use_implementation("native"):
        assert torch.autograd.grad(run(x, f).sum(), f)[0].abs().max() > 0


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize(("few_channels", "separable"), [(0, False), (0, True), (8, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dtypes_and_layouts(monkeypatch, device, choice, few_channels, separable, dtype, layout):
    monkeypatch.setattr(upfirdn2d_torch, "FEW_CHANNELS", few_channels)
    x = torch.randn(2, 8, 9, 10).to(device)
    f = setup_filter([1, 3, 3, 1], separable=separable, device=device)
    for operator in (upsample2d, downsample2d, filter2d):
        with use_implementation("torch"):
            expected = operator(x.double(), f)
        with use_implementation(choice):
            found = operator(x.to(dtype).contiguous(memory_format=layout), f)
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=layout)
        tolerance = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance * float(x.abs().max()))


@pytest.mark.parametrize("f", [None, setup_filter([1, 3, 3, 1]), setup_filter(range(1, 13)), setup_filter([1, 1])])
def test_helpers_keep_the_level_and_give_the_expected_size(device, f):
    x, f = torch.ones(1, 3, 12, 14, device=device), None if f is None else f.to(device)
    up, down, same = upsample2d(x, f, up=(2, 3)), downsample2d(x, f, down=(2, 3)), filter2d(x, f)
    assert up.shape == (1, 3, 36, 28)
    assert down.shape == (1, 3, 4, 7)
    assert same.shape == x.shape
    if f is not None:
        # Away from the border, where zeros come in, a constant stays what it is.
        centre = same[:, :, 6:-5, 6:-5]
        torch.testing.assert_close(centre, torch.ones_like(centre))


def test_enlargement_keeps_the_level(device):
    y = upsample2d(torch.ones(1, 1, 8, 8, device=device), setup_filter([1, 3, 3, 1], device=device))
    torch.testing.assert_close(y[:, :, 1:-1, 1:-1], torch.ones(1, 1, 14, 14, device=device))


def test_setup_filter():
    square = setup_filter([1, 3, 3, 1])
    torch.testing.assert_close(square, torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64)
    assert setup_filter(range(1, 9)).shape == (8,)
    assert setup_filter(range(1, 8)).shape == (7, 7)
    assert setup_filter([1, 2], separable=True).shape == (2,)
    assert float(setup_filter([1, 2, 5], gain=4).sum()) == pytest.approx(4)
    assert float(setup_filter(range(1, 9), gain=4).sum()) == pytest.approx(2)
    assert setup_filter([[1, 2], [3, 4]], normalize=False, flip_filter=True).tolist() == [[4, 3], [2, 1]]
    assert setup_filter(None).tolist() == [[1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: upfirdn2d(x[0], None), "N, C, H, W"),
        (lambda x: upfirdn2d(x.int(), None), "floating-point"),
        (lambda x: upfirdn2d(x, torch.ones(1, 1, 1)), "filter of shape"),
        (lambda x: upfirdn2d(x, None, up=0), "up must be at least 1"),
        (lambda x: upfirdn2d(x, None, padding=[1, 2, 3]), "one, two or four"),
        (lambda x: upfirdn2d(x, torch.ones(9, 9)), "nothing is left"),
        (lambda x: setup_filter([]), "at least one tap"),
        (lambda x: setup_filter([[1.0]], separable=True), "one dimension"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(1, 1, 4, 4))
