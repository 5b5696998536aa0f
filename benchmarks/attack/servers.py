"""Downloads from a server of this process that answers with something else than a network, in an odd way."""

import contextlib
import http.server
import random
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.attack.changes import TEXTS, changed
from benchmarks.attack.field import Field
from benchmarks.attack.networks import Arguments, drawing

OK = b"HTTP/1.1 200 OK\r\n"
HEADS = (
    OK + b"Content-Length: 50\r\n\r\n",
    OK + b"Content-Length: 99999999999\r\n\r\n",
    OK + b"Content-Length: -5\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
    OK + b"Content-Encoding: \x1b[2J\r\n\r\n",
    OK + b"X: " + b"y" * 70000 + b"\r\n\r\n",
    OK + b"X: y\r\n" * 200 + b"\r\n",
    OK + b"Content-Disposition: attachment; filename=../../x\r\n\r\n",
    OK + b"Content-Type: text/html; charset=\xff\r\n\r\n",
    b"HTTP/1.1 404 \x1b[2J<b>\r\n\r\n",
    b"HTTP/1.1 99999 x\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \x1b[2J\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"", b"\0" * 100, b"\n" * 70000,
)  # fmt: skip
ENDLESS = 1 << 23
"""Bytes after which an endless answer ends, so that a case does."""


def downloads(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A wrong page, nonsense in head or chunks, a broken, repeated or never-ending answer."""
    head, network = choose.choice(HEADS), field.network.read_bytes()
    page = f"<html>{choose.choice(TEXTS)}</html>".encode(errors="replace")
    body = choose.choice((page, field.executing(choose), b"", changed(network[:3000], choose), network))
    answer = (changed(head, choose) if choose.random() < 0.5 else head) + body
    pieces: Iterator[bytes] = iter([answer])
    match choose.randrange(8):
        case 0:
            pieces = (answer[i : i + 100] for i in range(0, len(answer), 100))  # arrives piece by piece
        case 1:
            begin = choose.choice((network, b"\x80\x04", page))
            pieces = _endless(OK + b"\r\n" + begin, choose.choice((b"\0", b"x" * 9)))
        case 2:
            pieces = _endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")
        case 3:
            pieces = _endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n", 1 << 17)
    name = f"net-{choose.getrandbits(64)}.pkl"
    return drawing(f"http://127.0.0.1:{_serve(pieces)}/{name}", case)


def _endless(begin: bytes, more: bytes, size: int = ENDLESS) -> Iterator[bytes]:
    yield begin
    block = more * (65536 // len(more))
    for _ in range(size // len(block)):
        yield block


def _serve(pieces: Iterator[bytes]) -> int:
    """A server in a thread of this process; its port. It gives the pieces to the first who asks, nothing to others."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while self.rfile.readline(65536) not in (b"\r\n", b"\n", b""):
                    pass
                for piece in pieces:
                    self.wfile.write(piece)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


KINDS: dict[str, Callable[[Field, random.Random, Path], Arguments]] = {"downloads": downloads}
