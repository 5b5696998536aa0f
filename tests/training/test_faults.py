"""What goes wrong in the middle of a run ends it with a reason, and nothing before the last checkpoint is lost."""

import contextlib
import errno
import io
import os
import subprocess
import types
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from benchmarks.kill_test import differences, statistics
from dnnlib import UserError, read_json
from rooted_stylegan import train
from torch_utils.checkpoint import list_checkpoints
from training.health import MAX_SKIPPED_IN_ROW
from training.outputs.board import Board
from training.progress import Progress
from training.run_dir import RunDir, State


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _full_disk_for_replacing(monkeypatch, prefix: str) -> None:
    original = os.replace

    def replace(source, target):
        if Path(target).name.startswith(prefix):
            raise _full()
        return original(source, target)

    monkeypatch.setattr(os, "replace", replace)


def _full_disk_for_appending(monkeypatch, name: str) -> None:
    """Lines end in the middle, as on a real disk."""

    def opened(path, mode="r", **kwargs):
        stream = open(path, mode, **kwargs)  # noqa: SIM115 - as the function in whose place it is
        if Path(path).name == name and "a" in mode:
            write = stream.write

            def half(content) -> int:
                write(content[: len(content) // 2])
                raise _full()

            return _With(stream, write=half)
        return stream

    for module in ("training.run_dir.folder", "dnnlib.json_files"):
        monkeypatch.setattr(f"{module}.open", opened, raising=False)


def _fill_disk(patch, where: str) -> None:
    if where.endswith((".txt", ".jsonl")):
        _full_disk_for_appending(patch, where)
    else:
        _full_disk_for_replacing(patch, where)


def test_a_checkpoint_that_cannot_be_written_at_the_end_ends_the_run_and_the_same_command_goes_on(
    tiny, whole, monkeypatch
):
    tiny.train(steps=6)
    before = list_checkpoints(tiny.folder / "run")[0].read_bytes()
    with monkeypatch.context() as patch:
        _fill_disk(patch, "checkpoint-")
        with pytest.raises(UserError, match="No space left on device"):
            tiny.train()
    log = (tiny.folder / "run" / "log.txt").read_text()
    assert "it is tried again in 60 seconds" in log
    assert list_checkpoints(tiny.folder / "run")[0].read_bytes() == before
    tiny.train()
    assert differences(tiny.folder / "run", whole) == []


@pytest.mark.parametrize("where", ["network-snapshot-", "fakes", "log.txt", "stats.jsonl"])
def test_other_files_that_cannot_be_written_are_said_once_and_the_run_goes_on(tiny, whole, monkeypatch, where):
    tiny.train(steps=6)
    before = list_checkpoints(tiny.folder / "run")[0]
    with monkeypatch.context() as patch:
        _fill_disk(patch, where)
        # What is last would not come again: the run is not called finished without it.
        last = contextlib.nullcontext() if where == "log.txt" else pytest.raises(UserError, match="No space left")
        with last:
            tiny.train()
    if where != "log.txt":
        assert (tiny.folder / "run" / "log.txt").read_text().count("the run goes on without it") == 1
    assert list_checkpoints(tiny.folder / "run")[0] > before
    tiny.train()
    assert RunDir(tiny.folder / "run").state is State.FINISHED
    lost = differences(tiny.folder / "run", whole)
    assert not [line for line in lost if "checkpoint" in line], lost


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A file system of 3 MiB; skipped where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(tiny, small_disk, whole):
    """Not by a patched function: the checkpoint, the log, stats.jsonl and TensorBoard all meet a full tmpfs."""
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    tiny.folder = small_disk
    tiny.train(steps=4)
    newest = list_checkpoints(small_disk / "run")[0]
    before = newest.read_bytes()
    used = sum(path.stat().st_size for path in small_disk.rglob("*") if path.is_file())
    subprocess.run(["mount", "-o", f"remount,size={used // 1024 + 64}k", small_disk], check=True)
    with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
        tiny.train()
    assert newest.read_bytes() == before
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    tiny.train()
    assert differences(small_disk / "run", whole) == []


def test_tensorboard_on_a_full_disk_is_named(tmp_path, monkeypatch):
    board = Board(tmp_path, Progress())
    monkeypatch.setattr(SummaryWriter, "add_scalar", lambda *args, **kwargs: (_ for _ in ()).throw(_full()))
    with pytest.raises(UserError, match=r"TensorBoard.*No space left"):
        board.write({"a": 1.0}, 0.0)


def _folder_of_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    random = np.random.RandomState(0)
    for number in range(count):
        Image.fromarray(random.randint(0, 256, (16, 16), np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def test_a_data_file_that_is_removed_in_mid_run_is_named(tiny, tmp_path, monkeypatch):
    data = _folder_of_images(tmp_path / "data", 120)
    # As for a data set that does not fit into memory.
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=0))
    session = tiny.open(data=str(data))

    class RemoveLater:
        reason = ""
        calls = 0

        @property
        def is_set(self) -> bool:
            self.calls += 1
            if self.calls == 3:
                for path in sorted(data.iterdir())[::2]:
                    path.unlink()
            return False

    with pytest.raises(UserError, match=r"data.*\d\d\d\.png"):
        session.train(RemoveLater())
    assert list_checkpoints(tiny.folder / "run")


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(tiny):
    session = tiny.open()
    _poison(session, "Gmain", at_nimg={16, 24})
    session.train(_Never())
    assert float(session.G_opt.skipped) == 2
    assert float(session.D_opt.skipped) == 0
    for network in (session.G, session.D, session.G_ema):
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    lines = statistics(tiny.folder / "run")
    assert sum(line["Gradient/Gmain"].get("nonfinite", 0) for line in lines) == 2
    log = (tiny.folder / "run" / "log.txt").read_text()
    assert log.count("warning: non-finite values (Gradient/Gmain: 2") == 1
    assert "--nan-check" in log


def test_a_skipped_step_leaves_everything_as_it_is(tiny):
    session = tiny.open()
    session.step()
    before = {name: value.clone() for name, value in session.G.named_parameters()}
    moments = {name: value.clone() for name, value in session.G_opt.state_dict()["adam"].items()}
    session.G_opt.gradient.fill_(float("inf"))
    session.G_opt.step(lambda gradient: gradient)
    assert all(torch.equal(before[name], value) for name, value in session.G.named_parameters())
    assert all(torch.equal(moments[name], value) for name, value in session.G_opt.state_dict()["adam"].items())


class _Never:
    is_set, reason = False, ""


def _poison(session, phase_name: str, at_nimg: set[int]) -> None:
    """Put a NaN into the gradient of a phase after its micro-batches."""
    accumulate = session.runner.accumulate

    def poisoned(phase, nimg, batch):
        accumulate(phase, nimg, batch)
        if phase.name == phase_name and nimg in at_nimg:
            phase.optimizer.gradient[0] = float("nan")

    session.runner.accumulate = poisoned


def test_a_weight_that_is_not_finite_stops_the_run_which_saves_and_says_what_it_saw(tiny):
    tiny.train(steps=5, kimg=1)
    good = list_checkpoints(tiny.folder / "run")[0]
    session = tiny.open(kimg=1)
    with torch.no_grad():
        session.G.synthesis.b8.conv0.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=rf"^{MAX_SKIPPED_IN_ROW} steps in a row .*Gradient/Gmain.*`nan_check`"):
        session.train(_Never())
    newest = list_checkpoints(tiny.folder / "run")[0]
    assert newest != good
    assert good.exists()
    # Continued as it is, it stops again after a step; still nothing that was good is removed.
    with pytest.raises(UserError, match="steps in a row"):
        tiny.train(kimg=1)
    assert good.exists()
    run = RunDir(tiny.folder / "run")
    assert run.state is State.DIVERGED
    assert "steps in a row" in read_json(run.path / "diverged.json")["reason"]
    # Without the broken states it goes on.
    for path in list_checkpoints(tiny.folder / "run"):
        if path != good:
            path.unlink()
    session = tiny.train(kimg=0.12)
    assert session.progress.nimg == 120
    assert run.state is State.FINISHED


def test_an_image_that_is_not_finite_costs_one_step(tiny):
    session = tiny.open()
    _spoil_image(session, nimg=24)
    session.train(_Never())
    assert float(session.D_opt.skipped) == 1
    assert float(session.G_opt.skipped) == 0
    assert all(torch.isfinite(value).all() for value in session.D.state_dict().values())
    assert torch.isfinite(session.augment.p)


def _spoil_image(session, nimg: int) -> None:
    original = session.real_batch

    def spoiled():
        batch = original()
        if session.progress.nimg == nimg:
            batch.images[2, 0, 5, 5] = float("nan")
        return batch

    session.real_batch = spoiled


class TestNanCheck:
    """`--nan-check` names the first operation."""

    def test_a_weight(self, tiny):
        session = tiny.open(housekeeping={"nan_check": True})
        with torch.no_grad():
            session.D.b16.conv0.weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(UserError, match=r"`nan_check`: the output of D\.b16\.conv0 .*its parameter weight already"):
            session.train(_Never())

    def test_an_image(self, tiny):
        session = tiny.open(housekeeping={"nan_check": True}, aug="noaug")
        _spoil_image(session, nimg=8)
        with pytest.raises(UserError, match=r"the output of D\.b32\.fromrgb .*its input already has them"):
            session.train(_Never())

    def test_an_image_before_the_augmentation(self, tiny):
        session = tiny.open(housekeeping={"nan_check": True})
        _spoil_image(session, nimg=8)
        with pytest.raises(UserError, match=r"the output of augment .*its input already has them"):
            session.train(_Never())

    def test_a_gradient(self, tiny, monkeypatch):
        session = tiny.open(housekeeping={"nan_check": True}, aug="noaug")
        generator = session.objective.adversarial.generator
        # d sqrt(x) / dx is infinite at 0, and 0 times infinity is not a number; the loss itself is finite.
        monkeypatch.setattr(
            session.objective,
            "adversarial",
            _With(session.objective.adversarial, generator=lambda x, real: generator(x, real) + (x * 0).sqrt() * 0),
        )
        with pytest.raises(UserError, match=r"`nan_check`: .*(Sqrt|Mul)Backward0.* returned nan values"):
            session.train(_Never())

    def test_it_is_silent_on_a_healthy_run_and_changes_nothing(self, tiny):
        for name in ("checked", "plain"):
            tiny.train(name, steps=6, housekeeping={"nan_check": name == "checked"})
        assert differences(tiny.folder / "checked", tiny.folder / "plain") == []


class _With:
    """An object with some of its methods replaced."""

    def __init__(self, original, **replaced) -> None:
        self._original, self._replaced = original, replaced

    def __getattr__(self, name):
        return self._replaced.get(name) or getattr(self._original, name)

    def __enter__(self):
        self._original.__enter__()
        return self

    def __exit__(self, *error):
        return self._original.__exit__(*error)


def test_the_command_ends_with_status_2_and_one_line(tiny, tmp_path, monkeypatch):
    """25 bad steps through the command line: what the user and the scheduler see."""
    monkeypatch.setattr(
        "training.phases.PhaseRunner.accumulate",
        lambda self, phase, nimg, batch: phase.optimizer.gradient.fill_(float("nan")),
    )
    options = ["--cbase=128", "--cmax=8", "--batch=8", "--kimg=1", "--metrics=none", "--grid=2x1", "--precision=fp32"]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as ended:
        train.main.main(args=[f"--run-dir={tmp_path / 'run'}", "--device=cpu", *options])
    assert ended.value.code == 2
    (line,) = [line for line in errors.getvalue().splitlines() if line.startswith("error: ")]
    assert "25 steps in a row" in line
    log = (tmp_path / "run" / "log.txt").read_text()
    assert line in log
    assert len(list_checkpoints(tmp_path / "run")) == 2
