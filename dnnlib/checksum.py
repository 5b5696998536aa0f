"""The SHA-256 of files, and whether it is the one that someone expects."""

import hashlib
import os

from dnnlib.errors import UserError

_CHUNK = 1 << 20
_SHORTEST = 8  # digits: fewer fit too many files


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def sha256_fits(digest: str, expected: str | None) -> bool:
    """Whether `expected` is `digest` or its first 8 digits or more, in hexadecimal; None fits any."""
    return expected is None or (len(expected) >= _SHORTEST and digest.startswith(expected.lower()))


def check_sha256(path: str | os.PathLike, expected: str | None, remedy: str) -> None:
    """Refuse a file whose SHA-256 is not `expected` (see `sha256_fits`).

    Raises:
        UserError: it is another one, or the file cannot be read; the message ends in `remedy`.
    """
    if expected is not None and not sha256_fits(digest := file_sha256(path), expected):
        raise UserError(f"{path} has the SHA-256 {digest}, not the expected {expected}; {remedy}")
