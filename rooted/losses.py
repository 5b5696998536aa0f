"""The losses as modules, to put where torch's `CrossEntropyLoss` or `BCEWithLogitsLoss` stands."""

from torch import Tensor, nn

from rooted.functional import (
    MULTIPLIER_CAP,
    Form,
    check_root,
    focal_cross_entropy,
    rooted_binary_cross_entropy_with_logits,
    rooted_cross_entropy,
)

__all__ = ["FocalLoss", "RootedBCEWithLogitsLoss", "RootedCrossEntropyLoss"]


class _Settings(nn.Module):
    """A loss module whose plain attributes are the keyword arguments of its function."""

    def __init__(self, reduction: str, **settings) -> None:
        super().__init__()
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be none, mean or sum, not {reduction!r}")
        self.reduction = reduction
        self._names = tuple(settings)
        for name, value in settings.items():
            setattr(self, name, value)

    def _arguments(self) -> dict:
        return {name: getattr(self, name) for name in (*self._names, "reduction")}

    def extra_repr(self) -> str:
        """Every setting, so that a printed model tells its loss."""
        return ", ".join(f"{name}={value!r}" for name, value in self._arguments().items())


class RootedCrossEntropyLoss(_Settings):
    """`rooted.functional.rooted_cross_entropy` as a module; `weight` comes first and is a buffer, as in torch.

    Takes logits (N, C, ...) and class indices or probabilities; returns float32 or wider.
    The default is the paper's convex form; `form="bounded"` is what its classification code trains with.

    Example:
        >>> import torch
        >>> loss = RootedCrossEntropyLoss(k=8, form="bounded")
        >>> loss(torch.zeros(4, 10), torch.arange(4))
        tensor(2.0008)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        k: float,
        multiplier: float | None = None,
        form: Form = "convex",
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        centered: bool = True,
        multiplier_cap: float | None = MULTIPLIER_CAP,
    ) -> None:
        check_root(k, multiplier, form, multiplier_cap)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1], not {label_smoothing}")
        super().__init__(
            reduction,
            k=k,
            multiplier=multiplier,
            form=form,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            centered=centered,
            multiplier_cap=multiplier_cap,
        )
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits `input` (N, C, ...) for `target`; see `rooted_cross_entropy`."""
        return rooted_cross_entropy(input, target, weight=self.weight, **self._arguments())


class RootedBCEWithLogitsLoss(_Settings):
    """`rooted.functional.rooted_binary_cross_entropy_with_logits` as a module; the weights are buffers, as in torch.

    Takes logits and targets in [0, 1] of one shape; returns float32 or wider.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        k: float,
        multiplier: float | None = None,
        form: Form = "convex",
        pos_weight: Tensor | None = None,
        reduction: str = "mean",
        centered: bool = True,
        multiplier_cap: float | None = MULTIPLIER_CAP,
    ) -> None:
        check_root(k, multiplier, form, multiplier_cap)
        super().__init__(
            reduction, k=k, multiplier=multiplier, form=form, centered=centered, multiplier_cap=multiplier_cap
        )
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits `input` for `target` of the same shape."""
        return rooted_binary_cross_entropy_with_logits(
            input, target, weight=self.weight, pos_weight=self.pos_weight, **self._arguments()
        )


class FocalLoss(_Settings):
    """`rooted.functional.focal_cross_entropy` as a module: the paper's third loss, here as a baseline.

    The defaults are Lin et al.'s gamma 2 without the factor alpha; the rooted paper's code has gamma 3, alpha 0.25.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        gamma: float = 2.0,
        alpha: float = 1.0,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            reduction, gamma=gamma, alpha=alpha, ignore_index=ignore_index, label_smoothing=label_smoothing
        )
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits `input` (N, C, ...) for `target`; see `focal_cross_entropy`."""
        return focal_cross_entropy(input, target, weight=self.weight, **self._arguments())
