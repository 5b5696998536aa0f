"""Damaged files of a comparison and its runs: one line that names the file, or values that are passed over."""

import json

import pytest

from comparison.runs.collect import failure_file, gave_up, read_run
from comparison.runs.design import FILE, Design, load_design, save_design
from comparison.runs.losses import parse_losses
from dnnlib import UserError

ODD = ["null", "[]", "5", '"x"', "{", "", "[" * 100_000, "9" * 5000, '{"losses": 5}', '{"losses": [5], "seeds": [1]}']


@pytest.mark.parametrize("text", ODD)
def test_a_design_that_is_none(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=FILE) as caught:
        load_design(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["seeds", "kimg", "data", "subset", "metrics", "evaluations", "train_flags", "tuned"])
@pytest.mark.parametrize("value", [{"a": 1}, [["x"]], True, "\x1b[2J", float("inf")])
def test_a_design_of_other_types(tmp_path, key, value):
    save_design(tmp_path, Design(tuple(parse_losses("ce")), (1,), 1.0))
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, key: value}))
    if key == "data" and isinstance(value, str):
        return  # any text is a path
    with pytest.raises(UserError, match=FILE):
        load_design(tmp_path)


@pytest.mark.parametrize("text", ["null", "[]", "5", "{", "", "[" * 100_000])
def test_a_record_of_failure_that_is_none(tmp_path, text):
    folder = tmp_path / "run"
    failure_file(folder).write_text(text)
    with pytest.raises(UserError, match=r"run\.failed\.json"):
        gave_up(folder)


@pytest.mark.parametrize("odd", [None, [], {}, "x", True, 10**400])
def test_values_of_other_types_are_no_numbers(tmp_path, odd):
    (tmp_path / "training_options.json").write_text("{}")
    ticks = [
        {"Progress/kimg": {"mean": odd}, "Timing/sec_per_tick": odd, "Loss/G/loss": {"mean": odd, "nonfinite": odd}}
    ]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(tick) + "\n" for tick in ticks))
    records = [
        {"metric": odd, "results": {"swd": odd}, "nimg": 0},
        {"results": odd, "nimg": odd, "snapshot_pkl": odd, "not_computed": odd},
    ]
    (tmp_path / "metric-swd.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    read_run(tmp_path)


@pytest.mark.parametrize("key", ["../../x", "a/b", "", ".", "$x^{", "a\n<b>", "\x1b[2J", "x" * 200])
def test_names_of_results_are_names(tmp_path, key):
    """They become names of figures and text of the report."""
    (tmp_path / "training_options.json").write_text("{}")
    record = {"metric": "swd", "results": {key: 1.0}, "nimg": 0}
    (tmp_path / "metric-swd.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(UserError, match="is no name of a metric"):
        read_run(tmp_path)
