"""Run directories that cannot be written, and what is left of a run that never began."""

import pytest

from dnnlib import UserError
from training.run_dir import RunDir, open_run_dir


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
    run.append("log.txt", "a line\n")
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
