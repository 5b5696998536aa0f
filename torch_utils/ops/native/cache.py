"""Compiled kernels on the disk, shared by all processes of a user.

A file is written beside its place and renamed, so readers see a whole file or none, and two processes
that compile the same kernel both succeed. There are no locks. A file that is damaged all the same is
noticed by its checksum and replaced.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from dnnlib import UserError, atomic_write
from dnnlib.paths import default_cache_dir

_DIGEST = hashlib.sha256


def cache_folder() -> Path:
    """$DNNLIB_CACHE_DIR/ops, by default ~/.cache/dnnlib/ops."""
    return default_cache_dir() / "ops"


def cached_binary(name: str, identity: list[str], compile_now: Callable[[], bytes]) -> bytes:
    """Read a binary from the cache, or compile and keep it.

    Args:
        name: readable first part of the file's name.
        identity: all that the binary depends on: source, options, architecture, compiler version.
        compile_now: makes the binary. Where the folder cannot be written, it is made anew by each process.
    """
    key = _DIGEST("\0".join(identity).encode()).hexdigest()
    try:
        path = cache_folder() / f"{name}-{key[:24]}.bin"
        content = path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        content = b""
    size = _DIGEST().digest_size
    binary = content[size:]
    if binary and content[:size] == _DIGEST(key.encode() + binary).digest():
        return binary
    binary = compile_now()
    try:
        path = cache_folder() / f"{name}-{key[:24]}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            stream.write(_DIGEST(key.encode() + binary).digest() + binary)
    except (OSError, RuntimeError, UserError):
        return binary  # a cache that cannot be written costs the next process 0.1 s, no more
    return binary
