"""Where things lie in the folder of a comparison, and the command that makes each run."""

import shlex
from pathlib import Path

from comparison.runs.design import Design
from comparison.runs.losses import LossSpec


def run_name(loss: LossSpec, seed: int) -> str:
    """The name of a run's folder."""
    return f"{loss.key}-seed{seed}"


def run_folder(outdir: Path, design: Design, loss: LossSpec, seed: int) -> Path:
    """The run directory of one loss and seed."""
    return outdir / "runs" / run_name(loss, seed)


def trial_folder(outdir: Path, loss: LossSpec, rate: float, seed: int) -> Path:
    """The run directory of one trial of the search for learning rates."""
    return outdir / "tuning" / f"{loss.key}-lr{rate:g}-seed{seed}"


def run_flags(outdir: Path, design: Design, loss: LossSpec, seed: int) -> list[str]:
    """The flags of `train.py` for one run, with the learning rates that were found for its loss."""
    folder = run_folder(outdir, design, loss, seed)
    rates = design.tuned.get(loss.key, {})
    return _train_flags(design, loss.having(**rates), seed, folder, design.kimg, design.evaluations)


def trial_flags(outdir: Path, design: Design, loss: LossSpec, rate: float, seed: int) -> list[str]:
    """The flags of `train.py` for one trial: one evaluation at the end."""
    assert design.tuning is not None
    folder = trial_folder(outdir, loss, rate, seed)
    return _train_flags(design, loss.having(glr=rate, dlr=rate), seed, folder, design.tuning.kimg, evaluations=1)


def shown(flags: list[str]) -> str:
    """A command line to read, copy and run."""
    return shlex.join(["python", "train.py", *flags])


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
