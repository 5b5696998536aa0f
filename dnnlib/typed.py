"""Values that others wrote, held against the types that they should have."""

import math
import types
import typing
from typing import Any


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is of a type.

    Types are None, bool, int, float (finite), str, list, dict, tuple (in JSON a list), unions, literals, Any. An int
    is a float too, a bool is neither.

    Example:
        >>> fits([1, 0.5], tuple[float, float]), fits(True, int), fits(None, str | None)
        (True, False, True)
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(fits, value, parts))
    if origin is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint in (None, types.NoneType) else isinstance(value, hint)


def type_name(hint: Any) -> str:
    """A type as it is shown in a message, such as `int or none`.

    Example:
        >>> type_name(int | None), type_name(tuple[float, float])
        ('int or none', 'list of 2')
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_name, parts))
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        return "list" if Ellipsis in parts else f"list of {len(parts)}"
    return {types.NoneType: "none", float: "finite number"}.get(hint, getattr(hint, "__name__", str(hint)))


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False
