"""Several processes on PyTorch's own engine: set-up and small collectives (`watch` looks after them).

A process group exists only where `torchrun` (or `--gpus=N`, which is short for it) started several
processes; with one process every function here is the identity, so callers need no branches.
"""

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from dnnlib import UserError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)


class Activity:
    """What the main thread of this process is doing, for the other processes' watch.

    Attributes:
        count: how often it has waited for the others.
        waiting: whether it does so now.
        watched: whether it is in regular steps, that is, expected to come to the others soon.
        longest: the longest time from one wait to the next in regular steps, in seconds.
    """

    def __init__(self) -> None:
        self.count, self.waiting, self.watched, self.longest = 0, False, False, 0.0
        self._since, self._begins = time.monotonic(), False

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        """In this block the main thread waits for the other processes."""
        if self.watched or self._begins:
            self.longest = max(self.longest, time.monotonic() - self._since)
            self.watched, self._begins = True, False
        self.count += 1
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
            self._since = time.monotonic()

    @contextlib.contextmanager
    def steps(self) -> Iterator[None]:
        """In this block it is in regular steps of their own length, as in the blocks of an evaluation.

        The first one may load and compile: it is not watched, and gives the measure for those after it.
        """
        before = self.watched, self.longest
        self.watched, self.longest, self._begins, self._since = False, 0.0, True, time.monotonic()
        try:
            yield
        finally:
            (self.watched, self.longest), self._begins, self._since = before, False, time.monotonic()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """In this block it may take its time, as for saving or for metrics."""
        before, self.watched = self.watched, False
        try:
            yield
        finally:
            self._since = time.monotonic()
            self.watched = before


@dataclass(frozen=True)
class World:
    """This process's place among all processes of the run.

    Attributes:
        rank: 0 ... size - 1, unique over all machines.
        size: the number of processes over all machines.
        local_rank: the index on this machine; also the index of this process's GPU.
        local_size: the number of processes on this machine, as far as the environment tells (LOCAL_WORLD_SIZE).
        control: a CPU group for small decisions, None with one process.
        store: the rendezvous store, None with one process.
        activity: what this process is doing.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    control: Any = field(default=None, compare=False)
    store: Any = field(default=None, compare=False)
    activity: Activity = field(default_factory=Activity, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` in place over all processes."""
        if self.size > 1:
            with self.activity.waits():
                dist.all_reduce(tensor)
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes, which are alike in shape and dtype, in the order of their ranks."""
        if self.size == 1:
            return [tensor]
        tensor = tensor.contiguous()
        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        with self.activity.waits():
            dist.all_gather(tensors, tensor, group=self.control if tensor.device.type == "cpu" else None)
        return tensors

    def any(self, flags: list[bool]) -> list[bool]:
        """For each flag: whether it is set on at least one process."""
        if self.size == 1:
            return flags
        tensor = torch.tensor(flags, dtype=torch.int32)
        with self.activity.waits():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.control)
        return [bool(value) for value in tensor.tolist()]

    def broadcast_object(self, value: Any) -> Any:
        """The value that the main process holds; plain Python values only."""
        if self.size == 1:
            return value
        box = [value]
        with self.activity.waits():
            dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def gather_object(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self.activity.waits():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            with self.activity.waits():
                dist.barrier(group=self.control)

    def together(self, action: Callable[[], Any]) -> Any:
        """The result of `action` here, once it has succeeded everywhere.

        Raises:
            UserError: the action raised one, or an error of a subclass, on some process; all processes raise it, so
                that none waits for another.
        """
        if self.size == 1:
            return action()
        error, result = None, None
        try:
            result = action()
        except UserError as raised:
            error = raised
        errors = self.gather_object(error)
        failed = [rank for rank, other in enumerate(errors) if other is not None]
        if not failed:
            return result
        error = errors[failed[0]]
        alike = len({f"{other}" for other in errors}) == 1 or failed == [0]
        error.args, error.everywhere = (f"{error}" if alike else f"rank {failed[0]}: {error}",), True
        raise error

    def main_only(self, action: Callable[[], Any]) -> Any:
        """The result of `action` on the main process, sent to all; it must be of plain values and tensors.

        Raises:
            UserError: the action raised one, or an error of a subclass; all processes raise it.
        """
        return self.broadcast_object(self.together(lambda: action() if self.is_main else None))


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
    here = World(rank, size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), control, store)
    del control
    try:
        yield here
    except UserError:
        # All processes agree on it. An error about another process that has gone already must not hide it.
        with contextlib.suppress(RuntimeError):
            _leave(here)
        raise
    # Not on another failure: taking leave of a lost worker can block.
    _leave(here)


def _leave(here: World) -> None:
    """Destroy the process group, and end its threads.

    They live as long as there is a reference to it, be it in the frames of an exception. One that lets go of the last
    collective's tensors while the interpreter ends aborts the process, and its exit status would be lost.
    """
    object.__setattr__(here, "control", None)
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
