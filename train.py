"""Train StyleGAN2-ADA with the logistic (`--loss=ce`) or the rooted logistic loss (`--loss=rlo --k=11`)."""

import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from dnnlib import UserError
from dnnlib.cli import CONTINUE_STATUS, Command, NameList, Number, door

BOOL = {"type": bool, "is_flag": False, "flag_value": True, "metavar": "BOOL"}
CFGS = ["auto", "stylegan2", "paper256", "paper512", "paper1024", "cifar"]
PIPES = ["blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"]


class GridSize(click.ParamType):
    """`WxH`."""

    name = "WxH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Two positive integers."""
        if isinstance(value, tuple):
            return value
        columns, _, rows = value.partition("x")
        if not (columns.isdigit() and rows.isdigit() and int(columns) and int(rows)):
            self.fail(f"'{value}' is not columns x rows, such as 8x4", param, ctx)
        return int(columns), int(rows)


class KeepRule(click.ParamType):
    """`last=N,best=M`."""

    name = "last=N,best=M"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, int]:
        """A dictionary with the keys that were given."""
        if isinstance(value, dict):
            return value
        rule = {}
        for part in value.split(","):
            key, _, number = part.partition("=")
            if key not in ("last", "best") or not number.isdigit():
                self.fail(f"'{value}' is not of the form last=N,best=M", param, ctx)
            rule[key] = int(number)
            if rule[key] == 0:
                self.fail(f"'{part}' would keep none; give 1 or more, or leave '{key}' out", param, ctx)
        if "best" in rule and ctx is not None and ctx.params.get("metrics") == ():
            self.fail("'best' needs a metric to judge by; leave it out or name one with --metrics", param, ctx)
        return rule


@click.command(cls=Command, context_settings={"max_content_width": 110, "show_default": False})
# Where and what.
@click.option("--data", metavar="PATH", help="Training images: folder or zip. Without it: 100 built-in faces.")
@click.option("--outdir", metavar="DIR", default="training-runs", help="Parent of run directories [training-runs].")
@click.option("--run-dir", metavar="DIR", help="This exact run directory instead; continued if it has begun.")
@click.option("--continue", "continue_dir", metavar="DIR", help="Continue the run in DIR exactly where it stopped.")
@click.option("--new", is_flag=True, help="Begin a new run even if the same command has an unfinished one.")
@click.option(
    "--preset", metavar="NAME", help="Values for options not given: demo, few-shot, paper-ffhq64, paper-dogs64."
)
@click.option("--desc", metavar="STR", help="Appended to the run directory's name.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the configuration and stop.")
# The loss.
@click.option("--loss", type=click.Choice(["ce", "rlo"]), help="Logistic, or rooted logistic [ce].")
@click.option("--k", type=Number(), help="Root of --loss=rlo; large k tends to ce.")
@click.option(
    "--rlo-form", type=click.Choice(["bounded", "convex"]), help="Which rooted loss [bounded]; docs/theory.md."
)
@click.option("--saturating", **BOOL, help="Generator minimises the value literally [no].")
@click.option("--gamma", type=Number(min=0), help="R1 weight [from --cfg].")
@click.option("--pl-weight", type=Number(min=0), help="Path-length weight [2; cifar: 0].")
@click.option("--style-mixing", type=Number(0, 1), help="Probability of style mixing [0.9; cifar: 0].")
# Data.
@click.option("--cond", **BOOL, help="Train with the labels of the data set [no].")
@click.option("--subset", type=click.IntRange(min=1), help="Use only this many images, chosen by the seed [all].")
@click.option("--mirror", **BOOL, help="Double the images by x-flips [no].")
@click.option("--workers", type=click.IntRange(min=0), help="Decoding threads [3].")
# Length, batch, networks.
@click.option("--cfg", type=click.Choice(CFGS), help="Base configuration [auto].")
@click.option("--kimg", type=Number(min=0, min_open=True), help="Length in thousands of images [from --cfg].")
@click.option("--batch", type=click.IntRange(min=1), help="Images per step over all processes [from --cfg].")
@click.option("--batch-gpu", type=click.IntRange(min=1), help="Images at once per process; the rest is accumulated.")
@click.option("--cbase", type=click.IntRange(min=1), help="Feature maps at resolution r: cbase / r ... [from --cfg].")
@click.option("--cmax", type=click.IntRange(min=1), help="... but at most this many [512].")
@click.option("--map-depth", type=click.IntRange(min=1), help="Layers of the mapping network [from --cfg].")
@click.option("--mbstd-group", type=click.IntRange(min=1), help="Images per minibatch-std group [from --cfg].")
@click.option("--glr", type=Number(min=0), help="Learning rate of G [from --cfg].")
@click.option("--dlr", type=Number(min=0), help="Learning rate of D [from --cfg].")
@click.option("--ema-kimg", type=Number(min=0), help="Half-life of the generator's average [from --cfg].")
# Augmentation.
@click.option("--aug", type=click.Choice(["noaug", "ada", "fixed"]), help="Augmentation mode [ada].")
@click.option("--p", type=Number(0, 1), help="Probability of --aug=fixed.")
@click.option("--target", type=Number(0, 1), help="What ADA steers r_t to [0.6].")
@click.option("--p-max", type=Number(0, 1), help="Bound of ADA's p [1]; 0.8 guards against leaks.")
@click.option("--ada-kimg", type=Number(min=0, min_open=True), help="kimg for p to move by 1 [500; 100 with --resume].")
@click.option("--augpipe", type=click.Choice(PIPES), help="Which augmentations [bgc].")
# Transfer.
@click.option(
    "--resume", metavar="FILE|URL|NAME", help="Begin with these weights: ffhq256, ..., a snapshot, an official pickle."
)
@click.option("--resume-partial", **BOOL, help="Take what fits, list the rest [no].")
@click.option("--freezed", type=click.IntRange(min=0), help="Freeze-D: layers of D that stay fixed [0].")
# Reports.
@click.option("--tick", type=Number(min=0, min_open=True), help="kimg from one report to the next [4].")
@click.option("--snap", type=click.IntRange(min=0), help="Ticks between network snapshots [50]; 0: only the last.")
@click.option("--img-snap", type=click.IntRange(min=0), help="Ticks between image grids [as --snap].")
@click.option("--grid", type=GridSize(), help="Size of the grids, such as 8x4.")
@click.option(
    "--metrics",
    type=NameList(none=True),
    is_eager=True,  # read before --keep, which looks at it
    help="At every snapshot: fid50k_full, swd2k, ..., or none [fid50k_full on a GPU, else swd2k].",
)
@click.option("--keep", type=KeepRule(), help="Network snapshots that stay [all].")
@click.option("--checkpoint-minutes", type=Number(min=0), default=10.0, help="Between checkpoints [10].")
@click.option("--max-hours", type=Number(min=0), help="Save and stop after this long, with status 75.")
# The machine.
@click.option(
    "--gpus", type=click.IntRange(min=1), help="Processes on this machine [1]; torchrun for several machines."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[auto]")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Of the convolutions [auto].")
@click.option("--fp32", **BOOL, help="Same as --precision=fp32.")
@click.option("--nhwc", **BOOL, help="channels_last memory layout [by --precision].")
@click.option("--allow-tf32", **BOOL, help="TF32 for float32 matrix products [no].")
@click.option("--nobench", **BOOL, help="Do not let cuDNN search for its fastest algorithms [no].")
@click.option("--ops", type=click.Choice(["auto", "native", "torch"]), help="Implementation of the operators [auto].")
@click.option("--cuda-graphs", **BOOL, help="Capture whole phases as CUDA graphs [no; not measured yet].")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="[0]")
@click.option("--nan-check", is_flag=True, help="Stop at the first operation that makes a non-finite value (slow).")
@door
def main(**flags: Any) -> None:
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
    gpus = flags.pop("gpus")
    if gpus is not None and gpus > 1 and "RANK" not in os.environ:
        from torch_utils.launch import launch

        sys.exit(launch(Path(__file__).resolve(), gpus, sys.argv[1:]))
    from torch_utils.distributed import world
    from torch_utils.watch import Watch
    from training.options import choose_device_type

    with world(choose_device_type(flags["device"])) as here:
        watch = Watch(here)
        try:
            status = _run(flags, here, watch)
        except BaseException:
            watch.stop()
            raise
        watch.close()
    sys.exit(status)


def _run(flags: dict[str, Any], world: Any, watch: Any) -> int:
    """Resolve the options, find the run directory, train; the exit status."""
    from torch_utils.allocator import keep_freed_memory
    from training.command import begin
    from training.progress import StopRequest
    from training.training_loop import Housekeeping, TrainingRun

    keep_freed_memory()
    keep = flags.pop("keep") or {}
    housekeeping = Housekeeping(
        checkpoint_minutes=flags.pop("checkpoint_minutes"),
        keep_last=keep.get("last"),
        keep_best=keep.get("best"),
        nan_check=flags.pop("nan_check"),
    )
    dry_run = flags.pop("dry_run")
    with StopRequest(flags.pop("max_hours")) as stop:
        session = begin(flags, world, dry_run=dry_run)
        if dry_run:
            if world.is_main:
                click.echo(json.dumps(session.config.to_dict(), indent=2))
            return 0
        if session.run.is_finished and not session.extended:
            if world.is_main:
                click.echo(
                    f"{session.run.path} has finished; nothing to do (--continue with a larger --kimg extends it)"
                )
            return 0
        watch.report = lambda line: session.run.record(line + "\n")
        training = None
        try:
            training = TrainingRun(session.config, session.run, world, housekeeping)
            for line in session.introduction:
                training.log(line)
            if training.train(stop):
                return 0
        except UserError as error:
            if session.run.is_new and (training is None or training.progress.nimg == 0):
                session.run.discard()  # nothing has been trained: no half-made run is left behind
            else:
                session.run.record(f"error: {error}\n")
            raise
        except Exception:
            _record_failure(session.run, world, watch)
            raise
        finally:
            session.run.unlock()
    if world.is_main:
        reason = stop.reason or "another process was asked to"
        session.run.log(f"stopped ({reason}); the same command, or --continue={session.run.path}, goes on from here")
    return CONTINUE_STATUS


def _record_failure(run: Any, world: Any, watch: Any) -> None:
    """Write down what went wrong on this process, and which other process was lost if that was the cause."""
    where = f"rank {world.rank} on {socket.gethostname()}"
    run.record(f"{where} failed\n{traceback.format_exc()}")
    lost = watch.explain()
    if lost:
        run.record(f"{where}: lost {lost}; the run ends, continue it from its checkpoint\n")


if __name__ == "__main__":
    main()
