"""The results of a comparison as one dictionary, and its files `results.json` and `results.csv`."""

import csv
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from comparison.findings import analysis
from comparison.runs.collect import Run, read_run
from comparison.runs.design import Design
from comparison.runs.layout import run_folder
from dnnlib import UserError, atomic_write, write_json
from torch_utils.environment import versions

FORMAT = 1
CSV_COLUMNS = (
    "metric", "loss", "label", "seed", "finished", "diverged", "collapsed", "nimg", "seconds",
    "final", "best", "best_nimg", "average",
)  # fmt: skip


def read_runs(outdir: Path, design: Design) -> dict[str, dict[int, Run]]:
    """Every run of the design by loss key and seed, begun or not.

    Raises:
        UserError: runs on different images, which must not be compared.
    """
    runs = {
        loss.key: {seed: read_run(run_folder(outdir, design, loss, seed)) for seed in design.seeds}
        for loss in design.losses
    }
    for seed in design.seeds:
        hashes = {
            run.options["dataset_hash"]: run.folder.name
            for by_seed in runs.values()
            if (run := by_seed[seed]).options.get("dataset_hash")
        }
        if len(hashes) > 1:
            names = " and ".join(hashes.values())
            raise UserError(f"the runs {names} saw different images (their dataset_hash differs); delete one and rerun")
    return runs


def build_results(design: Design, runs: Mapping[str, Mapping[int, Run]], reach: Sequence[float] = ()) -> dict[str, Any]:
    """Everything that the report shows except pictures, as JSON values (docs/compare.md describes the keys).

    `reach` are values of the first metric to say for which loss reaches them when.
    """
    main, details = analysis.metric_keys(runs, design.metrics)
    metrics = {
        key: analysis.analyse_metric(key, design.losses, runs, reach if key in main[:1] else ())
        for key in [*main, *details]
    }
    return {
        "format": FORMAT,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "settings": design.to_dict(),
        "environment": _environment(),
        "data": _data(design, runs),
        "losses": [{"key": loss.key, "label": loss.label, "reference": loss.is_reference} for loss in design.losses],
        "counts": analysis.counts(design.losses, runs),
        "runs": {
            loss.key: {str(seed): _run(run) for seed, run in runs[loss.key].items()} for loss in design.losses
        },
        "not_computed": {
            name: reason
            for by_seed in runs.values()
            for run in by_seed.values()
            for name, reason in run.not_computed.items()
        },
        "main_metrics": main,
        "metrics": metrics,
        "k_curve": {key: analysis.k_curve(key, design.losses, metrics[key]) for key in metrics},
    }  # fmt: skip


def write_results(outdir: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` (strict JSON: not-a-number as null) and `results.csv` (one line per metric and run)."""
    write_json(outdir / "results.json", results, indent=1)
    with atomic_write(outdir / "results.csv", "w") as stream:
        writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_csv_rows(results))


def _csv_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    labels = {loss["key"]: loss["label"] for loss in results["losses"]}
    rows = []
    for metric, analysed in results["metrics"].items():
        for key, by_seed in results["runs"].items():
            for seed, run in by_seed.items():
                row = {"metric": metric, "loss": key, "label": labels[key], "seed": seed}
                row |= {name: run[name] for name in ("finished", "diverged", "nimg", "seconds")}
                row |= analysed["summary"][key]["seeds"].get(seed, {})
                rows.append(row)
    return rows


def _run(run: Run) -> dict[str, Any]:
    return {
        "folder": run.folder.name,
        "begun": bool(run.options),
        "finished": run.finished,
        "diverged": run.diverged,
        "nimg": run.nimg,
        "seconds": run.seconds,
        "nonfinite_losses": run.nonfinite,
        "curves": {
            key: {"nimg": list(c.nimg), "seconds": list(c.seconds), "value": list(c.value)}
            for key, c in run.curves.items()
        },
    }


def _data(design: Design, runs: Mapping[str, Mapping[int, Run]]) -> dict[str, Any]:
    """Name, size and content hash of the data as the runs themselves recorded them."""
    begun = [run for by_seed in runs.values() for run in by_seed.values() if run.options]
    first = begun[0].options.get("training_set_kwargs", {}) if begun else {}
    hashes: dict[str, str] = {}
    for by_seed in runs.values():
        for seed, run in by_seed.items():
            if run.options.get("dataset_hash"):
                hashes[str(seed)] = run.options["dataset_hash"]
    return {
        "name": Path(design.data).name if design.data else "the built-in faces",
        "resolution": first.get("resolution"),
        "subset": design.subset,
        "mirror": first.get("xflip"),
        "hash_by_seed": hashes,
    }


def _environment() -> dict[str, str]:
    """Versions of what made the report; every run's own log.txt holds what made the run."""
    return {
        **versions("python", "torch", "numpy", "scipy"),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
