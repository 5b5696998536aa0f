"""Spherical interpolation (Shoemake 1985)."""

import torch
import torch.nn.functional as F


def slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Directions on the great circles from `a` to `b`.

    Args:
        a: [..., D], of any length but 0.
        b: as `a`. Opposite to it no circle is defined, and some direction comes out.
        t: [..., 1], 0 at `a` and 1 at `b`.

    Returns:
        Unit vectors [..., D].
    """
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    cosine = (a * b).sum(dim=-1, keepdim=True)
    orthogonal = F.normalize(b - cosine * a, dim=-1)
    angle = t * cosine.clamp(-1, 1).arccos()
    return F.normalize(a * angle.cos() + orthogonal * angle.sin(), dim=-1)
