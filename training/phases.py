"""The phases of a training step as data, and how one of them is run over its micro-batches."""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from torch_utils.cuda_graphs import GraphedMicroBatch, GraphError
from torch_utils.processes.distributed import World
from torch_utils.timing import Stopwatch
from training.config import TrainingConfig
from training.parameters import LazyAdam
from training.randomness import seed_generators

_warn = logging.getLogger("training").warning


@dataclass(frozen=True)
class Batch:
    """This process's share of the real images of one step: [n, C, H, W] in [-1, 1] and labels [n, c_dim]."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    Attributes:
        name: Gmain, Greg, Dmain or Dreg.
        compute: back-propagates the weighted loss of a micro-batch.
        network: whose parameters it updates; optimizer: with what.
        interval: every how many steps; its loss is multiplied by it (lazy regularisation).
        finish: called after the micro-batches, each with the all-reduce function.
    """

    name: str
    compute: Callable[..., None]
    network: torch.nn.Module
    optimizer: LazyAdam
    interval: int
    finish: tuple[Callable[[Callable], None], ...] = ()


class PhaseRunner:
    """Runs phases with gradients that do not depend on how the batch is split.

    Micro-batch m of a step holds the images m * batch_gpu ... of the step, whichever process has it, and
    draws its random numbers from (seed, images seen, phase, m). So one process that accumulates and
    several that share the work compute the same sum, up to rounding.

    Args:
        fake_labels: count -> labels [count, c_dim] drawn from those of the training set.
        accumulators: gives the tensors that phases add to besides the gradient; needed for CUDA graphs, which are
            captured at a phase's first run. None runs phases eagerly. Where one cannot be captured, all are run
            eagerly from then on, with one line of notice.
        log: takes that line.

    Attributes:
        graphs: the captured micro-batches by the name of the phase.
    """

    def __init__(
        self,
        config: TrainingConfig,
        world: World,
        device: torch.device,
        fake_labels: Callable[[int], torch.Tensor],
        accumulators: Callable[[], list[torch.Tensor]] | None = None,
        log: Callable[[str], object] = _warn,
    ) -> None:
        self._config, self._world, self._device, self._fake_labels = config, world, device, fake_labels
        self._rounds = config.batch_size // (world.size * config.batch_gpu)
        self.accumulators, self.log = accumulators, log
        self.graphs: dict[str, GraphedMicroBatch] = {}
        self._pool = torch.cuda.graph_pool_handle() if accumulators is not None and device.type == "cuda" else None
        self.stopwatch = Stopwatch(device)

    def run(self, phase: Phase, nimg: int, batch: Batch) -> torch.Tensor:
        """Compute the gradient over the whole batch, update, and return the gradient's norm."""
        with self.stopwatch.measure(phase.name):
            self.accumulate(phase, nimg, batch)
            for finish in phase.finish:
                finish(self._world.all_reduce)
            return phase.optimizer.step(self._world.all_reduce)

    def accumulate(self, phase: Phase, nimg: int, batch: Batch) -> None:
        """Back-propagate every micro-batch of this process into the phase's flat gradient."""
        size = self._config.batch_gpu
        phase.network.requires_grad_(True)
        try:
            compute = self._graph(phase, batch) if self.accumulators is not None else self._eager(phase)
            phase.optimizer.zero_grad()
            for i in range(self._rounds):
                seed_generators(self._config.random_seed, nimg, phase.name, self._world.rank * self._rounds + i)
                real = slice(i * size, (i + 1) * size)
                compute(c=self._fake_labels(size), real=batch.images[real], real_c=batch.labels[real])
        finally:
            phase.network.requires_grad_(False)

    def _eager(self, phase: Phase) -> Callable[..., None]:
        """One micro-batch of a phase, with latents from the default generator of the device."""
        shape = self._config.batch_gpu, self._config.G_kwargs.z_dim
        weight = phase.interval / (self._rounds * self._world.size)

        def compute(**inputs: torch.Tensor) -> None:
            phase.compute(weight, z=torch.randn(shape, device=self._device), **inputs)

        return compute

    def _graph(self, phase: Phase, batch: Batch) -> Callable[..., None]:
        """The captured micro-batch of a phase, made at its first run; the eager one where that is not possible."""
        if phase.name in self.graphs:
            return self.graphs[phase.name]
        size, eager = self._config.batch_gpu, self._eager(phase)
        inputs = {"c": self._fake_labels(size), "real": batch.images[:size], "real_c": batch.labels[:size]}
        try:
            graph = GraphedMicroBatch(eager, inputs, phase.optimizer.gradient, self.accumulators, self._pool)
        except GraphError as error:
            # The others as well: leaving a broken capture gives the device a new generator, which their graphs
            # would not follow.
            self.graphs.clear()
            self.accumulators = None
            self.log(f"warning: `cuda_graphs`: the phases run without graphs, as {phase.name} has none: {error}")
        else:
            self.graphs[phase.name] = graph
            return graph
        # Only now, as the error kept alive what was captured so far: eager phases may need its memory.
        gc.collect()
        torch.cuda.empty_cache()
        return eager


def build_phases(config: TrainingConfig, objective: object, G_opt: LazyAdam, D_opt: LazyAdam) -> list[Phase]:
    """The phases in their order; a regularisation of weight zero has none."""
    options = config.loss_kwargs
    G, D = objective.G, objective.D
    w_avg, lengths = objective.finish_w_avg, objective.finish_path_lengths
    phases = [Phase("Gmain", objective.Gmain, G, G_opt, 1, (w_avg,))]
    if options.pl_weight > 0:
        phases.append(Phase("Greg", objective.Greg, G, G_opt, options.G_reg_interval, (w_avg, lengths)))
    lecam = () if objective.lecam is None else (objective.lecam.finish,)
    phases.append(Phase("Dmain", objective.Dmain, D, D_opt, 1, (w_avg, *lecam)))
    if options.r1_gamma > 0 or options.r2_gamma > 0:
        generates = options.r2_gamma > 0 or config.augment_kwargs.mode == "apa"
        phases.append(Phase("Dreg", objective.Dreg, D, D_opt, options.D_reg_interval, (w_avg,) if generates else ()))
    return phases
