"""Micro-batches as CUDA graphs: at small resolutions the launch of kernels, not their work, takes the time.

Captured is what happens between the seeding of the generators and the optimizer: drawing random numbers, forward,
backward, double backward, the sums of statistics. At every replay PyTorch fills in the seed and offset of the
device's default generator, so a graph draws the numbers that an eager run draws from the same seed. Inputs
are copied into fixed tensors. Nothing that is captured may wait for the device or read the processor's generator.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch

from dnnlib import UserError, first_line

_WARM_UP = 2
_TOLERANCE = 1e-2
_SEED = 0x6A09E667


class GraphError(Exception):
    """A micro-batch cannot be captured, or its graph computes another gradient; the text is one line."""


class GraphedMicroBatch:
    """A captured `compute(**inputs)`.

    Args:
        compute: back-propagates a micro-batch into `gradient`; takes the tensors of `inputs` by name.
        inputs: example tensors; later calls must have the same shapes.
        gradient: the flat gradient that `compute` adds to; its content is lost.
        accumulators: gives the tensors that `compute` adds to besides; they are as before when the constructor
            returns, and zero if they are new.
        pool: where the graph takes its memory (`torch.cuda.graph_pool_handle`). Graphs that are never replayed at
            the same time can share one, as nothing in it outlives a replay.

    Raises:
        GraphError: something in `compute` cannot be captured, or captured and eager gradient differ by more than
            rounding. The accumulators are as before, and the device can be used as before.
        UserError: CUDA cannot be used any more in this process after the attempt.
    """

    def __init__(
        self,
        compute: Callable[..., None],
        inputs: dict[str, torch.Tensor],
        gradient: torch.Tensor,
        accumulators: Callable[[], list[torch.Tensor]],
        pool: tuple[int, int] | None = None,
    ) -> None:
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        before = {id(tensor): tensor.clone() for tensor in accumulators()}
        failure = None
        try:
            self._replay = captured(lambda: compute(**self._inputs), gradient.device, pool)
            failure = self._difference_from_eager(compute, gradient)
        except RuntimeError as error:
            failure = _cause(error)
        for tensor in accumulators():
            tensor.copy_(before.get(id(tensor), torch.zeros_like(tensor)))
        if failure is not None:
            raise GraphError(failure)

    def __call__(self, **inputs: torch.Tensor) -> None:
        """Replay on `inputs`, after the generators were seeded."""
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor, non_blocking=True)
        self._replay()

    def _difference_from_eager(self, compute: Callable[..., None], gradient: torch.Tensor) -> str | None:
        results = []
        for run in (lambda: compute(**self._inputs), self._replay):
            gradient.zero_()
            # Not the numbers of the capture: a graph that had frozen them would be noticed.
            torch.manual_seed(_SEED)
            run()
            results.append(gradient.clone())
        eager, replayed = results
        difference = float((eager - replayed).norm() / eager.norm().clamp(min=1e-30))
        if difference < _TOLERANCE:
            return None
        return f"its gradient differs from the eager one by {difference:.2g} of its length"


def captured(run: Callable[[], None], device: torch.device, pool: tuple[int, int] | None) -> Callable[[], None]:
    """Run `run` a few times on a side stream, capture it, and return what replays the capture.

    Raises:
        RuntimeError: it cannot be captured. The device can be used as before.
        UserError: it cannot be captured, and CUDA cannot be used any more in this process.
    """
    with torch.cuda.device(device):
        outside = torch.cuda.current_stream()
        side = torch.cuda.Stream()
        side.wait_stream(outside)
        try:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    run()
                # What would break a capture is found before one is begun: a broken one is hard to leave.
                with waiting_is_an_error():
                    run()
        finally:
            # After a failure, too: what was begun still adds to the gradient and to the sums.
            outside.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool):
                run()
        except RuntimeError as error:
            _leave(graph, pool, outside, error)
            raise
    return graph.replay


@contextlib.contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """In this block whatever waits for the device raises."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _leave(
    graph: torch.cuda.CUDAGraph, pool: tuple[int, int] | None, outside: torch.cuda.Stream, error: RuntimeError
) -> None:
    """Undo what a broken capture leaves behind: PyTorch's own exit stops at the error that CUDA reports there.

    That is the current stream, memory that goes on coming from the graph's pool, and a generator that takes itself to
    be captured.

    Raises:
        UserError: the device does not draw and compute as before.
    """
    torch.cuda.set_stream(outside)
    try:
        graph.pool()
        return  # the capture was ended properly: the error was not one of CUDA's
    except RuntimeError:
        pass
    index = outside.device_index
    # Some versions of PyTorch have done a part of this already, and complain.
    with contextlib.suppress(RuntimeError, AttributeError):
        fresh = torch.Generator(device=outside.device)
        torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())
    if pool is not None:
        with contextlib.suppress(RuntimeError, AttributeError):
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
    try:
        torch.randn(1, device=outside.device).add_(1)
        torch.cuda.synchronize()
    except RuntimeError:
        raise UserError(
            f"`cuda_graphs`: a phase cannot be captured ({_cause(error)}), and the GPU cannot be used after the "
            "attempt; switch them off with `cuda_graphs`=0"
        ) from error


def _cause(error: BaseException) -> str:
    """The first line of the error that the others followed from."""
    while error.__context__ is not None:
        error = error.__context__
    return first_line(error)
