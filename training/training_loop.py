"""A training run: its parts, one step, and the loop.

State lives in objects with a state dict; the checkpoint is the list of them (`TrainingRun.checkpoints`).
Random numbers are a function of the progress (`training.randomness`), so nothing else needs saving.
"""

import contextlib
import time
from dataclasses import dataclass

import torch
from tqdm import tqdm

from dnnlib import UserError
from torch_utils.checkpoint import Checkpoints
from torch_utils.devices import choose_device
from torch_utils.distributed import World
from torch_utils.nan_check import nan_check
from torch_utils.ops import use_implementation
from torch_utils.statistics import Statistics
from training import memory
from training.augment import PseudoReals, build_pipe
from training.augment.ada import AdaController
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.dataset.image_stream import ImageStream
from training.health import MAX_SKIPPED_IN_ROW, HealthMonitor
from training.lecam import LeCam
from training.objective import Objective
from training.outputs.board import Board
from training.outputs.evaluator import Evaluator
from training.outputs.grids import Grids
from training.outputs.snapshots import Snapshots
from training.outputs.ticks import stats_record, status_line
from training.parameters import FlatParameters, GeneratorAverage, LazyAdam
from training.phases import Batch, PhaseRunner, build_phases
from training.progress import Progress, StopRequest
from training.resume import copy_weights
from training.run_dir import FAKES, FAKES_INIT, SNAPSHOTS, RunDir
from training.setup import (
    build_networks,
    count_parameters,
    fake_label_source,
    set_backends,
)

_WITHOUT_CHECKPOINT = "start a new run with `new`; `resume` takes this one's last snapshot"


@dataclass(frozen=True)
class Housekeeping:
    """What may change from one session of a run to the next without changing its result.

    Attributes:
        checkpoint_minutes: time between checkpoints.
        keep_last, keep_best: how many network snapshots stay; None for all.
        nan_check: stop at the first operation that makes a value that is not finite (slow).
        progress_bar: show one on stderr.
    """

    checkpoint_minutes: float = 10.0
    keep_last: int | None = None
    keep_best: int | None = None
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
        UserError: whatever a user can mend.
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
        assert not config.metrics or evaluator is not None
        self.config, self.dataset, self.run = config, dataset, run
        self.world, self.housekeeping, self.evaluator = world, housekeeping, evaluator
        self.device = choose_device(config.device, world.local_rank)
        set_backends(config)
        self.log = run.log if world.is_main else (lambda line: None)

        # Data and networks.
        parameters = count_parameters(config)
        self._log_memory(*memory.advice(config, parameters, self.device, world.local_size))
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
            self._accumulators if config.precision.cuda_graphs and self.device.type == "cuda" else None,
            log=self.log,
        )

        # State, from the newest checkpoint or from the beginning.
        self.progress = Progress()
        num_images = len(self.dataset) // (2 if config.training_set_kwargs.xflip else 1)
        self.health = HealthMonitor(augmentation.p_max if self.adapts else None, num_images)
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
            networks = {"G": self.G, "D": self.D, "G_ema": self.G_ema}
            copy_weights(config.resume, networks, partial=config.resume_partial, log=self.log)

        # Outputs.
        self.grids = Grids(config, run, self.dataset, self.device)
        self.snapshots = Snapshots(
            config, dataset, run, self.progress,
            keep_last=housekeeping.keep_last, keep_best=housekeeping.keep_best, evaluator=evaluator,
        )  # fmt: skip
        self.board = Board(run.path, self.progress) if world.is_main else None

    def train(self, stop: StopRequest) -> bool:
        """Train to the end of the run, or until `stop` asks to save and leave; True at the end of the run.

        Raises:
            UserError: whatever a user can mend; the newest checkpoint is whole.
        """
        config, progress = self.config, self.progress
        self._begin()
        first_step = True
        saved_at = clock = time.monotonic()
        done = progress.nimg >= round(config.total_kimg * 1000)
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self.world.activity.busy())
            stack.enter_context(use_implementation(config.precision.ops))
            stack.enter_context(nan_check(self.housekeeping.nan_check, G=self.G, D=self.D, augment=self.augment))
            bar = stack.enter_context(self._progress_bar())
            while not done:
                self._step()
                bar.update(config.batch_size / 1000)
                done = progress.nimg >= round(config.total_kimg * 1000)
                clock = self._count_time(clock)
                if first_step:
                    self._log_memory(*memory.comparison(self.expected_memory, memory.peak_bytes(self.device)))
                    first_step = False
                    # Kernels are compiled and caches are filled: from now on steps are alike.
                    self.world.activity.watched = True

                minutes = (time.monotonic() - saved_at) / 60
                save, stopping, broken = self.world.any(
                    [
                        minutes > self.housekeeping.checkpoint_minutes,
                        stop.is_set,
                        self._skipped_in_row() >= MAX_SKIPPED_IN_ROW,
                    ]
                )
                if done or progress.tick == 0 or progress.nimg >= progress.tick_nimg + config.kimg_per_tick * 1000:
                    with self.world.activity.busy():
                        save |= self._tick(done)
                    clock = self._count_time(clock, maintenance=True)
                if save or done or stopping or broken:
                    # A state that may be broken must not push out those from before it broke.
                    with self.world.activity.busy():
                        self.checkpoints.save(progress.nimg, write=self.world.is_main, prune=not self._skipped_in_row())
                    saved_at = time.monotonic()
                    clock = self._count_time(clock, maintenance=True)
                if broken:
                    self._give_up()
                if stopping:
                    break
            if done and self.world.is_main:
                summary = {"kimg": progress.nimg / 1e3, "elapsed_sec": progress.elapsed, "best": progress.best}
                self.run.finish(summary)
        return done

    def _step(self) -> None:
        """Every phase that is due, on the same real images; then the averages and ADA."""
        progress, batch_size = self.progress, self.config.batch_size
        batch = self._real_batch()
        for phase in self.phases:
            if progress.nimg // batch_size % phase.interval == 0:
                norm = self.runner.run(phase, progress.nimg, batch)
                self.statistics.report(f"Gradient/{phase.name}", norm)
        self.average.update(progress.nimg, batch_size)
        if self.adapts:
            self.ada.step(self.augment.p, batch_size, self.world.all_reduce)
        progress.nimg += batch_size

    def _real_batch(self) -> Batch:
        """This process's share of the real images of the step."""
        share = self.config.batch_size // self.world.size
        images, labels = self.stream.batch(self.progress.nimg + self.world.rank * share, share)
        images = images.to(self.device, non_blocking=True).to(torch.float32) / 127.5 - 1
        return Batch(images, labels.to(self.device, non_blocking=True))

    def _begin(self) -> None:
        """What is said and drawn once, before the first step of the session."""
        if self.world.is_main:
            self.run.rewind(self.progress.nimg)
        if self.continued:
            return
        for warning in self.health.start():
            self.log(f"warning: {warning}")
        if self.world.is_main:
            self.grids.reals()
            self.grids.fakes(self.G_ema, FAKES_INIT)

    def _tick(self, done: bool) -> bool:
        """Report, draw, snapshot and measure; True if a snapshot was written."""
        config, progress = self.config, self.progress
        kimg = (progress.nimg - progress.tick_nimg) / 1e3
        seconds = progress.elapsed - progress.tick_elapsed - progress.maintenance
        timing = {
            "sec_per_tick": seconds,
            "sec_per_kimg": seconds / kimg,
            "maintenance_sec": progress.maintenance,
        }
        p = float(self.augment.p)
        summaries = self.statistics.summaries()
        self.log(status_line(progress, timing, p, self.device))
        skipped = float(self.G_opt.skipped + self.D_opt.skipped)
        for warning in self.health.tick(summaries, p=p, pl_mean=float(self.objective.pl_mean), skipped=skipped):
            self.log(f"warning: {warning}")

        record = stats_record(summaries, self.runner.stopwatch.means(), timing, progress, p, self.device)
        if self.world.is_main and due(progress.tick, config.image_snapshot_ticks, done):
            self.grids.fakes(self.G_ema, FAKES.name(progress.nimg))
        taken = due(progress.tick, config.network_snapshot_ticks, done)
        values: dict[str, float] = {}
        if taken:
            values = self._snapshot(p)
        if self.world.is_main:
            self.run.append_stats(record)
            curves = {name: value["mean"] for name, value in record.items() if isinstance(value, dict)}
            self.board.write(curves | {f"Metrics/{key}": value for key, value in values.items()}, progress.nimg / 1e3)
        progress.tick += 1
        progress.tick_nimg = progress.nimg
        progress.tick_elapsed = progress.elapsed
        progress.maintenance = 0.0
        return taken

    def _snapshot(self, p: float) -> dict[str, float]:
        """Write the networks, compute the metrics, keep the best; the metrics' values by name."""
        name = SNAPSHOTS.name(self.progress.nimg)
        if self.world.is_main:
            self.snapshots.write({"G": self.G, "D": self.D, "G_ema": self.G_ema}, p)
        values: dict[str, float] = {}
        if self.config.metrics:
            values = self.evaluator.compute(self.G_ema, self.dataset, self.device, name, self.progress.nimg)
        if self.world.is_main:
            if values:
                self.snapshots.judge(*next(iter(values.items())))
            self.snapshots.prune(next(iter(values), None))
        return values

    def _log_memory(self, text: str, is_warning: bool) -> None:
        self.log(f"warning: {text}" if is_warning else text)

    def _count_time(self, since: float, maintenance: bool = False) -> float:
        """Add the time since `since` to the run's; the time now."""
        now = time.monotonic()
        self.progress.elapsed += now - since
        if maintenance:
            self.progress.maintenance += now - since
        return now

    def _accumulators(self) -> list[torch.Tensor]:
        return [*self.statistics.tensors(), *self.objective.tensors(), *self.ada.tensors()]

    def _skipped_in_row(self) -> float:
        return max(self.G_opt.skipped_in_row_seen(), self.D_opt.skipped_in_row_seen())

    def _give_up(self) -> None:
        """Write down that the run has diverged, and raise what was seen."""
        seen = [
            f"{name}: {summary.nonfinite} non-finite values" if summary.nonfinite else f"{name} mean {summary.mean:.3g}"
            for name, summary in self.statistics.summaries().items()
            if summary.nonfinite or name.startswith("Gradient/")
        ]
        reason = (
            f"{MAX_SKIPPED_IN_ROW} steps in a row had gradients that are not finite, at "
            f"{self.progress.nimg / 1e3:.1f} kimg ({'; '.join(seen)}); the state is saved in "
            f"{self.run.path}; find the first operation with --nan-check, "
            "or try --precision=fp32 or lower learning rates in a new run"
        )
        if self.world.is_main:
            self.run.give_up({"kimg": self.progress.nimg / 1e3, "elapsed_sec": self.progress.elapsed, "reason": reason})
        raise UserError(reason)

    def _progress_bar(self) -> tqdm:
        return tqdm(
            total=self.config.total_kimg,
            initial=self.progress.nimg / 1e3,
            unit="kimg",
            disable=None if self.world.is_main and self.housekeeping.progress_bar else True,
            bar_format="{l_bar}{bar}| {n:.1f}/{total:g} kimg [{elapsed}<{remaining}, {rate_inv_fmt}]",
        )

    def _close(self) -> None:
        self.stream.close()
        if self.board is not None:
            self.board.close()


def due(tick: int, interval: int, done: bool) -> bool:
    """Whether something that happens every `interval` ticks (0: only at the end) happens now."""
    return done or (interval > 0 and tick % interval == 0)
