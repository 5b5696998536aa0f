"""A command's options as the fields of a dataclass: each is written once.

The command line, its help with the defaults, and the table in the docs are made from it.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from dnnlib.cli import BOOL, BoolOrAuto, Command, GroupedOption
from dnnlib.errors import UserError

NETWORK = "The network"  # a group of options


@dataclass(frozen=True)
class Option:
    """What there is to say about an option, beside its name and its Python type.

    Attributes:
        group: the heading that it stands under.
        help: a sentence.
        type: click's type; for `bool` and `BoolOrAuto` the value can be left out: it then means yes.
        default: the value where nothing is given; None where that depends on something else.
        unset: in words, what holds then.
        unit: what the value is counted in, or what it names.
        required, multiple: whether it has to be given, and whether it can be more than once (a tuple then).
        flags: as they are written; by default the field's name in click's way.
        free: whether it may differ from one session of the same work to the next.
        only_with: another option and the values of it that this one belongs to, any value if there are none.
    """

    group: str
    help: str
    type: Any = str
    default: Any = None
    unset: str = ""
    unit: str | None = None
    required: bool = False
    multiple: bool = False
    flags: tuple[str, ...] = ()
    free: bool = False
    only_with: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What it does, and what it belongs to."""
        if not self.only_with:
            return self.help
        other, *words = self.only_with
        return f"{self.help.removesuffix('.')} (with --{other}{'=' if words else ''}{' or '.join(words)})."

    @property
    def shown_default(self) -> str:
        """The default for a reader; empty if there is none."""
        return self.unset or shown(self.default)

    @property
    def text_with_default(self) -> str:
        """For the help, which has one column."""
        return f"{self.text.removesuffix('.')} [{self.shown_default}]." if self.shown_default else self.text

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values, where they are words."""
        return tuple(self.type.choices) if isinstance(self.type, click.Choice) else ()


def shown(value: Any) -> str:
    """A value of an option as one would write it; nothing for None."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    parts = [f"{part}".removesuffix(".0") for part in (value if isinstance(value, tuple) else (value,))]
    return ("x" if isinstance(value, tuple) and isinstance(value[0], int) else ",").join(parts)


def option(*args: Any, **kwargs: Any) -> Any:
    """A field that is an `Option`; its value is None where it is not given."""
    return dataclasses.field(default=None, metadata={"option": Option(*args, **kwargs)})


def options_of(cls: type) -> dict[str, Option]:
    """The options of a dataclass by the names of its fields, with their flags; other fields are left out."""
    fields = dataclasses.fields(cls)
    options = {field.name: field.metadata["option"] for field in fields if "option" in field.metadata}
    flags = {name: entry.flags or (f"--{name.replace('_', '-')}",) for name, entry in options.items()}
    return {name: dataclasses.replace(entry, flags=flags[name]) for name, entry in options.items()}


def check_choices(given: Any) -> None:
    """Refuse words that are not among an option's choices.

    Raises:
        UserError: names the option and the choices.
    """
    for name, entry in options_of(type(given)).items():
        value = getattr(given, name)
        if entry.choices and value is not None and value not in entry.choices:
            raise UserError(f"`{name}`={value} is unknown; choose one of {', '.join(entry.choices)}")


def check_together(given: Any, chosen: Any) -> None:
    """Refuse options that belong to others than were chosen.

    Args:
        given: the options as they were given.
        chosen: the same with the defaults.

    Raises:
        UserError: names both options.
    """
    for name, entry in options_of(type(given)).items():
        value = getattr(given, name)
        if not entry.only_with or value is None or value is False:
            continue
        other, *words = entry.only_with
        value = getattr(chosen, other)
        if value is None or (words and value not in words):
            wanted = f"`{other}`={' or '.join(words)}" if words else f"`{other}`"
            raise UserError(f"`{name}` belongs to {wanted}; give that, or leave `{name}` out")


@dataclass(frozen=True)
class GivenOptions:
    """Options as they were given, None where they were not; the base of those that have presets."""

    def given(self) -> dict[str, Any]:
        """The values that were given."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def filled(self, **values: Any) -> Any:
        """With `values` for options that were not given."""
        return dataclasses.replace(self, **{**values, **self.given()})

    def with_defaults(self, preset: dict[str, Any] | None = None) -> Any:
        """With the preset's values, then the defaults, for options that were not given."""
        defaults = {name: entry.default for name, entry in options_of(type(self)).items()}
        return self.filled(**defaults | (preset or {}))


def takes_options(cls: type, *, filled: bool = True) -> Callable[[Callable[[Any], Any]], Callable[..., Any]]:
    """Decorate the body of a click command that takes one argument: the options as an instance of `cls`.

    `filled`: whether those that are not given have their defaults, or are None.
    """
    options = options_of(cls)
    defaults = {name: entry.default for name, entry in options.items()} if filled else {}

    def decorate(function: Callable[[Any], Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            given = {name: value for name, value in values.items() if value is not None}
            return function(cls(**defaults | given))

        for name, entry in reversed(options.items()):
            own = {} if entry.type is bool else {"type": entry.type, "metavar": entry.unit}
            kind = {**BOOL, **own} if entry.type is bool or isinstance(entry.type, BoolOrAuto) else own
            command = click.option(
                *entry.flags, name, cls=GroupedOption, group=entry.group, help=entry.text_with_default,
                show_default=False, required=entry.required, multiple=entry.multiple, **kind,
            )(command)  # fmt: skip
        return command

    return decorate


def read_options(cls: type, program: str, flags: list[str]) -> Any:
    """The options that `flags` give to a program, as an instance of `cls`.

    Raises:
        SystemExit: flags that it does not know, after one line on stderr.
    """
    command = takes_options(cls)(lambda options: options)
    return cls(**click.command(program, cls=Command)(command).make_context(program, flags).params)


def markdown(cls: type) -> str:
    """The options as tables, one for each group: flag, default, what it does; `*` marks those that are `free`."""
    lines: list[str] = []
    group = None
    for entry in options_of(cls).values():
        if entry.group != group:
            group = entry.group
            lines += ["", f"| {group} | default | |", "|---|---|---|"]
        value = "BOOL" if entry.type is bool else "|".join(entry.choices) or entry.unit or "NUMBER"
        flags = "`, `".join((*entry.flags[:-1], f"{entry.flags[-1]}={value}")).replace("|", "\\|")
        lines.append(f"| `{flags}`{' *' if entry.free else ''} | {entry.shown_default} | {entry.text} |")
    return "\n".join(lines).strip()


# fmt: off
@dataclass(frozen=True, kw_only=True)
class NetworkFileOptions:
    """Options of every command that loads networks."""

    network_sha256: str | None = option(NETWORK, "Refuse a network file with another SHA-256.", unit="HEX")
    offline: bool = option(NETWORK, "Fetch nothing; use files from before only.", bool, False)
    device: str = option(NETWORK, "Where to compute: auto, cpu, cuda, cuda:N or mps.", str, "auto", unit="NAME")
# fmt: on
