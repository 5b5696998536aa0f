"""The adversarial game with the logistic or the rooted loss (arXiv 2310.03890, section 3.3, eq. 9).

With the discriminator's logit d and D = sigmoid(d), eq. 9 is

    min over G, max over D of   V_k = E_real[k D^(1/k)] + E_fake[k (1 - D)^(1/k)]

The discriminator's loss is the rooted loss of d(real) as "real" plus that of d(fake) as "fake"; centred,
the sum is 2k - V_k for the bounded form. The `convex` form plays the same game with k D^(-1/k), which D
minimises; the paper's released StyleGAN2-ADA code trains with it. `ce`, the limit of large k, is StyleGAN2's
logistic loss. All are alpha-GANs (Kurri, Sypherd and Sankar 2021, arXiv 2106.05232), and with another loss for each
player (alpha_D, alpha_G)-GANs (Welfert et al. 2023, arXiv 2302.14320); docs/theory.md says what is minimised.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from rooted.functional import at_least_float32
from rooted.players import PlayerLoss, parse_player, player_loss

__all__ = ["AdversarialLoss", "adversarial_loss", "parse_adversarial_loss"]


@dataclass(frozen=True)
class AdversarialLoss:
    """One adversarial objective: what the discriminator and the generator minimise.

    Every method takes logits of any shape and returns one loss per sample, the shape of the logits,
    float32 or wider. Made by `adversarial_loss`, which checks the settings.

    Attributes:
        for_discriminator, for_generator: the loss of each player.
        saturating: whether the generator minimises the discriminator's gain itself (eq. 9 as printed).
        pair: whether D tells which of a real and a generated image is the real one (relativistic pairing).
    """

    for_discriminator: PlayerLoss
    for_generator: PlayerLoss
    saturating: bool = False
    pair: bool = False

    @property
    def name(self) -> str:
        """The discriminator's loss: "ce" or "rlo"."""
        return self.for_discriminator.name

    @property
    def k(self) -> float | None:
        """The root of the discriminator's loss; None for "ce"."""
        return self.for_discriminator.k

    @property
    def form(self) -> str | None:
        """The form of the discriminator's loss; None for "ce"."""
        return self.for_discriminator.form

    def real(self, logits: Tensor) -> Tensor:
        """The discriminator's loss for real images: small where the logit is large."""
        return self.for_discriminator(_nll(logits), logits)

    def fake(self, logits: Tensor) -> Tensor:
        """The discriminator's loss for generated images: small where the logit is very negative."""
        return self.for_discriminator(-F.logsigmoid(-at_least_float32(logits)), logits)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's whole loss, of real and generated images one to one.

        With `pair` it is the loss of d(real) - d(fake) as "real" (Jolicoeur-Martineau 2018, arXiv 1807.00734; R3GAN,
        Huang et al. 2024, arXiv 2501.05441), otherwise `real(real_logits) + fake(fake_logits)`.
        """
        if self.pair:
            return self.for_discriminator(_nll(real_logits, fake_logits), real_logits)
        return self.real(real_logits) + self.fake(fake_logits)

    def generator(self, logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """The generator's loss, from the logits of generated images.

        Non-saturating: the loss of `logits` as "real", as in StyleGAN2. Saturating: minus the
        discriminator's loss, which is the printed k (1 - D)^(1/k) (or log(1 - D)) less the constant k.
        With `pair`: the loss of d(fake) - d(real) as "real", so `real_logits` of as many real images are needed.

        Raises:
            ValueError: `pair` without `real_logits`.
        """
        if self.saturating:
            return -self.fake(logits)
        if self.pair and real_logits is None:
            raise ValueError("the generator's loss of pairs needs real_logits")
        return self.for_generator(_nll(logits, real_logits if self.pair else None), logits)

    def value(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The value of the game, a scalar.

        `bounded`: V_k of eq. 9, which D maximises; at a perfect generator and the best D it is k 2^(1 - 1/k).
        `convex`: E[k D^(-1/k)] + E[k (1 - D)^(-1/k)], which D minimises; there it is k 2^(1 + 1/k).
        `ce`: E[log D] + E[log(1 - D)], which D maximises; there it is -log 4.

        Raises:
            ValueError: `pair`, whose game is another.
        """
        if self.pair:
            raise ValueError("the game of pairs has no value in terms of single images")
        gap = self.real(real_logits).mean() + self.fake(fake_logits).mean()
        if self.name == "ce":
            return -gap
        return 2 * self.k - gap if self.form == "bounded" else 2 * self.k + gap

    @property
    def warning(self) -> str | None:
        """One line where the generator of this game does not minimise a divergence; None where it does, or for pairs.

        With the best discriminator the non-saturating generator minimises E_b f(a / b), which is an f-divergence if
        and only if alpha_D q_G <= 1, that is 1/alpha_D + 1/alpha_G >= 1. Beyond alpha_D q_G = 2 a generator that
        leaves the data with some of its samples has a lower loss than one that equals it.
        """
        product = self.for_discriminator.alpha * self.for_generator.exponent
        if self.saturating or self.pair or product <= 1 + 1e-9:
            return None
        why = (
            "a generator that leaves the data with some of its samples has a lower loss than one that equals it"
            if product > 2
            else "what the generator minimises is no divergence, though a share of samples off the data never pays"
        )
        orders = 1 / self.for_discriminator.alpha + 1 / self.for_generator.alpha
        return (
            f"loss {self.describe()}: {why} (1/alpha_D + 1/alpha_G = {orders:.3g}, below 1); "
            "sound are bounded k >= 2, ce for one of the players, and the saturating game"
        )

    def describe(self) -> str:
        """A short name for folders and captions: `ce`, `rlo-k11-bounded`, `rlo-k2-convex-g-ce`, `ce-pair`."""
        parts = [self.for_discriminator.describe()]
        if self.for_generator != self.for_discriminator:
            parts.append(f"g-{self.for_generator.describe()}")
        return "-".join([*parts, *(name for name in ("saturating", "pair") if getattr(self, name))])

    def words(self) -> str:
        """The exact words that `parse_adversarial_loss` reads."""
        parts = [self.for_discriminator.words()]
        if self.for_generator != self.for_discriminator:
            parts.append(f"g={self.for_generator.words()}")
        return ":".join([*parts, *(name for name in ("saturating", "pair") if getattr(self, name))])

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values: name, k, form, saturating, and generator and pair where they are used.

        `AdversarialLoss.from_dict` and `adversarial_loss(**d)` restore the object.
        """
        d = {"name": self.name, "k": self.k, "form": self.form, "saturating": self.saturating}
        if self.for_generator != self.for_discriminator:
            d["generator"] = self.for_generator.words()
        return d | ({"pair": True} if self.pair else {})

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "AdversarialLoss":
        """The inverse of `to_dict`.

        Raises:
            ValueError: unknown keys, or values out of range.
        """
        try:
            return adversarial_loss(**values)
        except TypeError as error:
            raise ValueError(f"not the settings of an adversarial loss: {error}") from None


def adversarial_loss(
    name: str | None = None,
    *,
    k: float | None = None,
    form: str | None = None,
    saturating: bool = False,
    alpha: float | None = None,
    generator: str | PlayerLoss | None = None,
    pair: bool = False,
) -> AdversarialLoss:
    """The adversarial objective of that name.

    Args:
        name: "ce" (StyleGAN2's logistic loss) or "rlo" (the rooted loss of root k); not needed with `alpha`.
        k: the root, only for "rlo": > 1 for the bounded form, > 0 for the convex one.
        form: "bounded" (eq. 9; None means this) or "convex" (eq. 4, the released GAN code); without meaning for "ce".
        saturating: True: the generator minimises eq. 9 as printed; False (as in StyleGAN2): non-saturating.
        alpha: k and form in one number, see `rooted.players.player_loss`.
        generator: another loss for the generator: a `PlayerLoss`, or words such as "ce", "rlo:k=2:form=convex",
            "alpha=0.7". None: the discriminator's.
        pair: compare each generated image with a real one (relativistic pairing).

    Raises:
        ValueError: an argument out of range, or two that contradict each other.

    Example:
        >>> import torch
        >>> loss = adversarial_loss("rlo", k=2)
        >>> loss.describe(), loss.real(torch.zeros(1))
        ('rlo-k2-bounded', tensor([0.5858]))
    """
    player = player_loss(name, k=k, form=form, alpha=alpha)
    if isinstance(generator, str):
        generator = parse_player(generator)
    if saturating and generator is not None:
        raise ValueError("the saturating generator has the discriminator's loss; leave generator or saturating out")
    if saturating and pair:
        raise ValueError("pair has no saturating game; leave one of them out")
    return AdversarialLoss(player, generator or player, bool(saturating), bool(pair))


def parse_adversarial_loss(text: str) -> AdversarialLoss:
    """Read a loss as it is written on command lines.

    `ce`, `rlo:k=2`, `rlo:k=2:form=convex` or `alpha=0.7`; then `:saturating`, `:pair` or `:g=` and the generator's
    loss, to which what follows of k and form belongs: `rlo:k=2:g=ce`, `ce:g=rlo:k=2:form=convex:pair`.

    Raises:
        ValueError: anything else, in one line.
    """
    player, generator, switches = [], None, {}
    for part in text.split(":"):
        key, equals, value = part.partition("=")
        if key in ("saturating", "pair"):
            switches[key] = _boolean(key, value) if equals else True
        elif key == "g":
            if generator is not None:
                raise ValueError(f"g is given twice in '{text}'; write it once")
            generator = [value]
        elif generator is not None and key in ("k", "form", "alpha"):
            generator.append(part)
        else:
            player.append(part)
    chosen = parse_player(":".join(player))
    return adversarial_loss(
        chosen.name, k=chosen.k, form=chosen.form, generator=":".join(generator) if generator else None, **switches
    )


def _nll(logits: Tensor, other: Tensor | None = None) -> Tensor:
    """-log sigmoid of the logits, or of what they are above `other`: float32 or wider."""
    margin = at_least_float32(logits)
    return -F.logsigmoid(margin if other is None else margin - at_least_float32(other))


def _boolean(key: str, value: str) -> bool:
    if value.lower() in ("1", "true", "yes"):
        return True
    if value.lower() in ("0", "false", "no"):
        return False
    raise ValueError(f"{key}={value} is neither yes nor no")
