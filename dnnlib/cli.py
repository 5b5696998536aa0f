"""What all command lines share: the telling of user errors in the command's own flags, and the types of options."""

import functools
import math
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from dnnlib.console import outlast_console
from dnnlib.errors import UserError, printable
from dnnlib.paths import user_paths
from dnnlib.seeds import LARGEST_SEED

MISTAKE_STATUS = 2  # of a command that the user can fix
CONTINUE_STATUS = 75  # of one that was asked to stop, saved, and can be continued (EX_TEMPFAIL of sysexits.h)
MOST_NUMBERS = 1_000_000  # in one list
_LONGEST_LINE = 1 << 16
BOOL = {"type": bool, "is_flag": False, "flag_value": True, "metavar": "BOOL"}  # 1/0/yes/no, or nothing for yes
SEED = click.IntRange(0, LARGEST_SEED)
AUTO = "auto"
_ARGUMENTS = "dnnlib.cli.arguments"


def door(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the body of a click command: a `UserError` becomes one line on stderr and exit status 2.

    Goes below the click decorators, directly above the function.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            if not (error.everywhere and os.environ.get("RANK", "0") != "0"):
                say(f"error: {in_flags(error)}", err=True)
            sys.exit(MISTAKE_STATUS)

    return wrapper


def say(line: str, *, err: bool = False) -> None:
    """Print one line, on stderr if `err`; what it quotes from files and names is shown as `printable` shows it."""
    click.echo(printable(line, _LONGEST_LINE), err=err)


def in_flags(error: object) -> str:
    """The message with the running command's flags where it names `arguments`; one that it has not gets the usual form.

    So a library's `batch_gpu` is --batch-gpu, and two commands can have different flags for the same argument.
    """
    context = click.get_current_context(silent=True)
    parameters = context.command.params if context is not None else []
    flags = {parameter.name: max(parameter.opts, key=len) for parameter in parameters}
    usual = r"`([a-z][a-z0-9_]*)`"
    told = re.sub(usual, lambda match: flags.get(match[1]) or f"--{match[1].replace('_', '-')}", f"{error}")
    return as_called(told)


def as_called(text: str) -> str:
    """The text with scripts of a checkout, such as `python train.py`, under the name that a group gave them.

    So what was called as `rooted-stylegan train` names `rooted-stylegan dataset` and not dataset_tool.py.
    """
    context = click.get_current_context(silent=True)
    group = context.find_root() if context is not None else None
    scripts = getattr(group.command, "scripts", {}) if group is not None else {}
    for script, name in scripts.items():
        text = re.sub(rf"(?<![\w/.])(python )?{re.escape(script)}(?!\w)", f"{group.info_name} {name}", text)
    return text


def given_arguments() -> tuple[str, ...]:
    """What the running command was given, as it was written."""
    return click.get_current_context().meta[_ARGUMENTS]


class Command(click.Command):
    """A click command whose usage errors are one line too, as those of `door` are, and that refuses empty values.

    Its help shows defaults, and options under the headings of their groups.
    """

    def __init__(self, *args: Any, context_settings: dict[str, Any] | None = None, **kwargs: Any) -> None:
        settings = {"show_default": True, "max_content_width": 110, **(context_settings or {})}
        super().__init__(*args, context_settings=settings, **kwargs)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; who reads its output may go away meanwhile."""
        outlast_console()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options; a mistake in them is told and ends the program with status 2."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            say(f"error: {error.format_message()}", err=True)
            sys.exit(MISTAKE_STATUS)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options; an empty value is a mistake, often an unset shell variable."""
        # The values as they are written: `Path("")` is the current folder.
        ctx.meta[_ARGUMENTS] = tuple(args)
        args = self._in_dashes(args)
        written, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for option in self.params:
            value = written.get(option.name)
            is_empty = "" in (value if isinstance(value, list | tuple) else [value])
            if isinstance(option, click.Option) and is_empty and "--help" not in args:
                raise click.UsageError(_what_is_empty(option), ctx)
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            if names_a_path(parameter):
                try:
                    ctx.params[parameter.name] = user_paths(ctx.params[parameter.name])
                except UserError as error:
                    raise click.BadParameter(f"{error}", ctx, parameter) from error
        return rest

    def _in_dashes(self, args: list[str]) -> list[str]:
        """Options as other programs of this family write them, `--projected_w`, in the way of these."""
        known = {flag for option in self.params for flag in option.opts}
        own = args.index("--") if "--" in args else len(args)

        def renamed(arg: str) -> str:
            name, equals, value = arg.partition("=")
            dashed = name.replace("_", "-")
            return f"{dashed}{equals}{value}" if name.startswith("--") and dashed in known else arg

        return [*map(renamed, args[:own]), *args[own:]]

    def get_help(self, ctx: click.Context) -> str:
        """The help; its examples are called as the command is."""
        return as_called(super().get_help(ctx))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options under the headings of their groups."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option with a heading to stand under in the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


def names_a_path(parameter: click.Parameter) -> bool:
    """Whether the values of an option or argument are files or folders, by what its help calls them."""
    kinds = set((parameter.metavar or "").upper().split("|"))
    return bool(kinds & {"PATH", "FILE", "DIR", "PICTURE"}) or isinstance(parameter, click.Argument)


def _what_is_empty(option: click.Option) -> str:
    kind = (option.metavar or option.type.name).upper()
    remedy = "a path" if kind.partition("|")[0] in ("PATH", "FILE", "DIR", "PICTURE") else "a value"
    leave = "" if option.required else " or leave the option out"
    return f"{max(option.opts, key=len)} is empty; give {remedy}{leave}"


class Number(click.FloatRange):
    """A finite number in a range; click's own range lets `nan` through, and `inf` where it has no end."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse one value; a wrong one is a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"'{value}' is not a finite number", param, ctx)
        return number

    def _describe_range(self) -> str:
        return super()._describe_range() if self.min is not None or self.max is not None else ""


class BoolOrAuto(click.types.BoolParamType):
    """Yes or no as `BOOL` takes it, or the word `auto`, which leaves it to the program."""

    name = "auto or boolean"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | bool:
        """Parse one value; a wrong one is a usage error."""
        return AUTO if value == AUTO else super().convert(value, param, ctx)


class Size(click.ParamType):
    """`WxH` as a tuple of two positive integers.

    Args:
        alone: what one number means: "columns" (a tuple with None), "square", or None if it is a mistake.
    """

    name = "WxH"

    def __init__(self, alone: str | None = None) -> None:
        self._alone = alone

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int | None]:
        """Parse one value; a wrong one is a usage error."""
        if isinstance(value, tuple):
            return value
        size = re.fullmatch("([0-9]{1,9})(?:x([0-9]{1,9}))?", value.strip().lower())
        width, height = (part and int(part) for part in size.groups()) if size else (0, 0)
        if (height is None and self._alone is None) or 0 in (width, height):
            remedy = {None: "", "columns": " or columns alone as 8", "square": " or the side of a square as 64"}
            self.fail(f"'{value}' is not a size such as 8x4{remedy[self._alone]}", param, ctx)
        return width, width if height is None and self._alone == "square" else height


class Span(click.ParamType):
    """`LOW..HIGH` as a tuple of two finite numbers in their order; one number X is -X..X."""

    name = "LOW..HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Parse one value; a wrong one is a usage error."""
        if isinstance(value, tuple):
            return value
        first, dots, last = value.partition("..")
        low, high = (Number().convert(part, param, ctx) for part in ((first, last) if dots else (f"-{first}", first)))
        if low >= high:
            self.fail(f"'{value}' is no range such as -3..3", param, ctx)
        return low, high


class NameList(click.ParamType):
    """A list of names such as `a,b,c`, as a tuple of str.

    Args:
        none: whether the word `none` is the empty list.
    """

    name = "list"

    def __init__(self, *, none: bool = False) -> None:
        self._none = none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split at commas; a list without names is a usage error."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        if not names:
            self.fail(f"it is empty; give names or {'none' if self._none else 'leave the option out'}", param, ctx)
        return () if self._none and value.strip().lower() == "none" else names


class NumberList(NameList):
    """A list of numbers such as `0.001,0.002`, each as `number` takes it, as a tuple of floats."""

    def __init__(self, number: Number | None = None) -> None:
        super().__init__()
        self._number = number or Number()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Split at commas; a list without numbers, or with anything else, is a usage error."""
        return tuple(self._number.convert(part, param, ctx) for part in super().convert(value, param, ctx))


class IntegerRanges(click.ParamType):
    """A list of integers and ranges such as `0,1,5-8`, as a list of ints from 0 to 2^32 - 1, a million at most."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Expand the ranges in their order."""
        if isinstance(value, list):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if re.fullmatch("[0-9]+", first) is None or (dash and re.fullmatch("[0-9]+", last) is None):
                self.fail(f"'{value}' is not a list of numbers and ranges such as 0,1,5-8", param, ctx)
            ends = [text.lstrip("0") or "0" for text in ((first, last) if dash else (first, first))]
            if any(len(text) > len(str(LARGEST_SEED)) or int(text) > LARGEST_SEED for text in ends):
                self.fail(f"'{part.strip()[:40]}' is too large; numbers go up to {LARGEST_SEED}", param, ctx)
            low, high = map(int, ends)
            if high < low:
                self.fail(f"the range '{part}' in '{value}' ends before it starts", param, ctx)
            if len(numbers) + high - low >= MOST_NUMBERS:
                self.fail(f"'{part.strip()}' makes more than {MOST_NUMBERS} numbers; give fewer", param, ctx)
            numbers.extend(range(low, high + 1))
        return numbers
