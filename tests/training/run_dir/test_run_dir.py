"""Run directories: names, states, tables, who trains there, and what is left of a run that never began."""

import json
import subprocess
import sys

import pytest

from dnnlib import UserError, write_json
from training.run_dir import FAKES, SNAPSHOTS, RunDir, State, names
from training.starting.opening import open_run_dir


def _unwritable(monkeypatch, folder):
    """As on a read-only disk; the superuser, as whom tests may run, is not stopped by permissions."""
    real = open

    def refuse(path, mode="r", *arguments, **options):
        if str(path).startswith(str(folder)) and mode != "r":
            raise OSError(30, "Read-only file system")
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)


@pytest.mark.parametrize("flag", ["run_dir", "outdir"])
def test_an_unfinished_run_that_cannot_be_written_is_named(tiny, tmp_path, monkeypatch, flag):
    config = tiny.config()
    folders = {"run_dir": None, "outdir": None, flag: tmp_path / "runs"}
    open_run_dir(config, **folders).unlock()
    _unwritable(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=r"runs.* cannot be written \(Read-only file system\)"):
        open_run_dir(config, **folders)


def test_a_run_that_never_began_leaves_nothing_of_its_own(tiny, tmp_path):
    run = open_run_dir(tiny.config(), outdir=None, run_dir=tmp_path / "run")
    assert run.is_new
    run.record("a line")
    run.discard()
    assert not run.path.exists()

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    open_run_dir(tiny.config(), outdir=None, run_dir=mine).discard()
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_a_run_that_is_gone_on_with_is_not_new(tiny, tmp_path):
    open_run_dir(tiny.config(), outdir=tmp_path, run_dir=None).unlock()
    assert not open_run_dir(tiny.config(), outdir=tmp_path, run_dir=None).is_new
    assert not RunDir(tmp_path).is_new


def test_names_and_their_inverse(tmp_path):
    assert (SNAPSHOTS.name(40_999), FAKES.name(0)) == ("network-snapshot-000040.safetensors", "fakes000000.png")
    assert names.metric_of(names.metric_file("fid50k_full")) == "fid50k_full"
    for name in (SNAPSHOTS.name(0), SNAPSHOTS.name(12_000_000_000), "network-snapshot-000080.pkl", FAKES.name(5000),
                 "network-snapshot-7.pt", "fakes_init.png", "fakes000005.jpg", names.metric_file("swd")):  # fmt: skip
        (tmp_path / name).touch()
    found = SNAPSHOTS.find(tmp_path)
    assert list(found) == [0, 80_000, 12_000_000_000]
    assert [SNAPSHOTS.nimg(path.name) for path in found.values()] == list(found)
    assert FAKES.find(tmp_path) == {5000: tmp_path / "fakes000005.png"}
    assert RunDir(tmp_path).metrics() == ["swd"]
    (tmp_path / SNAPSHOTS.name(80_000)).touch()
    assert SNAPSHOTS.find(tmp_path)[80_000].suffix == ".safetensors"


def test_the_states_of_a_run(tiny, tmp_path):
    assert RunDir(tmp_path / "nowhere").state is State.NEW
    run = open_run_dir(tiny.config(), outdir=None, run_dir=tmp_path / "run")
    other = RunDir(tmp_path / "run")
    assert run.state is other.state is State.RUNNING
    assert not other.lock()
    run.unlock()
    assert run.state is State.NEW
    tiny.train(steps=3)
    assert run.state is State.STOPPED
    assert run.lock()
    assert other.state is State.RUNNING
    run.unlock()
    tiny.train()
    assert run.state is State.FINISHED
    run.reopen()
    assert run.state is State.STOPPED


def test_a_run_is_given_up_until_it_goes_on(tiny):
    tiny.train(steps=3)
    run = RunDir(tiny.folder / "run")
    run.give_up({"kimg": 0.024, "reason": "whatever it is called"})
    assert run.state is State.DIVERGED
    run.rewind(24)
    assert run.state is State.STOPPED


def test_a_look_at_the_state_does_not_keep_anyone_out(tmp_path):
    """Others may look at a run at any time; who wants to train there must not take them for a trainer."""
    run = RunDir(tmp_path)
    assert run.lock()
    run.unlock()
    look = (
        "import sys; from training.run_dir import RunDir; run = RunDir(sys.argv[1]); print(flush=True)\n"
        "while sys.stdin.readable(): run.state"
    )
    process = subprocess.Popen([sys.executable, "-c", look, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        for _ in range(20):
            assert run.lock()
            run.unlock()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("files", "state"),
    [
        (["checkpoint-000000032.safetensors", "log.txt", "stats.jsonl"], State.STOPPED),
        (["checkpoint-000000032.safetensors", "finished.json", ".lock"], State.FINISHED),
        ([".lock", "log.txt"], State.NEW),
    ],
)
def test_directories_of_before_there_were_states(tmp_path, files, state):
    write_json(tmp_path / "training_options.json", {"total_kimg": 1})
    for name in files:
        (tmp_path / name).write_text("{}")
    assert RunDir(tmp_path).state is state


def test_going_on_forgets_what_came_after_the_checkpoint(tmp_path):
    run = RunDir(tmp_path)
    for nimg in (1000, 2000, 3000):
        run.append_stats({"Progress/kimg": {"num": 1, "mean": nimg / 1e3, "std": 0}})
        run.append_metric({"metric": "swd", "results": {"swd": 1.0}, "nimg": nimg, "source": "training"})
    run.append_metric({"metric": "swd", "results": {"swd": 1.0}, "nimg": 3000, "source": "calc_metrics"})
    for name in ("stats.jsonl", "metric-swd.jsonl"):
        with open(tmp_path / name, "a") as stream:
            stream.write('{"Progress/kimg": {"num"')
    (tmp_path / ".checkpoint-000003000.safetensors.k2j3h4_a.tmp").touch()
    assert run.nimg() == 3000
    run.rewind(2000)
    assert run.nimg() == 2000
    assert [line["Progress/kimg"]["mean"] for line in run.stats()] == [1.0, 2.0]
    assert [(line["nimg"], line["source"]) for line in run.metric("swd")] == [
        (1000, "training"), (2000, "training"), (3000, "calc_metrics"),
    ]  # fmt: skip
    assert all(json.loads(line) for line in (tmp_path / "metric-swd.jsonl").read_text().splitlines())
    assert not list(tmp_path.glob(".*.tmp"))


def test_options_of_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"is not a run directory: it has no training_options\.json"):
        RunDir(tmp_path).options()
    (tmp_path / "training_options.json").write_text("{")
    with pytest.raises(UserError, match=r"^cannot read .*training_options\.json \("):
        RunDir(tmp_path).options()


@pytest.mark.parametrize(
    "name", ["log.txt", "reals.png", "events.out.tfevents.1", "network-snapshot-000004.safetensors", "best.json"]
)
def test_a_folder_with_files_in_the_way_is_refused_and_left_alone(tiny, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"is no run directory, but holds {name}, which a run would write over"):
        open_run_dir(tiny.config(), outdir=None, run_dir=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_only_files_with_a_runs_names_are_ever_removed(tiny, tmp_path):
    mine = [".draft.tmp", "notes.md", "fakes.png", "checkpoint-1.safetensors", ".log.txt.bak", "stats.jsonl.old"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("not mine to remove")
    run = open_run_dir(tiny.config(), outdir=None, run_dir=tmp_path)
    leftover = tmp_path / f".{names.STATS}.abc123_x.tmp"
    for link in (tmp_path / FAKES.name(0), leftover):
        link.symlink_to(outside)
    run.rewind(0)
    assert not leftover.is_symlink()
    run.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)
    assert outside.read_text() == "not mine to remove"


def test_a_run_that_another_process_holds_is_not_begun_again(tiny, tmp_path):
    config = tiny.config()
    held = open_run_dir(config, outdir=tmp_path, run_dir=None)
    with pytest.raises(UserError, match=r"process \d+ on .* is training this run in .*00000-.*`new` begins another"):
        open_run_dir(config, outdir=tmp_path, run_dir=None)
    assert [path.name for path in tmp_path.iterdir()] == [held.path.name]
    other = open_run_dir(config, outdir=tmp_path, run_dir=None, new=True)
    assert other.path.name.startswith("00001-")


def test_a_damaged_run_beside_it_does_not_stop_a_new_one(tiny, tmp_path):
    for number, text in enumerate(["[]", "{", '{"loss": 5}', '{"total_kimg": {}}', "\x00", "[" * 5000]):
        (tmp_path / f"{number:05d}-old").mkdir()
        (tmp_path / f"{number:05d}-old" / names.OPTIONS).write_text(text)
    assert open_run_dir(tiny.config(), outdir=tmp_path, run_dir=None).path.name.startswith("00006-")


def test_a_line_of_the_log_is_one_line(tmp_path, capsys):
    """Whatever a name in it is."""
    RunDir(tmp_path).log("training on a\nerror: \x1b[2J\u202e")
    shown = "training on a\\nerror: \\x1b[2J\\u202e\n"
    assert (tmp_path / "log.txt").read_text() == capsys.readouterr().out == shown
