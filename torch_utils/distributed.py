"""Several processes on PyTorch's own engine: set-up, small collectives, and a watch over silent workers.

A process group exists only where `torchrun` (or `--gpus=N`, which is short for it) started several
processes; with one process every function here is the identity, so callers need no branches.
"""

import contextlib
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from dnnlib import UserError

HEARTBEAT_SECONDS = 2.0
# torchrun kills what does not end within 30 s of its SIGTERM: silence and this must fit into a minute.
SILENCE_SECONDS = 20.0
COLLECTIVE_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """This process's place among all processes of the run.

    Attributes:
        rank: 0 ... size - 1, unique over all machines.
        size: the number of processes over all machines.
        local_rank: the index on this machine; also the index of this process's GPU.
        control: a CPU group for small decisions, None with one process.
        store: the rendezvous store, None with one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: Any = field(default=None, compare=False)
    store: Any = field(default=None, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` in place over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flags: list[bool]) -> list[bool]:
        """For each flag: whether it is set on at least one process."""
        if self.size == 1:
            return flags
        tensor = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.control)
        return [bool(value) for value in tensor.tolist()]

    def broadcast_object(self, value: Any) -> Any:
        """The value that the main process holds; plain Python values only."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def gather_object(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def together(self, action: Callable[[], Any]) -> Any:
        """The result of `action` here, once it has succeeded everywhere.

        Raises:
            UserError: the action raised one on some process; all processes raise it, so that none waits for another.
        """
        error, result = None, None
        try:
            result = action()
        except UserError as raised:
            error = str(raised)
        errors = self.gather_object(error)
        failed = [rank for rank, text in enumerate(errors) if text is not None]
        if not failed:
            return result
        text = errors[failed[0]]
        alike = len(set(errors)) == 1 or failed == [0]
        raise UserError(text if alike else f"rank {failed[0]}: {text}", everywhere=True)

    def main_only(self, action: Callable[[], Any]) -> Any:
        """The result of `action` on the main process, sent to all; it must be of plain values and tensors.

        Raises:
            UserError: the action raised one; all processes raise it.
        """
        box: dict[str, Any] = {}
        if self.is_main:
            try:
                box = {"result": action()}
            except UserError as raised:
                box = {"error": str(raised)}
        box = self.broadcast_object(box)
        if "error" in box:
            raise UserError(box["error"], everywhere=True)
        return box["result"]


@contextlib.contextmanager
def world(device_type: str) -> Iterator[World]:
    """Join the process group that the environment describes (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_*).

    Yields a `World` of one process where the environment describes none.

    Raises:
        UserError: more processes on this machine than CUDA devices.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device_type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f"rank {rank} on {socket.gethostname()} has no GPU of its own: {torch.cuda.device_count()} found; "
                "start fewer processes with --gpus or --nproc-per-node"
            )
        torch.cuda.set_device(local_rank)
    store, rank, size = next(dist.rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    store = dist.PrefixStore(_name_of_start(store, rank, size), store)
    dist.init_process_group(
        "nccl" if device_type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=COLLECTIVE_TIMEOUT,
    )
    control = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT) if device_type == "cuda" else dist.group.WORLD
    try:
        yield World(rank, size, local_rank, control, store)
    except UserError:
        # All processes agree on it. With the group's threads alive, the end of the interpreter can abort the process,
        # and its exit status would be lost; so it would be by an error about another process that has gone already.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()
        raise
    # Not on another failure: taking leave of a lost worker can block.
    dist.destroy_process_group()


def _name_of_start(store: Any, rank: int, size: int) -> str:
    """A name that all processes of this start agree on, and that no earlier start had.

    When torchrun restarts workers, the store still holds what those before them wrote, such as the addresses of
    processes that are gone. Each process therefore asks rank 0 under a name of its own, which cannot be answered by
    what is left over, and rank 0 waits until all have heard it.
    """
    mine = uuid.uuid4().hex
    if rank != 0:
        store.set(f"asking/{rank}", mine)
        name = store.get(f"answer/{mine}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return name
    waiting = set(range(1, size))
    while waiting:
        for other in sorted(waiting):
            if store.check([f"asking/{other}"]):
                store.set(f"answer/{store.get(f'asking/{other}').decode()}", mine)
            if store.check([f"heard/{mine}/{other}"]):
                waiting.remove(other)
        time.sleep(0.02)
    return mine


class Watch:
    """Notices workers that have gone silent and ends this process, with a word on who it was.

    A stopped or unreachable worker leaves the others waiting in a collective until its time-out. Every
    process therefore marks a heartbeat in the rendezvous store from a thread of its own; one that sees
    another's heartbeat stand still for `SILENCE_SECONDS` calls `report` with the rank and host and exits
    with status 1, upon which torchrun ends (or restarts) them all. With one process it does nothing.

    Start it as soon as there is a process group, so that whatever a worker does first, it is not taken for
    silence. Attribute `report` can be exchanged while it runs.
    """

    def __init__(self, world: World, report: Callable[[str], None] | None = None) -> None:
        self._world = world
        self.report = report or (lambda line: print(line, file=sys.stderr, flush=True))
        self._host = socket.gethostname()
        self._stop = threading.Event()
        self._seen: dict[int, tuple[str, float]] = {}
        self._thread = None
        if world.size > 1:
            # A connection of its own: a store's client answers one question at a time.
            self._store = dist.PrefixStore("heartbeat", world.store.clone())
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        beat = 0
        while not self._stop.wait(HEARTBEAT_SECONDS):
            beat += 1
            try:
                self._store.set(str(self._world.rank), f"{beat} {self._host}")
                self._look()
            except (RuntimeError, OSError) as error:
                if not self._stop.is_set():
                    self._end(f"lost the rendezvous store ({error})")
                return
            silent = self.silent_since(SILENCE_SECONDS)
            if silent and not self._stop.is_set():
                self._end(f"{silent} has been silent for {SILENCE_SECONDS:.0f} s (stopped, hung or unreachable)")

    def _look(self) -> None:
        for rank in range(self._world.size):
            key = str(rank)
            known = rank in self._seen and not self._seen[rank][0].startswith("0 ")
            mark = self._store.get(key).decode() if known or self._store.check([key]) else "0 an unknown host"
            if self._seen.get(rank, ("", 0.0))[0] != mark:
                self._seen[rank] = (mark, time.monotonic())

    def _end(self, reason: str) -> None:
        try:
            self.report(
                f"rank {self._world.rank} on {self._host}: {reason}; ending the run, continue it from its checkpoint"
            )
        finally:
            os._exit(1)

    def silent_since(self, seconds: float) -> str:
        """The ranks and hosts without a heartbeat for `seconds`, in words; empty if there is none."""
        now = time.monotonic()
        silent = [
            f"rank {rank} on {mark.partition(' ')[2]}"
            for rank, (mark, at) in sorted(self._seen.items())
            if now - at > seconds
        ]
        return ", ".join(silent)

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
