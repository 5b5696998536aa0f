"""The one exception for mistakes that a user can make and fix."""

import contextlib
import re
from collections.abc import Iterator


class UserError(Exception):
    """A mistake in a command, file or setting that the user can fix.

    The message is one line that names the argument or file and the remedy. Arguments stand in backquotes, as
    "`batch_size`=0: give 1 or more". Command lines print the line on stderr with their own flags in place of the
    arguments, and exit with status 2 (see `dnnlib.cli.door`); as a library call it is an ordinary exception. What a
    message quotes from files and names is data: it is shown as `printable` shows it.

    Args:
        message: the line.
        everywhere: whether every process of a distributed run raises the same error, so that one may tell it for all.
    """

    def __init__(self, message: str, *, everywhere: bool = False) -> None:
        super().__init__(printable(message))
        self.everywhere = everywhere


def printable(text: str, longest: int = 2000) -> str:
    r"""`text` on one line, with nothing in it that a terminal obeys; of long text the middle is left out.

    Example:
        >>> print(printable(chr(27) + "[2J"))
        \x1b[2J
    """
    if len(text) > longest:
        text = f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class WriteError(UserError):
    """A file cannot be written: the disk is full, the folder is gone or belongs to somebody else."""


@contextlib.contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Within it a `UserError` names arguments as the caller calls them: `renamed(path="data")`."""
    try:
        yield
    except UserError as error:
        error.args = (re.sub(r"`(\w+)`", lambda match: f"`{names.get(match[1], match[1])}`", f"{error}"),)
        raise


def first_line(error: BaseException) -> str:
    """The first line of an error's message, 200 characters at most; its kind where it says nothing."""
    return _lines(error)[0][:200]


def last_line(error: BaseException) -> str:
    """The last line, where a traceback comes first, as in TorchScript's errors."""
    return _lines(error)[-1][:200]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in f"{error}".splitlines() if line.strip()] or [type(error).__name__]
