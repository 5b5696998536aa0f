"""A training run: its parts, one step, and the loop.

State lives in objects with a state dict; the checkpoint is the list of them (`TrainingRun.checkpoints`).
Random numbers are a function of the progress (`training.randomness`), so nothing else needs saving.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tqdm import tqdm

from dnnlib import UserError
from dnnlib.errors import WriteError
from torch_utils.checkpoint import Checkpoints
from torch_utils.machine.devices import choose_device
from torch_utils.nan_check import nan_check
from torch_utils.ops import use_implementation
from torch_utils.processes.distributed import World
from torch_utils.statistics import Statistics
from training import memory
from training.augment import PseudoReals, build_pipe
from training.augment.ada import AdaController
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.dataset.image_stream import ImageStream
from training.health import MAX_SKIPPED_IN_ROW, HealthMonitor, what_diverged
from training.lecam import LeCam
from training.objective import Objective
from training.options.keep import Keep
from training.outputs.evaluator import Evaluator
from training.outputs.reports import Reports
from training.parameters import FlatParameters, GeneratorAverage, LazyAdam
from training.phases import Batch, PhaseRunner, build_phases
from training.progress import Clock, Progress, StopRequest
from training.run_dir import RunDir
from training.setup import build_networks, count_parameters, fake_label_source, set_backends
from training.snapshot.resume import copy_weights

_WITHOUT_CHECKPOINT = "start a new run with `new`; `resume` takes this one's last snapshot"
_TRY_AGAIN_SECONDS = 60  # after a checkpoint that could not be written


@dataclass(frozen=True)
class Housekeeping:
    """What may change from one session of a run to the next without changing its result.

    Attributes:
        checkpoint_minutes: time between checkpoints.
        keep: which network snapshots stay; None for all.
        nan_check: stop at the first operation that makes a value that is not finite (slow); phases run eagerly then,
            as a graph cannot be looked into.
        progress_bar: show one on stderr.
    """

    checkpoint_minutes: float = 10.0
    keep: Keep | None = None
    nan_check: bool = False
    progress_bar: bool = True


class TrainingRun:
    """One session of a run, from its newest checkpoint (or its beginning) on.

    Args:
        config: what is trained.
        dataset: the images that it names.
        run: the run directory, locked by the main process.
        world: this process among all of the run.
        housekeeping: what does not change the result.
        evaluator: computes `config.metrics`; needed only if there are any.

    Raises:
        UserError: whatever a user can fix.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: ImageDataset,
        run: RunDir,
        world: World,
        housekeeping: Housekeeping,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.config, self.dataset, self.run = config, dataset, run
        self.world, self.housekeeping = world, housekeeping
        self.device = choose_device(config.device, world.local_rank)
        set_backends(config)
        self.log = run.log if world.is_main else (lambda line: None)

        # Data and networks.
        parameters = count_parameters(config)
        self.log(memory.advice(config, parameters, self.device, world.local_size))
        self.expected_memory = memory.estimate(config, parameters).total(config.batch_gpu)
        self.stream = ImageStream(self.dataset, seed=config.random_seed, workers=config.workers, device=self.device)
        self.G, self.D, self.G_ema = build_networks(config, self.device)
        G_flat, D_flat = FlatParameters(self.G), FlatParameters(self.D)

        # Augmentation and its controller; what is computed in each phase.
        options, augmentation = config.regularization, config.augment_kwargs
        self.adapts = augmentation.mode in ("ada", "apa")
        pseudo = PseudoReals() if augmentation.mode == "apa" else None
        self.augment = (pseudo or build_pipe(augmentation.pipe)).to(self.device)
        self.augment.p.fill_(augmentation.p)
        self.ada = AdaController(
            augmentation.target, augmentation.p_max, augmentation.kimg, augmentation.interval, device=self.device
        )
        self.statistics = Statistics(world, self.device)
        self.objective = Objective(
            G=self.G,
            D=self.D,
            augment=(lambda images: images) if augmentation.mode == "noaug" else self.augment,
            adversarial=config.loss,
            options=options,
            report=self.statistics.report,
            observe_signs=self.ada.observe,
            lecam=LeCam(options.lecam, self.device) if options.lecam > 0 else None,
            replace_reals=pseudo.replace if pseudo is not None else None,
        )

        # Updates.
        regularises_D = options.r1_gamma > 0 or options.r2_gamma > 0
        self.G_opt = LazyAdam(G_flat, config.G_opt_kwargs, options.G_reg_interval if options.pl_weight > 0 else None)
        self.D_opt = LazyAdam(D_flat, config.D_opt_kwargs, options.D_reg_interval if regularises_D else None)
        self.average = GeneratorAverage(self.G_ema, self.G, G_flat, config.ema_kimg, config.ema_rampup)
        self.phases = build_phases(config, self.objective, self.G_opt, self.D_opt)
        self.runner = PhaseRunner(
            config,
            world,
            self.device,
            fake_label_source(self.dataset, self.device),
            self.accumulators if config.uses_graphs and not housekeeping.nan_check else None,
            log=self.log,
        )

        # State, from the newest checkpoint or from the beginning.
        self.progress = Progress()
        mirrored = config.training_set_kwargs.xflip
        num_images = len(self.dataset) // (2 if mirrored else 1)
        self.health = HealthMonitor(augmentation.p_max if self.adapts else None, num_images, mirrored=mirrored)
        names = (
            "G", "D", "G_ema", "G_opt", "D_opt", "augment", "ada", "objective", "statistics", "progress", "health",
        )  # fmt: skip
        state = {name: getattr(self, name) for name in names}
        if self.objective.lecam is not None:
            state["lecam"] = self.objective.lecam
        self.checkpoints = Checkpoints(run.path, state, log=self.log, remedy=_WITHOUT_CHECKPOINT)
        self.continued = self.checkpoints.load_latest(world)
        if self.continued:
            self.log(f"continuing {run.path} at {self.progress.nimg / 1e3:.1f} kimg")
        elif config.resume is not None:
            copy_weights(config.resume, self.networks, partial=config.resume_partial, log=self.log)

        # What is left for people.
        self.reports = Reports(
            config, dataset, run, world, self.progress, self.device, self.log, housekeeping.keep, evaluator, self.health
        )

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """The networks by the names that they have in snapshots."""
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}

    @property
    def done(self) -> bool:
        """Whether the run has its length."""
        return self.progress.nimg >= round(self.config.total_kimg * 1000)

    def train(self, stop: StopRequest) -> bool:
        """Train to the end of the run, or until `stop` asks to save and leave; True at the end of the run.

        Raises:
            UserError: whatever a user can fix; the newest checkpoint is whole.
        """
        config, progress = self.config, self.progress
        stopping = False
        with self._session() as bar:
            clock, saved_at = Clock(progress), progress.elapsed
            while not self.done and not stopping:
                # One step: the phases that are due, the average, ADA.
                self.step()
                clock.lap()
                bar.update(config.batch_size / 1000)
                if not self.world.activity.watched:
                    self._first_step_ended()

                # What is to happen next, the same for all processes.
                save, stopping, diverged = self.world.any(
                    [
                        progress.elapsed - saved_at > self.housekeeping.checkpoint_minutes * 60,
                        stop.is_set,
                        self._skipped_in_row() >= MAX_SKIPPED_IN_ROW,
                    ]
                )

                # A tick: statistics, pictures, networks, metrics.
                if self.done or progress.tick == 0 or progress.nimg >= progress.tick_nimg + config.kimg_per_tick * 1000:
                    with self.world.activity.busy(), clock.maintenance():
                        save |= self._tick()

                # A checkpoint. A state that may be broken must not push out those from before it broke.
                if save or self.done or stopping or diverged:
                    with self.world.activity.busy(), clock.maintenance():
                        saved = self._save(tolerant=not (self.done or stopping or diverged))
                    wait = 0 if saved else self.housekeeping.checkpoint_minutes * 60 - _TRY_AGAIN_SECONDS
                    saved_at = progress.elapsed - wait
                if diverged:
                    self._give_up()
            if self.done and self.world.is_main:
                self.run.finish({"kimg": progress.nimg / 1e3, "elapsed_sec": progress.elapsed, "best": progress.best})
        return self.done

    def _save(self, *, tolerant: bool) -> bool:
        """Write a checkpoint; False where it cannot be, which `tolerant` only says: the older ones stay."""
        try:
            self.checkpoints.save(
                self.progress.nimg,
                write=self.world.is_main,
                prune=not self._skipped_in_row(),
                spare=self.progress.best.get("nimg"),
            )
        except WriteError as error:
            if not tolerant:
                raise
            self.log(f"warning: {error}; it is tried again in {_TRY_AGAIN_SECONDS} seconds")
            return False
        return True

    def step(self) -> None:
        """Every phase that is due, on the same real images; then the averages and ADA."""
        progress, batch_size = self.progress, self.config.batch_size
        batch = self.real_batch()
        for phase in self.phases:
            if progress.nimg // batch_size % phase.interval == 0:
                norm = self.runner.run(phase, progress.nimg, batch)
                self.statistics.report(f"Gradient/{phase.name}", norm)
        self.average.update(progress.nimg, batch_size)
        if self.adapts:
            self.ada.step(self.augment.p, batch_size, self.world.all_reduce)
        progress.nimg += batch_size

    def real_batch(self) -> Batch:
        """This process's share of the real images of the step."""
        share = self.config.batch_size // self.world.size
        images, labels = self.stream.batch(self.progress.nimg + self.world.rank * share, share)
        images = images.to(self.device, non_blocking=True).to(torch.float32) / 127.5 - 1
        return Batch(images, labels.to(self.device, non_blocking=True))

    def accumulators(self) -> list[torch.Tensor]:
        """What the phases add to besides the gradients."""
        return [*self.statistics.tensors(), *self.objective.tensors(), *self.ada.tensors()]

    @contextlib.contextmanager
    def _session(self) -> Iterator[tqdm]:
        """What is set up around the steps, and what is said and drawn before the first; gives the progress bar."""
        config, world = self.config, self.world
        if world.is_main:
            self.run.rewind(self.progress.nimg)
        if not self.continued:
            for warning in self.health.start():
                self.log(f"warning: {warning}")
            self.reports.begin(self.G_ema)
        shown = world.is_main and self.housekeeping.progress_bar
        with (
            self.stream,
            contextlib.closing(self.reports),
            world.activity.busy(),
            use_implementation(config.precision.ops),
            nan_check(self.housekeeping.nan_check, G=self.G, D=self.D, augment=self.augment),
            tqdm(
                total=config.total_kimg,
                initial=self.progress.nimg / 1e3,
                unit="kimg",
                disable=None if shown else True,
                bar_format="{l_bar}{bar}| {n:.1f}/{total:g} kimg [{elapsed}<{remaining}, {rate_inv_fmt}]",
            ) as bar,
        ):
            yield bar

    def _first_step_ended(self) -> None:
        self.log(memory.comparison(self.expected_memory, memory.peak_bytes(self.device)))
        # Kernels are compiled and caches are filled: from now on steps are alike.
        self.world.activity.watched = True

    def _tick(self) -> bool:
        """Report how the run is; True if the networks were written."""
        p, summaries = float(self.augment.p), self.statistics.summaries()
        skipped = float(self.G_opt.skipped + self.D_opt.skipped)
        return self.reports.tick(
            self.networks,
            summaries,
            self.runner.stopwatch.means(),
            p,
            self.health.tick(summaries, p=p, pl_mean=float(self.objective.pl_mean), skipped=skipped),
            done=self.done,
        )

    def _skipped_in_row(self) -> float:
        return max(self.G_opt.skipped_in_row_seen(), self.D_opt.skipped_in_row_seen())

    def _give_up(self) -> None:
        """Write down that the run has diverged, and raise what was seen."""
        kimg = self.progress.nimg / 1e3
        reason = (
            f"{MAX_SKIPPED_IN_ROW} steps in a row had gradients that are not finite, at {kimg:.1f} kimg "
            f"({what_diverged(self.statistics.summaries())}); the state is saved in {self.run.path}; find the first "
            "operation with `nan_check`, or try `precision`=fp32 or lower learning rates in a new run"
        )
        if self.world.is_main:
            self.run.give_up({"kimg": kimg, "elapsed_sec": self.progress.elapsed, "reason": reason})
        raise UserError(reason)
