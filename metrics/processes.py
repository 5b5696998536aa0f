"""Work in blocks over all processes of `torch.distributed`, gathered in block order.

The unit of distribution is a block of `BLOCK` samples. Every process computes whole blocks, and all
processes see all results in the order of the blocks. What is computed from them is therefore the same to
the last bit for any number of processes of one kind of machine.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from dnnlib import UserError

BLOCK = 64


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 without a process group."""
    return dist.get_rank() if _distributed() else 0


def world_size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if _distributed() else 1


def blocks_in_order(
    first: int, count: int, compute_block: Callable[[int, int], dict[str, torch.Tensor]]
) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Compute samples `first` ... `count` - 1 block by block; yield (start, results) for all blocks, in all processes.

    Args:
        first: the first sample, the start of a block.
        count: one more than the last sample.
        compute_block: takes (start, stop), stop - start <= BLOCK, and returns tensors [stop - start, ...] whose
            trailing shapes and dtypes do not depend on the block.

    Raises:
        UserError: on every process, if `compute_block` raised one on any process.
    """
    starts = list(range(first, count, BLOCK))
    size, me = world_size(), rank()
    for round_start in range(0, len(starts), size):
        # A process without a block of its own in the last round repeats the last one: its result is not used.
        start = starts[min(round_start + me, len(starts) - 1)]
        results = together(lambda start=start: compute_block(start, min(start + BLOCK, count)))
        if size == 1:
            yield start, results
            continue
        gathered = {name: _all_gather_rows(tensor) for name, tensor in results.items()}
        for offset, start in enumerate(starts[round_start : round_start + size]):
            rows = min(BLOCK, count - start)
            yield start, {name: tensors[offset][:rows] for name, tensors in gathered.items()}


def main_only(function: Callable[[], Any]) -> Any:
    """Call `function` in the main process alone and return its (picklable) value, or raise its error, in all."""
    if not _distributed():
        return function()
    outcome: list[Any] = [None]
    failure: Exception | None = None
    if rank() == 0:
        try:
            outcome = [(True, function())]
        except Exception as error:  # passed on below, here and in the other processes
            failure = error
            outcome = [(False, _for_others(error, 0))]
    dist.broadcast_object_list(outcome, src=0)
    if failure is not None:
        raise _known_everywhere(failure)
    succeeded, value = outcome[0]
    if not succeeded:
        raise _known_everywhere(value)
    return value


def barrier() -> None:
    """Wait for the other processes."""
    if _distributed():
        dist.barrier()


def together(function: Callable[[], Any]) -> Any:
    """Call `function` in every process and return its value here; if it fails in one, fail in all.

    So none waits for a lost one. The others raise the first failing process's error, which names the process unless
    all fail alike.
    """
    if not _distributed():
        return function()
    failure: Exception | None = None
    value = None
    try:
        value = function()
    except Exception as error:  # raised again below, after the others have heard of it
        failure = error
    errors: list[UserError | None] = [None] * world_size()
    dist.all_gather_object(errors, None if failure is None else _for_others(failure, rank()))
    if failure is not None:
        raise _known_everywhere(failure)
    for index, error in enumerate(errors):
        if error is not None:
            raise _known_everywhere(type(error)(f"process {index} failed while computing metrics: {error}"))
    return value


def _for_others(error: Exception, index: int) -> UserError:
    """What the other processes are told of it; a `UserError` keeps its class, by which callers decide."""
    return error if isinstance(error, UserError) else UserError(f"process {index} failed: {error}")


def _known_everywhere(error: Exception) -> Exception:
    """The error, marked so that the main process alone tells the user."""
    if isinstance(error, UserError):
        error.everywhere = True
    return error


def _all_gather_rows(tensor: torch.Tensor) -> list[torch.Tensor]:
    """All processes' tensors [<= BLOCK, ...], padded to BLOCK rows, in the order of ranks."""
    missing = BLOCK - tensor.shape[0]
    if missing:
        tensor = F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, missing])
    home = tensor.device
    if dist.get_backend() == "nccl" and home.type != "cuda":
        tensor = tensor.to(torch.device("cuda", torch.cuda.current_device()))
    tensors = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(tensors, tensor.contiguous())
    return [item.to(home) for item in tensors]
