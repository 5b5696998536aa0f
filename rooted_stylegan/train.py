"""Train StyleGAN2-ADA with the logistic (`--loss=ce`) or the rooted logistic loss (`--loss=rlo --k=11`)."""

if __name__ == "__main__":
    raise SystemExit("error: the command is `rooted-stylegan train`, or `python train.py` at the top of a checkout")

import json
import os
import socket
import sys
import traceback
from typing import TYPE_CHECKING

import click

from dnnlib import UserError
from dnnlib.cli import CONTINUE_STATUS, Command, door, given_arguments, in_flags, say
from dnnlib.console import report_lost_console
from dnnlib.options import takes_options
from training.options import DEFAULTS, TrainingOptions

if TYPE_CHECKING:  # torch is imported once it is known that something is to be trained
    from torch_utils.processes.distributed import World
    from torch_utils.processes.watch import Watch
    from training.run_dir import RunDir


@click.command(cls=Command)
@takes_options(TrainingOptions, filled=False)
@door
def main(options: TrainingOptions) -> None:
    """Train StyleGAN2-ADA with the logistic or the rooted logistic loss.

    Without --data it trains on 100 face photographs that come with scikit-image. The same command again
    continues an unfinished run, exactly. Values in brackets are defaults; BOOL is 1/0/yes/no, or nothing for yes.

    \b
    Examples:
      python train.py --preset=demo --loss=rlo --k=11
      python train.py --data=faces.zip --subset=200 --loss=rlo --k=2 --rlo-form=convex --kimg=500
      python train.py --data=faces.zip --gpus=4 --cfg=paper256 --mirror=1
      python train.py --continue=training-runs/00000-faces-auto1-ce

    Exit status: 0 at the end of the run, 2 for a mistake in the command, 75 if it was asked to stop and can be
    continued.
    """  # noqa: D301
    if (options.gpus or DEFAULTS.gpus) > 1 and "RANK" not in os.environ:
        from torch_utils.processes.launch import launch

        sys.exit(launch("train", options.gpus, given_arguments()))
    from torch_utils.machine.devices import choose_device
    from torch_utils.processes.distributed import world
    from torch_utils.processes.watch import Watch

    with world(choose_device(options.device).type) as here, Watch(here) as watch:
        status = _run(options, here, watch)
    sys.exit(status)


def _run(options: TrainingOptions, world: "World", watch: "Watch") -> int:
    """Resolve the options, find the run directory, train; the exit status."""
    from metrics import RunMetrics, check_names
    from torch_utils.machine.allocator import keep_freed_memory
    from training.progress import StopRequest
    from training.run_dir import State
    from training.starting.command import begin
    from training.training_loop import Housekeeping, TrainingRun

    keep_freed_memory()
    world.together(lambda: check_names(options.metrics or ()))
    housekeeping = Housekeeping(
        checkpoint_minutes=options.with_defaults().checkpoint_minutes,
        keep=options.keep,
        nan_check=bool(options.nan_check),
    )
    with StopRequest(options.max_hours, tell=world.is_main) as stop:
        session = begin(options, world)
        if options.dry_run:
            if world.is_main:
                click.echo(json.dumps(session.config.to_dict(), indent=2))
            return 0
        if session.run.state is State.FINISHED and not session.extended:
            if world.is_main:
                say(f"{session.run.path} has finished; nothing to do (--continue with a larger --kimg extends it)")
            return 0
        watch.report = session.run.record
        report_lost_console(lambda line: session.run.record(f"warning: {line}; the run goes on"))
        training = None
        try:
            config, run = session.config, session.run
            evaluator = RunMetrics(config.metrics, run, world, seed=config.random_seed)
            training = TrainingRun(config, session.dataset, run, world, housekeeping, evaluator)
            for line in session.introduction:
                training.log(line)
            if training.train(stop):
                return 0
        except UserError as error:
            if session.run.is_new and (training is None or training.progress.nimg == 0):
                session.run.discard()  # nothing has been trained: no half-made run is left behind
            else:
                session.run.record(f"error: {in_flags(error)}")
            raise
        except Exception:
            _record_failure(session.run, world, watch)
            raise
        finally:
            report_lost_console(None)
            session.run.unlock()
    if world.is_main:
        reason = stop.reason or "another process was asked to"
        session.run.log(f"stopped ({reason}); the same command, or --continue={session.run.path}, goes on from here")
    return CONTINUE_STATUS


def _record_failure(run: "RunDir", world: "World", watch: "Watch") -> None:
    """Write down what went wrong on this process, and which other process was lost if that was the cause."""
    where = f"rank {world.rank} on {socket.gethostname()}"
    run.record(f"{where} failed\n{traceback.format_exc().rstrip()}")
    lost = watch.explain()
    if lost:
        run.record(f"{where}: lost {lost}; the run ends, continue it from its checkpoint")
