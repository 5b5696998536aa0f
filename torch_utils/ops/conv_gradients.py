"""Convolutions whose gradients of any order are convolutions with small kernels.

PyTorch differentiates the gradient of a convolution by convolving with kernels of the size of the image, for which
cuDNN has nothing fast: two thirds of the time of R1 at 64 x 64 on an H200 (docs/results/gpu.md). But a convolution
y(x, w), its gradient in the input dx(g, w) and its gradient in the weights dw(g, x) are linear in both arguments, and
the gradients of each are the other two:

    y  = y(x, w):    dx(g, w), dw(g, x)
    dx = dx(g, w):   y(v, w),  dw(g, v)      with v for the gradient with respect to dx
    dw = dw(g, x):   y(x, v),  dx(g, v)      with v for the gradient with respect to dw

A transposed convolution is dx by itself.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F


class Geometry(NamedTuple):
    """Options of `torch.nn.functional.conv2d`, the same along both axes but for the padding."""

    stride: int
    padding: tuple[int, int]
    groups: int


def pays(x: torch.Tensor) -> bool:
    """Whether these gradients are worth it: the CPU's are as fast, and a compiler loses those of a `Function`."""
    return x.device.type == "cuda" and not torch.compiler.is_compiling()


def conv2d(x: torch.Tensor, w: torch.Tensor, *, stride: int, padding: tuple[int, int], groups: int) -> torch.Tensor:
    """`torch.nn.functional.conv2d` of x [N, I, H, W] and w [O, I // groups, KH, KW]."""
    if not pays(x):
        return F.conv2d(x, w, stride=stride, padding=padding, groups=groups)
    # Aliases, as `wanted` cannot ask about leaves; a view would lose the layout of a single channel.
    return _Convolution.apply(x[...], w[...], Geometry(stride, padding, groups))


def conv_transpose2d(
    x: torch.Tensor, w: torch.Tensor, *, stride: int, padding: tuple[int, int], groups: int
) -> torch.Tensor:
    """`torch.nn.functional.conv_transpose2d` of x [N, I, H, W] and w [I, O // groups, KH, KW]."""
    if not pays(x):
        return F.conv_transpose2d(x, w, stride=stride, padding=padding, groups=groups)
    return _InputGradient.apply(x[...], w[...], (0, 0), Geometry(stride, padding, groups))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        return F.conv2d(x, w, stride=geometry.stride, padding=geometry.padding, groups=geometry.groups)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        x, w = ctx.saved_tensors
        dx = dw = None
        if wanted(ctx, 0):
            dx = _InputGradient.apply(grad, w, _skipped(x, w, ctx.geometry), ctx.geometry)
        if wanted(ctx, 1):
            dw = _WeightGradient.apply(grad, x, w.detach(), ctx.geometry)
        return dx, dw, None


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, w: torch.Tensor, skipped: tuple[int, int], geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(grad, w)
        ctx.geometry = geometry
        return F.conv_transpose2d(
            grad, w, stride=geometry.stride, padding=geometry.padding, output_padding=skipped, groups=geometry.groups
        )

    @staticmethod
    def backward(ctx: Any, direction: torch.Tensor) -> tuple:
        grad, w = ctx.saved_tensors
        dgrad = _Convolution.apply(direction, w, ctx.geometry) if wanted(ctx, 0) else None
        dw = None
        if wanted(ctx, 1):
            dw = _WeightGradient.apply(grad, direction, w.detach(), ctx.geometry)
        return dgrad, dw, None, None


class _WeightGradient(torch.autograd.Function):
    """`like` has the shape of the result; its values do not matter."""

    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, x: torch.Tensor, like: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        ctx.save_for_backward(grad, x)
        ctx.geometry = geometry
        _, dw, _ = torch.ops.aten.convolution_backward(
            grad, x, like, None, [geometry.stride] * 2, geometry.padding, [1, 1],
            False, [0, 0], geometry.groups, [False, True, False],
        )  # fmt: skip
        return dw

    @staticmethod
    def backward(ctx: Any, direction: torch.Tensor) -> tuple:
        grad, x = ctx.saved_tensors
        dgrad = _Convolution.apply(x, direction, ctx.geometry) if wanted(ctx, 0) else None
        dx = None
        if wanted(ctx, 1):
            dx = _InputGradient.apply(grad, direction, _skipped(x, direction, ctx.geometry), ctx.geometry)
        return dgrad, dx, None, None


def wanted(ctx: Any, argument: int) -> bool:
    """Whether this run of the backward pass uses the gradient of a tensor argument; of a leaf it always does.

    `needs_input_grad` is true for the weights also where a gradient is asked for in the images alone, as R1 does.
    """
    node = ctx.next_functions[argument][0]
    return node is not None and (_is_leaf(node) or torch._C._will_engine_execute_node(node))


def _is_leaf(node: torch.autograd.graph.Node) -> bool:
    """Whether a node stores gradients; where gradients are returned, PyTorch does not tell of these."""
    return hasattr(node, "variable")


def _skipped(x: torch.Tensor, w: torch.Tensor, geometry: Geometry) -> tuple[int, int]:
    """Rows and columns at the end of x that no result sees, as the stride passes over them."""
    rows, columns = (
        (size + 2 * padding - kernel) % geometry.stride
        for size, padding, kernel in zip(x.shape[2:], geometry.padding, w.shape[2:], strict=True)
    )
    return rows, columns
