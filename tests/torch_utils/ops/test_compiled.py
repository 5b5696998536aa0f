"""The operators inside a compiled region that differentiates twice, as R1 and path length do."""

import pytest
import torch
import torch._dynamo
import torch.nn.functional as F

from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d


@pytest.mark.skipif(
    not hasattr(torch._dynamo.config, "trace_autograd_ops"), reason="this PyTorch compiles no call of autograd.grad"
)
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_gradients_of_gradients_are_not_lost(act):
    taps = setup_filter([1, 3, 3, 1])

    def penalty_gradient(x, w):
        x = x.detach().requires_grad_()
        y = bias_act(F.conv2d(upfirdn2d(x, taps, padding=(2, 1, 2, 1)), w), act=act, clamp=1.0)
        y = bias_act(F.conv2d(upfirdn2d(y, taps, down=2), w), act=act)
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), w)[0]

    torch.manual_seed(0)
    x, w = torch.randn(2, 4, 16, 16), torch.randn(4, 4, 3, 3).requires_grad_()
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        # Without code generation, which takes a minute and is not what could lose them.
        found = torch.compile(penalty_gradient, fullgraph=True, backend="aot_eager")(x, w)
    torch.testing.assert_close(found, penalty_gradient(x, w), rtol=1e-5, atol=1e-5)
