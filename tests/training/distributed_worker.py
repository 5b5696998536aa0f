"""What each process of tests/training/test_distributed.py does: one step's gradients, and small collectives.

A script of its own, as other processes have to run it: `ARGUMENTS` holds those of `main`.
"""

import os
from pathlib import Path

import pytest
import torch

from dnnlib import UserError
from torch_utils.distributed import World, world
from torch_utils.statistics import Statistics
from torch_utils.watch import Watch
from training.config.resolve import resolve
from training.options import TrainingOptions
from training.run_dir import RunDir
from training.training_loop import Housekeeping, TrainingRun

FLAGS = {
    "cbase": 128, "cmax": 8, "batch": 12, "kimg": 0.048, "tick": 0.024, "snap": 1, "grid": (2, 1), "metrics": (),
    "device": "cpu", "precision": "fp32", "aug": "fixed", "p": 0.3, "gamma": 1.0, "desc": "same",
}  # fmt: skip


class Never:
    is_set, reason = False, ""


def gradients(folder: Path, here: World, batch_gpu: int, group: int) -> dict[str, torch.Tensor]:
    """The gradient of every phase at the first step, summed over all processes, and the state after two steps."""
    flags = {**FLAGS, "batch_gpu": batch_gpu, "mbstd_group": group}
    config = here.together(lambda: resolve(TrainingOptions(**flags), here.size))[0]
    run = RunDir(folder)
    if here.is_main:
        run.path.mkdir(exist_ok=True)
        run.write_config(config)
    here.barrier()
    session = TrainingRun(config, run, here, Housekeeping(progress_bar=False))
    batch = session._real_batch()
    result = {}
    for phase in session.phases:
        session.runner.accumulate(phase, 0, batch)
        result[phase.name] = here.all_reduce(phase.optimizer.gradient.clone())
    session.statistics.summaries()
    session.objective.finish_w_avg(lambda value: value * 0)
    session.objective.finish_path_lengths(lambda value: value * 0)
    session.train(Never())
    result |= {f"after.{name}": value.clone() for name, value in session.G_ema.state_dict().items()}
    return result


def collectives(here: World) -> None:
    """Assertions on the small helpers; they fail on the process that is wrong."""
    assert here.gather_object(here.rank) == list(range(here.size))
    assert here.broadcast_object(here.rank) == 0
    assert here.any([here.rank == here.size - 1, False]) == [True, False]
    assert here.main_only(lambda: {"t": torch.ones(2), "rank": here.rank})["rank"] == 0
    assert here.together(lambda: here.rank) == here.rank
    for failing, expected in ((0, "wrong"), (here.size - 1, f"rank {here.size - 1}: wrong")):
        with pytest.raises(UserError, match=f"^{expected}$"):
            here.together(lambda failing=failing: fail() if here.rank == failing else None)
    with pytest.raises(UserError, match=r"^wrong$"):
        here.main_only(fail)

    statistics = Statistics(here)
    statistics.report("x", torch.tensor([float(here.rank), float("nan")]))
    if here.rank == 0:
        statistics.report("only here", 1.0)
    state = statistics.state_dict()
    summaries = statistics.summaries()
    ranks = range(here.size)
    assert summaries["x"].num == summaries["x"].nonfinite == here.size
    assert summaries["x"].mean == sum(ranks) / here.size
    assert summaries["only here"].num == 1
    statistics.load_state_dict(state)
    assert statistics.summaries() == summaries


def fail() -> None:
    raise UserError("wrong")


def main(output: Path, batch_gpu: int, group: int, environment: dict[str, str]) -> None:
    """One process; the main one writes the result to `output`."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    with world("cpu") as here:
        watch = Watch(here)
        collectives(here) if here.size > 1 else None
        result = gradients(output.with_suffix(".run"), here, batch_gpu, group)
        if here.is_main:
            torch.save(result, output)
        watch.close()


if "ARGUMENTS" in globals():
    main(*globals()["ARGUMENTS"])
