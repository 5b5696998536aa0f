"""The results of a comparison in one piece, and their files `results.json` and `results.csv`."""

import csv
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from comparison.findings import analysis, sentences
from comparison.findings.model import ClosestPairs, Data, Loss, Results, RunRecord, Search
from comparison.runs.collect import Run, Runs, data_options, image_size
from comparison.runs.design import Design
from comparison.runs.jobs import job_of
from dnnlib import atomic_write, write_json
from torch_utils.machine.environment import processor, versions

FORMAT = 1
CSV_COLUMNS = (
    "metric", "loss", "label", "seed", "finished", "diverged", "collapsed", "nimg", "seconds", "processor",
    "final", "best", "best_nimg", "average",
)  # fmt: skip


def build_results(
    outdir: Path, design: Design, runs: Runs, reach: Sequence[float] = (), search: Search | None = None
) -> Results:
    """Everything that the report shows except pictures.

    `reach` are values of the first metric to say for which loss reaches them when.
    """
    main, details = analysis.metric_keys(runs, design.metrics)
    metrics = {
        key: analysis.analyse_metric(key, design.losses, runs, reach if key in main[:1] else ())
        for key in [*main, *details]
    }
    members = [run for by_seed in runs.values() for run in by_seed.values()]
    names = {loss.key: loss.label for loss in design.losses}
    told = [sentences.copying(key, metrics[key].summary, names) for key in main if key.startswith("copies")]
    return Results(
        format=FORMAT,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        settings=design.to_dict(),
        # Of what made the report; every run's own log holds what made the run.
        environment={**versions("python", "torch", "numpy", "scipy"), "machine": processor()},
        data=_data(design, runs),
        losses=[
            Loss(loss.key, loss.label, loss.is_reference, job_of(outdir, design, loss, design.seeds[0]).command)
            for loss in design.losses
        ],
        counts={loss.key: analysis.counts(runs[loss.key].values()) for loss in design.losses},
        runs={loss.key: {seed: _record(run) for seed, run in runs[loss.key].items()} for loss in design.losses},
        not_computed={name: reason for run in members for name, reason in run.not_computed.items()},
        main_metrics=main,
        metrics=metrics,
        k_curve={key: analysis.k_curve(design.losses, metrics[key]) for key in metrics},
        tuning=search,
        copying=[sentence for sentence in told if sentence],
        closest_pairs=[pair for key in main for pair in _closest_pairs(outdir, key, runs)],
    )


def write_results(outdir: Path, results: Results) -> None:
    """Write `results.json` (strict JSON: not-a-number as null) and `results.csv` (one line per metric and run)."""
    write_json(outdir / "results.json", results, indent=1)
    with atomic_write(outdir / "results.csv", "w") as stream:
        writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_csv_rows(results))


def _csv_rows(results: Results) -> list[dict[str, Any]]:
    labels = {loss.key: loss.label for loss in results.losses}
    rows = []
    for metric, found in results.metrics.items():
        for key, by_seed in results.runs.items():
            for seed, run in by_seed.items():
                row = {"metric": metric, "loss": key, "label": labels[key], "seed": seed}
                row |= {name: getattr(run, name) for name in ("finished", "diverged", "nimg", "seconds", "processor")}
                summary = found.summary[key].seeds.get(seed)
                rows.append(row | (vars(summary) if summary else {}))
    return rows


def _closest_pairs(outdir: Path, metric: str, runs: Runs) -> list[ClosestPairs]:
    """The last page of each loss's first seed that has any."""
    found = []
    for key, by_seed in runs.items():
        seed = next((seed for seed, run in sorted(by_seed.items()) if run.pictures.get(metric)), None)
        if seed is not None:
            nimg, path = max(by_seed[seed].pictures[metric].items())
            found.append(ClosestPairs(metric, key, seed, nimg, path.relative_to(outdir).as_posix()))
    return found


def _record(run: Run) -> RunRecord:
    return RunRecord(
        folder=run.folder.name,
        begun=bool(run.options),
        finished=run.finished,
        diverged=run.diverged,
        nimg=run.nimg,
        seconds=run.seconds,
        processor=run.processor,
        nonfinite_losses=run.nonfinite,
        curves=run.curves,
    )


def _data(design: Design, runs: Runs) -> Data:
    begun = [(seed, run) for by_seed in runs.values() for seed, run in by_seed.items() if run.options]
    first = data_options(begun[0][1]) if begun else {}
    return Data(
        name=Path(design.data).name if design.data else "the built-in faces",
        resolution=first.get("resolution"),
        size=image_size(begun[0][1]) if begun else None,
        subset=design.subset,
        mirror=first.get("xflip"),
        hash_by_seed={str(seed): digest for seed, run in begun if (digest := run.options.get("dataset_hash"))},
    )
