"""Measure what saving costs: the time of a checkpoint and of a network snapshot beside that of a training step.

    python -m benchmarks.speed.saving
    python -m benchmarks.speed.saving --preset=none --steps=1     # the large networks of the `auto` configuration

On the built-in faces. The share is of the time between two checkpoints.
"""

from pathlib import Path

import click

from benchmarks.speed.measuring import Stopwatch, training_run
from torch_utils.checkpoint import list_checkpoints
from torch_utils.machine.allocator import keep_freed_memory
from training.training_loop import Housekeeping


@click.command()
@click.option("--repeats", default=10, show_default=True)
@click.option("--preset", default="demo", show_default=True, help="As train.py takes it; none: the defaults.")
@click.option("--steps", default=8, show_default=True, help="Training steps to time.")
@click.option("--outdir", type=Path, help="Folder on the disk to measure [the temporary folder].")
def main(repeats: int, preset: str, steps: int, outdir: Path | None) -> None:
    """Print medians, and the share of the training time that saving takes at the default interval."""
    keep_freed_memory()
    with training_run(parent=outdir, preset=None if preset == "none" else preset) as training:
        networks = {"G": training.G, "D": training.D, "G_ema": training.G_ema}
        watch = Stopwatch(training.device, repeats)
        step = watch._replace(repeats=steps).seconds(training.step, warm_up=min(steps, 4))
        checkpoint = watch.seconds(lambda: training.checkpoints.save(training.progress.nimg), warm_up=0)
        snapshot = watch.seconds(lambda: training.reports.snapshots.write(networks, 0.0), warm_up=0)
        config, size = training.config, list_checkpoints(training.run.path)[0].stat().st_size
    interval = 60 * Housekeeping().checkpoint_minutes
    steps_per_snapshot = config.network_snapshot_ticks * config.kimg_per_tick * 1000 / config.batch_size
    click.echo(f"step {step * 1000:.0f} ms, checkpoint {checkpoint * 1000:.0f} ms ({size / 2**20:.0f} MiB)")
    click.echo(f"share of checkpoints every {interval / 60:g} minutes: {checkpoint / interval:.3%}")
    click.echo(
        f"share of snapshot and checkpoint every {config.network_snapshot_ticks} ticks: "
        f"{(checkpoint + snapshot) / (steps_per_snapshot * step):.3%}"
    )


if __name__ == "__main__":
    main()
