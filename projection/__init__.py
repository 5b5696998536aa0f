"""Projection: the latents whose generated image comes closest to a given picture (W, W+, pivotal tuning)."""
