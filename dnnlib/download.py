"""Downloads: once, checked, into a cache that several processes may share."""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from dnnlib.checksum import check_sha256, file_sha256, sha256_fits
from dnnlib.errors import UserError
from dnnlib.files import atomic_write, make_folder
from dnnlib.paths import default_cache_dir

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = (10, 60)  # to connect, between two pieces of data
_SLOWEST = 1024, 120  # bytes in seconds: below that the server only keeps the line open
_LARGEST = 16 << 30  # bytes of anything that this program fetches
_LONGEST_NAME = 80
_FIRST = 512  # bytes that tell what arrives


class _Failed(Exception):
    """One attempt failed. Not an OSError: `atomic_write` takes those for a failing disk."""

    def __init__(self, reason: str, *, worth_retrying: bool = True) -> None:
        super().__init__(reason)
        self.worth_retrying = worth_retrying


def cached_path(url: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Where the file of a URL lies, or would lie, in the cache: a hash of the URL, then the file's own name."""
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    try:
        name = Path(unquote(urlsplit(url).path)).name
    except ValueError as error:
        raise UserError(f"{url} is no address of a file ({error})") from error
    name = re.sub(r"[^\w.+-]", "_", name)[-_LONGEST_NAME:] or "index"
    return folder / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"


def fetch(
    location: str | os.PathLike,
    what: str,
    *,
    sha256: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    offline: bool = False,
    looks_right: Callable[[bytes], bool] | None = None,
) -> Path:
    """The file behind a path, `https://...` or `hf://owner/repo/file` (`hf://owner/repo@revision/file`).

    Args:
        location: where it is; from elsewhere than this machine it is downloaded once.
        what: the kind of file, for messages, such as "network".
        sha256: the expected SHA-256 in hexadecimal, or its first 8 digits or more; None accepts any content.
        cache_dir: the cache; None for `default_cache_dir()`.
        offline: use what the cache holds, never the network.
        looks_right: whether a file that begins with these bytes is of the kind; others are not kept when they arrive.

    Raises:
        UserError: there is no such file, or it has another checksum.
    """
    scheme, separator, rest = str(location).partition("://")
    if separator:
        if scheme not in ("https", "http", "hf"):
            raise UserError(f"{location}: {what}s are fetched from https:// or hf://owner/repo/file, not {scheme}://")
        url = _hugging_face_url(rest) if scheme == "hf" else str(location)
        return download(url, sha256=sha256, cache_dir=cache_dir, offline=offline, looks_right=looks_right)
    path = Path(location)
    if not path.is_file():
        raise UserError(f"there is no {what} file {path}; give a path, https:// or hf://owner/repo/file")
    check_sha256(path, sha256, "fetch the file again")
    return path


def _hugging_face_url(location: str) -> str:
    owner, _, rest = location.partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and file):
        raise UserError(f"hf://{location} is incomplete; write hf://owner/repo/file or hf://owner/repo@revision/file")
    return f"https://huggingface.co/{owner}/{repository}/resolve/{revision or 'main'}/{file}"


def download(
    url: str,
    *,
    sha256: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    offline: bool = False,
    looks_right: Callable[[bytes], bool] | None = None,
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
        looks_right: as of `fetch`.
        retries: how often to try again after a failure that may pass.
        backoff: seconds before the first new attempt, doubled each time.

    Raises:
        UserError: the file is not available; the message has the URL and where to put the file by hand.
    """
    path = cached_path(url, cache_dir)
    if path.is_file():
        if sha256 is None or sha256_fits(file_sha256(path), sha256):
            return path
        if offline:
            raise UserError(f"{path} is not the file expected from {url} (SHA-256 {sha256}...); replace it by hand")
    if offline:
        raise UserError(f"{url} is not in the cache and `offline` forbids to fetch it; save the file as {path}")
    make_folder(path.parent, "DNNLIB_CACHE_DIR")
    for attempt in range(retries + 1):
        try:
            _fetch(url, sha256, path, looks_right)
            return path
        except _Failed as failure:
            if attempt == retries or not failure.worth_retrying:
                raise UserError(
                    f"cannot download {url}: {failure}; fetch the file by other means and save it as {path}"
                ) from failure
            time.sleep(backoff * 2**attempt)
    raise AssertionError("the loop returns or raises")


def _fetch(url: str, sha256: str | None, path: Path, looks_right: Callable[[bytes], bool] | None) -> None:
    """One attempt."""
    try:
        response = requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS)
    except (requests.RequestException, ValueError) as error:  # ValueError: of an address, or of where it redirects to
        raise _Failed(_one_line(error), worth_retrying=not isinstance(error, ValueError)) from error
    with response:
        if response.status_code != 200:
            temporary = response.status_code >= 500 or response.status_code in (408, 429)
            raise _Failed(f"the server answers {response.status_code} {response.reason}", worth_retrying=temporary)
        with atomic_write(path) as stream:
            digest, first = hashlib.sha256(), b""
            try:
                for chunk in _with_progress(response, path.name):
                    if len(first) < _FIRST:
                        first += chunk[: _FIRST - len(first)]
                        if len(first) == _FIRST:
                            _check_first(first, looks_right)
                    digest.update(chunk)
                    stream.write(chunk)
            except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: of broken chunks
                raise _Failed(f"the connection broke off ({_one_line(error)})") from error
            _check_first(first, looks_right)
            if not sha256_fits(digest.hexdigest(), sha256):
                raise _Failed(f"what arrives has the SHA-256 {digest.hexdigest()}, expected was {sha256}")


def _check_first(first: bytes, looks_right: Callable[[bytes], bool] | None) -> None:
    if looks_right is not None and not looks_right(first):
        raise _Failed(f"what arrives is another kind of file; it begins with {first[:40]!r}", worth_retrying=False)


def _with_progress(response: requests.Response, name: str):
    """The body in chunks, with a bar on stderr where a person is watching; bounded in size and slowness."""
    told = response.headers.get("Content-Length", "")
    length = int(told) if re.fullmatch("[0-9]{1,15}", told) else None
    taken, checked_at, checked = 0, time.monotonic(), 0
    with tqdm(total=length, unit="B", unit_scale=True, desc=name, disable=not sys.stderr.isatty()) as bar:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            taken += len(chunk)
            if max(taken, length or 0) > _LARGEST:
                raise _Failed(f"it is larger than {_LARGEST >> 30} GiB", worth_retrying=False)
            least, seconds = _SLOWEST
            if time.monotonic() - checked_at > seconds:
                if taken - checked < least:
                    raise _Failed(f"less than {least} bytes arrived in {seconds} seconds")
                checked_at, checked = time.monotonic(), taken
            bar.update(len(chunk))
            yield chunk
        if length is not None and taken < length and "Content-Encoding" not in response.headers:
            raise _Failed(f"the connection broke off (after {taken} of {length} bytes)")


def _one_line(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return " ".join(f"{reason}".split())[:300] or type(error).__name__
