"""Schedules and constants of the projection in StyleGAN2 (Karras et al. 2020, appendix D)."""

import math
from dataclasses import dataclass

SPACES = ("w", "w+")
NOISE_INITS = ("network", "random")


@dataclass(frozen=True)
class Schedule:
    """Learning rate and latent noise over the progress t in [0, 1) of the optimisation.

    Attributes:
        learning_rate: Adam's rate at its highest.
        ramp_up, ramp_down: shares of the run in which it grows linearly from 0 and falls to 0 as a cosine.
        noise_factor: standard deviation of the noise added to w at t = 0, relative to that of W.
        noise_length: the share of the run after which no noise is added; it falls as a square.
        noise_weight: weight of the noise maps' regularisation.
    """

    learning_rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    noise_factor: float = 0.05
    noise_length: float = 0.75
    noise_weight: float = 1e5

    def rate(self, t: float) -> float:
        """Adam's learning rate at progress t."""
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / self.ramp_down))
        return self.learning_rate * down * min(1.0, t / self.ramp_up)

    def latent_noise(self, t: float, w_std: float) -> float:
        """Standard deviation of the noise added to w at progress t; `w_std` is that of W."""
        return w_std * self.noise_factor * max(0.0, 1.0 - t / self.noise_length) ** 2
