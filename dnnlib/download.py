"""Downloads: once, checked, into a cache that several processes may share."""

import hashlib
import os
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.files import atomic_write

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = (10, 60)  # to connect, between two pieces of data


class _Failed(Exception):
    """One attempt failed. Not an OSError: `atomic_write` takes those for a failing disk."""

    def __init__(self, reason: str, *, worth_retrying: bool = True) -> None:
        super().__init__(reason)
        self.worth_retrying = worth_retrying


def default_cache_dir() -> Path:
    """`DNNLIB_CACHE_DIR`, else `~/.cache/dnnlib`."""
    return Path(os.environ.get("DNNLIB_CACHE_DIR") or Path.home() / ".cache" / "dnnlib")


def cached_path(url: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Where the file of a URL lies, or would lie, in the cache: a hash of the URL, then the file's own name."""
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    name = Path(unquote(urlsplit(url).path)).name or "index"
    return folder / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"


def download(
    url: str,
    *,
    sha256: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    offline: bool = False,
    retries: int = 4,
    backoff: float = 1.0,
) -> Path:
    """Fetch a file once and return its place in the cache.

    A file becomes visible in the cache only when it is whole and its checksum is right.

    Args:
        url: http or https.
        sha256: the expected SHA-256 in hexadecimal, or its first 8 digits or more; None accepts any content.
        cache_dir: the cache; None for `default_cache_dir()`.
        offline: use what the cache holds, never the network.
        retries: how often to try again after a failure that may pass.
        backoff: seconds before the first new attempt, doubled each time.

    Raises:
        UserError: the file cannot be had; the message has the URL and where to put the file by hand.
    """
    path = cached_path(url, cache_dir)
    if path.is_file():
        if sha256 is None or _matches(file_sha256(path), sha256):
            return path
        if offline:
            raise UserError(f"{path} is not the file expected from {url} (SHA-256 {sha256}...); replace it by hand")
    if offline:
        raise UserError(f"{url} is not in the cache and --offline forbids to fetch it; save the file as {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {path.parent}: {error.strerror}; set DNNLIB_CACHE_DIR") from error
    for attempt in range(retries + 1):
        try:
            _fetch(url, sha256, path)
            return path
        except _Failed as failure:
            if attempt == retries or not failure.worth_retrying:
                raise UserError(
                    f"cannot download {url}: {failure}; fetch the file by other means and save it as {path}"
                ) from failure
            time.sleep(backoff * 2**attempt)
    raise AssertionError("the loop returns or raises")


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


def _matches(digest: str, expected: str) -> bool:
    return len(expected) >= 8 and digest.startswith(expected.lower())


def _fetch(url: str, sha256: str | None, path: Path) -> None:
    """One attempt."""
    try:
        response = requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise _Failed(_one_line(error), worth_retrying=not isinstance(error, ValueError)) from error
    with response:
        if response.status_code != 200:
            temporary = response.status_code >= 500 or response.status_code in (408, 429)
            raise _Failed(f"the server answers {response.status_code} {response.reason}", worth_retrying=temporary)
        with atomic_write(path) as stream:
            digest = hashlib.sha256()
            try:
                for chunk in _with_progress(response, path.name):
                    digest.update(chunk)
                    stream.write(chunk)
            except requests.RequestException as error:
                raise _Failed(f"the connection broke off ({_one_line(error)})") from error
            if sha256 is not None and not _matches(digest.hexdigest(), sha256):
                raise _Failed(f"what arrives has the SHA-256 {digest.hexdigest()}, expected was {sha256}")


def _with_progress(response: requests.Response, name: str):
    """The body in chunks, with a bar on stderr where a person is watching."""
    length = int(response.headers.get("Content-Length") or 0) or None
    with tqdm(total=length, unit="B", unit_scale=True, desc=name, disable=not sys.stderr.isatty()) as bar:
        for chunk in response.iter_content(_CHUNK):
            bar.update(len(chunk))
            yield chunk


def _one_line(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return " ".join(f"{reason}".split())[:300] or type(error).__name__
