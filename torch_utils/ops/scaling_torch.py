"""Factors and sums per image and channel as PyTorch expressions, and their gradients with any other implementation.

The scaled images y(x, s) and the sums of products p(a, b) over pixels are linear in both arguments, and the gradients
of each are the two again, to any order:

    y = y(x, s):    y(g, s), p(g, x)      with g for the gradient with respect to y
    p = p(a, b):    y(b, v), y(a, v)      with v for the gradient with respect to p
"""

from typing import Any, Protocol

import torch

from torch_utils.ops.conv_gradients import wanted
from torch_utils.ops.layout import dense_layout


class Kernels(Protocol):
    """What computes the two; the arguments are those of the functions below."""

    def scale(self, x: torch.Tensor, s: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor: ...  # noqa: D102
    def products(self, a: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor: ...  # noqa: D102


def scale(x: torch.Tensor, s: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
    """The expression for x [N, C, H, W] * s [N, C] + noise, all in the dtype of x."""
    factors = s.to(x.dtype)[:, :, None, None]
    return x * factors if noise is None else torch.addcmul(noise.to(x.dtype), x, factors)


def products(a: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
    """The expression for the sum over pixels of a * b, or of a, in float32 or wider."""
    wide = torch.promote_types(a.dtype, torch.float32)
    return a.sum([2, 3], dtype=wide) if b is None else (a.to(wide) * b.to(wide)).sum([2, 3])


def differentiable_scale(
    x: torch.Tensor, s: torch.Tensor, noise: torch.Tensor | None, kernels: Kernels
) -> torch.Tensor:
    """`scale` by `kernels`; noise is [N or 1, 1, H, W]."""
    return _Scaled.apply(x[...], s[...], None if noise is None else noise[...], kernels)


def differentiable_products(a: torch.Tensor, b: torch.Tensor | None, kernels: Kernels) -> torch.Tensor:
    """`products` by `kernels`."""
    return _Products.apply(a[...], None if b is None else b[...], kernels)


def channel_sums(x: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """Sum of x [N, C, H, W] over images and pixels [C], in the dtype of x."""
    if dense_layout(x) == torch.channels_last:  # all images as the rows of one, without a second step over images
        x = x.permute(0, 2, 3, 1).flatten(0, 1)[None].permute(0, 3, 1, 2)
    return differentiable_products(x, None, kernels).sum(0).to(x.dtype)


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, s: torch.Tensor, noise: torch.Tensor | None, kernels: Kernels
    ) -> torch.Tensor:
        ctx.save_for_backward(x, s)
        ctx.kernels = kernels
        ctx.noise = None if noise is None else (len(noise), noise.dtype)
        return kernels.scale(x, s, noise)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        x, s = ctx.saved_tensors
        dx = _Scaled.apply(grad, s, None, ctx.kernels) if wanted(ctx, 0) else None
        ds = _Products.apply(grad, x, ctx.kernels).to(s.dtype) if wanted(ctx, 1) else None
        dnoise = None
        if ctx.noise is not None and wanted(ctx, 2):
            images, dtype = ctx.noise
            dnoise = grad.sum([1] if images == len(grad) else [0, 1], keepdim=True, dtype=dtype)
        return dx, ds, dnoise, None


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor | None, kernels: Kernels) -> torch.Tensor:
        ctx.kernels = kernels
        if b is None:
            ctx.summed = a.shape, a.dtype
        else:
            ctx.save_for_backward(a, b)
        return kernels.products(a, b)

    @staticmethod
    def backward(ctx: Any, direction: torch.Tensor) -> tuple:
        if not ctx.saved_tensors:
            shape, dtype = ctx.summed
            return direction.to(dtype)[:, :, None, None].expand(shape), None, None
        a, b = ctx.saved_tensors
        da = _Scaled.apply(b, direction, None, ctx.kernels) if wanted(ctx, 0) else None
        db = _Scaled.apply(a, direction, None, ctx.kernels) if wanted(ctx, 1) else None
        return da, db, None
