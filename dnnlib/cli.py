"""What all command lines share: the translation of user errors and the parsers of list options."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from dnnlib.errors import UserError

MISTAKE_STATUS = 2  # of a command that the user can mend
CONTINUE_STATUS = 75  # of one that was asked to stop, saved, and can be continued (EX_TEMPFAIL of sysexits.h)


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
                click.echo(f"error: {error}", err=True)
            sys.exit(MISTAKE_STATUS)

    return wrapper


class Command(click.Command):
    """A click command whose usage errors are one line too, as those of `door` are."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options; a mistake in them is told and ends the program with status 2."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            click.echo(f"error: {error.format_message()}", err=True)
            sys.exit(MISTAKE_STATUS)


class IntegerRanges(click.ParamType):
    """A list of integers and ranges such as `0,1,5-8`, as a list of ints; negative numbers are refused."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Expand the ranges in their order."""
        if isinstance(value, list):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdigit() or (dash and not last.isdigit()):
                self.fail(f"'{value}' is not a list of numbers and ranges such as 0,1,5-8", param, ctx)
            low, high = int(first), int(last) if dash else int(first)
            if high < low:
                self.fail(f"the range '{part}' in '{value}' ends before it starts", param, ctx)
            numbers.extend(range(low, high + 1))
        return numbers
