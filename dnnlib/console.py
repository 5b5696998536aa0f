"""Output that may vanish: a pipe that ends, a terminal that closes, a full disk behind a redirection, nothing at all.

What a program is for must not depend on somebody reading along. `outlast_console` lets writes to a lost stream succeed
and says once, to whoever asked, that it is gone.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class OutlastingStream(io.TextIOBase):
    """A text stream that swallows what is written after the system refused something.

    Args:
        stream: where the text goes.
        name: for `report`.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._lost: str | None = None
        self._report: Callable[[str], None] | None = None

    def write(self, text: str) -> int:
        """Write, or do nothing if the stream is gone."""
        if self._lost is None:
            with self._noticing():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing if the stream is gone."""
        if self._lost is None:
            with self._noticing():
                self._stream.flush()

    def report_to(self, report: Callable[[str], None] | None) -> None:
        """Call `report` with a line once the stream is gone; at once if it is already."""
        self._report = report
        self._tell()

    def fileno(self) -> int:
        """The descriptor of the stream below."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether the stream is a terminal that is still there."""
        return self._lost is None and self._stream.isatty()

    @property
    def encoding(self) -> str:
        """That of the stream below; without it click writes past this one."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:
        """What happens to characters that the encoding has not."""
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _noticing(self) -> Any:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: closed, by us or by who started us
            if isinstance(error, UnicodeError):
                raise
            self._lost = getattr(error, "strerror", None) or f"{error}"
            # What is still in buffers, and what C code and children write, goes nowhere instead of failing at exit.
            with contextlib.suppress(OSError, ValueError):
                _point_to_nothing(self._stream.fileno())
                self._stream.flush()
            self._tell()

    def _tell(self) -> None:
        if self._lost is not None and self._report is not None:
            report, self._report = self._report, None
            report(f"{self._name} is gone ({self._lost}); what it would have shown is not shown")


def outlast_console() -> None:
    """Make stdout and stderr outlast their readers; for the beginning of a program."""
    for number, name, attribute in ((1, "standard output", "stdout"), (2, "standard error", "stderr")):
        stream = getattr(sys, attribute)
        if isinstance(stream, OutlastingStream):
            continue
        if stream is None:  # closed by who started us: the next file to be opened would take its number
            _point_to_nothing(number)
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the program
        setattr(sys, attribute, OutlastingStream(stream, name))


def report_lost_console(report: Callable[[str], None] | None) -> None:
    """Have the loss of stdout or stderr told to `report`, one line each; None stops that."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, OutlastingStream):
            stream.report_to(report)


def _point_to_nothing(number: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
