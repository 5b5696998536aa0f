"""The web server: one page, one socket for each open tab, one thread that draws."""

import asyncio
import contextlib
import functools
import logging
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import torch
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from dnnlib import UserError, json_text
from dnnlib.errors import printable
from generation.latents import load_projected
from projection.outputs import latents_file
from projection.targets import load_target
from studio.guard import Guard
from studio.jobs import Job, ProjectionSettings, projection_work, video_work
from studio.messages import Ask, read_ask, read_film
from studio.networks import Catalogue, Network
from studio.newest import Newest
from studio.render import Artist, Photos, encode_quickly, label_of
from studio.state import State
from torch_utils.media.video import require_ffmpeg
from torch_utils.published.centerface import FaceFinder

LOG = logging.getLogger("studio")
MOST_UPLOAD = 1 << 25  # bytes
MOST_TABS = 64
REFRESH = 1.0  # seconds between looks for new snapshots
LEFT, RIGHT, PREVIEW, TARGET = range(4)  # what the picture in a message is


@dataclass(eq=False)
class _Tab:
    """An open page: what is to be sent to it, one message of each kind, and what it has been told."""

    outbox: Newest = field(default_factory=Newest)
    known: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def learn(self, networks: dict[str, dict[str, Any]], notes: list[str]) -> None:
        """Tell of networks that are not those before, and log notes that are others than before."""
        for side, about in networks.items():
            if self.known.get(side) != about["key"]:
                self.known[side] = about["key"]
                # Apart from the answer, of which only the newest is sent.
                self.outbox.put(f"network {side}", [json_text({"network": side, "about": about})])
        for note in notes if notes != self.notes else []:
            _log(note)
        self.notes = notes


class Studio:
    """The state of the server.

    Args:
        catalogue: the networks.
        device: where they are.
        distance: what projections minimise, as `projection.load_distance` calls it.
    """

    def __init__(self, catalogue: Catalogue, device: torch.device, distance: str = "auto") -> None:
        self._catalogue, self._distance = catalogue, distance
        self._photos = Photos()
        self._artist = Artist(device, self._photos)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._uploads = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._asked = Newest()
        self._tabs: set[_Tab] = set()
        self._projection = Job("projection", self._tell_job)
        self._film = Job("film", self._tell_job)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="studio-")

    def app(self, token: str, secret: str) -> Guard:
        """The ASGI application, guarded."""
        page = Path(str(resources.files("studio") / "page"))
        routes = [
            Route("/", functools.partial(_index, page)),
            Route("/image.png", self._image),
            Route("/curves", self._curves),
            Route("/photo", self._upload, methods=["POST"]),
            Route("/photo/{name}.npz", self._latents),
            Route("/film", self._make_film, methods=["POST"]),
            Route("/film/{name}", self._film_file),
            Route("/stop/{kind}", self._stop, methods=["POST"]),
            WebSocketRoute("/socket", self._socket),
            Mount("/page", StaticFiles(directory=page)),
        ]
        return Guard(
            Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={UserError: _say}), token, secret
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._draw_for_ever()), asyncio.create_task(self._look_for_ever())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self._projection.stop()
            self._film.stop()
            self._worker.shutdown(wait=False, cancel_futures=True)
            self._uploads.shutdown(wait=False, cancel_futures=True)
            self._folder.cleanup()

    # Pictures

    async def _draw_for_ever(self) -> None:
        while True:
            tab, ask = await self._asked.take()
            try:
                answer, pictures = await self._in_worker(self._answer, ask)
            except UserError as error:
                _log(error)
                tab.outbox.put("answer", [json_text({"n": ask.number, "error": f"{error}"})])
            except Exception as error:
                LOG.exception("picture")
                tab.outbox.put("answer", [json_text({"n": ask.number, "error": printable(str(error), 200)})])
            else:
                tab.learn(answer.pop("networks"), answer.get("notes", []))
                binary = [struct.pack(">IB", ask.number, side) + data for side, data in pictures]
                tab.outbox.put("answer", [json_text(answer), *binary])

    def _in_worker(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)

    def _answer(self, ask: Ask) -> tuple[dict[str, Any], list[tuple[int, bytes]]]:
        """The words and the pictures for one question; in the worker."""
        asked, notes, pictures, networks = ask.state, [], [], {}
        words: dict[str, Any] = {"n": ask.number}
        for side, key in ((LEFT, asked.left), (RIGHT, asked.right)):
            if not key:
                continue
            network = self._catalogue.load(key)
            state, missing = self._artist.fit(asked, network)
            notes += missing
            if ask.frame is not None:
                picture = self._artist.frame(state, ask.keys, ask.motion, ask.frame, network)
            else:
                picture, _ = self._artist.draw(state, network)
            pictures.append((side, encode_quickly(picture)))
            networks["left" if side == LEFT else "right"] = network.describe()
            if side == LEFT:
                words |= self._words(ask, state, network)
        notes += _differences(networks)
        if notes and ask.frame is None:
            words["notes"] = notes
        return {**words, "networks": networks}, pictures

    def _words(self, ask: Ask, state: State, network: Network) -> dict[str, Any]:
        if ask.frame is not None:
            return {"frame": ask.frame}
        label = label_of(state, network)
        weights = label[0].tolist() if label is not None else []
        words = {
            "query": replace(ask.state, of=network.hash).query(),
            "alt": f"Picture by {Path(network.location).name}: {state.describe()}",
            "command": state.command(network.location, f"projected_w-{state.photo}.npz"), "weights": weights,
            "mix_layers": list(state.mix_layers), "keys": [key.to_json() for key in ask.keys],
            "key_queries": [key.query() for key in ask.keys],
        }  # fmt: skip
        return words | ({"state": ask.state.to_json()} if ask.from_query else {})

    async def _image(self, request: Request) -> Response:
        state = State.from_query(request.url.query)

        def png() -> bytes:
            network = self._catalogue.load(state.left)
            fitting, notes = self._artist.fit(state, network)
            if notes:
                raise UserError(notes[0])
            return self._artist.png(fitting, network)

        return Response(await self._in_worker(png), media_type="image/png")

    # The socket

    async def _socket(self, socket: WebSocket) -> None:
        if len(self._tabs) >= MOST_TABS:
            _log(f"{MOST_TABS} pages are open; close some")
            await socket.close(1013)
            return
        await socket.accept()
        tab = _Tab()
        self._tabs.add(tab)
        tab.outbox.put("catalogue", [json_text({"catalogue": self._catalogue.describe(), "mp4": _can_write_mp4()})])
        sender = asyncio.create_task(_send_for_ever(socket, tab.outbox))
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                try:
                    self._asked.put(tab, read_ask(message.get("text")))
                except UserError as error:
                    _log(error)
                    tab.outbox.put("error", [json_text({"error": f"{error}"})])
        finally:
            self._tabs.discard(tab)
            self._asked.drop(tab)
            sender.cancel()

    def _tell_everybody(self, kind: str, messages: list[str | bytes]) -> None:
        for tab in self._tabs:
            tab.outbox.put(kind, messages)

    async def _look_for_ever(self) -> None:
        """Tell the pages when a run has another snapshot or another state."""
        known = self._catalogue.describe()
        while True:
            await asyncio.sleep(REFRESH)
            await asyncio.to_thread(self._catalogue.refresh)
            found = await asyncio.to_thread(self._catalogue.describe)
            if found != known:
                known = found
                self._tell_everybody("catalogue", [json_text({"catalogue": found, "mp4": _can_write_mp4()})])

    async def _curves(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self._catalogue.curves))

    # Photographs and films

    async def _upload(self, request: Request) -> Response:
        """A picture to project, or an .npz of a projected one."""
        query = request.query_params
        state = State.from_query(urlencode({key: query[key] for key in ("left", "label", "vector") if query.get(key)}))
        settings = ProjectionSettings(query.get("space", "w"), _whole(query.get("steps", "500"), "steps"))
        data = await _body(request)
        network = await self._in_worker(self._catalogue.load, state.left)
        state, _ = self._artist.fit(state, network)
        loop = asyncio.get_running_loop()
        if data[:4] == b"PK\x03\x04":
            return JSONResponse({"photo": await loop.run_in_executor(self._uploads, self._keep_latents, data, network)})
        if self._projection.is_running:
            raise UserError("a projection is under way; wait for it, or stop it first")
        align = query.get("align") == "1"
        target = await loop.run_in_executor(self._uploads, self._read_target, data, network, align)
        work = projection_work(self._projection, network, state, target, settings, self._photos, self._distance)
        return JSONResponse({"number": self._projection.start(work)}, status_code=202)

    def _keep_latents(self, data: bytes, network: Network) -> str:
        with self._uploaded(data) as path:
            return self._photos.add(load_projected(path, network.G.num_ws, network.G.w_dim)[:1].contiguous())

    def _read_target(self, data: bytes, network: Network, align: bool) -> torch.Tensor:
        with self._uploaded(data) as path:
            finder = FaceFinder("`align`") if align else None
            return load_target(path, network.G.img_channels, *network.G.config.img_size, finder=finder)

    @contextlib.contextmanager
    def _uploaded(self, data: bytes) -> Any:
        """The data as a file, as the readers want it; their errors name the upload instead."""
        with tempfile.NamedTemporaryFile(prefix="upload-", suffix=".npz") as stream:
            stream.write(data)
            stream.flush()
            try:
                yield Path(stream.name)
            except UserError as error:
                text = (
                    f"{error}".replace("`targets`=", "").replace("`projected_w`: ", "").replace("`align`", "alignment")
                )
                raise UserError(text.replace(stream.name, "the upload")) from error

    async def _latents(self, request: Request) -> Response:
        ws = self._photos.get(name := request.path_params["name"])
        if ws is None:
            raise UserError(f"there is no photograph {printable(name, 40)} here")
        headers = {"content-disposition": f'attachment; filename="projected_w-{name}.npz"'}
        return Response(latents_file(ws), media_type="application/octet-stream", headers=headers)

    async def _make_film(self, request: Request) -> Response:
        film = read_film(await _body(request, 1 << 20))
        if film.suffix == ".mp4":
            require_ffmpeg()
        network = await self._in_worker(self._catalogue.load, film.state.left)
        state, _ = self._artist.fit(film.state, network)
        count = len(await self._in_worker(self._artist.path, film.keys, film.motion, network))

        def frame(index: int) -> torch.Tensor:
            drawn = self._worker.submit(self._artist.frame, state, film.keys, film.motion, index, network)
            return drawn.result()

        work = video_work(self._film, Path(self._folder.name), film.suffix, film.fps, count, frame)
        return JSONResponse({"number": self._film.start(work)}, status_code=202)

    async def _film_file(self, request: Request) -> Response:
        path = Path(self._folder.name) / Path(request.path_params["name"]).name
        if not path.is_file():
            raise UserError("there is no such film here any more")
        return FileResponse(path, filename=f"studio{path.suffix}")

    async def _stop(self, request: Request) -> Response:
        {"projection": self._projection, "film": self._film}.get(request.path_params["kind"], self._film).stop()
        return JSONResponse({})

    def _tell_job(self, words: dict[str, Any], picture: torch.Tensor | None) -> None:
        """From a job's thread to all pages."""
        told = {words["job"]: json_text(words)}
        if picture is not None:  # apart from the words, of which only the newest are sent
            side = TARGET if words.get("preview") == "target" else PREVIEW
            told[f"{words['job']} {side}"] = struct.pack(">IB", words["number"], side) + encode_quickly(picture)
        with contextlib.suppress(RuntimeError):  # the server ends
            for kind, message in told.items():
                self._loop.call_soon_threadsafe(self._tell_everybody, kind, [message])


async def _send_for_ever(socket: WebSocket, outbox: Newest) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closed: the receiving side notices, too
        while True:
            _, messages = await outbox.take()
            for message in messages:
                await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message))


def _differences(networks: dict[str, dict[str, Any]]) -> list[str]:
    """What two networks side by side do not share."""
    if len(networks) < 2:
        return []
    left, right = networks["left"], networks["right"]
    notes = []
    if left["z_dim"] != right["z_dim"]:
        notes.append(
            f"z has {left['z_dim']} and {right['z_dim']} numbers: a seed is not the same point in both networks"
        )
    if (left["height"], left["width"]) != (right["height"], right["width"]):
        sizes = " and ".join(f"{about['width']} x {about['height']}" for about in (left, right))
        notes.append(f"the pictures have {sizes} pixels")
    return notes


async def _body(request: Request, most: int = MOST_UPLOAD) -> bytes:
    """What was sent, within bounds."""
    parts, size = [], 0
    with contextlib.suppress(ClientDisconnect):
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise UserError(f"the upload has more than {most >> 20} MiB; send a smaller one")
            parts.append(part)
    if not size:
        raise UserError("the upload is empty")
    return b"".join(parts)


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(f"`{name}`={text[:20]!r} is no whole number")
    return int(text)


def _can_write_mp4() -> bool:
    try:
        require_ffmpeg()
    except UserError:
        return False
    return True


async def _index(page: Path, request: Request) -> Response:
    return FileResponse(page / "index.html")


async def _say(request: Request, error: Exception) -> Response:
    _log(error)
    # What was not read of the request is not waited for.
    headers = {"connection": "close"}
    return PlainTextResponse(f"{error}\n", status_code=409 if "under way" in f"{error}" else 422, headers=headers)


def _log(line: object) -> None:
    LOG.warning("%s", line)
