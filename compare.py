"""Compare losses on equal terms: `python compare.py --preset=demo`, or any data set, losses and seeds."""

import dataclasses
import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from comparison.runs.design import Design, Tuning, load_design, reconcile, save_design
from comparison.runs.layout import run_flags, run_folder, run_name, shown
from comparison.runs.losses import parse_losses
from comparison.runs.runner import Job, pending, run_jobs
from comparison.runs.tuning import choose_rates, trial_jobs
from dnnlib import UserError, make_folder
from dnnlib.cli import CONTINUE_STATUS, Command, Number, door, in_flags


@dataclass(frozen=True)
class Preset:
    """Values for options that are not given."""

    losses: str
    seeds: int
    kimg: float
    metrics: str
    evaluations: int
    projections: int
    projection_steps: int
    train_flags: tuple[str, ...]
    subset: int | None = None
    outdir: str | None = None
    jobs: int = 1


DEFAULTS = Preset(
    losses="ce,rlo:k=2:form=convex,rlo:k=11", seeds=5, kimg=500, metrics="fid50k_full", evaluations=12,
    projections=0, projection_steps=500, train_flags=(),
)  # fmt: skip
PRESETS = {
    # Nine runs, two at a time with one thread each, so that on two CPU cores no thread waits for another.
    "demo": Preset(
        losses="ce,rlo:k=2:form=convex,rlo:k=11", seeds=3, kimg=12, metrics="swd1k", evaluations=6,
        projections=2, projection_steps=200, train_flags=("--preset=demo",), outdir="comparison-demo", jobs=2,
    ),
}  # fmt: skip


@click.command(cls=Command)
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Values for options not given: the built-in faces.")
@click.option("--data", metavar="PATH", help="Training images: folder or zip. Without it: 100 built-in faces.")
@click.option("--losses", metavar="LIST", help=f"ce, rlo:k=K[:form=F][:glr=X][:dlr=X], k=2..32  [{DEFAULTS.losses}]")
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of each loss  [5]; below 6 no test can reach p < 0.05.")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--kimg", type=Number(min=0, min_open=True), help="Length of each run  [500].")
@click.option("--subset", type=click.IntRange(min=1), help="Use only this many images, drawn by each seed  [all].")
@click.option("--metrics", metavar="LIST", help="As train.py takes them; the first decides --tune  [fid50k_full].")
@click.option("--evaluations", type=click.IntRange(min=1), help="Of the metrics over a run, after the first  [12].")
@click.option("--glr", type=Number(min=0, min_open=True), help="Learning rate of G for losses without one.")
@click.option("--dlr", type=Number(min=0, min_open=True), help="Learning rate of D for losses without one.")
@click.option(
    "--tune", is_flag=True, help="First search the learning rate of every loss, with the same effort for each."
)
@click.option("--tune-rates", default="0.000625,0.00125,0.0025,0.005", show_default=True, metavar="LIST")
@click.option("--tune-seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Seeds of each trial.")
@click.option("--tune-kimg", type=Number(min=0, min_open=True), help="Length of a trial  [--kimg / 5].")
@click.option("--outdir", metavar="DIR", help="Folder of this comparison; repeat the command to go on.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Runs at a time, on their own GPUs or shares of cores  [1; demo 2]."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--print-commands", is_flag=True, help="Print the commands of the runs that are not done, and stop.")
@click.option("--report-only", is_flag=True, help="Run nothing; report on what is there.")
@click.option("--retry-diverged", is_flag=True, help="Run again what was given up because it diverged.")
@click.option("--reach", metavar="LIST", help="Say when each loss reaches these values of the first metric  [CE's].")
@click.option("--projections", type=click.IntRange(min=0), help="Project that many pictures of the data set  [0].")
@click.option("--projection-target", "targets", multiple=True, metavar="PICTURE|DIR", help="Project these instead.")
@click.option("--projection-steps", type=click.IntRange(min=1), help="[500]")
@click.option("--projection-distance", "distance", default="auto", show_default=True, metavar="auto|lpips|pixel|FILE")
@click.argument("train_flags", nargs=-1, type=click.UNPROCESSED)
@door
def main(**options: Any) -> None:
    """Train the same networks with several losses and seeds, and say what difference the loss made.

    With the same seed every loss gets the same initial weights, images in the same order, and latents. What
    follows `--` goes to every train.py. Interrupted runs continue, finished ones are skipped; more losses and
    seeds can be added later. Results: report.html, results.json, results.csv, figures/ in --outdir.

    \b
    Examples:
      python compare.py --preset=demo
      python compare.py --data=ffhq64.zip --subset=200 --seeds=6 --outdir=out --jobs=4 -- --batch=64
      python compare.py --data=ffhq64.zip --losses=ce,rlo:k=2..32 --seeds=6 --outdir=out --print-commands
    """  # noqa: D301 - click wants the character \\b
    preset = PRESETS.get(options["preset"], DEFAULTS)
    jobs = options["jobs"] or preset.jobs
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("compare.py draws with matplotlib: pip install 'rooted-stylegan[compare]'")
    outdir = _outdir(options, preset)
    _check_report_options(options)
    kept = load_design(outdir)
    if options["report_only"] and kept is not None:
        design = kept
    elif options["report_only"]:
        raise UserError(f"--report-only: {outdir} holds no comparison; give the --outdir of one")
    else:
        design = reconcile(kept, _design(options, preset))
        _check_a_run(outdir, design, bool(options["targets"]))
        make_folder(outdir, "--outdir")
        save_design(outdir, design)

    if options["print_commands"]:
        _print_commands(outdir, design, options["retry_diverged"])
        return
    failures: list[str] = []
    tuning = None
    try:
        if design.tuning is not None:
            if not options["report_only"]:
                failures += run_jobs(pending(trial_jobs(outdir, design), options["retry_diverged"]), jobs, _say)
            design, tuning = _with_tuned_rates(outdir, design, failures, options["report_only"])
        if not options["report_only"]:
            failures += run_jobs(pending(jobs_of(outdir, design), options["retry_diverged"]), jobs, _say)
    except KeyboardInterrupt:
        _say("interrupted; the runs are saved, and the same command goes on from here")
        sys.exit(CONTINUE_STATUS)
    _report(outdir, design, tuning, options, preset)
    if failures:
        raise UserError(f"{len(failures)} of the runs failed; {failures[0]} (mend that and repeat the command)")


def jobs_of(outdir: Path, design: Design) -> list[Job]:
    """The runs of the comparison, all losses of a seed after each other, so that pairs are complete early."""
    return [
        Job(
            run_name(loss, seed),
            run_folder(outdir, design, loss, seed),
            run_flags(outdir, design, loss, seed),
            design.kimg,
        )
        for seed in design.seeds
        for loss in design.losses
    ]


def _outdir(options: dict[str, Any], preset: Preset) -> Path:
    outdir = options["outdir"] or preset.outdir
    if outdir is None:
        raise UserError("--outdir is missing; name a folder for this comparison")
    return Path(outdir)


def _design(options: dict[str, Any], preset: Preset) -> Design:
    def value(name: str) -> Any:
        return options[name] if options[name] is not None else getattr(preset, name)

    data = options["data"]
    if data is not None and not Path(data).exists():
        raise UserError(f"--data={data}: there is no such file or folder")
    losses = [loss.having(glr=options["glr"], dlr=options["dlr"]) for loss in parse_losses(value("losses"))]
    kimg, first = value("kimg"), options["first_seed"]
    metrics = tuple(name for name in value("metrics").split(",") if name and name != "none")
    _check_metrics(metrics)
    flags = [*preset.train_flags, *options["train_flags"]]
    if options["device"] != "auto":
        flags.append(f"--device={options['device']}")
    _check_flags(flags)
    return Design(
        losses=tuple(losses),
        seeds=tuple(range(first, first + value("seeds"))),
        kimg=kimg,
        data=data,
        subset=value("subset"),
        metrics=metrics,
        evaluations=max(1, min(value("evaluations"), int(kimg))),  # files are named by whole kimg
        train_flags=tuple(flags),
        tuning=_tuning(options, kimg, metrics) if options["tune"] else None,
    )


def _tuning(options: dict[str, Any], kimg: float, metrics: Sequence[str]) -> Tuning:
    if not metrics:
        raise UserError("--tune needs a metric to choose by; name one with --metrics")
    rates = tuple(sorted(set(_numbers(options["tune_rates"], "--tune-rates"))))
    if any(rate <= 0 for rate in rates):
        raise UserError("--tune-rates: learning rates must be positive")
    seeds = tuple(range(1_000_000, 1_000_000 + options["tune_seeds"]))  # far from those of the comparison
    return Tuning(rates=rates, seeds=seeds, kimg=options["tune_kimg"] or kimg / 5)


def _numbers(text: str, flag: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(number) for number in numbers):
        raise UserError(f"{flag}={text} is not a list of numbers such as 0.001,0.002")
    return numbers


def _check_metrics(names: Sequence[str]) -> None:
    import metrics

    for name in names:
        if not metrics.is_valid_name(name):
            raise UserError(f"--metrics={name} is unknown; known are {', '.join(metrics.list_names())}")


def _check_flags(flags: Sequence[str]) -> None:
    taken = ("--run-dir", "--outdir", "--seed", "--loss", "--k", "--rlo-form", "--data", "--subset", "--kimg", "--tick",
             "--snap", "--img-snap", "--metrics", "--continue", "--keep")  # fmt: skip
    for flag in flags:
        name = flag.split("=")[0]
        if name in taken:
            raise UserError(f"{name} after -- is set by compare.py itself; use its own option or leave it out")


def _check_report_options(options: dict[str, Any]) -> None:
    """Refuse now what would otherwise be noticed only after all the training."""
    from comparison import projections

    _numbers(options["reach"] or "", "--reach")
    projections.check_targets(options["targets"])
    projections.check_distance(options["distance"])


def _check_a_run(outdir: Path, design: Design, has_targets: bool) -> None:
    """Resolve the options of one run as train.py does, before the design is kept: what is wrong here fails all runs.

    Raises:
        UserError: as `training.config.resolve.resolve`.
        SystemExit: flags that train.py does not know, after one line on stderr.
    """
    import train
    from comparison import projections
    from training.config.resolve import resolve
    from training.options import TrainingOptions

    # The last run, because of the seeds only the largest can be too large.
    flags = run_flags(outdir, design, design.losses[-1], design.seeds[-1])
    given = TrainingOptions(**train.main.make_context("train.py", flags).params)
    if given.dry_run:
        raise UserError("--dry-run after -- would train nothing; leave it out, or use --print-commands")
    config, _ = resolve(given, given.gpus or 1)
    if has_targets and config.training_set_kwargs.use_labels:
        raise UserError(projections.LABELS_NEEDED)


def _print_commands(outdir: Path, design: Design, retry_diverged: bool) -> None:
    """The search for learning rates first; the runs themselves once it is done."""
    if design.tuning is not None:
        trials = pending(trial_jobs(outdir, design), retry_diverged)
        if trials:
            for job in trials:
                click.echo(shown(job.flags))
            _say("these are the trials of --tune; when they are done, repeat this for the runs themselves")
            return
        design, _ = _with_tuned_rates(outdir, design, [], report_only=False)
    for job in pending(jobs_of(outdir, design), retry_diverged):
        click.echo(shown(job.flags))


def _with_tuned_rates(
    outdir: Path, design: Design, failures: Sequence[str], report_only: bool
) -> tuple[Design, dict[str, Any] | None]:
    """The design with the rates that the trials chose, kept on disk, and the search for the report."""
    tuning = choose_rates(outdir, design)
    if tuning is None:
        if report_only:
            return design, None
        reason = failures[0] if failures else "trials are missing"
        raise UserError(f"--tune is not complete ({reason}); mend that and repeat the command")
    tuned = {key: {"glr": rate, "dlr": rate} for key, rate in tuning["rates"].items()}
    design = dataclasses.replace(design, tuned=tuned)
    save_design(outdir, design)
    return design, tuning


def _report(
    outdir: Path, design: Design, tuning: dict[str, Any] | None, options: dict[str, Any], preset: Preset
) -> None:
    from comparison import projections
    from comparison.findings import results
    from comparison.report import figures, samples
    from comparison.report import page as report
    from comparison.report.style import line_styles

    def write() -> Path:
        results.write_results(outdir, content)
        return report.write_report(outdir, content, samples.collect_samples(runs), styles)

    runs = results.read_runs(outdir, design)
    content = results.build_results(design, runs, _numbers(options["reach"] or "", "--reach"))
    content["tuning"] = tuning
    for loss, entry in zip(design.losses, content["losses"], strict=True):
        entry["command"] = shown(run_flags(outdir, design, loss, design.seeds[0]))
    styles = line_styles(design.losses)
    figures.write_figures(outdir / "figures", content, runs, styles)
    path = write()  # before projecting, which may fail
    count = options["projections"] if options["projections"] is not None else preset.projections
    seed = projections.first_common_seed(runs)
    if (count or options["targets"]) and seed is None:
        _say(f"no projections: {projections.why_no_seed(runs)}")
    elif count or options["targets"]:
        run = next(iter(runs.values()))[seed]
        from torch_utils.devices import choose_device

        device = choose_device(options["device"])
        targets = (
            projections.load_targets(options["targets"], run)
            if options["targets"]
            else projections.choose_targets(design, run, count)
        )
        distance = projections.choose_distance(options["distance"], device, _say)
        steps = options["projection_steps"] or preset.projection_steps
        content["projections"] = projections.project_all(outdir, runs, targets, distance, steps, device, _say)
        path = write()
    for metric in content["main_metrics"]:
        for row in content["metrics"][metric]["comparisons"]:
            if row["quantity"] == "final":
                click.echo(row["sentence"])
    click.echo(f"report: {path}")


def _say(text: str) -> None:
    click.echo(in_flags(text), err=True)


if __name__ == "__main__":
    main()
