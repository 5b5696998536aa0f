"""Strict JSON in files, and the one rule for a line that was cut off."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest

from dnnlib import UserError, json_text, read_json, write_json
from dnnlib.json_files import append_record, keep_records, read_records, strict


@dataclasses.dataclass(frozen=True)
class Pair:
    a: float
    b: tuple[float, ...]


def test_not_a_number_becomes_null_and_everything_plain():
    assert strict({"a": [math.nan, (1.0, math.inf)], "b": "NaN"}) == {"a": [None, [1.0, None]], "b": "NaN"}
    assert strict(Pair(-math.inf, (1.0,))) == {"a": None, "b": [1.0]}
    assert json_text({"a": np.float32(0.5), "b": np.array([1, 2]), "c": np.float64("nan")}) == (
        '{"a": 0.5, "b": [1, 2], "c": null}'
    )


def test_a_file_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, math.nan]})
    assert read_json(tmp_path / "a.json") == {"x": [1, None]}
    for name, content in (("b.json", b"{"), ("c.json", b"\xff\xfe"), ("nowhere.json", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"^cannot read .*{name} \("):
            read_json(tmp_path / name)


CUT_OFF = ['{"x', '{"x": {"y": 1}', '{"x": 2', "\0\0\0"]


@pytest.mark.parametrize("end", CUT_OFF)
def test_a_last_line_that_was_cut_off_is_left_out_and_replaced(tmp_path, end):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n' + end)
    assert read_records(path) == [{"x": 1}]
    append_record(path, {"x": math.nan})
    assert path.read_text() == '{"x": 1}\n{"x": null}\n'


@pytest.mark.parametrize("end", CUT_OFF)
def test_it_is_removed_with_the_lines_that_are_not_kept(tmp_path, end):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x":1}\n{"x": 2}\n{"x": 3}\n' + end)
    keep_records(path, lambda record: record["x"] != 2)
    assert path.read_text() == '{"x":1}\n{"x": 3}\n'


def test_a_file_of_one_line_that_was_cut_off(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x')
    assert read_records(path) == []
    append_record(path, {"x": 1})
    assert path.read_text() == '{"x": 1}\n'


def test_a_last_line_that_only_lacks_its_newline_counts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n{"x": 2}')
    assert read_records(path) == [{"x": 1}, {"x": 2}]
    append_record(path, {"x": 3})
    assert [json.loads(line)["x"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("line", ['{"x', "nonsense", "[1]", "3", '{"x": 1}{"x": 2}'])
def test_any_other_broken_line_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"x": 1}}\n{line}\n{{"x": 3}}\n')
    before = path.read_bytes()
    for use in (read_records, lambda path: keep_records(path, bool)):
        with pytest.raises(UserError, match=r"a\.jsonl line 2 is not a JSON object; delete the line to go on"):
            use(path)
    assert path.read_bytes() == before


def test_no_file_has_no_lines(tmp_path):
    assert read_records(tmp_path / "a.jsonl") == []
    keep_records(tmp_path / "a.jsonl", bool)
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_lines_that_never_end_are_refused(tmp_path, make):
    """A pipe would wait for ever, a device never end."""
    make(tmp_path / "a.jsonl")
    for use in (read_records, lambda path: keep_records(path, bool)):
        with pytest.raises(UserError, match="not a regular file"):
            use(tmp_path / "a.jsonl")


def test_names_of_other_bytes_are_written_as_json_escapes_them(tmp_path):
    write_json(tmp_path / "a.json", {"\udcff.png": "\u00fc"}, ensure_ascii=False)
    assert read_json(tmp_path / "a.json") == {"\udcff.png": "\u00fc"}
