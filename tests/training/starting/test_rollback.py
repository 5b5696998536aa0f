"""Going back to a checkpoint: what follows is what would have been, and what is dropped is said."""

import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmarks.kill_test import differences
from dnnlib import UserError
from rooted_stylegan import train
from torch_utils.checkpoint import list_checkpoints
from training.outputs.grids import spread
from training.run_dir import RunDir, State
from training.starting.rollback import roll_back


class Values:
    """An evaluator whose best value is at 1.05 kimg."""

    names = ("value",)

    def compute(self, G_ema, dataset, device, snapshot, nimg):
        return {"value": {50: 9.0, 1050: 1.0}.get(nimg, nimg / 500)}

    def higher_is_better(self, name):
        return False


def names(run):
    return sorted(
        path.name for path in run.path.iterdir() if not path.name.startswith((".", "events", "log", "checkpoint"))
    )


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Ticks, snapshots and checkpoints at 0.05, 1.05 and 2.05 kimg and the end, 2.1; the best is the second."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(10):
        pixels = np.random.RandomState(number).randint(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return {
        "data": str(folder), "batch": 50, "mbstd_group": 5, "kimg": 2.1, "tick": 1.0, "grid": (4, 2), "cbase": 64,
        "metrics": ("value",), "evaluator": Values(), "cmax": 4, "map_depth": 1, "aug": "noaug", "pl_weight": 0.0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def stages(tiny_of_module, options):
    """One run's directory after its first tick, after its second and at its end."""
    folder = tiny_of_module.folder
    for name, steps in (("first", 1), ("second", 20), ("whole", None)):
        tiny_of_module.train("run", steps=steps, **options)
        shutil.copytree(folder / "run", folder / name)
    return folder


@pytest.fixture
def ended(stages, tmp_path):
    return RunDir(shutil.copytree(stages / "whole", tmp_path / "run"))


def test_a_run_goes_back_to_where_it_was(stages, ended):
    assert [path.name for path in list_checkpoints(ended.path)] == [
        f"checkpoint-{nimg:09d}.safetensors" for nimg in (2100, 2050, 1050)
    ]
    ended.append_metric({"metric": "swd", "nimg": 50, "source": "calc_metrics"})
    ended.append_metric({"metric": "swd", "nimg": 2050, "source": "calc_metrics"})
    assert roll_back(ended, "best") == (
        "rolled back to 1.05 kimg; dropped: fakes000002.png, network-snapshot-000002.safetensors, "
        "checkpoint-000002050.safetensors, checkpoint-000002100.safetensors, 2 lines of stats.jsonl, "
        "1 lines of metric-swd.jsonl"
    )
    assert ended.state is State.STOPPED
    assert ended.metric("swd") == [{"metric": "swd", "nimg": 50, "source": "calc_metrics"}]
    (ended.path / "metric-swd.jsonl").unlink()
    assert names(ended) == names(RunDir(stages / "second"))
    assert differences(ended.path, stages / "second") == []


def test_going_back_before_the_best_restores_the_one_of_then(stages, ended):
    [early] = list_checkpoints(stages / "first")
    shutil.copy(early, ended.path)
    assert roll_back(ended, 1.0).endswith("best.safetensors of 1.05 kimg (now that of 0.05 kimg again)")
    assert names(ended) == names(RunDir(stages / "first"))
    assert differences(ended.path, stages / "first") == []


def test_it_ends_as_it_would_have(stages, ended, tiny_of_module, options):
    roll_back(ended, 2.07)
    shutil.copytree(ended.path, tiny_of_module.folder / "again")
    assert tiny_of_module.train("again", **options).continued
    assert differences(tiny_of_module.folder / "again", stages / "whole") == []
    assert names(RunDir(tiny_of_module.folder / "again")) == names(RunDir(stages / "whole"))


def test_the_command_says_what_it_drops_and_goes_on(ended):
    result = CliRunner().invoke(train.main, [f"--continue={ended.path}", "--rollback=2.06", "--metrics=none"])
    assert result.exit_code == 0, result.output
    dropped = "checkpoint-000002100.safetensors, 1 lines of stats.jsonl"
    assert f"rolled back to 2.05 kimg; dropped: {dropped}" in result.output
    assert f"continuing {ended.path} at 2.0 kimg" in result.output
    assert ended.state is State.FINISHED


def test_points_that_are_not_kept(ended):
    before = names(ended)
    with pytest.raises(UserError, match=r"=1: no checkpoint from so early is kept, only those at 1.05, 2.05, 2.1 kimg"):
        roll_back(ended, 1.0)
    damaged = ended.path / "checkpoint-000002050.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(UserError, match="is not a whole checkpoint"):
        roll_back(ended, 2.06)
    (ended.path / "checkpoint-000001050.safetensors").unlink()
    with pytest.raises(UserError, match=r"at 1.05 kimg, is kept, only those at 2.05, 2.1 kimg; choose one of them"):
        roll_back(ended, "best")
    (ended.path / "best.json").unlink()
    with pytest.raises(UserError, match="no metric has been computed"):
        roll_back(ended, "best")
    assert sorted([*names(ended), "best.json"]) == before
    result = CliRunner().invoke(train.main, ["--rollback=best"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "--rollback goes back in a run that has begun; name it with --continue" in result.output


def test_pictures_that_have_become_alike_are_warned_of_in_the_log(tiny, options):
    session = tiny.open("run", **options)
    for variety in (1.0, 0.0):
        session.reports._grids.fakes = lambda G_ema, name, variety=variety: variety
        session.reports._draw(session.G_ema, "fakes.png")
    assert "the generated pictures have become alike (mean distance 0 of" in (session.run.path / "log.txt").read_text()


def test_the_spread_of_images():
    noise = torch.randint(0, 256, (40, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert spread(noise[:1].expand(8, -1, -1, -1)) == 0
    alike = (noise[:1].float() + 0.1 * (noise.float() - noise[:1].float())).to(torch.uint8)
    assert spread(alike) < 0.12 * spread(noise)
