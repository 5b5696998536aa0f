"""Tiny networks whose pictures differ, and what draws them."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest
import requests
import torch
from websockets.sync.client import connect

from generation.edits import Edit
from studio.networks import Catalogue
from studio.render import Artist, Photos
from studio.serve import listen, make_server
from studio.server import Studio
from studio.state import State
from training.networks import Generator, GeneratorConfig
from training.run_dir import RunDir
from training.snapshot import load_snapshot, save_snapshot

NAMES = ["cat", "dog", "1"]


def save_network(path: Path, *, seed: int = 0, resolution: int = 16, **options) -> Path:
    torch.manual_seed(seed)
    sizes = {"channel_base": 128, "channel_max": 16, "z_dim": 8, "w_dim": 20, "mapping_layers": 2}
    G = Generator(GeneratorConfig(img_resolution=resolution, **{**sizes, **options}))
    G.mapping.w_avg.normal_(std=0.3)
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    names = NAMES if G.c_dim == len(NAMES) else None
    path.parent.mkdir(parents=True, exist_ok=True)
    save_snapshot(path, G=None, D=None, G_ema=G, metadata={"class_names": names})
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Path]:
    """Network files by what they are: plain, conditional and grey, RGBA, not square and of another z."""
    folder = tmp_path_factory.mktemp("networks")
    kinds = {
        "plain": {}, "other": {"seed": 1}, "classes": {"img_channels": 1, "c_dim": 3}, "rgba": {"img_channels": 4},
        "wide": {"base_size": (4, 6), "z_dim": 5, "w_dim": 12, "resolution": 8},
    }  # fmt: skip
    return {name: save_network(folder / f"{name}.safetensors", **options) for name, options in kinds.items()}


@pytest.fixture
def catalogue(files) -> Catalogue:
    """A: plain, B: classes, C: rgba, D: wide, E: other."""
    names = ["plain", "classes", "rgba", "wide", "other"]
    return Catalogue([str(files[name]) for name in names], [], torch.device("cpu"), load_snapshot)


@pytest.fixture
def artist() -> Artist:
    return Artist(torch.device("cpu"), Photos())


@pytest.fixture(scope="session")
def random_state():
    """`random_state(rng, left, conditional)`: any state that the network can draw."""

    def draw(rng, left: str = "A", conditional: bool = False, layers: int = 6) -> State:
        some = tuple(sorted(rng.sample(range(layers), rng.randint(1, layers))))
        mix = rng.choice([None, rng.randrange(2**32)])
        return State(
            left=left,
            seed=rng.choice([rng.randrange(10), rng.randrange(2**32)]),
            psi=rng.choice([1.0, 0.7, rng.uniform(-2, 2)]),
            cutoff=rng.choice([None, rng.randint(0, layers)]),
            noise=(noise := rng.choice(["const", "random", "none"])),
            noise_seed=rng.randrange(2**32) if noise == "random" else 0,
            label=(label := rng.choice(["", "0", "dog", "1", "cat=0.25,dog=0.5,2=1e-3"]) if conditional else ""),
            vector=tuple(rng.choice([0.0, 1.0, rng.uniform(-2, 2)]) for _ in range(3))
            if conditional and not label
            else (),
            mix=mix,
            mix_layers=some if mix is not None else (),
            edits=tuple(
                Edit(rng.choice(["pca", "sefa"]), rng.randrange(16), rng.uniform(-4, 4), rng.choice([(), some]))
                for _ in range(rng.choice([0, 1, 3]))
            ),
        )

    return draw


class Running:
    """A studio that is being served by a thread of this process.

    Attributes:
        address: of its page, without the token; token: what opens it; session: a client that is let in.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.token = "a-token"
        self._catalogue = catalogue
        self.port = 0
        self.start_again()
        self.session = requests.Session()
        self.session.headers["Origin"] = self.address
        assert self.session.get(f"{self.address}/?token={self.token}").ok

    def start_again(self) -> None:
        """Serve at the port of before, with another studio and the user's secret."""
        self._listening = listen("127.0.0.1", self.port) if self.port else socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        studio = Studio(self._catalogue, torch.device("cpu"), "pixel")
        self.server = make_server(studio, self.token, "a secret of these tests")
        self._thread = threading.Thread(target=self.server.run, args=([self._listening],), daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    @contextlib.contextmanager
    def socket(self):
        """A WebSocket like that of a page, which has been told of the catalogue."""
        cookie = "; ".join(f"{one.name}={one.value}" for one in self.session.cookies)
        url, headers = f"ws://127.0.0.1:{self.port}/socket", {"Cookie": cookie}
        with connect(url, origin=self.address, additional_headers=headers, max_size=None) as found:
            assert "catalogue" in json.loads(found.recv())
            yield found

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join()
        self._listening.close()


@pytest.fixture(scope="module")
def serve():
    """`serve(catalogue)`: a studio that runs until the end of the module's tests."""
    started = []

    def begin(catalogue: Catalogue) -> Running:
        started.append(Running(catalogue))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture(scope="module")
def running(files, serve):
    """A studio of all networks: A plain, B classes, C rgba, D wide, E other."""
    names = ["plain", "classes", "rgba", "wide", "other"]
    return serve(Catalogue([str(files[name]) for name in names], [], torch.device("cpu"), load_snapshot))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run with snapshots after 0 and 12 kimg, and a metric."""
    folder = tmp_path_factory.mktemp("runs") / "00000-faces-rlo-k11"
    for kimg, seed in ((0, 5), (12, 6)):
        save_network(folder / f"network-snapshot-{kimg:06d}.safetensors", seed=seed)
    run = RunDir(folder)
    run.write_options({})
    for nimg, value in ((0, 220.5), (12_000, 44.0)):
        run.append_metric({"metric": "swd1k", "nimg": nimg, "results": {"swd1k": value}})
    return folder
