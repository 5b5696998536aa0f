"""Read a pickle as data: a stack machine with the few instructions of network pickles, and no way to call anything.

Python's own unpickler imports and calls what the file names. Here a name becomes an inert `Symbol` if it is in the
caller's table and ends the reading if it is not; "calling" a symbol runs the handler that the caller wrote for it, on
plain data. The lexer is the standard library's `pickletools.genops`, which only cuts the bytes into instructions.
"""

import mmap
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any


class Refused(Exception):
    """The pickle holds something that was not expected; the message says what, without naming the file."""


@dataclass(frozen=True)
class Symbol:
    """A module attribute that the pickle names. It stands for the name only; nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Handlers:
    """What stands behind the names in a pickle.

    Attributes:
        symbols: for every name that may appear, the function that replaces calling it: `args tuple -> object`, or None
            where the name may appear but not be called.
        build: replaces the BUILD instruction: `(object, state) -> None`. Everything is refused where it is None.
        persistent: replaces persistent ids: `pid -> object`. Refused where it is None.
    """

    symbols: Mapping[Symbol, Callable[[tuple], Any] | None]
    build: Callable[[Any, Any], None] | None = None
    persistent: Callable[[Any], Any] | None = None


_MARK = object()
_MAX_INSTRUCTIONS = 2_000_000  # the largest official networks need about 30 000

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read(stream: IO[bytes] | mmap.mmap, handlers: Handlers) -> Any:
    """Read one pickle from `stream` (in memory or mapped, see `mmap`) up to its STOP instruction.

    Returns: dict, list, tuple, set, str, bytes, int, float, bool, None, and whatever the handlers return. Keys of
        dicts and members of sets are str or int, so that no structure in the file can be slow to hash.

    Raises:
        Refused: a name, instruction or structure that such a file does not need, or bytes that are no pickle.
    """
    machine = _Machine(handlers)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if opcode.name == "STOP":
                return machine.finish()
            if count == _MAX_INSTRUCTIONS:
                raise Refused(f"it has more than {_MAX_INSTRUCTIONS} instructions")
            machine.step(opcode.name, argument, position)
    except ValueError as error:  # what genops raises for bytes that are no pickle
        raise Refused(f"its bytes are no complete pickle ({_printable(str(error))})") from error
    raise AssertionError("genops ends with STOP or raises")


class _Machine:
    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def finish(self) -> Any:
        if len(self.stack) != 1:
            raise Refused("its bytes are no complete pickle (more or less than one object at the end)")
        return self.pop()

    def step(self, name: str, argument: Any, position: int) -> None:
        if name in ("PROTO", "FRAME"):
            return
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise Refused(f"its bytes are no complete pickle (position {position} refers to an absent object)")
            self.stack.append(self.memo[argument])
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            self.stack.append(tuple(self.pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self.pop_to_mark() if name == "APPENDS" else [self.pop()]
            self.container(list, name).extend(items)
        elif name == "ADDITEMS":
            items = self.pop_to_mark()
            self.container(set, name).update(_hashable(item) for item in items)
        elif name in ("SETITEM", "SETITEMS"):
            self.set_items(self.pop_to_mark() if name == "SETITEMS" else [self.pop(), self.pop()][::-1], name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.stack.append(self.symbol(*(argument.split(" ", 1) if argument else self.pop_names())))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = self.pop()
            self.stack.append(self.call(self.pop(), arguments, name))
        elif name == "BUILD" and self.handlers.build is not None:
            state = self.pop()
            self.handlers.build(self.top(), state)
        elif name == "BINPERSID" and self.handlers.persistent is not None:
            self.stack.append(self.handlers.persistent(self.pop()))
        else:
            raise Refused(f"it uses the pickle instruction {name} at position {position}, which no network file needs")

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("its bytes are no complete pickle (an instruction lacks its operand)")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                items = self.stack[start + 1 :]
                del self.stack[start:]
                return items
        raise Refused("its bytes are no complete pickle (an instruction lacks its mark)")

    def container(self, kind: type, instruction: str) -> Any:
        value = self.top()
        if type(value) is not kind:
            raise Refused(f"it applies {instruction} to something that is not a {kind.__name__}")
        return value

    def set_items(self, items: list[Any], instruction: str) -> None:
        if len(items) % 2:
            raise Refused("its bytes are no complete pickle (a key without a value)")
        self.container(dict, instruction).update(zip(map(_hashable, items[::2]), items[1::2], strict=True))

    def pop_names(self) -> tuple[str, str]:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise Refused("it imports something whose name is not text")
        return module, name

    def symbol(self, module: str, name: str = "") -> Symbol:
        symbol = Symbol(module, name)
        if symbol not in self.handlers.symbols:
            raise Refused(f"it wants to import '{_printable(str(symbol))}', which no network file needs")
        return symbol

    def call(self, function: Any, arguments: Any, instruction: str) -> Any:
        if type(function) is not Symbol or self.handlers.symbols[function] is None:
            what = str(function) if type(function) is Symbol else f"a {type(function).__name__}"
            raise Refused(f"it wants to call {what} ({instruction}), which no network file needs")
        if type(arguments) is not tuple:
            raise Refused(f"it calls {function} without a tuple of arguments")
        return self.handlers.symbols[function](arguments)


def _hashable(key: Any) -> str | int:
    if type(key) not in (str, int):
        raise Refused(
            f"it has a dict key or set member of type {type(key).__name__}; only text and numbers are expected"
        )
    return key


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:100])
