"""Who may speak to the studio: a token, a cookie after it, hosts and origins; and what a page of it may load."""

import contextlib
import hmac
import ipaddress
import logging
import os
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dnnlib.errors import printable

LOG = logging.getLogger("studio")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY, "referrer-policy": "no-referrer", "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin", "cache-control": "no-store",
}  # fmt: skip


class Guard:
    """ASGI middleware that lets nobody in who does not know the token, and no page of another site.

    As in Jupyter: the address with the token is answered by a cookie. Names that could be somebody else's (DNS
    rebinding) are refused as `Host`: only `localhost`, numbers and this machine's own name are accepted. Whatever
    changes something, sockets included, must come from a page of the same host (`Origin`).

    Args:
        app: what is guarded.
        token: in the address.
        secret: what the cookie is, the same after a restart, so that open pages come back.
    """

    def __init__(self, app: ASGIApp, token: str, secret: str) -> None:
        self._app, self._token, self._secret = app, token, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, redirect or refuse."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        answer = self._judge(scope)
        if answer is None:
            return await self._app(scope, receive, _with_headers(send))
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await answer(scope, receive, _with_headers(send))

    def _judge(self, scope: Scope) -> Response | None:
        """None for what may pass."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_own_host(host):
            return _refusal(f"host {host[:100]!r} is not this machine; use the address that was printed")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if (origin is None and changes) or (origin is not None and origin.partition("://")[2] != host):
            return _refusal(f"a page of {str(origin)[:100]!r} may not use this studio")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for key, value in query if key == "token"]
        if any(_equal(value, self._token) for value in given) and not changes:
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            response = RedirectResponse("/" + (f"?{rest}" if rest else ""), status_code=303)
            response.set_cookie(_cookie_name(scope), self._secret, httponly=True, samesite="strict", max_age=1 << 25)
            return response
        if not _equal(_cookie(headers.get("cookie", ""), _cookie_name(scope)), self._secret):
            return _refusal("open the address that the studio printed when it started: the token in it is the key")
        return None


def is_own_host(host: str) -> bool:
    """Whether a `Host` header names this machine in a way that no name server can have a hand in."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return name in ("localhost", socket.gethostname().lower())


def lasting_secret(folder: Path) -> str:
    """The secret of this user's cookies, made when there is none; where it cannot be kept, one for now."""
    path = folder / "studio-secret"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), open(path, "x", opener=_private) as stream:
            stream.write(secrets.token_urlsafe(32))
        found = path.read_text(encoding="ascii")
        if len(found) >= 32 and not path.stat().st_mode & 0o077:
            return found
    return secrets.token_urlsafe(32)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _equal(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "replace"), b.encode())


def _cookie_name(scope: Scope) -> str:
    """One for each port: cookies do not know of ports."""
    return f"studio-{(scope.get('server') or ('', 0))[1]}"


def _cookie(header: str, name: str) -> str:
    with contextlib.suppress(CookieError):
        found = SimpleCookie(header).get(name)
        return found.value if found else ""
    return ""


def _refusal(why: str) -> Response:
    LOG.warning("refused: %s", printable(why))
    return PlainTextResponse(f"{why}\n", status_code=403)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending
