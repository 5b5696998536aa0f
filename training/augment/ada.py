"""The controller of the augmentation probability (Karras et al. 2020, "Training GANs with Limited Data", section 3)."""

from collections.abc import Callable
from typing import Any

import torch

AllReduce = Callable[[torch.Tensor], torch.Tensor]


class AdaController:
    """Moves p so that r_t = E[sign(D(real))], the overfitting heuristic of equation 1, stays at its target.

    Every `interval` steps p rises (r_t above target) or falls by images / (kimg * 1000), where images counts those
    since the last change; so p takes `kimg` thousand images from 0 to 1. It is kept in [0, p_max] at every change and
    can turn back at once, unlike in the reference, which lets p grow beyond 1. Everything stays on the device.

    Args:
        target: The r_t to hold, from 0 to 1 (paper: 0.6).
        p_max: Upper bound of p.
        kimg: Thousands of images for p to move by 1 (paper: 500; 100 in transfer learning).
        interval: Steps between changes of p (paper: 4).
        device: Of the logits and of p.

    Attributes:
        r_t: The heuristic at the last change, 0-dimensional float32 from -1 to 1; NaN before the first.
    """

    def __init__(
        self,
        target: float,
        p_max: float = 1.0,
        kimg: float = 500,
        interval: int = 4,
        device: torch.device | str = "cpu",
    ) -> None:
        if kimg <= 0 or interval < 1:
            raise ValueError(f"kimg must be positive and interval at least 1, got {kimg} and {interval}")
        self.target = target
        self.p_max = p_max
        self.kimg = kimg
        self.interval = interval
        self.r_t = torch.full([], torch.nan, device=device)
        # Sum of the signs and their count: of this step in this process, and of all steps and processes before.
        self._pending = torch.zeros(2, device=device)
        self._sums = torch.zeros(2, device=device)
        self._images = 0
        self._steps = 0

    @torch.no_grad()
    def observe(self, logits: torch.Tensor) -> None:
        """Take in D(real), or its signs, of a micro-batch: any shape. NaNs say nothing and are not counted."""
        known = ~logits.isnan()
        self._pending[0] += torch.where(known, logits.sign(), 0.0).sum()
        self._pending[1] += known.sum()

    @torch.no_grad()
    def step(self, p: torch.Tensor, batch_size: int, all_reduce: AllReduce | None = None) -> bool:
        """Count one step of `batch_size` images over all processes; change `p` in place where it is time.

        Args:
            p: 0-dimensional float32, see `AugmentPipe.p`. Left as it is if nothing was observed.
            batch_size: Images of this step.
            all_reduce: Sums a tensor over all processes, and returns it; None for one process. Called in every step,
                so that the state is the same in all processes.

        Returns:
            Whether it was time for a change.
        """
        self._sums += self._pending if all_reduce is None else all_reduce(self._pending)
        self._pending.zero_()
        self._steps += 1
        self._images += batch_size
        if self._steps < self.interval:
            return False
        observed = self._sums[1] > 0
        r_t = self._sums[0] / self._sums[1]
        direction = torch.where(observed, (r_t - self.target).sign(), 0)
        p.copy_((p + direction * (self._images / (self.kimg * 1000))).clamp(0, self.p_max))
        self.r_t.copy_(torch.where(observed, r_t, self.r_t))
        self._sums.zero_()
        self._images = self._steps = 0
        return True

    def tensors(self) -> list[torch.Tensor]:
        """The sums that `observe` adds to in place."""
        return [self._pending]

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue exactly after a step; p itself is the augmentation's."""
        return {
            "r_t": self.r_t.clone(),
            "sums": self._sums.clone(),
            "images": self._images,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; tensors keep their device."""
        self.r_t.copy_(state["r_t"])
        self._sums.copy_(state["sums"])
        self._images = state["images"]
        self._steps = state["steps"]
