"""The registered operators: opcheck, numerical derivatives, torch.compile and torch.export."""

import pytest
import torch

from torch_utils.ops import use_implementation
from torch_utils.ops.activation import activations
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.upfirdn2d import downsample2d, setup_filter, upsample2d

LAYOUTS = (torch.contiguous_format, torch.channels_last)
operators = torch.ops.rooted_ops


def images(layout, requires_grad):
    torch.manual_seed(0)
    return torch.randn(2, 8, 7, 9).contiguous(memory_format=layout).requires_grad_(requires_grad)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [True, False])
def test_opcheck_upfirdn2d(layout, requires_grad):
    arguments = (images(layout, requires_grad), torch.randn(3, 4), [2, 1], [1, 2], [2, 1, 3, -1], False, 1.5)
    torch.library.opcheck(operators.upfirdn2d.default, arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish", "softplus"])
def test_opcheck_bias_act(layout, requires_grad, biased, act):
    x, grad, direction = (images(layout, requires_grad) for _ in range(3))
    b = torch.randn(8).requires_grad_(requires_grad) if biased else None
    options = (1, act, activations[act].def_alpha, 1.4, 0.5)
    torch.library.opcheck(operators.bias_act.default, (x, b, *options))
    torch.library.opcheck(operators.bias_act_slope.default, (grad, x, b, *options))
    torch.library.opcheck(operators.bias_act_curve.default, (grad, direction, x, b, *options))


def network(x, b):
    f = setup_filter([1, 3, 3, 1])
    return downsample2d(bias_act(upsample2d(x, f), b, act="lrelu", clamp=1.0), f)


@pytest.mark.parametrize("choice", ["native", "torch"])
def test_compile_without_graph_breaks(choice):
    x, b = torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(8, requires_grad=True)
    with use_implementation(choice):
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        found, expected = compiled(x, b), network(x, b)
        torch.testing.assert_close(found, expected)
        for a, e in zip(*(torch.autograd.grad(y.square().sum(), [x, b]) for y in (found, expected)), strict=True):
            torch.testing.assert_close(a, e)


@pytest.mark.parametrize("choice", ["native", "torch"])
def test_export(choice):
    class Module(torch.nn.Module):
        def forward(self, x, b):
            return network(x, b)

    x, b = torch.randn(2, 8, 6, 6), torch.randn(8)
    batch = torch.export.Dim("batch", min=2, max=64)
    with use_implementation(choice):
        exported = torch.export.export(Module(), (x, b), dynamic_shapes=({0: batch}, None))
    names = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert ("rooted_ops.upfirdn2d.default" in names) == (choice == "native")
    more = torch.randn(5, 8, 6, 6)
    torch.testing.assert_close(exported.module()(more, b), network(more, b))
