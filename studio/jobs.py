"""What takes longer than a picture: a projection and a video, one of each at a time, with progress and an end."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dnnlib import UserError
from dnnlib.errors import printable
from projection.distance import load_distance
from projection.optimization import SPACES, Step, project
from studio.networks import Network
from studio.render import Photos, label_of
from studio.state import State
from torch_utils.media.images import to_uint8
from torch_utils.media.video import write_video

LOG = logging.getLogger("studio")
MOST_STEPS = 5000
_PREVIEW_EVERY = 0.15  # seconds
Tell = Callable[[dict[str, Any], torch.Tensor | None], None]


class Stopped(Exception):
    """A job was asked to end."""


@dataclass(frozen=True)
class ProjectionSettings:
    """How a photograph is projected: space "w" or "w+", and steps of the optimisation."""

    space: str = "w"
    steps: int = 500

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UserError(f"`space` is {self.space[:20]!r}; it must be one of {', '.join(SPACES)}")
        if not 1 <= self.steps <= MOST_STEPS:
            raise UserError(f"`steps`={self.steps}: give from 1 to {MOST_STEPS}")


class Job:
    """Work in a thread of its own, one at a time, that tells how it goes.

    Args:
        kind: what it is called in messages.
        tell: called in the thread with what is to be told, and a picture or None; it is told at least once, and last
            with "state" "done", "stopped" or "failed".
    """

    def __init__(self, kind: str, tell: Tell) -> None:
        self._kind, self._tell = kind, tell
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._number = 0

    @property
    def is_running(self) -> bool:
        """Whether it works."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], dict[str, Any]]) -> int:
        """Begin `work`, whose result is told at the end; returns a number for it.

        Raises:
            UserError: one is under way.
        """
        if self.is_running:
            raise UserError(f"a {self._kind} is under way; wait for it, or stop it first")
        self._stop.clear()
        self._number += 1
        self._thread = threading.Thread(target=self._run, args=(work,), name=self._kind, daemon=True)
        self._thread.start()
        return self._number

    def stop(self) -> None:
        """Ask the work to end, if there is any."""
        self._stop.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stop.is_set()

    def report(self, picture: torch.Tensor | None = None, **values: Any) -> None:
        """Tell how it goes; from within the work."""
        self._tell({"job": self._kind, "number": self._number, "state": "running", **values}, picture)

    def _run(self, work: Callable[[], dict[str, Any]]) -> None:
        try:
            self.report(state="done", **work())
        except Stopped:
            self.report(state="stopped")
        except UserError as error:
            LOG.warning("%s: %s", self._kind, error)
            self.report(state="failed", error=f"{error}")
        except Exception as error:
            LOG.exception("%s", self._kind)
            self.report(state="failed", error=f"{self._kind}: {printable(str(error), 200)}")


def projection_work(
    job: Job, network: Network, state: State, target: torch.Tensor, settings: ProjectionSettings, photos: Photos,
    distance_name: str,
) -> Callable[[], dict[str, Any]]:  # fmt: skip
    """The projection of target, uint8 [C, H, W], as the work of a job; asked to end, it keeps the best so far."""

    def work() -> dict[str, Any]:
        job.report(target, step=0, total=settings.steps, preview="target")
        G = network.G
        device = next(G.parameters()).device
        distance = load_distance(distance_name, device)
        label = label_of(state, network)
        last = 0.0

        def progress(step: Step) -> bool:
            nonlocal last
            if time.monotonic() - last >= _PREVIEW_EVERY:
                last = time.monotonic()
                picture = to_uint8(step.images[0]).cpu()
                job.report(picture, step=step.step, total=step.total, distance=float(step.distance[0]))
            return job.is_stopping

        result = project(
            G, target[None], c=None if label is None else label[0], space=settings.space, num_steps=settings.steps,
            distance=distance, device=device, progress=progress,
        )  # fmt: skip
        name = photos.add(result.ws)
        return {"photo": name, "psnr": float(result.psnr[0]), "distance": float(result.distance[0])}

    return work


def video_work(
    job: Job, folder: Path, suffix: str, fps: float, count: int, frame: Callable[[int], torch.Tensor]
) -> Callable[[], dict[str, Any]]:
    """The film of `count` frames as the work of a job: a file in `folder` whose name is told."""

    def frames() -> Iterator[torch.Tensor]:
        for index in range(count):
            if job.is_stopping:
                raise Stopped
            job.report(step=index, total=count)
            yield frame(index)

    def work() -> dict[str, Any]:
        for old in folder.iterdir():
            old.unlink()
        with tempfile.NamedTemporaryFile(dir=folder, suffix=suffix, delete=False) as stream:
            path = Path(stream.name)
        write_video(path, frames(), fps)
        return {"file": path.name, "bytes": path.stat().st_size}

    return work
