"""LeCam regularisation (Tseng et al. 2021, "Regularizing Generative Adversarial Networks under Limited Data")."""

from collections.abc import Callable
from typing import Any

import torch

_DECAY = 0.99


class LeCam:
    """Holds the discriminator's logits near what it has said of the other kind of images lately (arXiv 2104.03310).

    Dmain gets weight * (mean relu(d(x) - a_F)^2 + mean relu(a_R - d(G(z)))^2). The anchors a_R and a_F are moving
    averages, with decay 0.99 a step, of the mean logits of real and of generated images over all micro-batches of all
    processes; the first step, which has none, is not regularised and sets them.

    Args:
        weight: lambda; 3e-7 in the paper's FFHQ-1k runs of StyleGAN2 with ADA.
        device: of the logits.
    """

    def __init__(self, weight: float, device: torch.device | str = "cpu") -> None:
        self._weight = weight
        self._anchors = torch.zeros(2, device=device)  # real, generated
        self._known = torch.zeros([], device=device)
        self._sums = torch.zeros(2, 2, device=device)  # of this step: sum and count, for real and for generated

    def real(self, logits: torch.Tensor) -> torch.Tensor:
        """The penalty of the logits of real images, elementwise; takes them into the step's mean."""
        self._observe(0, logits)
        return (logits - self._anchors[1]).relu().square() * (self._weight * self._known)

    def fake(self, logits: torch.Tensor) -> torch.Tensor:
        """The penalty of the logits of generated images, elementwise; takes them into the step's mean."""
        self._observe(1, logits)
        return (self._anchors[0] - logits).relu().square() * (self._weight * self._known)

    @torch.no_grad()
    def finish(self, all_reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Move the anchors by the step's mean logits, unless those are not finite."""
        total = all_reduce(self._sums.clone())
        means = total[:, 0] / total[:, 1]
        moved = torch.where(self._known > 0, self._anchors.lerp(means, 1 - _DECAY), means)
        finite = torch.isfinite(moved).all()
        self._anchors.copy_(torch.where(finite, moved, self._anchors))
        self._known.copy_(torch.where(finite, 1.0, self._known))
        self._sums.zero_()

    def tensors(self) -> list[torch.Tensor]:
        """The sums that the micro-batches add to in place."""
        return [self._sums]

    def state_dict(self) -> dict[str, Any]:
        """The anchors; the sums are empty between steps."""
        return {"anchors": self._anchors.clone(), "known": self._known.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._anchors.copy_(state["anchors"])
        self._known.copy_(state["known"])

    @torch.no_grad()
    def _observe(self, kind: int, logits: torch.Tensor) -> None:
        self._sums[kind, 0] += logits.sum()
        self._sums[kind, 1] += logits.numel()
