"""Downloads against a server on this machine that can be made to misbehave."""

import contextlib
import hashlib
import http.server
import threading

import pytest

from dnnlib import UserError
from dnnlib.checksum import file_sha256
from dnnlib.download import cached_path, download
from dnnlib.paths import default_cache_dir

BODY = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; `plan` holds what to do with the next requests: a status, "cut", "wrong" or "good"."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list = []
        self.requests = 0

    def url(self, name: str = "weights.pth") -> str:
        return f"http://127.0.0.1:{self.server_port}/files/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.requests += 1
        step = self.server.plan.pop(0) if self.server.plan else "good"
        if isinstance(step, int):
            self.send_error(step)
            return
        body = BODY if step != "wrong" else BODY[::-1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 1000 if step == "cut" else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


def files_in_cache() -> list:
    return [path for path in default_cache_dir().rglob("*") if path.is_file()]


def test_once_and_into_the_cache(server, tmp_path):
    path = download(server.url(), sha256=SHA256)
    assert path.read_bytes() == BODY
    assert path.name.endswith("-weights.pth")
    assert path.is_relative_to(tmp_path / "cache")
    assert download(server.url(), sha256=SHA256) == path
    assert server.requests == 1
    assert files_in_cache() == [path]


def test_another_cache_dir_and_equal_names_of_different_urls(server, tmp_path):
    first = download(server.url("a/network.pkl"), cache_dir=tmp_path / "other")
    second = download(server.url("b/network.pkl"), cache_dir=tmp_path / "other")
    assert first != second
    assert first == cached_path(server.url("a/network.pkl"), tmp_path / "other")


@pytest.mark.parametrize("failure", [503, 429, "cut", "wrong"])
def test_passing_failures_are_tried_again(server, failure):
    server.plan = [failure, failure]
    path = download(server.url(), sha256=SHA256, backoff=0.01)
    assert path.read_bytes() == BODY
    assert server.requests == 3


def test_a_truncated_body_without_checksum_is_noticed(server):
    server.plan = ["cut"] * 9
    with pytest.raises(UserError, match="broke off"):
        download(server.url(), retries=2, backoff=0.01)
    assert server.requests == 3
    assert files_in_cache() == []


def test_a_permanent_failure_is_not_tried_again_and_says_what_to_do(server):
    server.plan = [404] * 9
    with pytest.raises(UserError) as caught:
        download(server.url(), backoff=0.01)
    assert server.requests == 1
    message = str(caught.value)
    for part in (server.url(), "404", "weights.pth", str(cached_path(server.url()))):
        assert part in message
    assert "\n" not in message
    assert files_in_cache() == []


def test_a_wrong_checksum_leaves_nothing_behind(server):
    with pytest.raises(UserError, match="SHA-256"):
        download(server.url(), sha256="0" * 64, retries=1, backoff=0.01)
    assert files_in_cache() == []


def test_a_prefix_of_the_checksum_will_do(server):
    assert download(server.url(), sha256=SHA256[:8]).read_bytes() == BODY
    with pytest.raises(UserError, match="SHA-256"):
        download(server.url("second"), sha256=SHA256[:7], retries=0)  # too short to mean anything


def test_a_damaged_file_in_the_cache_is_replaced(server):
    path = download(server.url(), sha256=SHA256)
    path.write_bytes(b"damaged")
    assert download(server.url(), sha256=SHA256).read_bytes() == BODY
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="not the file expected"):
        download(server.url(), sha256=SHA256, offline=True)


def test_offline(server):
    with pytest.raises(UserError, match=r"`offline`.*save the file as"):
        download(server.url(), offline=True)
    path = cached_path(server.url())
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)  # by hand, as the message says
    assert download(server.url(), sha256=SHA256, offline=True) == path
    assert server.requests == 0


def test_nobody_listens(tmp_path):
    with pytest.raises(UserError, match=r"cannot download http://127\.0\.0\.1:9/x: .*refused"):
        download("http://127.0.0.1:9/x", cache_dir=tmp_path, retries=0)


def test_not_a_url(tmp_path):
    with pytest.raises(UserError, match="cannot download"):
        download("nonsense://x/y", cache_dir=tmp_path, retries=3, backoff=60)


def test_several_threads_at_a_time(server):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(download(server.url(), sha256=SHA256))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert file_sha256(paths[0]) == SHA256
    assert files_in_cache() == [paths[0]]


def test_default_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("DNNLIB_CACHE_DIR")
    assert default_cache_dir().parts[-2:] == (".cache", "dnnlib")


NONSENSE = {
    "length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nxx",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nxx",
    "negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
    "chunk that is no number": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "redirection to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n",
    "no answer": b"",
    "not HTTP": b"\x00\xff" * 100,
    "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nxx",
    "false compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_of_a_server_ends_in_one_line(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Raw(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(NONSENSE[kind])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Raw) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/net.pkl"
        with pytest.raises(UserError) as caught:
            download(url, cache_dir=tmp_path, retries=0, looks_right=lambda data: False)
        running.shutdown()
    assert len(str(caught.value).splitlines()) == 1
    assert url in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "url", ["https://[bad", "http://127.0.0.1:1/a%00b.pkl", "http://", "http://127.0.0.1:1/" + "a" * 300]
)
def test_odd_addresses_end_in_one_line(url, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError):
        download(url, cache_dir=tmp_path, retries=0)


def test_what_is_of_another_kind_is_not_kept(server):
    with pytest.raises(UserError, match="what arrives is another kind of file; it begins with b'"):
        download(server.url(), looks_right=lambda data: data.startswith(b"<html>"))
    assert files_in_cache() == []
    assert server.requests == 1
    assert download(server.url(), looks_right=BODY.startswith).read_bytes() == BODY


def test_what_is_of_another_kind_is_noticed_before_it_has_arrived(tmp_path, monkeypatch):
    """An answer without an end would fill the disk otherwise."""

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x" * 65536)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="another kind of file; it begins with b'xxx"):
            download(f"http://127.0.0.1:{running.server_port}/n", cache_dir=tmp_path, looks_right=BODY.startswith)
        running.shutdown()
