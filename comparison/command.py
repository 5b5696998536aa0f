"""What `compare.py` does: plan the runs, run them, say what they show."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import metrics
from comparison.findings import projections
from comparison.findings.model import Projection, Results, Search
from comparison.findings.results import build_results, write_results
from comparison.findings.tuning import choose
from comparison.options import ComparisonOptions
from comparison.report import figures, samples
from comparison.report.page import write_report
from comparison.report.style import line_styles
from comparison.runs.collect import Runs, read_runs
from comparison.runs.design import Design, Tuning, load_design, reconcile, save_design
from comparison.runs.jobs import Point, job_of, jobs_of, trial_jobs
from comparison.runs.losses import LossSpec, parse_losses
from comparison.runs.runner import pending, run_jobs
from dnnlib import UserError, make_folder
from dnnlib.options import read_options
from projection.distance import load_distance
from torch_utils.machine.devices import choose_device
from training.config import TrainingConfig
from training.config.resolve import resolve
from training.options import TrainingOptions

TAKEN = ("run_dir", "outdir", "seed", "loss", "k", "rlo_form", "alpha", "g_loss", "pair", "data", "subset", "kimg",
         "tick", "snap", "img_snap", "metrics", "continue_dir", "keep", "new")  # fmt: skip
"""Options of train.py that compare.py sets, or that would leave its folders."""
FIRST_TUNING_SEED = 1_000_000  # far from those of the comparison


def compare(given: ComparisonOptions, say: Callable[[str], None]) -> Iterator[str]:
    """Carry out a comparison as far as it is not done; the lines are its result, `say` is told how it goes.

    Raises:
        UserError: a mistake in the options, or a run that failed (after the report on the others).
        KeyboardInterrupt: after a signal; the runs are saved.
    """
    options = given.with_defaults()
    if options.outdir is None:
        raise UserError("`outdir` is missing; name a folder for this comparison")
    outdir = Path(options.outdir)
    # Refused now, not after all the training.
    projections.check_targets(options.targets)
    projections.check_distance(options.distance)
    kept = load_design(outdir)
    if given.metrics is None and kept is not None:  # the default depends on what is installed
        options = dataclasses.replace(options, metrics=kept.metrics)
    if options.report_only:
        if kept is None:
            raise UserError(f"`report_only`: {outdir} holds no comparison; give the `outdir` of one")
        design = kept
    else:
        wanted = design_of(options)
        gamma = check_runs(outdir, wanted, bool(options.targets)).loss_kwargs.r1_gamma
        if wanted.tuning is not None and options.tune_gammas != (1.0,):
            gammas = tuple(sorted({factor * gamma for factor in options.tune_gammas}))
            wanted = dataclasses.replace(wanted, tuning=dataclasses.replace(wanted.tuning, gammas=gammas))
        design = reconcile(kept, wanted)
        save_design(make_folder(outdir, "`outdir`"), design)
    for warning in filter(None, (loss.loss.warning for loss in design.losses)):
        say(f"warning: {warning}")
    if options.print_commands:
        yield from _commands(outdir, design, options.retry_diverged, say)
        return

    def run(jobs: list) -> list[str]:
        return [] if options.report_only else run_jobs(pending(jobs, options.retry_diverged), options.jobs, say)

    failures: list[str] = []
    search = None
    if design.tuning is not None:
        failures += run(trial_jobs(outdir, design))
        search = choose(outdir, design)
        if search is not None or not options.report_only:
            design = _tuned(outdir, design, search, failures)
    failures += run(jobs_of(outdir, design))
    yield from _report(outdir, design, search, options, say)
    if failures:
        raise UserError(f"{len(failures)} of the runs failed; {failures[0]} (fix that and repeat the command)")


def design_of(options: ComparisonOptions) -> Design:
    """What the options ask for. UserError: data that are not there, unknown losses or metrics."""
    if options.data is not None and not Path(options.data).exists():
        raise UserError(f"`data`={options.data}: there is no such file or folder")
    metrics.check_names(options.metrics)
    if options.tune and not options.metrics:
        raise UserError("`tune` needs a metric to choose by; name one with `metrics`")
    tuning = Tuning(
        rates=tuple(sorted(set(options.tune_rates))),
        seeds=tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + options.tune_seeds)),
        kimg=options.tune_kimg or options.kimg / 5,
    )
    return Design(
        losses=tuple(loss.having(glr=options.glr, dlr=options.dlr) for loss in parse_losses(options.losses)),
        seeds=tuple(range(options.first_seed, options.first_seed + options.seeds)),
        kimg=options.kimg,
        data=options.data,
        subset=options.subset,
        metrics=options.metrics,
        evaluations=max(1, min(options.evaluations, int(options.kimg))),  # files are named by whole kimg
        every=options.every,
        train_flags=(*options.train_flags, *([f"--device={options.device}"] if options.device != "auto" else [])),
        tuning=tuning if options.tune else None,
    )


def check_runs(outdir: Path, design: Design, has_targets: bool = False) -> TrainingConfig:
    """Resolve the options of runs as train.py does, before the design is kept: what is wrong here fails many runs.

    Returns:
        the configuration of a run whose loss names nothing else.

    Raises:
        UserError: as `training.config.resolve.resolve`.
        SystemExit: flags that train.py does not know, after one line on stderr.
    """
    extra = read_options(TrainingOptions, "train.py", list(design.train_flags))
    for name in TAKEN:
        if getattr(extra, name) is not None:
            raise UserError(f"`{name}` after -- is set by compare.py itself; use its own option or leave it out")
    if extra.dry_run:
        raise UserError("`dry_run` after -- would train nothing; leave it out, or use `print_commands`")
    # One loss of each settings, and one without. The last seed, because only the largest can be too large.
    different = {loss.settings: loss for loss in design.losses}
    different.pop((), None)
    for loss in (*different.values(), LossSpec(design.losses[-1].loss)):
        options = read_options(TrainingOptions, "train.py", job_of(outdir, design, loss, design.seeds[-1]).flags)
        config, _ = resolve(options, options.gpus or 1)
    if has_targets and config.training_set_kwargs.use_labels:
        raise UserError(projections.LABELS_NEEDED)
    return config


def _commands(outdir: Path, design: Design, retry_diverged: bool, say: Callable[[str], None]) -> Iterator[str]:
    """The search for learning rates first; the runs themselves once it is done."""
    if design.tuning is not None:
        trials = pending(trial_jobs(outdir, design), retry_diverged)
        if trials:
            yield from (job.command for job in trials)
            say("these are the trials of `tune`; when they are done, repeat this for the runs themselves")
            return
        design = _tuned(outdir, design, choose(outdir, design))
    yield from (job.command for job in pending(jobs_of(outdir, design), retry_diverged))


def _tuned(outdir: Path, design: Design, search: Search | None, failures: Sequence[str] = ()) -> Design:
    """The design with what the trials chose, kept on disk."""
    if search is None:
        reason = failures[0] if failures else "trials are missing"
        raise UserError(f"`tune` is not complete ({reason}); fix that and repeat the command")
    tuned = {
        key: Point(search.rates.get(key), search.gammas.get(key)).settings for key in {**search.rates, **search.gammas}
    }
    design = dataclasses.replace(design, tuned=tuned)
    save_design(outdir, design)
    return design


def _report(
    outdir: Path, design: Design, search: Search | None, options: ComparisonOptions, say: Callable[[str], None]
) -> Iterator[str]:
    """Write all files; give the sentences about final values, and the report's path."""
    runs = read_runs(outdir, design)
    results = build_results(outdir, design, runs, options.reach or (), search)
    said = list(write_findings(outdir, design, runs, results))  # before projecting, which may fail
    projected = _project(outdir, design, runs, options, say)
    if projected:
        said = list(write_findings(outdir, design, runs, dataclasses.replace(results, projections=projected)))
    yield from said


def write_findings(outdir: Path, design: Design, runs: Runs, results: Results) -> Iterator[str]:
    """Write results, figures and report into `outdir`; give the sentences about final values, and the report's path."""
    styles = line_styles(design.losses)
    figures.write_figures(outdir / "figures", results, runs, styles)
    write_results(outdir, results)
    path = write_report(outdir, results, samples.collect_samples(runs), styles)
    for metric in results.main_metrics:
        yield from (row.sentence for row in results.metrics[metric].comparisons if row.quantity == "final")
    yield from results.copying
    yield f"report: {path}"


def _project(
    outdir: Path, design: Design, runs: Runs, options: ComparisonOptions, say: Callable[[str], None]
) -> list[Projection]:
    if not (options.projections or options.targets):
        return []
    seed = projections.first_common_seed(runs)
    if seed is None:
        say(f"no projections: {projections.why_no_seed(runs)}")
        return []
    run, device = next(iter(runs.values()))[seed], choose_device(options.device)
    targets = (
        projections.load_targets(options.targets, run)
        if options.targets
        else projections.choose_targets(design, run, options.projections)
    )
    distance = load_distance(options.distance, device, note=say)
    return projections.project_all(outdir, runs, targets, distance, options.projection_steps, device, say)
