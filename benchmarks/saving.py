"""Measure what saving costs: the time of a checkpoint and of a network snapshot beside that of a training step.

    python -m benchmarks.saving
    python -m benchmarks.saving --preset=none --steps=1     # the large networks of the `auto` configuration

On the built-in faces. The share is of the time between two checkpoints.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from torch_utils.allocator import keep_freed_memory
from torch_utils.distributed import World
from training.config.resolve import resolve
from training.options import TrainingOptions
from training.run_dir import RunDir
from training.training_loop import Housekeeping, TrainingRun


@click.command()
@click.option("--repeats", default=10, show_default=True)
@click.option("--preset", default="demo", show_default=True, help="As train.py takes it; none: the defaults.")
@click.option("--steps", default=8, show_default=True, help="Training steps to time.")
@click.option("--outdir", default=None, help="Folder on the disk to measure [the temporary folder].")
def main(repeats: int, preset: str, steps: int, outdir: str | None) -> None:
    """Print medians, and the share of the training time that saving takes at the default interval."""
    keep_freed_memory()
    config, dataset = resolve(TrainingOptions(preset=None if preset == "none" else preset, metrics=()), 1)
    with tempfile.TemporaryDirectory(dir=outdir) as folder:
        training = TrainingRun(config, dataset, RunDir(Path(folder)), World(), Housekeeping(progress_bar=False))
        networks = {"G": training.G, "D": training.D, "G_ema": training.G_ema}
        for _ in range(min(steps, 4)):
            training.step()
        step = _median(training.step, steps)
        checkpoint = _median(lambda: training.checkpoints.save(training.progress.nimg), repeats)
        snapshot = _median(lambda: training.reports.snapshots.write(networks, 0.0), repeats)
        size = max(path.stat().st_size for path in Path(folder).glob("checkpoint-*"))
        training._close()
    interval = 60 * Housekeeping().checkpoint_minutes
    steps_per_snapshot = config.network_snapshot_ticks * config.kimg_per_tick * 1000 / config.batch_size
    click.echo(f"step {step * 1000:.0f} ms, checkpoint {checkpoint * 1000:.0f} ms ({size / 2**20:.0f} MiB)")
    click.echo(f"share of checkpoints every {interval / 60:g} minutes: {checkpoint / interval:.3%}")
    click.echo(
        f"share of snapshot and checkpoint every {config.network_snapshot_ticks} ticks: "
        f"{(checkpoint + snapshot) / (steps_per_snapshot * step):.3%}"
    )


def _median(action: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
