"""Rooted cross-entropy as plain functions: both forms, evaluated through the negative log-likelihood.

The rooted logistic objectives (arXiv 2310.03890) replace `-log p` by a k-th root of p:

    convex   (eq. 4)   m p^(-1/k)    centred: m expm1(nll / k)      d/d nll = (m/k) exp(nll / k)  >= m/k
    bounded  (eq. 9)  -m p^(1/k)     centred: -m expm1(-nll / k)    d/d nll = (m/k) exp(-nll / k) <= m/k

with `nll = -log p >= 0` and the multiplier m (default k). Both tend to `nll` as k grows. With q = 1/k the
bounded form is the generalised cross-entropy (1 - p^q)/q of Zhang and Sabuncu (arXiv 1805.07836); both
are Box-Cox (Tsallis) logarithms of p, with exponents -1/k and +1/k.

Everything is a function of nll, which log-softmax and log-sigmoid give without overflow; p itself,
`1 + exp(x)` and the log of a probability never appear. The result is float32 or wider, whatever the input.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Form",
    "focal_cross_entropy",
    "rooted_binary_cross_entropy_with_logits",
    "rooted_cross_entropy",
    "rooted_nll",
]

Form = Literal["convex", "bounded"]
MULTIPLIER_CAP = 1e5


def rooted_nll(
    nll: Tensor,
    *,
    k: float | Tensor,
    multiplier: float | Tensor | None = None,
    form: Form = "convex",
    centered: bool = True,
    multiplier_cap: float | None = MULTIPLIER_CAP,
) -> Tensor:
    """Turn negative log-likelihoods into rooted losses, element by element.

    Beyond `exp(nll/k) = multiplier_cap` the convex form continues along its tangent: still C1, still
    convex, and its gradient stays below `(m/k) multiplier_cap`. Without that, Adam's second moment
    overflows at multipliers near 1e20 and the weights never move again.

    Args:
        nll: any shape, floating, >= 0; half and bfloat16 are computed in float32.
        k: the root, > 0; a tensor that broadcasts against `nll` is taken as it is.
        multiplier: m > 0; None means k.
        form: "convex" (eq. 4) or "bounded" (eq. 9).
        centered: True: 0 for a perfect prediction; False: the equations as printed (offset by +m or -m).
        multiplier_cap: bound on `exp(nll/k)` in the gradient of the convex form, >= 1; None removes it, and
            then large nll/k overflows.

    Returns:
        The losses, the shape of `nll`, float32 or wider.

    Raises:
        ValueError: `k`, `multiplier`, `form` or `multiplier_cap` out of range.

    Example:
        >>> rooted_nll(torch.tensor([0.0, 1.0]), k=1.0)
        tensor([0.0000, 1.7183])
    """
    check_root(k, multiplier, form, multiplier_cap)
    x = at_least_float32(nll) / k
    m = k if multiplier is None else multiplier
    if form == "bounded":
        if not centered:
            return -m * torch.exp(-x)
        # expm1 for the value at small x, exp for the gradient at large x: expm1's own is 1 + (its value near -1).
        power = torch.exp(-x)
        return m * (power.detach() - power - torch.expm1(-x.detach()))
    if multiplier_cap is None:
        value = torch.expm1(x)
    else:
        # Two terms whose gradients exclude each other: a difference of clamps would lose digits at exp(x) << cap.
        edge = math.log(multiplier_cap)
        value = torch.expm1(x.clamp(max=edge)) + multiplier_cap * F.relu(x - edge)
    return m * value if centered else m * value + m


def rooted_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    k: float,
    multiplier: float | None = None,
    form: Form = "convex",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    centered: bool = True,
    multiplier_cap: float | None = MULTIPLIER_CAP,
) -> Tensor:
    """Rooted loss of class logits, with the conventions of `torch.nn.functional.cross_entropy`.

    Class indices without label smoothing go through one number per sample, so nothing of the size of
    `input` is kept for the backward pass beyond what cross-entropy keeps. Soft targets and label smoothing are the
    expectation of the per-class loss under the target distribution.

    Args:
        input: logits, (C), (N, C) or (N, C, d1, ...), floating.
        target: class indices (integers, `input`'s shape without C) or probabilities (floating, `input`'s shape).
        k: the root, > 0. Cross-entropy is the limit of large k.
        multiplier: m > 0; None means k.
        form: "convex" (eq. 4) or "bounded" (eq. 9; the generalised cross-entropy).
        weight: one weight per class, (C).
        ignore_index: index targets of this value count nothing.
        reduction: "none", "mean" (weighted as cross_entropy does for indices) or "sum".
        label_smoothing: in [0, 1].
        centered: True: 0 for a perfect prediction; False: the equations as printed.
        multiplier_cap: see `rooted_nll`; lower for float16 logits, whose gradient must stay below 65504.

    Returns:
        A scalar, or for "none" the shape of the index targets; float32 or wider.

    Raises:
        ValueError: an argument out of range. IndexError: a class index out of range.

    Source: arXiv 2310.03890, eq. 4 and 9.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> round(rooted_cross_entropy(logits, torch.tensor([0]), k=1e6).item(), 4)  # cross-entropy: 0.2395
        0.2395
    """
    check_root(k, multiplier, form, multiplier_cap)
    multiplier_cap = representable_cap(multiplier_cap, input.dtype, k, multiplier)

    def per_class(nll: Tensor) -> Tensor:
        return rooted_nll(nll, k=k, multiplier=multiplier, form=form, centered=centered, multiplier_cap=multiplier_cap)

    return _expected_loss(per_class, input, target, weight, ignore_index, reduction, label_smoothing)


def rooted_binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    k: float,
    multiplier: float | None = None,
    form: Form = "convex",
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
    centered: bool = True,
    multiplier_cap: float | None = MULTIPLIER_CAP,
) -> Tensor:
    """Rooted loss of binary logits, with the conventions of `binary_cross_entropy_with_logits`.

    Args:
        input: logits, any shape, floating.
        target: probability of the positive class in [0, 1], the shape of `input`.
        k: the root, > 0.
        multiplier: m > 0; None means k.
        form: "convex" (eq. 4) or "bounded" (eq. 9).
        weight: factor per element, broadcast to `input`.
        pos_weight: factor of the positive term, broadcast to `input`.
        reduction: "none", "mean" or "sum".
        centered: True: 0 for a perfect prediction; False: the equations as printed.
        multiplier_cap: see `rooted_nll`; lower for float16 logits, whose gradient must stay below 65504.

    Returns:
        A scalar, or for "none" the shape of `input`; float32 or wider.

    Raises:
        ValueError: an argument out of range, or shapes that differ.

    Source: arXiv 2310.03890, eq. 4 and 9.

    Example:
        >>> rooted_binary_cross_entropy_with_logits(torch.zeros(2), torch.tensor([0.0, 1.0]), k=1.0)
        tensor(1.)
    """
    check_root(k, multiplier, form, multiplier_cap)
    if target.shape != input.shape:
        raise ValueError(f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: they must be equal")
    multiplier_cap = representable_cap(multiplier_cap, input.dtype, k, multiplier)

    def per_class(nll: Tensor) -> Tensor:
        return rooted_nll(nll, k=k, multiplier=multiplier, form=form, centered=centered, multiplier_cap=multiplier_cap)

    logits = at_least_float32(input)
    positive = target * per_class(-F.logsigmoid(logits))
    if pos_weight is not None:
        positive = positive * pos_weight
    loss = positive + (1 - target) * per_class(-F.logsigmoid(-logits))
    if weight is not None:
        loss = loss * weight
    return _reduce(loss, reduction)


def focal_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Focal loss `alpha (1 - p)^gamma nll` of class logits, the baseline of the paper's tables.

    This is the multi-class variant with one factor for all classes, which the rooted paper uses
    (alpha 0.25, gamma 3); gamma = 0 and alpha = 1 is cross-entropy. Per-class factors go in `weight`.

    Args:
        input: logits, (C), (N, C) or (N, C, d1, ...), floating.
        target: class indices or probabilities, as in `rooted_cross_entropy`.
        gamma: focusing exponent, >= 0.
        alpha: factor of the whole loss, > 0.
        weight: one weight per class, (C).
        ignore_index: index targets of this value count nothing.
        reduction: "none", "mean" or "sum".
        label_smoothing: in [0, 1].

    Returns:
        A scalar, or for "none" the shape of the index targets; float32 or wider.

    Raises:
        ValueError: an argument out of range. IndexError: a class index out of range.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv 1708.02002), eq. 5.
    """
    if not (gamma >= 0 and math.isfinite(gamma)):
        raise ValueError(f"gamma must be a finite number >= 0, not {gamma}")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"alpha must be a finite number > 0, not {alpha}")

    def per_class(nll: Tensor) -> Tensor:
        # At nll = 0 the power has no finite derivative for gamma < 2; below eps^2 the loss is 0 anyway.
        nll = nll.clamp(min=torch.finfo(nll.dtype).eps ** 2)
        return alpha * (-torch.expm1(-nll)) ** gamma * nll

    return _expected_loss(per_class, input, target, weight, ignore_index, reduction, label_smoothing)


def _expected_loss(per_class, input, target, weight, ignore_index, reduction, label_smoothing) -> Tensor:
    """Expectation of `per_class(-log p)` under the targets, reduced the way cross_entropy does."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1], not {label_smoothing}")
    class_dim = 0 if input.dim() == 1 else 1
    log_p = F.log_softmax(input, class_dim, dtype=_wide(input.dtype))
    if target.is_floating_point():
        return _soft_targets(per_class, log_p, target, class_dim, weight, reduction, label_smoothing)

    counted = target != ignore_index
    nll = F.nll_loss(log_p, target, ignore_index=ignore_index, reduction="none")
    loss = torch.where(counted, per_class(nll), 0.0)
    if weight is None:
        factor = counted.to(loss.dtype)
    else:
        factor = weight.to(loss.dtype)[torch.where(counted, target, 0).long()] * counted
        loss = loss * factor
    if label_smoothing > 0:
        spread = _weighted(per_class(-log_p), weight, class_dim).mean(class_dim)
        loss = (1 - label_smoothing) * loss + label_smoothing * torch.where(counted, spread, 0.0)
    if reduction == "mean":
        return loss.sum() / factor.sum()
    return _reduce(loss, reduction)


def _soft_targets(per_class, log_p, target, class_dim, weight, reduction, label_smoothing) -> Tensor:
    if target.shape != log_p.shape:
        raise ValueError(f"soft targets have shape {tuple(target.shape)}, input {tuple(log_p.shape)}: must be equal")
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / log_p.shape[class_dim]
    loss = _weighted(target * per_class(-log_p), weight, class_dim).sum(class_dim)
    return _reduce(loss, reduction)


def _weighted(losses: Tensor, weight: Tensor | None, class_dim: int) -> Tensor:
    if weight is None:
        return losses
    return losses * weight.to(losses.dtype).view(-1, *[1] * (losses.dim() - 1 - class_dim))


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be none, mean or sum, not {reduction!r}")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` as it is where float32 or wider, else in float32."""
    return x.to(_wide(x.dtype))


def representable_cap(
    multiplier_cap: float | None, dtype: torch.dtype, k: float, multiplier: float | None
) -> float | None:
    """The multiplier cap for logits of that dtype: float16 cannot hold a gradient above 65504.

    Lowered in the loss itself, not clamped in the gradient: a gradient scaler must still see overflows.
    """
    if multiplier_cap is None or dtype != torch.float16:
        return multiplier_cap
    steepest = torch.finfo(dtype).max / 2
    return min(multiplier_cap, max(1.0, steepest if multiplier is None else steepest * k / multiplier))


def check_root(k: float | Tensor, multiplier: float | Tensor | None, form: str, multiplier_cap: float | None) -> None:
    """Raise ValueError where a setting of the rooted loss is out of range; tensors are taken as they are."""
    if not isinstance(k, Tensor) and not (k > 0 and math.isfinite(k)):
        raise ValueError(f"k must be a finite number > 0, not {k} (the limit of large k is cross-entropy)")
    m = k if multiplier is None else multiplier
    if not isinstance(m, Tensor) and not (m > 0 and math.isfinite(m)):
        raise ValueError(f"multiplier must be a finite number > 0, not {multiplier}")
    if form not in ("convex", "bounded"):
        raise ValueError(f"form must be convex or bounded, not {form!r}")
    if multiplier_cap is not None and not (multiplier_cap >= 1 and math.isfinite(multiplier_cap)):
        raise ValueError(f"multiplier_cap must be a finite number >= 1 or None, not {multiplier_cap}")
