"""A watch over the other processes of a run: none is left waiting for one that has died, stopped or hung."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch.distributed as dist

from torch_utils.processes.distributed import World

HEARTBEAT_SECONDS = 2.0
# torchrun kills what does not end within 30 s of its SIGTERM: silence and this must fit into a minute.
SILENCE_SECONDS = 20.0
_HANG_FACTOR = 5.0  # a step may take this many times the longest before it


@dataclass(frozen=True)
class _Mark:
    """What a process writes into the store with each heartbeat."""

    beat: int
    host: str
    count: int  # of its waits for the others
    state: str  # waiting, working (in regular steps) or busy
    patience: float  # seconds after which its work, at the same count, is a hang


@dataclass
class _Sight:
    """The newest mark of a process, and since when its beat, and its count and state, stand still."""

    mark: _Mark
    beat_since: float
    count_since: float


class Watch:
    """Notices workers that no longer come to the others and ends this process, with a word on who it was.

    A stopped, hung or unreachable worker leaves the others waiting in a collective until its time-out. Every
    process therefore marks a heartbeat in the rendezvous store from a thread of its own, and what its main thread is
    doing. A process ends with status 1, upon which torchrun ends (or restarts) them all, when another's heartbeat
    stands still, or when it waits and another's main thread is stuck in a regular step. With one process it does
    nothing.

    Start it as soon as there is a process group, so that whatever a worker does first, it is not taken for
    silence. As a context it is closed at the end, or stopped by an error. Attribute `report` can be exchanged while it
    runs.

    Args:
        world: this process among the others.
        report: called with a line about who was lost.
        silence: seconds without a heartbeat, and the least time for a stuck step.
        remedy: the end of that line.
    """

    def __init__(
        self,
        world: World,
        report: Callable[[str], None] | None = None,
        silence: float = SILENCE_SECONDS,
        remedy: str = "ending the run, continue it from its checkpoint",
    ) -> None:
        self._world, self._silence, self._remedy = world, silence, remedy
        self.report = report or (lambda line: print(line, file=sys.stderr, flush=True))
        self._host = socket.gethostname()
        self._stop = threading.Event()
        self._seen: dict[int, _Sight] = {}
        self._thread = None
        if world.size > 1:
            # A connection of its own: a store's client answers one question at a time.
            self._store = dist.PrefixStore("heartbeat", world.store.clone())
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.stop()

    def _run(self) -> None:
        beat = 0
        # The first one at once: it tells the others this process's host.
        while not self._stop.wait(HEARTBEAT_SECONDS if beat else 0):
            beat += 1
            try:
                self._store.set(str(self._world.rank), json.dumps(vars(self._mark(beat))))
                self._look()
            except (RuntimeError, OSError) as error:
                if not self._stop.is_set():
                    self._end(f"lost the rendezvous store; {self._name(0)} or its torchrun has ended ({error})")
                return
            silent, hung = self.silent_since(self._silence), self._hung()
            if self._stop.is_set():
                return
            if silent:
                self._end(f"{silent} has been silent for {self._silence:.0f} s (stopped or unreachable)")
            if hung:
                self._end(f"{hung} (hung)")

    def _mark(self, beat: int) -> _Mark:
        activity = self._world.activity
        state = "waiting" if activity.waiting else "working" if activity.watched else "busy"
        patience = max(self._silence, _HANG_FACTOR * activity.longest)
        return _Mark(beat, self._host, activity.count, state, patience)

    def _look(self) -> None:
        now = time.monotonic()
        for rank in range(self._world.size):
            key = str(rank)
            if rank not in self._seen and not self._store.check([key]):
                self._seen[rank] = _Sight(_Mark(0, "an unknown host", 0, "busy", 0.0), now, now)
                continue
            known = self._seen.get(rank)
            if known is not None and known.mark.beat == 0 and not self._store.check([key]):
                continue
            mark = _Mark(**json.loads(self._store.get(key)))
            if known is None:
                self._seen[rank] = _Sight(mark, now, now)
                continue
            if mark.beat != known.mark.beat:
                known.beat_since = now
            if (mark.count, mark.state) != (known.mark.count, known.mark.state):
                known.count_since = now
            known.mark = mark

    def _end(self, reason: str) -> None:
        try:
            self.report(f"rank {self._world.rank} on {self._host}: {reason}; {self._remedy}")
        finally:
            os._exit(1)

    def _name(self, rank: int) -> str:
        host = self._seen[rank].mark.host if rank in self._seen else "an unknown host"
        return f"rank {rank} on {host}"

    def silent_since(self, seconds: float) -> str:
        """The ranks and hosts without a heartbeat for `seconds`, in words; empty if there is none."""
        now = time.monotonic()
        silent = [self._name(rank) for rank, sight in sorted(self._seen.items()) if now - sight.beat_since > seconds]
        return ", ".join(silent)

    def _hung(self) -> str:
        """While this process waits: the first that is stuck in a regular step, in words; empty if there is none."""
        if not self._world.activity.waiting:
            return ""
        now = time.monotonic()
        for rank, sight in sorted(self._seen.items()):
            seconds = now - sight.count_since
            if rank != self._world.rank and sight.mark.state == "working" and seconds > sight.mark.patience:
                return f"{self._name(rank)} has been in the same step for {seconds:.0f} s"
        return ""

    def explain(self) -> str:
        """After a failed collective: wait for a few heartbeats and name the workers that gave none."""
        if self._thread is None:
            return ""
        # A last mark may be noticed up to one heartbeat after it was made, and made one before the loss.
        deadline = time.monotonic() + 4 * HEARTBEAT_SECONDS
        silent = ""
        while not silent and time.monotonic() < deadline:
            time.sleep(HEARTBEAT_SECONDS / 4)
            silent = self.silent_since(2.5 * HEARTBEAT_SECONDS)
        return silent

    def stop(self) -> None:
        """Stop watching, without waiting for the other processes.

        Before every end of the interpreter: a thread that it finds inside the store's code aborts the process.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * HEARTBEAT_SECONDS)

    def close(self) -> None:
        """Stop watching at the end of the work.

        All processes call it at the same point, which is the last thing that they wait for.
        """
        self._world.barrier()
        self.stop()
        # The process that holds the store leaves last.
        self._world.barrier()
