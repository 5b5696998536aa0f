"""The studio as a program: a free port, an address with a token, a browser, the server until it is interrupted."""

import contextlib
import errno
import functools
import ipaddress
import logging
import secrets
import socket
import sys
import time
import webbrowser
from pathlib import Path
from typing import Protocol

import torch
import uvicorn

from dnnlib import UserError
from dnnlib.cli import say
from dnnlib.paths import default_cache_dir
from studio.guard import lasting_secret
from studio.messages import LONGEST_MESSAGE
from studio.networks import Catalogue
from studio.render import Artist, Photos
from studio.server import Studio
from studio.state import State
from torch_utils.machine.devices import choose_device
from training.snapshot import load_snapshot

_TAKEN = (errno.EADDRINUSE,)
_SMALL = 0.25  # seconds for a picture, beyond which all threads are used
PORTS_TRIED = 20


class Settings(Protocol):
    """The options of the command; see `rooted_stylegan/studio.py`."""

    network: tuple[str, ...]
    run: tuple[Path, ...]
    network_sha256: str | None
    offline: bool
    device: str
    distance: str
    host: str
    port: int
    no_browser: bool


def serve(options: Settings) -> None:
    """Open the page and answer it until Ctrl-C.

    Raises:
        UserError: no network, or no address to listen at.
    """
    device = choose_device(options.device)
    load = functools.partial(load_snapshot, sha256=options.network_sha256, offline=options.offline)
    catalogue = Catalogue(options.network, options.run, device, load)
    for source in catalogue.describe():
        if source["run"] is None:
            catalogue.load(source["key"])  # what is no network is said before a page opens
    if device.type == "cpu":
        torch.set_num_threads(_faster_threads(catalogue, device))
    sys.setswitchinterval(0.001)  # seconds; the thread that draws gives way to the one that answers
    with listen(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        if port != options.port:
            say(f"port {options.port} is taken; using {port}", err=True)
        token = secrets.token_urlsafe(24)
        address = f"http://{_shown_host(options.host)}:{port}/?token={token}"
        say(f"the studio is open at {address}")
        say("(Ctrl-C closes it)")
        if not is_loopback(options.host):
            say(
                f"warning: --host={options.host} lets other machines in, and what they send and get is not encrypted: "
                "whoever has the address above can use this studio",
                err=True,
            )
        server = make_server(Studio(catalogue, device, options.distance), token, lasting_secret(default_cache_dir()))
        if not options.no_browser and not _open_browser(address):
            say("no browser was found here; open the address above in one", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _faster_threads(catalogue: Catalogue, device: torch.device) -> int:
    """One thread where small pictures are drawn as fast by it as by all, else all.

    On a machine that is busy with something else, threads wait for one another.
    """
    artist, most = Artist(device, Photos()), torch.get_num_threads()
    try:
        network = catalogue.load("A")
    except UserError:  # a run that has no snapshot yet
        return most
    state, _ = artist.fit(State(), network)
    artist.draw(state, network)
    best = {}
    for threads in (most, 1):
        torch.set_num_threads(threads)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            artist.draw(state, network)
            times.append(time.perf_counter() - start)
        best[threads] = min(times)
        if best[threads] > _SMALL:
            return most
    return 1 if best[1] < 1.1 * best[most] else most


def make_server(studio: Studio, token: str, secret: str) -> uvicorn.Server:
    """The web server of a studio, which is yet to be run."""
    config = uvicorn.Config(
        studio.app(token, secret), ws_max_size=LONGEST_MESSAGE, ws_per_message_deflate=False, log_level=logging.ERROR,
        log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `port`, or at the next free one.

    Raises:
        UserError: there is no such host, or no free port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(port, min(port + PORTS_TRIED, 65536)):
        # Of a socket that says that it is TCP, asyncio sends small messages at once rather than 40 ms later (Nagle).
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, tried))
            listening.listen(128)
        except PermissionError as error:
            listening.close()
            raise UserError(f"`port`={port} is not for everybody; choose one from 1024 on") from error
        except socket.gaierror as error:
            listening.close()
            raise UserError(f"`host`={host} is no address of this machine; 127.0.0.1 is usual") from error
        except OSError as error:
            listening.close()
            if error.errno not in _TAKEN:
                raise UserError(f"`host`={host} is no address of this machine ({error.strerror})") from error
        else:
            return listening
    raise UserError(f"`port`={port} and the {PORTS_TRIED - 1} after it are taken; choose another")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname().lower()
    return f"[{host}]" if ":" in host else host


def _open_browser(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
