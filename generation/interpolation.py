"""Smooth paths through latents: the frames of an interpolation video."""

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from dnnlib import UserError


def path_through(keys: torch.Tensor, frames_per_key: int, *, loop: bool, curve: str, on_sphere: bool) -> torch.Tensor:
    """Points on a curve through `keys`, which are met exactly.

    Args:
        keys: [K, ...] float tensor of any shape, K at least 2.
        frames_per_key: steps from one key to the next.
        loop: whether to return to the first key; its second visit is left out, so that the video repeats without a
            stop.
        curve: "cubic" for a spline with continuous second derivative, "linear" for straight pieces.
        on_sphere: for latents z: linear pieces become great circles (slerp; Shoemake 1985), as the mapping network
            normalises z and straight lines would hurry in the middle.

    Returns: [F, ...] float32 with F = K * frames_per_key for a loop, else (K - 1) * frames_per_key + 1.

    Raises:
        UserError: fewer than two keys.
    """
    if len(keys) < 2:
        raise UserError("a video needs at least two pictures to go between; give more --seeds or --projected-w")
    points = keys.to(torch.float64).numpy()
    if loop:
        points = np.concatenate([points, points[:1]])
    pieces = len(points) - 1
    times = np.arange(pieces * frames_per_key + (not loop)) / frames_per_key
    if curve == "cubic":
        path = CubicSpline(np.arange(len(points)), points, bc_type="periodic" if loop else "natural")(times)
    else:
        start = np.minimum(times.astype(int), pieces - 1)
        fraction = (times - start).reshape(-1, *[1] * (points.ndim - 1))
        between = _slerp if on_sphere else _lerp
        path = between(points[start], points[start + 1], fraction)
    return torch.from_numpy(path).to(torch.float32)


def _lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + (b - a) * t


def _slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Along the great circle between the directions of a and b (last axis), with lengths interpolated linearly."""
    length_a, length_b = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    cosine = ((a / length_a) * (b / length_b)).sum(axis=-1, keepdims=True).clip(-1, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    small = sine < 1e-6  # the same or opposite directions: no circle is defined, or none is needed
    safe = np.where(small, 1, sine)
    weight_a = np.where(small, 1 - t, np.sin((1 - t) * angle) / safe)
    weight_b = np.where(small, t, np.sin(t * angle) / safe)
    return (weight_a * a / length_a + weight_b * b / length_b) * _lerp(length_a, length_b, t)
