"""A comparison in cells of one loss and seed, for machines that one has for minutes: each leaves a small file to keep.

A plan is a JSON object of compare.py's own options (`PLANNED`). A folder holds the cells, `<loss>-seed<n>.json` with a
picture beside each, and in `runs/` what is being trained.
"""

import dataclasses
import math
import shutil
import time
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.command import FIRST_TUNING_SEED, check_runs, design_of, write_findings
from comparison.findings.results import build_results
from comparison.options import ComparisonOptions
from comparison.report.samples import COLUMNS, LARGEST_CELL, ROWS, opened
from comparison.runs.collect import Curve, Run, check_same_images, failure_file, gave_up, image_size, read_run
from comparison.runs.design import Design
from comparison.runs.jobs import Job, job_of, jobs_of
from comparison.runs.losses import LossSpec
from comparison.runs.runner import run_jobs
from dnnlib import UserError, atomic_write, make_folder, read_json, write_json
from dnnlib.typed import fits, type_name
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from training.run_dir import State
from training.run_dir.names import FINISHED

PLANNED = ("data", "losses", "seeds", "first_seed", "kimg", "subset", "metrics", "evaluations", "every", "train_flags")
GIVEN = ("relay", "minutes", "calls", "relay_report", "outdir", "device", "data", "train_flags", "reach")
FORMAT = 1
STEPS = 16  # after which every phase has had its turn (training/config/schema.py)
MARGIN = 1.1  # on what was measured
SAVING_SECONDS = 10.0


@dataclass(frozen=True)
class Speed:
    """What a machine was measured to take, in seconds: to start, for a thousand images, for one evaluation."""

    start: float
    per_kimg: float
    evaluation: float

    def needed(self, design: Design, nimg: int = 0) -> float:
        """Seconds until a run that has come to `nimg` images is done, with a margin."""
        left = design.kimg - nimg / 1000
        evaluations = math.ceil(left / _every(design)) + (nimg == 0)
        return MARGIN * (self.start + left * self.per_kimg + evaluations * self.evaluation)

    def length(self, design: Design, seconds: float, calls: int) -> float:
        """Thousand images that fit into `calls` calls which have `seconds` together."""
        left = seconds / MARGIN - calls * self.start - self.evaluation
        return max(0.0, left / (self.per_kimg + self.evaluation / _every(design)))


def read_plan(options: ComparisonOptions) -> Design:
    """The design in the file that `options.relay` names; data, device and flags that are given come first.

    Raises:
        UserError: unreadable, unknown or wrong entries, or an option that the plan decides.
    """
    decided = sorted(name for name, value in options.given().items() if value not in ((), False) and name not in GIVEN)
    if decided:
        raise UserError(f"`{decided[0]}`: the plan decides that; leave it out or write another plan")
    plan, hints = read_json(options.relay), typing.get_type_hints(ComparisonOptions)
    if not isinstance(plan, dict) or "losses" not in plan:
        raise UserError(f"{options.relay} is no plan; it is an object with {', '.join(PLANNED)}")
    for name, value in plan.items():
        if name not in PLANNED:
            raise UserError(f"{options.relay}: '{name}' is unknown; a plan has {', '.join(PLANNED)}")
        if not fits(value, hints[name]):
            raise UserError(f"{options.relay}: '{name}' should be {type_name(hints[name])}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.items()}
    flags = (*values.pop("train_flags", ()), *options.train_flags)
    values |= {name: value for name, value in options.given().items() if name in ("data", "device")}
    data = values.pop("data", None) if options.relay_report else None  # a report needs the cells alone
    design = design_of(ComparisonOptions(**values, train_flags=flags).with_defaults())
    return design if data is None else dataclasses.replace(design, data=data)


def relay(options: ComparisonOptions, say: Callable[[str], None]) -> Iterator[str]:
    """Do missing cells of a plan for `options.minutes`; the lines say what was done and what is left.

    Raises:
        UserError: a cell would not fit; mistakes in the plan; a run that failed.
        KeyboardInterrupt: after a signal; the run is saved.
    """
    begun = time.monotonic()
    if options.outdir is None:
        raise UserError("`outdir` is missing; name a folder for the cells")
    outdir, design, calls = make_folder(options.outdir, "`outdir`"), read_plan(options), options.calls or 1
    budget = math.inf if options.minutes is None else options.minutes * 60
    speed = None
    while missing := _missing(outdir, design):
        if math.isfinite(budget) and speed is None:
            speed = _measured(outdir, design, options.device or "auto", say)
            _refuse_if_too_long(speed, design, budget, calls, options.minutes)
        job, loss, seed = missing[0]
        left = budget - (time.monotonic() - begun)
        need = speed.needed(design, job.run.nimg()) if speed else 0.0
        least = need if calls == 1 else min(need, MARGIN * 2 * (speed.start + speed.evaluation) + SAVING_SECONDS)
        if least > left:
            yield f"{left / 60:.1f} minutes are left, too few to go on; call again"
            break
        if not _train(job, left - (MARGIN * speed.evaluation + SAVING_SECONDS if speed else 0.0), say):
            yield f"{job.name} is at {job.run.nimg() / 1000:.1f} of {design.kimg:g} kimg; call again to go on"
            break
        write_cell(outdir, design, job, loss, seed, options.device or "auto")
        yield f"{job.name}: done, {outdir / job.name}.json"
    yield _said_missing(_missing(outdir, design), len(design.losses) * len(design.seeds))


def relay_report(options: ComparisonOptions, say: Callable[[str], None]) -> Iterator[str]:
    """Join the cells of a plan into a report in `report/` beside them; the lines are its sentences and what is missing.

    Raises:
        UserError: damaged cells, cells of another plan, or of different images.
    """
    outdir, design = Path(options.outdir or Path(options.relay).parent), read_plan(options)
    for warning in filter(None, (loss.loss.warning for loss in design.losses)):
        say(f"warning: {warning}")
    runs: dict[str, dict[int, Run]] = {loss.key: {} for loss in design.losses}
    for job, loss, seed in _cells(outdir, design):
        path = outdir / f"{job.name}.json"
        runs[loss.key][seed] = read_cell(path, design) if path.exists() else Run(job.folder)
    check_same_images(runs, design.seeds)
    results = build_results(outdir, design, runs, options.reach or ())
    yield from write_findings(make_folder(outdir / "report", "`outdir`"), design, runs, results)
    yield _said_missing(_missing(outdir, design), len(design.losses) * len(design.seeds))


def write_cell(outdir: Path, design: Design, job: Job, loss: LossSpec, seed: int, device: str) -> None:
    """Keep what a run that has ended says: its curves, settings, data, machine, seconds, and its last samples."""
    run = read_run(job.folder)
    options = {**run.options, "training_set_kwargs": dict(run.options["training_set_kwargs"])}
    options["training_set_kwargs"]["path"] = Path(f"{options['training_set_kwargs'].get('path')}").name
    told = {item.name: getattr(run, item.name) for item in dataclasses.fields(Run)}
    for name in ("folder", "samples", "snapshots", "pictures", "options"):
        del told[name]
    last = max(run.samples, default=None)
    if last is not None:
        _write_grid(run, last, outdir / f"{job.name}.jpg")
    write_json(
        outdir / f"{job.name}.json",
        {
            "format": FORMAT,
            "loss": loss.key,
            "seed": seed,
            "plan": _settings(design),
            "command": job.command,
            "environment": provenance(choose_device(device), "numpy"),
            "run": told,
            "grid_nimg": last,
            "options": options,
        },
        indent=None,
    )


def read_cell(path: Path, design: Design) -> Run:
    """The run that a cell tells of.

    Raises:
        UserError: damaged, or made by another plan.
    """
    record = read_json(path)
    try:
        if record["plan"] != _settings(design):
            raise UserError(f"{path} was made by another plan; move it, or report with the plan that it was made by")
        told = dict(record["run"])
        told["curves"] = {key: _curve(values) for key, values in told["curves"].items()}
        grid = path.with_suffix(".jpg")
        samples = {record["grid_nimg"]: grid} if grid.exists() else {}
        return Run(folder=path.with_suffix(""), options=record["options"], samples=samples, **told)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); bring it back or delete it to make it again") from error


def _every(design: Design) -> float:
    return design.every or design.kimg / design.evaluations


def _settings(design: Design) -> dict[str, Any]:
    """What all cells of a plan have to share; losses and seeds may be added, and the data lie elsewhere."""
    own = ("losses", "seeds", "data", "tuning", "tuned")
    settings = {name: value for name, value in design.to_dict().items() if name not in own}
    return {**settings, "train_flags": [f for f in settings["train_flags"] if not f.startswith("--device=")]}


def _cells(outdir: Path, design: Design) -> list[tuple[Job, LossSpec, int]]:
    pairs = [(loss, seed) for seed in design.seeds for loss in design.losses]
    return [(job, *pair) for job, pair in zip(jobs_of(outdir, design), pairs, strict=True)]


def _missing(outdir: Path, design: Design) -> list[tuple[Job, LossSpec, int]]:
    """The cells without a file, those that were begun first."""
    missing = [cell for cell in _cells(outdir, design) if not (outdir / f"{cell[0].name}.json").exists()]
    return sorted(missing, key=lambda cell: not cell[0].run.has_begun)


def _said_missing(missing: list[tuple[Job, LossSpec, int]], planned: int) -> str:
    names = ", ".join(job.name for job, _, _ in missing)
    return f"missing: {len(missing)} of {planned} cells: {names}" if missing else f"all {planned} cells are there"


def _train(job: Job, seconds: float, say: Callable[[str], None]) -> bool:
    """Train for so long at most; True at the run's end, which divergence is too.

    Raises:
        UserError: training failed.
    """
    if job.run.state is not State.FINISHED and not gave_up(job.folder):
        limit = [f"--max-hours={max(seconds, 0.0) / 3600:.6f}"] if math.isfinite(seconds) else []
        housekeeping = ["--checkpoint-minutes=2", "--keep=last=1", *limit]
        failures = run_jobs([dataclasses.replace(job, flags=[*job.flags, *housekeeping])], 1, say)
        if failures and failure_file(job.folder).exists():
            raise UserError(failures[0])
    return job.run.state is State.FINISHED or gave_up(job.folder)


def _measured(outdir: Path, design: Design, device: str, say: Callable[[str], None]) -> Speed:
    """The speed of this machine with the plan's settings, from a short run of the first loss; kept in the folder."""
    path, config = outdir / "speed.json", check_runs(outdir, design)
    where = {"device": provenance(choose_device(device))["device"], "plan": _settings(design)}
    kept = read_json(path) if path.exists() else None
    if fits(kept, dict[str, Any]) and {name: kept.get(name) for name in where} == where:
        return Speed(**kept["seconds"])
    say("measuring how fast this machine is")
    turn, scratch = STEPS * config.batch_size / 1000, outdir / "measuring"
    shutil.rmtree(scratch, ignore_errors=True)
    short = dataclasses.replace(design, kimg=2 * turn + config.batch_size / 1000, every=turn)
    job = job_of(scratch, short, design.losses[0], FIRST_TUNING_SEED)
    begun = time.monotonic()
    failures = run_jobs([dataclasses.replace(job, flags=[*job.flags, "--snap=2"])], 1, say)
    wall = time.monotonic() - begun
    if failures or job.run.state is not State.FINISHED:
        raise UserError(f"this machine could not be measured: {(failures or ['training diverged'])[0]}")
    last, elapsed = job.run.stats()[-1], read_json(job.folder / FINISHED)["elapsed_sec"]
    evaluation = elapsed - last["Timing/total_sec"]["mean"]
    speed = Speed(wall - elapsed, last["Timing/sec_per_kimg"]["mean"], evaluation)
    write_json(path, {**where, "seconds": dataclasses.asdict(speed)})
    shutil.rmtree(scratch)
    return speed


def _refuse_if_too_long(speed: Speed, design: Design, budget: float, calls: int, minutes: float) -> None:
    need = speed.needed(design) + (calls - 1) * MARGIN * (speed.start + speed.evaluation)
    if need <= calls * budget:
        return
    fits_in = speed.length(design, calls * budget, calls)
    a_call = budget - MARGIN * (speed.start + speed.evaluation)
    enough = f"`calls`={math.ceil(speed.needed(design) / a_call)}, " if a_call > 0 else ""
    raise UserError(
        f"a cell of {design.kimg:g} kimg takes about {need / 60:.1f} minutes here ({speed.per_kimg:.2f} s/kimg and "
        f"{speed.evaluation:.1f} s for each evaluation); {calls} x {minutes:g} minutes have room for {fits_in:.3g}: "
        f"give {enough}more `minutes`, or a plan of that length"
    )


def _write_grid(run: Run, nimg: int, path: Path) -> None:
    """The upper left samples as JPEG, so few that it stays far below a megabyte."""
    width, height = image_size(run)
    most = max(1, COLUMNS * LARGEST_CELL // max(width, height))
    with opened(run.samples[nimg]) as grid:
        columns, rows = min(COLUMNS, most, grid.width // width), min(ROWS, most, grid.height // height)
        part = grid.crop((0, 0, columns * width, rows * height)).convert("RGB")
    with atomic_write(path, "wb") as stream:
        part.save(stream, "JPEG", quality=90)


def _curve(values: dict[str, Any]) -> Curve:
    numbers = {
        name: tuple(math.nan if one is None else one for one in values[name]) for name in ("nimg", "seconds", "value")
    }
    return Curve(**numbers, processor=tuple(values["processor"]))
