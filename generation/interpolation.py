"""Smooth paths through latents: the frames of an interpolation video."""

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from dnnlib import UserError
from torch_utils.slerp import slerp


def path_through(keys: torch.Tensor, frames_per_key: int, *, loop: bool, curve: str, on_sphere: bool) -> torch.Tensor:
    """Points on a curve through `keys`, which are met exactly.

    Args:
        keys: [K, ...] float tensor of any shape, K at least 2.
        frames_per_key: steps from one key to the next.
        loop: whether to return to the first key; its second visit is left out, so that the video repeats without a
            stop.
        curve: "cubic" for a spline with continuous second derivative, "linear" for straight pieces.
        on_sphere: for latents z: linear pieces become great circles, with lengths interpolated linearly, as the mapping
            network normalises z and straight lines would hurry in the middle.

    Returns: [F, ...] float32 with F = K * frames_per_key for a loop, else (K - 1) * frames_per_key + 1.

    Raises:
        UserError: fewer than two keys.
    """
    if len(keys) < 2:
        raise UserError("a video needs at least two pictures to go between; give more `seeds` or `projected_w`")
    points = keys.double()
    if loop:
        points = torch.cat([points, points[:1]])
    pieces = len(points) - 1
    times = np.arange(pieces * frames_per_key + (not loop)) / frames_per_key
    if curve == "cubic":
        path = CubicSpline(np.arange(len(points)), points.numpy(), bc_type="periodic" if loop else "natural")(times)
        return torch.from_numpy(path).float()
    start = np.minimum(times.astype(int), pieces - 1)
    fraction = torch.from_numpy(times - start).reshape(-1, *[1] * (points.ndim - 1))
    a, b = points[start], points[start + 1]
    if on_sphere:
        return (slerp(a, b, fraction) * torch.lerp(_length(a), _length(b), fraction)).float()
    return torch.lerp(a, b, fraction).float()


def _length(x: torch.Tensor) -> torch.Tensor:
    return x.norm(dim=-1, keepdim=True)
