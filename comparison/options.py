"""The options of `compare.py`, each written once, and its preset. Imports no torch."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import click

from dnnlib.cli import NameList, Number, NumberList
from dnnlib.options import GivenOptions, option
from dnnlib.weights import offline_judges

COUNT, NATURAL = click.IntRange(min=1), click.IntRange(min=0)
POSITIVE = Number(min=0, min_open=True)
WHAT, TUNING, RUNNING, REPORT = "What is compared", "Learning rates and R1", "Running", "The report"
RELAY = "A relay of machines that one has for minutes"

PRESETS: dict[str, dict[str, Any]] = {
    # Nine runs, two at a time with one thread each, so that on two CPU cores no thread waits for another.
    "demo": {
        "seeds": 3, "kimg": 12.0, "metrics": ("swd1k",), "evaluations": 6, "projections": 2, "projection_steps": 200,
        "outdir": "comparison-demo", "jobs": 2, "train_flags": ("--preset=demo",),
    },
}  # fmt: skip
COPIES = {"demo": "copies200"}  # what is measured beside the default metrics where its detector is installed
OTHERS = "copies"


# fmt: off
@dataclass(frozen=True)
class ComparisonOptions(GivenOptions):
    """The options as they were given; None is not given. `train_flags` go to every train.py."""

    preset: str | None = option(WHAT, "Values for options not given: the built-in faces.", click.Choice(list(PRESETS)))
    data: str | None = option(WHAT, "Training images: folder or zip.", unset="100 built-in faces", unit="PATH")
    losses: str | None = option(
        WHAT, "ce, rlo:k=K[:form=F], alpha=A; k=2..32; :g=LOSS, :pair, :gamma=X, :lecam=X, ...; docs/compare.md.",
        str, "ce,rlo:k=2:form=convex,rlo:k=11", unit="LIST")
    seeds: int | None = option(WHAT, "Runs of each loss; below 6 no test can reach p < 0.05.", COUNT, 5)
    first_seed: int | None = option(WHAT, "The others follow it.", NATURAL, 0)
    kimg: float | None = option(WHAT, "Length of each run.", POSITIVE, 500.0)
    subset: int | None = option(WHAT, "Use only this many images, drawn by each seed.", COUNT, unset="all")
    metrics: tuple[str, ...] | None = option(
        WHAT, "As train.py takes them; the first decides --tune.", NameList(none=True), ("fid50k_full",), unit="LIST",
        unset="fid50k_full, and copies with the extra offline")
    evaluations: int | None = option(WHAT, "Of the metrics over a run, after the first.", COUNT, 12)
    every: float | None = option(WHAT, "Evaluate every so many kimg instead.", POSITIVE, unit="KIMG")
    glr: float | None = option(WHAT, "Learning rate of G for losses without one.", POSITIVE)
    dlr: float | None = option(WHAT, "Learning rate of D for losses without one.", POSITIVE)

    tune: bool | None = option(
        TUNING, "First search learning rate and R1 weight of every loss, with the same effort for each.", bool, False)
    tune_rates: tuple[float, ...] | None = option(
        TUNING, "The rates that are tried.", NumberList(POSITIVE), (0.000625, 0.00125, 0.0025, 0.005), unit="LIST")
    tune_gammas: tuple[float, ...] | None = option(
        TUNING, "The R1 weights that are tried with each, as factors of train.py's; 1 leaves it alone.",
        NumberList(POSITIVE), (0.2, 1.0, 5.0), unit="LIST")
    tune_seeds: int | None = option(TUNING, "Seeds of each trial.", COUNT, 2)
    tune_kimg: float | None = option(TUNING, "Length of a trial.", POSITIVE, unset="--kimg / 5")

    outdir: str | None = option(
        RUNNING, "Folder of this comparison; repeat the command to go on.", unit="DIR", flags=("--out", "--outdir"))
    jobs: int | None = option(RUNNING, "Runs at a time, on their own GPUs or shares of cores.", COUNT, 1)
    device: str | None = option(RUNNING, "Where to compute.", click.Choice(["auto", "cpu", "cuda"]), "auto")
    print_commands: bool | None = option(
        RUNNING, "Print the commands of the runs that are not done, and stop.", bool, False)
    retry_diverged: bool | None = option(RUNNING, "Run again what was given up because it diverged.", bool, False)

    relay: str | None = option(
        RELAY, "Do the next cells (a loss with a seed) of this plan that are missing in --outdir.", unit="PLAN.json")
    minutes: float | None = option(RELAY, "Time that this call has.", POSITIVE, unset="unlimited", only_with=("relay",))
    calls: int | None = option(
        RELAY, "Calls of so many minutes that a cell may take; each goes on where the last one stopped.", COUNT, 1,
        only_with=("relay",))
    relay_report: bool | None = option(
        RELAY, "Report on the cells in --outdir instead, and say which are missing.", bool, False, only_with=("relay",))

    report_only: bool | None = option(REPORT, "Run nothing; report on what is there.", bool, False)
    reach: tuple[float, ...] | None = option(
        REPORT, "Say when each loss reaches these values of the first metric.", NumberList(), unset="CE's", unit="LIST")
    projections: int | None = option(REPORT, "Project that many pictures of the data set.", NATURAL, 0)
    targets: tuple[str, ...] | None = option(
        REPORT, "Project these instead; may be given several times.", unit="PICTURE|DIR", multiple=True,
        flags=("--projection-target",))
    projection_steps: int | None = option(REPORT, "Of each projection.", COUNT, 500)
    distance: str | None = option(
        REPORT, "What projections minimise.", str, "auto", unit="auto|lpips|lite0|pixel|FILE",
        flags=("--projection-distance",))
    train_flags: tuple[str, ...] = ()

    def with_defaults(self) -> "ComparisonOptions":
        """With the preset's values, then the defaults, for options that were not given; flags after the preset's.

        Where no metrics were given, `copies` is measured as well if its detector is installed.
        """
        preset = PRESETS.get(self.preset or "", {})
        flags = (*preset.get("train_flags", ()), *self.train_flags)
        filled = dataclasses.replace(super().with_defaults(preset), train_flags=flags)
        if self.metrics is not None or not offline_judges():
            return filled
        return dataclasses.replace(filled, metrics=(*filled.metrics, COPIES.get(self.preset, OTHERS)))
# fmt: on
