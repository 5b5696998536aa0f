"""The one exception for mistakes that a user can make and mend."""


class UserError(Exception):
    """A mistake in a command, file or setting that the user can mend.

    The message is one line that names the flag or file and the remedy. Command lines print it on
    stderr and exit with status 2 (see `dnnlib.cli.door`); as a library call it is an ordinary exception.

    Args:
        message: the line.
        everywhere: whether every process of a distributed run raises the same error, so that one may tell it for all.
    """

    def __init__(self, message: str, *, everywhere: bool = False) -> None:
        super().__init__(message)
        self.everywhere = everywhere
