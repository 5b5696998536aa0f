"""The losses of a comparison, as written on the command line: `ce,rlo:k=2:form=convex,rlo:k=2..32`."""

from dataclasses import dataclass, replace

from dnnlib import UserError

FORMS = ("bounded", "convex")
MOST = 200  # losses of a comparison; more is a slip of the hand


@dataclass(frozen=True)
class LossSpec:
    """One loss of the comparison with its learning rates (None: what the training configuration says)."""

    name: str
    k: float | None = None
    form: str | None = None
    saturating: bool = False
    glr: float | None = None
    dlr: float | None = None

    @property
    def key(self) -> str:
        """A name fit for folders and files: `ce`, `rlo-k2-convex`, with the learning rates where they are given."""
        parts = [self.name]
        if self.name == "rlo":
            parts += [f"k{self.k:g}", self.form or "bounded"]
        if self.saturating:
            parts.append("saturating")
        parts += [f"{flag}{rate:g}" for flag, rate in (("glr", self.glr), ("dlr", self.dlr)) if rate is not None]
        return "-".join(parts)

    @property
    def label(self) -> str:
        """The name for readers: `CE`, `RLO-2 convex`."""
        text = "CE" if self.name == "ce" else f"RLO-{self.k:g} {self.form or 'bounded'}"
        if self.saturating:
            text += " saturating"
        rates = [f"{flag} {rate:g}" for flag, rate in (("glr", self.glr), ("dlr", self.dlr)) if rate is not None]
        return f"{text} ({', '.join(rates)})" if rates else text

    @property
    def is_reference(self) -> bool:
        """Whether this is cross-entropy, which the others are compared with."""
        return self.name == "ce"

    def train_flags(self) -> list[str]:
        """The flags of `train.py` that select this loss."""
        flags = [f"--loss={self.name}"]
        if self.name == "rlo":
            flags += [f"--k={self.k:g}", f"--rlo-form={self.form or 'bounded'}"]
        if self.saturating:
            flags.append("--saturating=true")
        flags += [f"--{flag}={rate:g}" for flag, rate in (("glr", self.glr), ("dlr", self.dlr)) if rate is not None]
        return flags

    def with_rates(self, glr: float | None, dlr: float | None) -> "LossSpec":
        """The same loss with the learning rates that it does not name itself."""
        return replace(
            self, glr=self.glr if self.glr is not None else glr, dlr=self.dlr if self.dlr is not None else dlr
        )


def parse_losses(text: str) -> list[LossSpec]:
    """Read `--losses`: a comma list of `name[:option=value]...`, options k, form, saturating, glr, dlr.

    `k=2..32` stands for every whole number from 2 to 32, `k=2..32/5` for every fifth.

    Raises:
        UserError: unknown loss or option, a value out of range, the same loss twice, more than `MOST` losses.
    """
    losses = [loss for part in text.split(",") for loss in _parse_one(part.strip())]
    if len(losses) > MOST:
        raise UserError(f"--losses names {len(losses)} losses; give {MOST} at most")
    keys = [loss.key for loss in losses]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UserError(f"--losses names {twice[0]} twice; write it once")
    return losses


def _parse_one(text: str) -> list[LossSpec]:
    name, *options = text.split(":")
    if name not in ("ce", "rlo"):
        raise UserError(f"--losses: '{text}' is not a loss; write ce or rlo:k=K[:form=bounded|convex]")
    values: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in ("k", "form", "saturating", "glr", "dlr"):
            raise UserError(f"--losses: '{option}' in '{text}' is not k=, form=, saturating=, glr= or dlr=")
        values[key] = value
    rates = {key: _number(values[key], text, key) for key in ("glr", "dlr") if key in values}
    if any(rate <= 0 for rate in rates.values()):
        raise UserError(f"--losses: a learning rate in '{text}' is not positive")
    saturating = _boolean(values.get("saturating", "false"), text)
    if name == "ce":
        if "k" in values or "form" in values:
            raise UserError(f"--losses: '{text}' gives k or form to cross-entropy, which has neither; leave them out")
        return [LossSpec("ce", saturating=saturating, **rates)]
    form = values.get("form", "bounded")
    if form not in FORMS:
        raise UserError(f"--losses: form={form} in '{text}' is unknown; choose bounded or convex")
    if "k" not in values:
        raise UserError(f"--losses: '{text}' needs a k, as in rlo:k=2")
    return [LossSpec("rlo", k, form, saturating, **rates) for k in _parse_k(values["k"], form, text)]


def _parse_k(value: str, form: str, text: str) -> list[float]:
    span, _, step_text = value.partition("/")
    first, dots, last = span.partition("..")
    if dots:
        low, high = _number(first, text, "k"), _number(last, text, "k")
        step = _number(step_text, text, "k") if step_text else 1.0
        if high < low or step <= 0:
            raise UserError(f"--losses: the range k={value} in '{text}' is empty; write it as k=2..32 or k=2..32/5")
        if (high - low) / step >= MOST:  # before the list is made
            raise UserError(
                f"--losses: the range k={value} in '{text}' has more than {MOST} values; "
                "end it earlier or give a step, as in k=2..32/5"
            )
        ks = [low + i * step for i in range(int((high - low) / step + 1e-9) + 1)]
    else:
        ks = [_number(value, text, "k")]
    lowest = 1.0 if form == "bounded" else 0.0
    if min(ks) <= lowest:
        raise UserError(f"--losses: '{text}' needs k > {lowest:g} in the {form} form")
    return ks


def _number(value: str, text: str, key: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise UserError(f"--losses: {key}={value} in '{text}' is not a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise UserError(f"--losses: {key}={value} in '{text}' is not finite")
    return number


def _boolean(value: str, text: str) -> bool:
    if value.lower() in ("1", "true", "yes"):
        return True
    if value.lower() in ("0", "false", "no"):
        return False
    raise UserError(f"--losses: saturating={value} in '{text}' is neither true nor false")
