"""Work in blocks over all processes, gathered in block order.

The unit of distribution is a block of `BLOCK` samples. Every process computes whole blocks, and all
processes see all results in the order of the blocks. What is computed from them is therefore the same to
the last bit for any number of processes of one kind of machine.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from torch_utils.processes.distributed import World

BLOCK = 64


def blocks_in_order(
    world: World, first: int, count: int, compute_block: Callable[[int, int], dict[str, torch.Tensor]]
) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Compute samples `first` ... `count` - 1 block by block; yield (start, results) for all blocks, in all processes.

    Args:
        world: the processes, which all call this.
        first: the first sample, the start of a block.
        count: one more than the last sample.
        compute_block: takes (start, stop), stop - start <= BLOCK, and returns tensors [stop - start, ...] whose
            trailing shapes and dtypes do not depend on the block.

    Raises:
        UserError: on every process, if `compute_block` raised one on any process.
    """
    starts = list(range(first, count, BLOCK))
    with world.activity.steps():
        for round_start in range(0, len(starts), world.size):
            # A process without a block of its own in the last round repeats the last one: its result is not used.
            start = starts[min(round_start + world.rank, len(starts) - 1)]
            results = world.together(lambda start=start: compute_block(start, min(start + BLOCK, count)))
            gathered = {name: world.all_gather(_padded(tensor)) for name, tensor in results.items()}
            for offset, start in enumerate(starts[round_start : round_start + world.size]):
                rows = min(BLOCK, count - start)
                yield start, {name: tensors[offset][:rows] for name, tensors in gathered.items()}


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """[<= BLOCK, ...] with BLOCK rows."""
    missing = BLOCK - tensor.shape[0]
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, missing]) if missing else tensor
