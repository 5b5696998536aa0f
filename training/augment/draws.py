"""The random quantities of the augmentation: random, or all at one given percentile."""

import math

import torch


class Draws:
    """Random quantities for `num` images, and the decision which images a transform applies to.

    With a `percentile` nothing is random: uniform quantities take that value, normal ones erfinv(2 percentile - 1), and
    every transform applies to every image. (That is the percentile of a normal distribution of standard deviation
    1/sqrt(2); it is the convention of the published percentiles to compare with.)

    Args:
        num: Images in the batch.
        device: Where to draw, with the device's default generator.
        p: Overall probability, 0-dimensional float32.
        percentile: None for random draws, else from 0 to 1.
    """

    def __init__(self, num: int, device: torch.device, p: torch.Tensor, percentile: float | None = None) -> None:
        self.num = num
        self.device = device
        self.p = p
        self.percentile = percentile

    def uniform(self, *shape: int) -> torch.Tensor:
        """[num, *shape] from [0, 1)."""
        if self.percentile is None:
            return torch.rand([self.num, *shape], device=self.device)
        return torch.full([self.num, *shape], float(self.percentile), device=self.device)

    def normal(self, *shape: int) -> torch.Tensor:
        """[num, *shape] from N(0, 1)."""
        if self.percentile is None:
            return torch.randn([self.num, *shape], device=self.device)
        return torch.erfinv(self.uniform(*shape) * 2 - 1)

    def half_normal(self, *shape: int) -> torch.Tensor:
        """[num, *shape] from |N(0, 1)|."""
        if self.percentile is None:
            return self.normal(*shape).abs()
        return torch.erfinv(self.uniform(*shape))

    def angle(self) -> torch.Tensor:
        """[num] from [-pi, pi)."""
        return (self.uniform() * 2 - 1) * math.pi

    def choice(self, count: int) -> torch.Tensor:
        """[num] whole numbers as float, 0 to count - 1."""
        return (self.uniform() * count).floor()

    def apply(self, strength: float | torch.Tensor, value: torch.Tensor, identity: float) -> torch.Tensor:
        """`value` [num, ...] for images that the transform applies to (probability strength * p), else `identity`."""
        return self.apply_with(self.p * strength, value, identity)

    def apply_with(self, probability: torch.Tensor, value: torch.Tensor, identity: float) -> torch.Tensor:
        """As `apply`, with the probability itself."""
        if self.percentile is not None:
            return value
        chosen = torch.rand([self.num] + [1] * (value.ndim - 1), device=self.device) < probability
        return torch.where(chosen, value, identity)
