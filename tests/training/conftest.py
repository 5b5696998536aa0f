"""Tiny training runs inside the test's own process; a watch over copies from the host."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import kill_test
from metrics import RunMetrics
from torch_utils.processes.distributed import World
from training.config.resolve import resolve
from training.options import TrainingOptions
from training.outputs.evaluator import Evaluator
from training.run_dir import RunDir
from training.training_loop import Housekeeping, TrainingRun

TINY = {
    "cbase": 128, "cmax": 8, "batch": 8, "kimg": 0.12, "tick": 0.04, "snap": 1, "grid": (2, 1), "metrics": (),
    "device": "cpu", "precision": "fp32",
}  # fmt: skip


class Stop:
    """Asks to stop after some steps, as a signal would."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps, self.reason = steps, "the test"

    @property
    def is_set(self) -> bool:
        if self.steps is None:
            return False
        self.steps -= 1
        return self.steps <= 0


class TinyRuns:
    """Runs of 15 steps on the built-in faces below `folder`; options as on the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def config(self, **options: Any):
        return self._resolve(**options)[0]

    def _resolve(self, **options: Any):
        return resolve(TrainingOptions(**{**TINY, **options}), 1)

    def open(
        self,
        name: str = "run",
        *,
        housekeeping: dict[str, Any] | None = None,
        evaluator: Evaluator | None = None,
        **options: Any,
    ) -> TrainingRun:
        """A session of the run `name`: from its newest checkpoint, or a new run."""
        config, dataset = self._resolve(**options)
        run = RunDir(self.folder / name)
        run.path.mkdir(exist_ok=True)
        run.write_options(config.to_dict())
        evaluator = evaluator or RunMetrics(config.metrics, run, World(), seed=config.random_seed)
        settings = Housekeeping(progress_bar=False, **(housekeeping or {}))
        return TrainingRun(config, dataset, run, World(), settings, evaluator)

    def train(self, name: str = "run", steps: int | None = None, **options: Any) -> TrainingRun:
        """Train for `steps` steps, or to the end."""
        session = self.open(name, **options)
        session.train(Stop(steps))
        return session


@pytest.fixture
def one_thread() -> Iterator[None]:
    with _one_thread():
        yield


@pytest.fixture
def tiny(tmp_path, one_thread) -> TinyRuns:
    return TinyRuns(tmp_path)


@pytest.fixture(scope="module")
def tiny_of_module(tmp_path_factory) -> Iterator[TinyRuns]:
    """Runs that the tests of a module share."""
    with _one_thread():
        yield TinyRuns(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """The directory of a run with the tiny options that was left alone."""
    runs = TinyRuns(tmp_path_factory.mktemp("uninterrupted"))
    with _one_thread():
        runs.train()
    return runs.folder / "run"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """So small a run gains nothing from more, and its numbers depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """`kill_test.start`; what still runs at the end of the test is killed."""
    processes = []

    def begin(*arguments: Any) -> Any:
        processes.append(kill_test.start(*arguments))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def whole_command(tmp_path_factory) -> Path:
    """The directory of the run that `kill_test.TINY` describes, left alone in a process of its own."""
    run_dir = tmp_path_factory.mktemp("uninterrupted") / "command"
    kill_test.finish(run_dir)
    return run_dir


class OneDevice(TorchDispatchMode):
    """Fails where a tensor is copied from the host (by `torch.tensor`, which lifts it, or from another tensor).

    On a GPU such a copy waits, and ends the capture of a CUDA graph.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten.lift_fresh.default
        assert all(leaf.is_meta for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_host_copies() -> OneDevice:
    """A context in which code on the meta device may not copy a tensor from the host."""
    return OneDevice()
