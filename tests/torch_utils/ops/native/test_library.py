"""The registered operators: opcheck, torch.compile and torch.export, on each device.

Their numerical derivatives are in test_upfirdn2d.py and test_bias_act.py, as those of the other paths.
"""

from contextvars import ContextVar

import pytest
import torch

from torch_utils.ops import use_implementation
from torch_utils.ops.activation import activations
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.upfirdn2d import downsample2d, setup_filter, upsample2d

LAYOUTS = (torch.contiguous_format, torch.channels_last)
operators = torch.ops.rooted_ops
_variable = ContextVar("of_a_test", default=1)


def images(device, layout, requires_grad):
    torch.manual_seed(0)
    return torch.randn(2, 8, 7, 9).to(device).contiguous(memory_format=layout).requires_grad_(requires_grad)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck_upfirdn2d(device, layout, requires_grad, dtype):
    x, f = images(device, layout, False).to(dtype).requires_grad_(requires_grad), torch.randn(3, 4).to(device)
    arguments = (x, f, [2, 1], [1, 2], [2, 1, 3, -1], False, 1.5)
    torch.library.opcheck(operators.upfirdn2d.default, arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish", "softplus"])
def test_opcheck_bias_act(device, layout, requires_grad, biased, act):
    x, grad, direction = (images(device, layout, requires_grad) for _ in range(3))
    b = torch.randn(8).to(device).requires_grad_(requires_grad) if biased else None
    options = (1, act, activations[act].def_alpha, 1.4, 0.5)
    torch.library.opcheck(operators.bias_act.default, (x, b, *options))
    torch.library.opcheck(operators.bias_act_slope.default, (grad, x, b, *options))
    torch.library.opcheck(operators.bias_act_curve.default, (grad, direction, x, b, *options))


def network(x, b):
    f = setup_filter([1, 3, 3, 1], device=x.device)
    return downsample2d(bias_act(upsample2d(x, f), b, act="lrelu", clamp=1.0), f)


def needs_context_variables_in_graphs():
    try:
        torch.compile(lambda x: x * _variable.get(), fullgraph=True, backend="eager")(torch.ones(1))
    except Exception:  # of a class that is private
        pytest.skip("torch.compile of this PyTorch cannot read a ContextVar, which chooses the implementation")


@pytest.mark.parametrize("choice", ["native", "torch"])
def test_compile_without_graph_breaks(device, choice):
    needs_context_variables_in_graphs()
    x = torch.randn(2, 8, 6, 6).to(device).requires_grad_()
    b = torch.randn(8).to(device).requires_grad_()
    with use_implementation(choice):
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        found, expected = compiled(x, b), network(x, b)
        torch.testing.assert_close(found, expected)
        for a, e in zip(*(torch.autograd.grad(y.square().sum(), [x, b]) for y in (found, expected)), strict=True):
            torch.testing.assert_close(a, e)


@pytest.mark.parametrize("choice", ["native", "torch"])
def test_export(device, choice):
    class Module(torch.nn.Module):
        def forward(self, x, b):
            return network(x, b)

    x, b = torch.randn(2, 8, 6, 6, device=device), torch.randn(8, device=device)
    batch = torch.export.Dim("batch", min=2, max=64)
    with use_implementation(choice):
        exported = torch.export.export(Module(), (x, b), dynamic_shapes=({0: batch}, None))
    names = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert ("rooted_ops.upfirdn2d.default" in names) == (choice == "native")
    more = torch.randn(5, 8, 6, 6, device=device)
    torch.testing.assert_close(exported.module()(more, b), network(more, b))
