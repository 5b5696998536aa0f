"""The losses of a comparison, as written on the command line: `ce,rlo:k=2:form=convex:g=ce,rlo:k=2..32,ce:pair`."""

from dataclasses import dataclass, replace
from typing import Any

from dnnlib import UserError
from rooted import AdversarialLoss, adversarial_loss, parse_adversarial_loss
from rooted.players import PlayerLoss, number, parse_number

SETTINGS = {"glr": float, "dlr": float, "gamma": float, "gamma-scale": str, "r2-gamma": float, "lecam": float,
            "aug": str, "p": float, "augpipe": str}  # fmt: skip
"""Options of train.py that may differ from loss to loss."""

MOST = 200  # losses of a comparison; more is a slip of the hand


@dataclass(frozen=True)
class LossSpec:
    """One loss of the comparison, with the options of train.py that belong to it.

    Attributes:
        loss: what the two players minimise.
        settings: names of `SETTINGS` with their values; for the others the runs use what their configuration says.
    """

    loss: AdversarialLoss
    settings: tuple[tuple[str, float | str], ...] = ()

    @property
    def key(self) -> str:
        """A name fit for folders and files: `ce`, `rlo-k2-convex`, `ce-lecam3e-07`, `ce-apa`."""
        named = (_shown(v) if name in ("aug", "augpipe") else f"{name}{_shown(v)}" for name, v in self.settings)
        return "-".join([self.loss.describe(), *named])

    @property
    def label(self) -> str:
        """The name for readers: `CE`, `RLO-2 convex`, `RLO-2 convex, G: CE`."""
        parts = [_label(self.loss.for_discriminator)]
        parts += [name for name, used in (("saturating", self.loss.saturating), ("paired", self.loss.pair)) if used]
        text = " ".join(parts)
        if self.loss.for_generator != self.loss.for_discriminator:
            text += f", G: {_label(self.loss.for_generator)}"
        settings = [f"{name} {_shown(value)}" for name, value in self.settings]
        return f"{text} ({', '.join(settings)})" if settings else text

    @property
    def family(self) -> str:
        """The label without the discriminator's k."""
        return self.label.replace(f"RLO-{self.loss.k:g}", "RLO", 1) if self.loss.k is not None else self.label

    @property
    def is_reference(self) -> bool:
        """Whether this is plain cross-entropy, at whatever learning rate, which the others are compared with."""
        plain = adversarial_loss("ce", saturating=self.loss.saturating)
        return self.loss == plain and {name for name, _ in self.settings} <= {"glr", "dlr", "gamma"}

    def train_flags(self) -> list[str]:
        """The flags of `train.py` that select this loss."""
        loss, player = self.loss, self.loss.for_discriminator
        flags = [f"--loss={player.name}"]
        if player.k is not None:
            flags += [f"--k={number(player.k)}", f"--rlo-form={player.form}"]
        if loss.for_generator != player:
            flags.append(f"--g-loss={loss.for_generator.words()}")
        flags += [f"--{name}=true" for name in ("saturating", "pair") if getattr(loss, name)]
        return flags + [f"--{name}={_shown(value)}" for name, value in self.settings]

    def having(self, **settings: float | str | None) -> "LossSpec":
        """The same loss with those of the settings that it does not name itself; None sets nothing."""
        given = dict(self.settings)
        merged = {name: given.get(name, settings.get(name)) for name in SETTINGS}
        return replace(self, settings=tuple((name, value) for name, value in merged.items() if value is not None))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the loss's settings, then those of `SETTINGS` (the learning rates always)."""
        return {**self.loss.to_dict(), "glr": None, "dlr": None, **dict(self.settings)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LossSpec":
        """The inverse of `to_dict`.

        Raises:
            ValueError: not such a dictionary.
        """
        loss = AdversarialLoss.from_dict({name: value for name, value in values.items() if name not in SETTINGS})
        return cls(loss).having(**{name: value for name, value in values.items() if name in SETTINGS})


def parse_losses(text: str) -> list[LossSpec]:
    """Read `--losses`: a comma list of losses as `rooted.parse_adversarial_loss` reads them, with `SETTINGS` besides.

    `k=2..32` stands for every whole number from 2 to 32, `k=2..32/5` for every fifth.

    Raises:
        UserError: unknown loss or option, a value out of range, the same loss twice, more than `MOST` losses.
    """
    try:
        losses = [loss for part in text.split(",") for loss in _parse_one(part.strip())]
    except ValueError as error:
        raise UserError(f"`losses`: {error}") from error
    if len(losses) > MOST:
        raise UserError(f"`losses` names {len(losses)} losses; give {MOST} at most")
    keys = [loss.key for loss in losses]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UserError(f"`losses` names {twice[0]} twice; write it once")
    return losses


def _parse_one(text: str) -> list[LossSpec]:
    words, settings = [], {}
    for part in text.split(":"):
        name, equals, value = part.partition("=")
        if name in SETTINGS and equals:
            settings[name] = parse_number(name, value) if SETTINGS[name] is float else value
        else:
            words.append(part)
    for name in ("glr", "dlr"):
        if settings.get(name, 1) <= 0:
            raise ValueError(f"the learning rate {name} in '{text}' is not positive")
    losses = [parse_adversarial_loss(":".join(one)) for one in _expand(words, text)]
    return [LossSpec(loss).having(**settings) for loss in losses]


def _expand(words: list[str], text: str) -> list[list[str]]:
    """One list of words for every value of a range `k=A..B[/STEP]`."""
    for i, word in enumerate(words):
        name, _, value = word.rpartition("k=")
        if ".." in value and not name:
            return [[*words[:i], f"k={number(k)}", *words[i + 1 :]] for k in _range(value, text)]
    return [words]


def _range(value: str, text: str) -> list[float]:
    span, _, step_text = value.partition("/")
    low, high = (parse_number("k", end) for end in span.split("..", 1))
    step = parse_number("k", step_text) if step_text else 1.0
    if high < low or step <= 0:
        raise ValueError(f"the range k={value} in '{text}' is empty; write it as k=2..32 or k=2..32/5")
    if (high - low) / step >= MOST:  # before the list is made
        raise ValueError(
            f"the range k={value} in '{text}' has more than {MOST} values; "
            "end it earlier or give a step, as in k=2..32/5"
        )
    return [low + i * step for i in range(int((high - low) / step + 1e-9) + 1)]


def _label(player: PlayerLoss) -> str:
    return "CE" if player.name == "ce" else f"RLO-{player.k:g} {player.form}"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)
