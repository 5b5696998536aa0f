"""Paths as people write them, and the cache of people who have no home."""

import os
import pwd
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dnnlib import UserError
from dnnlib.cli import Command
from dnnlib.paths import default_cache_dir, user_path, user_paths


def test_the_tilde_is_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/x") == "/home/me/x"
    assert user_paths(("~/x", Path("~"), 3, None)) == ("/home/me/x", Path("/home/me"), 3, None)
    assert user_path("hf://owner/~repo/file") == "hf://owner/~repo/file"
    assert user_path("a~b/~") == "a~b/~"


@pytest.mark.parametrize("text", ["a" * 256, "ü" * 128, f"ok/{'b' * 300}/c", "a\0b", "a/" * 2048])
def test_names_that_no_file_can_have(text):
    with pytest.raises(UserError):
        user_path(text)
    user_path("a" * 255)


@pytest.mark.parametrize(
    ("metavar", "is_path"), [("PATH", True), ("FILE|URL", True), ("PICTURE|DIR", True), ("N", False)]
)
def test_options_that_name_files(metavar, is_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")

    @click.command(cls=Command)
    @click.option("--thing", metavar=metavar, multiple=True)
    def command(thing):
        click.echo(thing[0])

    assert CliRunner().invoke(command, ["--thing=~/x"]).output == ("/home/me/x\n" if is_path else "~/x\n")
    result = CliRunner().invoke(command, [f"--thing={'a' * 300}"])
    assert result.exit_code == (2 if is_path else 0)
    if is_path:
        assert result.stderr.startswith("error: Invalid value for '--thing': the name 'aaaa")
        assert len(result.stderr.splitlines()) == 1


def test_the_cache_of_a_user_without_a_home(monkeypatch, tmp_path):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("DNNLIB_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = default_cache_dir()
    assert folder == default_cache_dir() == tmp_path / f"dnnlib-cache-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)  # anybody could put a program there
    assert default_cache_dir() != folder
