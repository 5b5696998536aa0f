"""bias_act against its definition in NumPy, the reference numbers, and numerical derivatives, on each device."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_utils.ops import use_implementation
from torch_utils.ops.bias_act import activations, bias_act

relaxed = settings(max_examples=25, derandomize=True)
BY_DEFINITION = {
    "linear": lambda v, alpha: v,
    "relu": lambda v, alpha: max(v, 0),
    "lrelu": lambda v, alpha: v if v > 0 else alpha * v,
    "tanh": lambda v, alpha: math.tanh(v),
    "sigmoid": lambda v, alpha: 1 / (1 + math.exp(-v)),
    "elu": lambda v, alpha: v if v > 0 else math.exp(v) - 1,
    "selu": lambda v, alpha: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * (math.exp(v) - 1)),
    "softplus": lambda v, alpha: math.log1p(math.exp(v)),
    "swish": lambda v, alpha: v / (1 + math.exp(-v)),
}


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("act", activations)
@relaxed
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    dim=st.integers(-4, 3),
    gain=st.sampled_from([None, 1.0, 0.7, -1.3]),
    alpha=st.sampled_from([None, 0.1, -0.4]),
    clamp=st.sampled_from([None, 0.0, 0.5]),
    biased=st.booleans(),
    requires_grad=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_definition(device, choice, act, shape, dim, gain, alpha, clamp, biased, requires_grad, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    dim = dim % len(shape) - (len(shape) if dim < 0 else 0)
    b = torch.randn(shape[dim], dtype=torch.float64, generator=generator) if biased else None
    place = x.to(device, copy=True).requires_grad_(requires_grad)
    offset = b.to(device) if biased else None
    with use_implementation(choice):
        y = bias_act(place, offset, dim=dim, act=act, alpha=alpha, gain=gain, clamp=clamp)
    assert y.device == device
    y = y.detach().cpu()
    factor = {"relu": 2**0.5, "lrelu": 2**0.5, "swish": 2**0.5}.get(act, 1) if gain is None else gain
    for index in np.ndindex(*shape):
        v = float(x[index]) + (float(b[index[dim]]) if biased else 0)
        expected = factor * BY_DEFINITION[act](v, 0.2 if alpha is None else alpha)
        if clamp is not None:
            expected = min(max(expected, -clamp), clamp)
        assert float(y[index]) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("choice", ["torch", "native"])
def test_equals_reference_numbers(fixtures_dir, device, choice):
    numbers = np.load(fixtures_dir / "ops_basic.npz")
    for case in json.loads(bytes(numbers["act_cases_json"])):
        number = lambda name, i=case["i"]: torch.from_numpy(numbers[f"act{i}.{name}"]).to(device)  # noqa: E731
        x, b = number("x").requires_grad_(), number("b").requires_grad_()
        with use_implementation(choice):
            y = bias_act(x, b, act=case["act"], gain=case["gain"], clamp=case["clamp"])
        dx, db = torch.autograd.grad(y, [x, b], number("g"), create_graph=True)
        ddx = torch.zeros_like(x)
        if dx.requires_grad:
            found = torch.autograd.grad(dx.square().sum(), x, allow_unused=True)[0]
            ddx = ddx if found is None else found
        for name, value in (("y", y), ("dx", dx), ("db", db), ("ddx", ddx)):
            torch.testing.assert_close(value.detach(), number(name), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("act", activations)
@pytest.mark.parametrize(("gain", "clamp"), [(None, None), (1.3, 0.9), (-0.8, 0.9)])
def test_gradients(device, choice, act, gain, clamp):
    # Places away from the kinks (0 and the clamp), where numerical derivatives mean something.
    exact = {"dtype": torch.float64, "device": device, "requires_grad": True}
    x = torch.tensor([[-2.3, -0.41, 0.37], [0.22, 1.9, -1.1]], **exact)
    b = torch.tensor([0.05, -0.03, 0.01], **exact)
    with use_implementation(choice):
        run = lambda x, b: bias_act(x, b, act=act, gain=gain, clamp=clamp)  # noqa: E731
        assert torch.autograd.gradcheck(run, (x, b))
        assert torch.autograd.gradgradcheck(run, (x, b))
        assert torch.autograd.gradgradcheck(lambda x: bias_act(x, act=act, gain=gain, clamp=clamp), x)


@pytest.mark.parametrize("choice", ["torch", "native", "auto"])
@pytest.mark.parametrize("act", ["lrelu", "swish"])
@pytest.mark.parametrize(("shape", "dim"), [((4,), 0), ((2, 3), 0), ((2, 3, 2), -1)])
def test_gradients_of_a_bias_along_any_axis(device, choice, act, shape, dim):
    """Of one axis there is none to sum over."""
    torch.manual_seed(0)
    x, b = (torch.randn(size, dtype=torch.float64).to(device).requires_grad_() for size in (shape, shape[dim]))
    with use_implementation(choice):
        run = lambda x, b: bias_act(x, b, dim=dim, act=act)  # noqa: E731
        assert torch.autograd.gradcheck(run, (x, b))
        assert torch.autograd.gradgradcheck(run, (x, b))


@pytest.mark.parametrize("choice", ["torch", "native"])
def test_third_order_of_a_smooth_activation(device, choice):
    x = torch.randn(5, dtype=torch.float64).to(device).requires_grad_()
    with use_implementation(choice):

        def second(x):
            (first,) = torch.autograd.grad(bias_act(x, dim=0, act="swish").sum(), x, create_graph=True)
            return torch.autograd.grad(first.sum(), x, create_graph=True)[0]

        assert torch.autograd.gradcheck(second, x)


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dtypes_and_layouts(device, choice, dtype, layout):
    x = torch.randn(2, 6, 5, 4).to(device, dtype).contiguous(memory_format=layout)
    b = torch.randn(6).to(device)
    with use_implementation(choice):
        y = bias_act(x, b, act="lrelu", clamp=1.7)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=layout)
    with use_implementation("torch"):
        expected = bias_act(x.double(), b.to(dtype).double(), act="lrelu", clamp=1.7)
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("choice", ["torch", "native"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_no_gradient_through_a_bound_that_the_dtype_rounds(device, choice, dtype):
    x = torch.tensor([[5.0, -5.0, 0.1]], dtype=dtype, device=device, requires_grad=True)
    with use_implementation(choice):
        y = bias_act(x, act="linear", clamp=0.3)
    assert y.tolist()[0][0] == torch.tensor(0.3, dtype=dtype).item()
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("choice", ["torch", "native"])
def test_not_a_number_and_infinity_are_passed_on(device, choice):
    x = torch.tensor([[math.nan, math.inf, -math.inf]], device=device)
    with use_implementation(choice):
        assert bias_act(x, act="lrelu").isfinite().tolist() == [[False] * 3]
        y = bias_act(x, act="lrelu", clamp=2).tolist()[0]
    assert math.isnan(y[0])
    assert y[1:] == [2, -2]


@pytest.mark.parametrize("choice", ["torch", "native", "auto"])
def test_keeps_only_the_result_for_the_gradient(device, choice):
    """The memory of a training step depends on it."""
    saved = []
    x, b = torch.randn(4, 8, 16, 16).to(device).requires_grad_(), torch.zeros(8, device=device, requires_grad=True)
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t)
    with use_implementation(choice), hooks:
        y = bias_act(x, b, act="lrelu", clamp=256)
    assert [t.data_ptr() for t in saved] == [y.data_ptr()]


def test_default_gains():
    gains = {name: entry.def_gain for name, entry in activations.items()}
    assert gains == {**dict.fromkeys(BY_DEFINITION, 1), **dict.fromkeys(["relu", "lrelu", "swish"], 2**0.5)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"act": "gelu"}, "not 'gelu'"),
        ({"clamp": -1}, "clamp must not be negative"),
        ({"dim": 2}, "dim 2 is out of range"),
        ({"b": torch.ones(5)}, "bias has shape"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        bias_act(torch.ones(2, 3), **options)
