"""What each process of tests/training/test_distributed.py does: a few steps of training, and small collectives."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dnnlib import UserError
from metrics import DetectorUnavailable
from torch_utils.processes.distributed import World, world
from torch_utils.processes.watch import Watch
from torch_utils.statistics import Statistics
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


def open_session(folder: Path, here: World, flags: dict[str, Any]) -> TrainingRun:
    """A session of the run with these flags."""
    config, dataset = here.together(lambda: resolve(TrainingOptions(**{**FLAGS, **flags}), here.size))
    run = RunDir(folder)
    if here.is_main:
        run.path.mkdir(exist_ok=True)
        run.write_options(config.to_dict())
    here.barrier()
    return TrainingRun(config, dataset, run, here, Housekeeping(progress_bar=False))


def gradients(folder: Path, here: World, **flags: Any) -> dict[str, torch.Tensor]:
    """The gradient of every phase at the first step, summed over all processes, and the state after two steps."""
    session = open_session(folder, here, flags)
    lecam = session.objective.lecam
    if lecam is not None:  # as after some steps: the first one is not regularised
        lecam.load_state_dict({"anchors": torch.tensor([2.0, -2.0]), "known": torch.tensor(1.0)})
    batch = session.real_batch()
    result = {}
    for phase in session.phases:
        session.runner.accumulate(phase, 0, batch)
        result[phase.name] = here.all_reduce(phase.optimizer.gradient.clone())
    session.statistics.summaries()
    session.objective.finish_w_avg(lambda value: value * 0)
    session.objective.finish_path_lengths(lambda value: value * 0)
    if lecam is not None:
        lecam.finish(lambda value: value * 0)
    session.train(Never())
    result |= {f"after.lecam.{name}": value for name, value in (lecam.state_dict() if lecam else {}).items()}
    result |= {f"after.{name}": value.clone() for name, value in session.G_ema.state_dict().items()}
    return result


def w_averages(folder: Path, here: World, **flags: Any) -> dict[str, torch.Tensor]:
    """w_avg at the end of a run, and by StyleGAN2-ADA's rule from the mean w of every phase that generates images."""
    session = open_session(folder, here, flags)
    phases: list[list[torch.Tensor]] = []
    run = session.runner.run

    def new_phase(*args: Any) -> torch.Tensor:
        phases.append([])
        return run(*args)

    session.runner.run = new_phase
    # With style mixing, the first layer is always that of the first latent.
    session.G.synthesis.register_forward_pre_hook(lambda _, args: phases[-1].append(args[0][:, 0].detach().clone()))
    session.train(Never())
    means = [torch.cat(ws).double().mean(dim=0) for ws in phases if ws]
    expected = torch.zeros_like(means[0])
    for of_all in zip(*here.gather_object(means), strict=True):
        expected = 0.995 * expected + 0.005 * sum(of_all) / len(of_all)
    return {"w_avg": session.G.mapping.w_avg, "expected": expected.float(), "updates": torch.tensor(len(means))}


def collectives(here: World) -> None:
    """Assertions on the small helpers; they fail on the process that is wrong."""
    assert here.gather_object(here.rank) == list(range(here.size))
    assert here.broadcast_object(here.rank) == 0
    assert torch.stack(here.all_gather(torch.full((2, 1), float(here.rank)))).sum() == sum(range(here.size)) * 2
    assert here.any([here.rank == here.size - 1, False]) == [True, False]
    assert here.main_only(lambda: {"t": torch.ones(2), "rank": here.rank})["rank"] == 0
    assert here.together(lambda: here.rank) == here.rank
    for failing, expected in ((0, "wrong"), (here.size - 1, f"rank {here.size - 1}: wrong")):
        with pytest.raises(UserError, match=f"^{expected}$"):
            here.together(lambda failing=failing: fail() if here.rank == failing else None)
    with pytest.raises(UserError, match=r"^wrong$"):
        here.main_only(fail)
    with pytest.raises(DetectorUnavailable, match=r"^it is away$"):
        here.together(away)

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


def away() -> None:
    raise DetectorUnavailable("it is away")


def main(output: Path, task: str, flags: dict[str, Any]) -> None:
    """One process; the main one writes what the function `task` gives to `output`."""
    with world("cpu") as here:
        watch = Watch(here)
        collectives(here) if here.size > 1 else None
        result = globals()[task](output.with_suffix(".run"), here, **flags)
        if here.is_main:
            torch.save(result, output)
        watch.close()
