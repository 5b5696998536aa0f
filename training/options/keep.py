"""Which network snapshots stay: `last=N,best=M`."""

from typing import Any, NamedTuple

import click


class Keep(NamedTuple):
    """How many of the newest, and of those with the best metric; None for all."""

    last: int | None = None
    best: int | None = None


class KeepRule(click.ParamType):
    """`last=N,best=M`, or one of them, as a `Keep`."""

    name = "last=N,best=M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Keep:
        """Parse one value; a wrong one is a usage error."""
        if isinstance(value, Keep):
            return value
        rule = {}
        for part in value.split(","):
            key, _, number = part.partition("=")
            if key not in Keep._fields or not number.isdigit():
                self.fail(f"'{value}' is not of the form last=N,best=M", param, ctx)
            rule[key] = int(number)
            if rule[key] == 0:
                self.fail(f"'{part}' would keep none; give 1 or more, or leave '{key}' out", param, ctx)
        return Keep(**rule)
