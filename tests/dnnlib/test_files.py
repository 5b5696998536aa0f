"""Files that are whole or not there."""

import os

import pytest

from dnnlib import UserError, copy_whole, first_line, last_line, make_folder


@pytest.mark.parametrize("links", [True, False])
def test_copy_whole(tmp_path, monkeypatch, links):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    if not links:
        monkeypatch.setattr(os, "link", _fail)
    copy_whole(source, target)
    assert target.read_bytes() == b"new"
    assert os.path.samefile(source, target) == links
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_where_it_cannot_be_copied_the_previous_file_stays(tmp_path, monkeypatch):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "link", _fail)
    monkeypatch.setattr(os, "replace", _fail)
    with pytest.raises(UserError, match=r"cannot write .*/b"):
        copy_whole(source, target)
    assert target.read_bytes() == b"old"


def _fail(*arguments):
    raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_made_names_the_argument(tmp_path):
    assert make_folder(tmp_path / "a" / "b", "--out").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^--out: cannot make the folder .*file/a \(Not a directory\); "):
        make_folder(tmp_path / "file" / "a", "--out")


def test_lines_of_an_error():
    assert (first_line(ValueError("\n one \ntwo\n")), last_line(ValueError("one\n two \n"))) == ("one", "two")
    assert first_line(ValueError()) == last_line(ValueError(" \n")) == "ValueError"
    assert len(first_line(ValueError("x" * 999))) == 200
