"""How soon the studio answers, and how many pictures a second it shows.

    python -m benchmarks.studio --network=network.safetensors

In each burst a page sends an input every 10 ms for half a second, as a slider does; what counts is the time from the
last of them to the picture that belongs to it. It is held against the time that drawing takes by itself in this
process. Server and page share the processor with whatever else runs: the load is told with the results.
"""

import contextlib
import http.cookiejar
import json
import os
import re
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from websockets.sync.client import ClientConnection, connect

from benchmarks.speed.measuring import json_option
from dnnlib import UserError, json_text, write_json
from dnnlib.cli import Command, door
from studio.networks import Catalogue
from studio.render import Artist, Photos, encode_quickly
from studio.state import State
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import COMMAND, provenance
from training.snapshot import load_snapshot

INTERVAL, BURST = 0.010, 50  # seconds between inputs, inputs
ALLOWED_MS = 30
ENOUGH_PICTURES = 20  # a second, of the demo's network


@click.command(cls=Command)
@click.option("--network", required=True, metavar="FILE")
@click.option("--bursts", type=click.IntRange(min=1), default=60)
@click.option("--seconds", type=click.IntRange(min=1), default=5, help="For the pictures a second.")
@json_option
@door
def main(network: str, bursts: int, seconds: int, json_path: Path | None) -> None:
    """Measure the latency and the rate of a studio that this command starts."""
    drawing = _drawing_times(network)
    command = [sys.executable, str(COMMAND), "studio", f"--network={network}", "--no-browser", "--port=8990"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.search(r"http\S+", server.stdout.readline())
            if address is None:
                raise UserError("the studio did not start; what it says stands above")
            with _open_page(address[0]) as socket:
                waits = [_burst(socket, number * BURST) for number in range(bursts)]
                rate = _pictures_a_second(socket, bursts * BURST, seconds)
        finally:
            server.terminate()
    result = {
        "drawing_ms": _percentiles(drawing), "last_input_to_picture_ms": _percentiles(waits),
        "pictures_per_second": rate, "load": os.getloadavg()[0], **provenance(),
    }  # fmt: skip
    result["within"] = result["last_input_to_picture_ms"]["p95"] <= result["drawing_ms"]["p95"] + ALLOWED_MS
    result["enough_pictures"] = rate >= ENOUGH_PICTURES
    click.echo(json_text(result, indent=2))
    if json_path:
        write_json(json_path, result)


def _drawing_times(network: str) -> list[float]:
    device = choose_device("auto")
    catalogue = Catalogue([network], [], device, load_snapshot)
    artist, loaded = Artist(device, Photos()), catalogue.load("A")

    def draw(seed: int) -> None:
        state, _ = artist.fit(State(seed=seed), loaded)
        encode_quickly(artist.draw(state, loaded)[0])

    return [_seconds(lambda seed=seed: draw(seed)) for seed in range(210)][10:]


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@contextlib.contextmanager
def _open_page(address: str) -> Iterator[ClientConnection]:
    """A socket with the cookie that the address gives."""
    jar = http.cookiejar.CookieJar()
    urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar)).open(address)
    origin, _, _ = address.partition("/?")
    cookie = "; ".join(f"{one.name}={one.value}" for one in jar)
    url = f"ws{origin.removeprefix('http')}/socket"
    with connect(url, origin=origin, additional_headers={"Cookie": cookie}) as socket:
        _ask(socket, 0)
        _wait_for(socket, 0)
        yield socket


def _ask(socket: ClientConnection, number: int) -> None:
    socket.send(json.dumps({"n": number, "state": {"seed": number}}))


def _wait_for(socket: ClientConnection, number: int) -> None:
    while True:
        message = socket.recv()
        if isinstance(message, bytes) and struct.unpack(">I", message[:4])[0] == number:
            return


def _burst(socket: ClientConnection, first: int) -> float:
    """Seconds from the last input to its picture."""
    start = time.perf_counter()
    for i in range(BURST):
        time.sleep(max(0.0, start + i * INTERVAL - time.perf_counter()))
        last = time.perf_counter()
        _ask(socket, first + i)
    _wait_for(socket, first + BURST - 1)
    return time.perf_counter() - last


def _pictures_a_second(socket: ClientConnection, first: int, seconds: int) -> float:
    """Each is asked for when the one before is there."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        _ask(socket, first + count)
        _wait_for(socket, first + count)
        count += 1
    return count / (time.perf_counter() - start)


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {name: float(np.percentile(seconds, q)) * 1000 for name, q in (("median", 50), ("p95", 95), ("worst", 100))}


if __name__ == "__main__":
    main()
