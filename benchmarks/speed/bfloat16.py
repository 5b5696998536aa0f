"""Whether bfloat16 costs quality: the same runs in float32 and in bfloat16, seed by seed.

    python -m benchmarks.speed.bfloat16 --outdir=precision
    python -m benchmarks.speed.bfloat16 --outdir=precision --data=faces64.zip --subset=200
    python -m benchmarks.speed.bfloat16 --outdir=precision --device=cuda --kimg=16 --jobs=3

Runs are ordinary training runs of the demo preset, continued if interrupted. The table gives the final value of the
metric; the difference means something only where it is larger than what another seed does.
"""

import statistics
from pathlib import Path

import click

from benchmarks.speed.measuring import device_option, json_option
from comparison.findings.statistics import bootstrap_interval
from comparison.runs.runner import Job, pending, run_jobs
from dnnlib import write_json
from dnnlib.cli import door
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from training.run_dir import RunDir

PRECISIONS = ("fp32", "bf16")


@click.command()
@click.option("--outdir", type=Path, default=Path("precision"), show_default=True, help="Folder of the runs.")
@click.option("--data", help="Training images [the built-in faces].")
@click.option("--subset", type=int, help="Use only this many images.")
@click.option("--kimg", default=8.0, show_default=True, help="Length of each run.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--metric", default="swd2k", show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Runs at a time; several share one GPU.")
@device_option("cpu")
@json_option
@click.argument("train_flags", nargs=-1)
@door
def main(outdir: Path, data: str | None, subset: int | None, kimg: float, seeds: int, metric: str, jobs: int,
         device: str, json_path: Path | None, train_flags: tuple[str, ...]) -> None:  # fmt: skip
    """Train in both precisions with several seeds; what follows `--` goes to every train.py."""
    choose_device(device)
    flags = ["--preset=demo", *train_flags, f"--device={device}", f"--kimg={kimg:g}", f"--tick={kimg:g}"]
    flags += ["--snap=1", f"--metrics={metric}"]
    flags += [f"--data={data}"] if data else []
    flags += [f"--subset={subset}"] if subset else []
    folders = {(p, seed): outdir / f"{p}-seed{seed}" for seed in range(seeds) for p in PRECISIONS}
    runs = [
        Job(folder.name, folder, [*flags, f"--run-dir={folder}", f"--seed={seed}", f"--precision={precision}"], kimg)
        for (precision, seed), folder in folders.items()
    ]
    failures = run_jobs(pending(runs, retry_diverged=False), jobs, lambda line: click.echo(line, err=True))
    if failures:
        raise SystemExit("\n".join(failures))
    values = {key: _final(folder, metric) for key, folder in folders.items()}
    of = {p: [values[p, seed] for seed in range(seeds)] for p in PRECISIONS}
    differences = [b - a for a, b in zip(of["fp32"], of["bf16"], strict=True)]
    result = {
        "machine": provenance(device),
        "metric": metric,
        "kimg": kimg,
        "final": of,
        "mean": {p: statistics.mean(of[p]) for p in PRECISIONS},
        "sd_over_seeds": {p: statistics.stdev(of[p]) for p in PRECISIONS},
        "difference": {"by_seed": differences, "mean": statistics.mean(differences),
                       "interval_95": bootstrap_interval(differences)},
    }  # fmt: skip
    for p in PRECISIONS:
        shown = ", ".join(f"{value:.2f}" for value in of[p])
        click.echo(f"{p}: {metric} {shown}; mean {result['mean'][p]:.2f}, sd {result['sd_over_seeds'][p]:.2f}")
    low, high = result["difference"]["interval_95"]
    click.echo(f"bf16 - fp32: mean {result['difference']['mean']:.2f}, 95 % interval {low:.2f} to {high:.2f}")
    if json_path is not None:
        write_json(json_path, result)


def _final(folder: Path, metric: str) -> float:
    """The metric of the run's last snapshot."""
    return RunDir(folder).metric(metric)[-1]["results"][metric]


if __name__ == "__main__":
    main()
