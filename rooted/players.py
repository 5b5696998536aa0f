"""The loss of one player of the adversarial game: cross-entropy or its rooted version, one family with one dial alpha.

With p the probability of a right answer, every member is the alpha-loss of Sypherd et al. (2019),

    alpha / (alpha - 1) * (1 - p^((alpha - 1) / alpha)) = (1 - p^q) / q,    q = 1 - 1 / alpha

| member        | alpha        | q      |
|---------------|--------------|--------|
| convex, k > 0  | k / (k + 1) | -1 / k |
| ce             | 1           | 0      |
| bounded, k > 1 | k / (k - 1) | 1 / k  |
"""

import math
from dataclasses import dataclass

from torch import Tensor

from rooted.functional import MULTIPLIER_CAP, representable_cap, rooted_nll

__all__ = ["PlayerLoss", "number", "parse_player", "player_loss"]


@dataclass(frozen=True)
class PlayerLoss:
    """What one player minimises, as a function of the negative log-likelihood. Made by `player_loss`, which checks.

    Attributes:
        name: "ce" or "rlo".
        k: the root; None for "ce".
        form: "bounded" or "convex"; None for "ce".
    """

    name: str
    k: float | None = None
    form: str | None = None

    @property
    def alpha(self) -> float:
        """The order of the alpha-loss: below 1 for convex, 1 for ce, above 1 for bounded."""
        return 1 / (1 - self.exponent)

    @property
    def exponent(self) -> float:
        """The q of (1 - p^q) / q: -1/k for convex, 0 for ce, 1/k for bounded."""
        if self.name == "ce":
            return 0.0
        return (1 if self.form == "bounded" else -1) / self.k

    def __call__(self, nll: Tensor, logits: Tensor) -> Tensor:
        """The loss of `nll` (float32 or wider), element by element; `logits`' dtype bounds the gradient of convex."""
        if self.name == "ce":
            return nll
        cap = representable_cap(MULTIPLIER_CAP, logits.dtype, self.k, None)
        return rooted_nll(nll, k=self.k, form=self.form, multiplier_cap=cap)

    def describe(self) -> str:
        """A short name for folders and captions: `ce`, `rlo-k11-bounded`."""
        return self.name if self.name == "ce" else f"{self.name}-k{self.k:g}-{self.form}"

    def words(self) -> str:
        """The exact words that `parse_player` reads: `ce`, `rlo:k=2:form=convex`."""
        return self.name if self.name == "ce" else f"{self.name}:k={number(self.k)}:form={self.form}"


def player_loss(
    name: str | None = None, *, k: float | None = None, form: str | None = None, alpha: float | None = None
) -> PlayerLoss:
    """The loss of that name, or of that alpha.

    Args:
        name: "ce" or "rlo"; may be left out where `alpha` is given.
        k: the root, only for "rlo": > 1 for the bounded form, > 0 for the convex one. With k = 1 the
            bounded game is degenerate: the best D is a hard threshold and the value is total variation.
        form: "bounded" (eq. 9; None means this) or "convex" (eq. 4); without meaning for "ce".
        alpha: instead of k and form, > 0: below 1 the convex form with k = alpha / (1 - alpha), 1 for ce, above 1
            the bounded form with k = alpha / (alpha - 1).

    Raises:
        ValueError: unknown name or form, k missing, out of range or given with "ce", alpha given with k, form or "ce".
    """
    if alpha is not None:
        return _from_alpha(name, k, form, alpha)
    if name == "ce":
        if k is not None:
            raise ValueError(f"k = {k:g} was given with the loss ce, which has none; leave k out or choose rlo")
        return PlayerLoss("ce")
    if name != "rlo":
        raise ValueError(f"unknown loss {name!r}; choose ce or rlo")
    form = form or "bounded"
    if form not in ("bounded", "convex"):
        raise ValueError(f"unknown form {form!r} of the rooted loss; choose bounded or convex")
    if k is None:
        raise ValueError("the loss rlo needs its root k, for example 11")
    lowest = 1 if form == "bounded" else 0
    if not (math.isfinite(k) and k > lowest):
        raise ValueError(f"k = {k:g} is out of range: the {form} form needs a finite k > {lowest}")
    return PlayerLoss("rlo", float(k), form)


def parse_player(text: str) -> PlayerLoss:
    """Read `ce`, `rlo:k=K[:form=bounded|convex]` or `alpha=A`.

    Raises:
        ValueError: anything else, in one line.
    """
    head, *options = text.split(":")
    if head not in ("ce", "rlo"):
        if not head.startswith("alpha="):
            raise ValueError(f"'{text}' is not a loss; write ce, rlo:k=K[:form=bounded|convex] or alpha=A")
        options.insert(0, head)
    values = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in ("k", "form", "alpha"):
            raise ValueError(f"'{option}' in '{text}' is not k=, form= or alpha=")
        if key in values:
            raise ValueError(f"{key} is given twice in '{text}'; write it once")
        values[key] = value if key == "form" else parse_number(key, value)
    if head == "ce" and values:
        raise ValueError(f"'{text}' gives {next(iter(values))} to ce, which has none; leave it out or choose rlo")
    return player_loss(head if head in ("ce", "rlo") else None, **values)


def parse_number(key: str, value: str) -> float:
    """A finite number, or a ValueError that names the key."""
    try:
        result = float(value)
    except ValueError:
        raise ValueError(f"{key}={value} is not a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{key}={value} is not finite")
    return result


def number(value: float) -> str:
    """The shortest text that reads back as exactly this number: 2, 0.7, 2.3333333333333335."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _from_alpha(name: str | None, k: float | None, form: str | None, alpha: float) -> PlayerLoss:
    if k is not None or form is not None:
        raise ValueError(f"alpha = {alpha:g} says k and form; leave {'k' if k is not None else 'form'} or alpha out")
    if name == "ce":
        raise ValueError(f"alpha = {alpha:g} was given with the loss ce, which is alpha = 1; leave one of them out")
    if name not in (None, "rlo"):
        raise ValueError(f"unknown loss {name!r}; choose ce or rlo")
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha = {alpha:g} is out of range: it must be a finite number > 0")
    if alpha == 1:
        return PlayerLoss("ce")
    if alpha < 1:
        return player_loss("rlo", k=alpha / (1 - alpha), form="convex")
    root = alpha / (alpha - 1)
    if root <= 1:
        raise ValueError(f"alpha = {alpha:g} is out of range: it is not to be told from infinity, k = 1")
    return player_loss("rlo", k=root, form="bounded")
