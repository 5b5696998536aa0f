"""What every test shares: the folders of optional data, the devices, and one thread per pytest worker."""

import multiprocessing
import os
import runpy
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# What the processes that tests fork need, imported once for all of them; the last is what the first optimizer imports.
multiprocessing.set_forkserver_preload(
    ["train", "training.starting.command", "training.training_loop", "metrics", "torch._dynamo"]
)

# An example, and drawing it, may take long on a busy machine; the fixtures that tests with examples use hold no state.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("patient")


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("ROOTED_SHARED", ROOT.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"no folder {name} with the numbers or data to compare with (set ROOTED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The folder of reference numbers; the test is skipped where it is absent."""
    return _shared("fixtures")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data to try with; the test is skipped where it is absent."""
    return _shared("data")


_NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=_NEEDS_GPU)])
def device(request) -> Iterator[torch.device]:
    """The processor, then the first GPU where there is one, without TensorFloat-32: float32 means float32 in both.

    Draw on the processor and move: the generators of the two give different numbers.
    """
    if request.param == "cpu":
        yield torch.device("cpu")
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = False
    try:
        yield torch.device("cuda", 0)
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.fixture
def make_pictures(tmp_path) -> Callable[..., Path]:
    """`make_pictures(size, count=8)`: a folder of RGB pictures of that width and height, in smooth random colours."""

    def make(size: tuple[int, int], count: int = 8) -> Path:
        folder, random = tmp_path / "x".join(map(str, size)), np.random.default_rng(0)
        folder.mkdir()
        for i in range(count):
            colours = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            colours.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        return folder

    return make


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """`wait_until(condition, *processes)`: returns when the condition holds, however slow the machine is.

    The test fails if one of the processes that are to bring it about ends before; whatever else goes wrong is left to
    pytest's time limit.
    """

    def has_ended(process: Any) -> bool:
        return not process.is_alive() if hasattr(process, "is_alive") else process.poll() is not None

    def wait(condition: Callable[[], Any], *processes: Any) -> None:
        while not condition():
            ended = any(map(has_ended, processes))
            assert not ended or condition(), "a process ended without what was waited for"
            time.sleep(0.01)

    return wait


def _rank_environments(count: int) -> list[dict[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


@pytest.fixture(scope="session")
def rank_environments() -> Callable[[int], list[dict[str, str]]]:
    """`rank_environments(count)`: what torchrun or Slurm would set, one per process."""
    return _rank_environments


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its id, its exit status, and what it printed."""

    pid: int
    status: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def fork(tmp_path_factory) -> Iterator[Callable[..., Any]]:
    """`fork(script, *arguments, environment={})`: a process that calls `main(*arguments)` of the script.

    It is forked from one that has imported everything, which takes a moment where starting Python takes seconds. What
    it prints goes to the files `process.stdout` and `process.stderr`. It is killed at the end of the session.
    """
    context, started = multiprocessing.get_context("forkserver"), []

    def begin(script: Path, *arguments: Any, environment: dict[str, str] | None = None) -> Any:
        outputs = [tmp_path_factory.mktemp("printed") / name for name in ("stdout", "stderr")]
        task = {"TASK": (Path(script), arguments, {**os.environ, **(environment or {})}, *outputs)}
        process = context.Process(target=runpy.run_path, args=(str(ROOT / "tests" / "forked.py"), task))
        process.start()
        process.stdout, process.stderr = outputs
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def run_ranks(fork) -> Iterator[Callable[..., list[Ended]]]:
    """`run_ranks(script, count, *arguments)`: `main(*arguments)` of the script in as many processes, by rank."""
    started = []

    def run(script: Path, count: int, *arguments: Any) -> list[Ended]:
        environments = _rank_environments(count) if count > 1 else [{}]
        processes = [fork(script, *arguments, environment=environment) for environment in environments]
        started.extend(processes)
        for process in processes:
            process.join()
        return [Ended(p.pid, p.exitcode, p.stdout.read_text(), p.stderr.read_text()) for p in processes]

    yield run
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser of the module's own, whose console is kept; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the package selenium is not installed")
    binary = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver_path = shutil.which("chromedriver")
    if binary is None or driver_path is None:
        pytest.skip("no browser: install Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        # For the programs that tests start, too: two workers with two threads each would wait for one another.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
