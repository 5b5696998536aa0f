"""What is compared: the design of an experiment, kept beside its runs so that nothing is mixed up later."""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison.runs.losses import LossSpec
from dnnlib import UserError, read_json, write_json
from dnnlib.typed import fits, type_name

FILE = "comparison.json"
CHANGEABLE = ("losses", "seeds", "tuned")  # what may grow between two calls on the same folder


@dataclass(frozen=True)
class Tuning:
    """The search for learning rates and R1 weights: every loss gets the same of them, the same seeds and length.

    Attributes:
        gammas: R1 weights to combine with every rate; none leaves them as they are.
    """

    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    kimg: float
    gammas: tuple[float, ...] = ()


@dataclass(frozen=True)
class Design:
    """The settings that all runs share, the losses and the seeds.

    Attributes:
        data: path of the data set; None for the built-in faces.
        metrics: names as `train.py --metrics` takes them.
        evaluations: how often the metrics are computed over a run, the untrained network not counted.
        every: thousand images from one evaluation to the next instead, if they are not equal parts of the run.
        train_flags: further flags handed to every `train.py`.
        tuning: how learning rates are searched for first; None takes them as they are.
    """

    losses: tuple[LossSpec, ...]
    seeds: tuple[int, ...]
    kimg: float
    data: str | None = None
    subset: int | None = None
    metrics: tuple[str, ...] = ()
    evaluations: int = 10
    every: float | None = None
    train_flags: tuple[str, ...] = ()
    tuning: Tuning | None = None
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As nested JSON values."""
        return json.loads(json.dumps({**dataclasses.asdict(self), "losses": [loss.to_dict() for loss in self.losses]}))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Design":
        """The inverse of `to_dict`.

        Raises:
            ValueError: not such a dictionary, unknown or missing keys.
        """
        try:
            if not isinstance(values, dict):
                raise TypeError(f"a {type(values).__name__} instead of settings")
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            values["losses"] = tuple(LossSpec.from_dict(loss) for loss in values["losses"])
            if values.get("tuning"):
                tuning = {k: tuple(v) if isinstance(v, list) else v for k, v in values["tuning"].items()}
                values["tuning"] = Tuning(**tuning)
            design = cls(**values)
            for part in (design, design.tuning):
                for item in dataclasses.fields(part) if part is not None else ():
                    hint = typing.get_type_hints(type(part))[item.name]
                    if item.name not in ("losses", "tuning") and not fits(getattr(part, item.name), hint):
                        raise TypeError(f"{item.name} should be {type_name(hint)}")
            if not design.losses or not design.seeds:
                raise TypeError("it names no losses or no seeds")
            return design
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not written by this version of compare.py: {error}") from error


def load_design(outdir: Path) -> Design | None:
    """The design kept in `outdir`, or None where there is none yet.

    Raises:
        UserError: unreadable, or not a design; names the file.
    """
    path = outdir / FILE
    if not path.exists():
        return None
    try:
        return Design.from_dict(read_json(path))
    except (UserError, ValueError) as error:
        reason = f"{error}" if isinstance(error, UserError) else f"cannot read {path} ({error})"
        raise UserError(f"{reason}; bring it back from a copy, or give another `outdir`") from error


def save_design(outdir: Path, design: Design) -> None:
    """Write the design beside its runs."""
    write_json(outdir / FILE, design.to_dict())


def reconcile(kept: Design | None, wanted: Design) -> Design:
    """Add the losses and seeds of `wanted` to what `outdir` holds; all else has to be the same.

    Raises:
        UserError: a setting that differs, which would compare runs made under different conditions.
    """
    if kept is None:
        return wanted
    for item in dataclasses.fields(Design):
        before, now = getattr(kept, item.name), getattr(wanted, item.name)
        if item.name not in CHANGEABLE and before != now:
            raise UserError(
                f"`{item.name}`: the comparison in `outdir` was begun with {_show(before)}, not {_show(now)}; "
                "give the same, or another `outdir`"
            )
    losses = [*kept.losses, *(loss for loss in wanted.losses if loss not in kept.losses)]
    seeds = sorted({*kept.seeds, *wanted.seeds})
    return dataclasses.replace(wanted, losses=tuple(losses), seeds=tuple(seeds), tuned=kept.tuned)


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, Tuning):
        return f"rates {_show(value.rates)} and R1 weights {_show(value.gammas)} over {value.kimg:g} kimg"
    return "none" if value is None else str(value)
