"""Whole phases as CUDA graphs: at small resolutions the launch of kernels, not their work, takes the time.

Captured is what happens between the seeding of the generators and the optimizer: drawing latents, forward,
backward, double backward, the sums of the statistics. PyTorch fills the generator's seed and offset in at every
replay, so a captured phase draws the same numbers as an eager one. Inputs are copied into fixed tensors.
"""

from collections.abc import Callable

import torch

from training.randomness import seed_generators

_WARM_UP = 3
_TOLERANCE = 1e-2


class GraphMismatch(Exception):
    """The captured phase computes another gradient than the eager one."""


class GraphedMicroBatch:
    """A captured `compute(**inputs)` of one phase.

    Args:
        compute: back-propagates a micro-batch into `gradient`; takes the tensors of `inputs` by name.
        inputs: example tensors; later calls must have the same shapes.
        gradient: the flat gradient that `compute` adds to.
        accumulators: gives the tensors that `compute` adds to besides; they are as before when the constructor
            returns, and zero if they are new.

    Raises:
        GraphMismatch: captured and eager gradient differ by more than rounding.
    """

    def __init__(
        self,
        compute: Callable[..., None],
        inputs: dict[str, torch.Tensor],
        gradient: torch.Tensor,
        accumulators: Callable[[], list[torch.Tensor]],
    ) -> None:
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        before = {id(tensor): tensor.clone() for tensor in accumulators()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                compute(**self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            compute(**self._inputs)
        self._compare_with_eager(compute, gradient)
        for tensor in accumulators():
            tensor.copy_(before.get(id(tensor), torch.zeros_like(tensor)))

    def __call__(self, **inputs: torch.Tensor) -> None:
        """Replay on `inputs`, after the generators were seeded."""
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor, non_blocking=True)
        self._graph.replay()

    def _compare_with_eager(self, compute: Callable[..., None], gradient: torch.Tensor) -> None:
        results = []
        for run in (lambda: compute(**self._inputs), self._graph.replay):
            gradient.zero_()
            seed_generators(0, 0, "cuda graph", 0)
            run()
            results.append(gradient.clone())
        eager, captured = results
        difference = (eager - captured).norm() / eager.norm().clamp(min=1e-30)
        if not difference < _TOLERANCE:
            raise GraphMismatch(f"relative difference of the gradients {float(difference):.2e}")
