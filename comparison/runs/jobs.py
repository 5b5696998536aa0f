"""The runs of a comparison: where each lies, and the command that makes it."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from comparison.runs.design import Design, Tuning
from comparison.runs.losses import LossSpec
from torch_utils.machine.environment import SOURCE
from training.run_dir import RunDir


@dataclass(frozen=True)
class Job:
    """One training run: its folder, and the flags for `train.py` (which name the folder too)."""

    name: str
    folder: Path
    flags: list[str]
    kimg: float

    @property
    def run(self) -> RunDir:
        """The run directory."""
        return RunDir(self.folder)

    @property
    def console(self) -> Path:
        """What the process printed, beside the folder."""
        return self.folder.with_name(f"{self.folder.name}.console.txt")

    @property
    def command(self) -> str:
        """A command line to read, copy and run."""
        checkout = (SOURCE / "train.py").exists()
        return shlex.join([*(("python", "train.py") if checkout else ("rooted-stylegan", "train")), *self.flags])


def run_folder(outdir: Path, loss: LossSpec, seed: int) -> Path:
    """The run directory of one loss and seed."""
    return outdir / "runs" / f"{loss.key}-seed{seed}"


@dataclass(frozen=True)
class Point:
    """A learning rate of both networks and an R1 weight to try; None is what the loss itself or train.py says."""

    rate: float | None
    gamma: float | None

    @property
    def settings(self) -> dict[str, float]:
        """As settings of a loss."""
        values = {"glr": self.rate, "dlr": self.rate, "gamma": self.gamma}
        return {name: value for name, value in values.items() if value is not None}


def points(tuning: Tuning, loss: LossSpec) -> list[Point]:
    """What is tried for a loss: every rate with every R1 weight, save of what it names itself."""
    named = dict(loss.settings).keys()
    rates = (None,) if {"glr", "dlr"} & named else tuning.rates
    gammas = (None,) if "gamma" in named else tuning.gammas or (None,)
    tried = [Point(rate, gamma) for rate in rates for gamma in gammas]
    return [point for point in tried if point.settings]


def trial_folder(outdir: Path, loss: LossSpec, point: Point, seed: int) -> Path:
    """The run directory of one trial of the search."""
    parts = [f"lr{point.rate:g}"] if point.rate is not None else []
    parts += [f"gamma{point.gamma:g}"] if point.gamma is not None else []
    return outdir / "tuning" / "-".join([loss.key, *parts, f"seed{seed}"])


def job_of(outdir: Path, design: Design, loss: LossSpec, seed: int) -> Job:
    """The run of one loss and seed, with the settings that were found for its loss."""
    folder = run_folder(outdir, loss, seed)
    tuned = loss.having(**design.tuned.get(loss.key, {}))
    flags = _train_flags(design, tuned, seed, folder, design.kimg, design.every or design.kimg / design.evaluations)
    return Job(folder.name, folder, flags, design.kimg)


def jobs_of(outdir: Path, design: Design) -> list[Job]:
    """The runs of the comparison, all losses of a seed after each other, so that pairs are complete early."""
    return [job_of(outdir, design, loss, seed) for seed in design.seeds for loss in design.losses]


def trial_jobs(outdir: Path, design: Design) -> list[Job]:
    """A trial for each loss, point and seed, evaluated at its end."""
    assert design.tuning is not None
    jobs, kimg = [], design.tuning.kimg
    for loss in design.losses:
        for point in points(design.tuning, loss):
            for seed in design.tuning.seeds:
                folder = trial_folder(outdir, loss, point, seed)
                flags = _train_flags(design, loss.having(**point.settings), seed, folder, kimg, every=kimg)
                jobs.append(Job(f"tuning {folder.name}", folder, flags, kimg))
    return jobs


def _train_flags(design: Design, loss: LossSpec, seed: int, folder: Path, kimg: float, every: float) -> list[str]:
    flags = [f"--run-dir={folder}", f"--seed={seed}", *loss.train_flags()]
    if design.data is not None:
        flags.append(f"--data={design.data}")
    if design.subset is not None:
        flags.append(f"--subset={design.subset}")
    flags += [
        f"--kimg={kimg:g}",
        f"--tick={every:.10g}",
        "--snap=1",
        "--img-snap=1",
        f"--metrics={','.join(design.metrics) or 'none'}",
    ]
    return [*design.train_flags, *flags]
