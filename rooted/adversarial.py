"""The adversarial game with the logistic or the rooted loss (arXiv 2310.03890, section 3.3, eq. 9).

With the discriminator's logit d and D = sigmoid(d), eq. 9 is

    min over G, max over D of   V_k = E_real[k D^(1/k)] + E_fake[k (1 - D)^(1/k)]

The discriminator's loss is the rooted loss of d(real) as "real" plus that of d(fake) as "fake"; centred,
the sum is 2k - V_k for the bounded form. The `convex` form plays the same game with k D^(-1/k), which D
minimises; the paper's released StyleGAN2-ADA code trains with it. `ce`, the limit of large k, is StyleGAN2's
logistic loss.
"""

import math
from dataclasses import asdict, dataclass

import torch.nn.functional as F
from torch import Tensor

from rooted.functional import MULTIPLIER_CAP, at_least_float32, representable_cap, rooted_nll

__all__ = ["AdversarialLoss", "adversarial_loss"]


@dataclass(frozen=True)
class AdversarialLoss:
    """One adversarial objective: what the discriminator and the generator minimise.

    Every method takes logits of any shape and returns one loss per sample, the shape of the logits,
    float32 or wider. Made by `adversarial_loss`, which checks the settings.

    Attributes:
        name: "ce" or "rlo".
        k: the root; None for "ce".
        form: "bounded" or "convex"; None for "ce".
        saturating: whether the generator minimises the discriminator's gain itself (eq. 9 as printed).
    """

    name: str
    k: float | None
    form: str | None
    saturating: bool

    def real(self, logits: Tensor) -> Tensor:
        """The discriminator's loss for real images: small where the logit is large."""
        return self._loss(logits, -F.logsigmoid(at_least_float32(logits)))

    def fake(self, logits: Tensor) -> Tensor:
        """The discriminator's loss for generated images: small where the logit is very negative."""
        return self._loss(logits, -F.logsigmoid(-at_least_float32(logits)))

    def generator(self, logits: Tensor) -> Tensor:
        """The generator's loss, from the logits of generated images.

        Non-saturating: the loss of `logits` as "real", as in StyleGAN2. Saturating: minus the
        discriminator's loss, which is the printed k (1 - D)^(1/k) (or log(1 - D)) less the constant k.
        """
        return -self.fake(logits) if self.saturating else self.real(logits)

    def value(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The value of the game, a scalar.

        `bounded`: V_k of eq. 9, which D maximises; at a perfect generator and the best D it is k 2^(1 - 1/k).
        `convex`: E[k D^(-1/k)] + E[k (1 - D)^(-1/k)], which D minimises; there it is k 2^(1 + 1/k).
        `ce`: E[log D] + E[log(1 - D)], which D maximises; there it is -log 4.
        """
        gap = self.real(real_logits).mean() + self.fake(fake_logits).mean()
        if self.name == "ce":
            return -gap
        return 2 * self.k - gap if self.form == "bounded" else 2 * self.k + gap

    def describe(self) -> str:
        """A short name for folders and captions: `ce`, `rlo-k11-bounded`, `rlo-k2-convex-saturating`."""
        parts = [self.name] if self.name == "ce" else [self.name, f"k{self.k:g}", str(self.form)]
        return "-".join([*parts, "saturating"] if self.saturating else parts)

    def to_dict(self) -> dict:
        """The settings for run records: name, k, form, saturating. `adversarial_loss(**d)` restores the object."""
        return asdict(self)

    def _loss(self, logits: Tensor, nll: Tensor) -> Tensor:
        if self.name == "ce":
            return nll
        cap = representable_cap(MULTIPLIER_CAP, logits.dtype, self.k, None)
        return rooted_nll(nll, k=self.k, form=self.form, multiplier_cap=cap)


def adversarial_loss(
    name: str, *, k: float | None = None, form: str | None = "bounded", saturating: bool = False
) -> AdversarialLoss:
    """The adversarial objective of that name.

    Args:
        name: "ce" (StyleGAN2's logistic loss) or "rlo" (the rooted loss of root k).
        k: the root, only for "rlo": > 1 for the bounded form, > 0 for the convex one. With k = 1 the
            bounded game is degenerate: the best D is a hard threshold and the value is total variation.
        form: "bounded" (eq. 9) or "convex" (eq. 4, the released GAN code); without meaning for "ce".
        saturating: True: the generator minimises eq. 9 as printed; False (as in StyleGAN2): non-saturating.

    Raises:
        ValueError: unknown name or form, k missing, out of range, or given with "ce".

    Example:
        >>> import torch
        >>> loss = adversarial_loss("rlo", k=2)
        >>> loss.describe(), loss.real(torch.zeros(1))
        ('rlo-k2-bounded', tensor([0.5858]))
    """
    if name == "ce":
        if k is not None:
            raise ValueError(f"k = {k:g} was given with the loss ce, which has none; leave k out or choose rlo")
        return AdversarialLoss(name="ce", k=None, form=None, saturating=saturating)
    if name != "rlo":
        raise ValueError(f"unknown loss {name!r}; choose ce or rlo")
    if form not in ("bounded", "convex"):
        raise ValueError(f"unknown form {form!r} of the rooted loss; choose bounded or convex")
    if k is None:
        raise ValueError("the loss rlo needs its root k, for example 11")
    lowest = 1 if form == "bounded" else 0
    if not (math.isfinite(k) and k > lowest):
        raise ValueError(f"k = {k:g} is out of range: the {form} form needs a finite k > {lowest}")
    return AdversarialLoss(name="rlo", k=float(k), form=form, saturating=saturating)
