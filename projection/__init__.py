"""Projection: the latents whose generated image comes closest to a given picture (W, W+, pivotal tuning)."""

from projection.distance import load_distance
from projection.optimization import ProjectionResult, Step, project

__all__ = ["ProjectionResult", "Step", "load_distance", "project"]
