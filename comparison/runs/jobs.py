"""The runs of a comparison: where each lies, and the command that makes it."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from comparison.runs.design import Design
from comparison.runs.losses import LossSpec
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
        return shlex.join(["python", "train.py", *self.flags])


def run_folder(outdir: Path, loss: LossSpec, seed: int) -> Path:
    """The run directory of one loss and seed."""
    return outdir / "runs" / f"{loss.key}-seed{seed}"


def trial_folder(outdir: Path, loss: LossSpec, rate: float, seed: int) -> Path:
    """The run directory of one trial of the search for learning rates."""
    return outdir / "tuning" / f"{loss.key}-lr{rate:g}-seed{seed}"


def job_of(outdir: Path, design: Design, loss: LossSpec, seed: int) -> Job:
    """The run of one loss and seed, with the learning rates that were found for its loss."""
    folder = run_folder(outdir, loss, seed)
    tuned = loss.having(**design.tuned.get(loss.key, {}))
    flags = _train_flags(design, tuned, seed, folder, design.kimg, design.evaluations)
    return Job(folder.name, folder, flags, design.kimg)


def jobs_of(outdir: Path, design: Design) -> list[Job]:
    """The runs of the comparison, all losses of a seed after each other, so that pairs are complete early."""
    return [job_of(outdir, design, loss, seed) for seed in design.seeds for loss in design.losses]


def trial_jobs(outdir: Path, design: Design) -> list[Job]:
    """A trial for each loss that is searched, rate and seed, evaluated at its end."""
    assert design.tuning is not None
    jobs, kimg = [], design.tuning.kimg
    for loss in searched(design):
        for rate in design.tuning.rates:
            for seed in design.tuning.seeds:
                folder = trial_folder(outdir, loss, rate, seed)
                flags = _train_flags(design, loss.having(glr=rate, dlr=rate), seed, folder, kimg, evaluations=1)
                jobs.append(Job(f"tuning {folder.name}", folder, flags, kimg))
    return jobs


def searched(design: Design) -> list[LossSpec]:
    """The losses whose learning rates are searched for: those that name none."""
    return [loss for loss in design.losses if not {"glr", "dlr"} & dict(loss.settings).keys()]


def _train_flags(design: Design, loss: LossSpec, seed: int, folder: Path, kimg: float, evaluations: int) -> list[str]:
    flags = [f"--run-dir={folder}", f"--seed={seed}", *loss.train_flags()]
    if design.data is not None:
        flags.append(f"--data={design.data}")
    if design.subset is not None:
        flags.append(f"--subset={design.subset}")
    flags += [
        f"--kimg={kimg:g}",
        f"--tick={kimg / evaluations:.10g}",
        "--snap=1",
        "--img-snap=1",
        f"--metrics={','.join(design.metrics) or 'none'}",
    ]
    return [*design.train_flags, *flags]
