"""compare.py --relay: cells of a plan, done in slices of minutes."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from comparison import relay
from comparison.options import ComparisonOptions
from dnnlib import UserError
from rooted_stylegan import compare

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--preset=demo", "--cbase=64", "--cmax=8", "--batch=32", "--mbstd-group=4", "--aug=noaug", "--grid=4x2",
        "--device=cpu"]  # fmt: skip
PLAN = {"losses": "ce,rlo:k=11", "seeds": 2, "kimg": 40, "every": 5, "metrics": ["swd"], "train_flags": TINY}
FAST = relay.Speed(start=10.0, per_kimg=1.0, evaluation=5.0)


def invoke(*arguments):
    return CliRunner().invoke(compare.main, list(map(str, arguments)))


@pytest.fixture
def plan(tmp_path):
    """The function that writes a plan with changes; gives its path."""

    def write(**changes):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({name: value for name, value in (PLAN | changes).items() if value is not None}))
        return path

    return write


@pytest.fixture
def stand_in(monkeypatch, write_run):
    """Training that leaves invented runs, on a machine of the speed FAST; the jobs that it was given."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    jobs = []

    def run_jobs(given, parallel, say):
        jobs.extend(given)
        for job in given:
            seed = int(job.name[-1])
            write_run(job.folder, seed, [90.0, 60.0, 50.0 - 10 * ("rlo" in job.name) + seed])
        return []

    monkeypatch.setattr(relay, "run_jobs", run_jobs)
    monkeypatch.setattr(relay, "_measured", lambda *_: FAST)
    return jobs


def test_cells_are_done_one_after_the_other_and_reported(plan, stand_in, tmp_path):
    out = tmp_path / "out"
    first = invoke(f"--relay={plan()}", "--minutes=3", f"--out={out}")
    assert first.exit_code == 0, first.stderr
    assert [job.name for job in stand_in] == ["ce-seed0", "rlo-k11-bounded-seed0", "ce-seed1", "rlo-k11-bounded-seed1"]
    assert "all 4 cells are there" in first.stdout
    assert "--tick=5" in stand_in[0].flags
    assert any(flag.startswith("--max-hours=") for flag in stand_in[0].flags)
    cell = json.loads((out / "ce-seed0.json").read_text())
    assert cell["run"]["curves"]["swd"]["value"] == [90.0, 60.0, 50.0]
    assert cell["options"]["dataset_hash"] == f"{0:064x}"
    assert cell["environment"]["torch"]
    assert sum(path.stat().st_size for path in out.glob("ce-seed0.*")) < 1_000_000
    # Elsewhere, with the small files alone and one of them missing.
    shutil.rmtree(out / "runs")
    for path in out.glob("rlo-k11-bounded-seed1.*"):
        path.unlink()
    report = invoke(f"--relay={plan()}", "--relay-report", f"--out={out}")
    assert report.exit_code == 0, report.stderr
    assert "missing: 1 of 4 cells: rlo-k11-bounded-seed1" in report.stdout
    results = json.loads((out / "report" / "results.json").read_text())
    [final] = [row for row in results["metrics"]["swd"]["comparisons"] if row["quantity"] == "final"]
    assert final["differences"] == [-10.0]
    assert (out / "report" / "report.html").read_text().count("data:image/jpeg") > 2
    # The missing cell is made up for.
    again = invoke(f"--relay={plan()}", "--minutes=3", f"--out={out}")
    assert "all 4 cells are there" in again.stdout
    assert stand_in[-1].name == "rlo-k11-bounded-seed1"
    elsewhere = invoke(f"--relay={plan(data='not-here.zip')}", "--relay-report", f"--out={out}")
    assert elsewhere.exit_code == 0, elsewhere.stderr
    assert invoke(f"--relay={plan(data='not-here.zip')}", f"--out={out}").exit_code == 2
    other = invoke(f"--relay={plan(kimg=50)}", "--relay-report", f"--out={out}")
    assert other.exit_code == 2
    assert "another plan" in other.stderr


def test_a_cell_that_does_not_fit_is_refused_before_it_starts(plan, stand_in, tmp_path):
    out = tmp_path / "out"
    result = invoke(f"--relay={plan(kimg=500, every=40)}", "--minutes=2", f"--out={out}")
    assert result.exit_code == 2
    assert "takes about 10.6 minutes here (1.00 s/kimg and 5.0 s for each evaluation)" in result.stderr
    assert "room for 83.6" in result.stderr
    assert "--calls=7" in result.stderr
    assert stand_in == []
    fitting = invoke(f"--relay={plan(kimg=80, every=40)}", "--minutes=2", f"--out={tmp_path / 'other'}")
    assert fitting.exit_code == 0, fitting.stderr


def test_a_cell_may_go_on_over_several_calls(plan, stand_in, monkeypatch, tmp_path):
    out, complete = tmp_path / "out", relay.run_jobs

    def stopped(jobs, parallel, say):
        for job in jobs:  # as training leaves it when its time is over
            job.folder.mkdir(parents=True)
            for name in ("training_options.json", "checkpoint-000020000.safetensors"):
                (job.folder / name).write_text("{}")
        return [f"{jobs[0].name} was stopped before its end"]

    arguments = [f"--relay={plan(losses='ce', seeds=1, kimg=500, every=40)}", "--minutes=2", f"--out={out}"]
    monkeypatch.setattr(relay, "run_jobs", stopped)
    first = invoke(*arguments, "--calls=8")
    assert first.exit_code == 0, first.stderr
    assert "ce-seed0 is at" in first.stdout
    assert "missing: 1 of 1 cells" in first.stdout
    assert not list(out.glob("*.json"))

    def continued(jobs, parallel, say):
        shutil.rmtree(jobs[0].folder)
        return complete(jobs, parallel, say)

    monkeypatch.setattr(relay, "run_jobs", continued)
    assert "all 1 cells are there" in invoke(*arguments, "--calls=8").stdout


def test_what_is_needed_falls_with_what_is_done(plan):
    design = relay.read_plan(ComparisonOptions(relay=str(plan(kimg=500, every=40))))
    assert FAST.needed(design) == pytest.approx(1.1 * (10 + 500 + 14 * 5))  # the paper's 14 points
    assert FAST.needed(design, nimg=480_000) == pytest.approx(1.1 * (10 + 20 + 5))
    fitting = dataclasses.replace(design, kimg=FAST.length(design, 300.0, calls=1))
    assert FAST.needed(fitting) <= 300.0 + 1.1 * 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 1}, "'lr' is unknown"),
        ({"seeds": "two"}, "'seeds' should be int"),
        ({"losses": None}, "is no plan"),
        ({"losses": "cee"}, "--losses"),
    ],
)
def test_mistakes_in_a_plan_are_one_line(plan, tmp_path, changes, words):
    result = invoke(f"--relay={plan(**changes)}", f"--out={tmp_path / 'out'}")
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_what_the_plan_decides_cannot_be_given(plan, tmp_path):
    result = invoke(f"--relay={plan()}", "--kimg=3", f"--out={tmp_path / 'out'}")
    assert (result.exit_code, "--kimg: the plan decides that" in result.stderr) == (2, True)
    assert invoke("--minutes=3").exit_code == 2


@pytest.mark.parametrize("damage", ["{}", '{"plan": 3}', "[]"])
def test_a_damaged_cell_is_named(plan, stand_in, tmp_path, damage):
    design = relay.read_plan(ComparisonOptions(relay=str(plan())))
    path = tmp_path / "ce-seed0.json"
    path.write_text(damage)
    with pytest.raises(UserError, match=r"ce-seed0\.json"):
        relay.read_cell(path, design)


def test_values_that_are_not_numbers_survive(plan, stand_in, write_run, tmp_path):
    design = relay.read_plan(ComparisonOptions(relay=str(plan())))
    job, loss, seed = relay._cells(tmp_path, design)[0]
    write_run(job.folder, seed, [90.0, 50.0, math.nan])
    relay.write_cell(tmp_path, design, job, loss, seed, "cpu")
    assert relay.read_cell(tmp_path / "ce-seed0.json", design).diverged


def test_killed_and_started_again_it_ends_with_the_cell(plan, tmp_path, fork, wait_until):
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    out = tmp_path / "out"
    short = plan(losses="ce", seeds=1, kimg=1, every=0.5, metrics=["swd50"])
    process = fork(ROOT / "compare.py", [f"--relay={short}", f"--out={out}"])
    first = out / "runs" / "ce-seed0"
    try:
        wait_until(lambda: list(first.glob("checkpoint-*")), process)
    finally:
        process.kill()
        process.join()
    assert not (out / "ce-seed0.json").exists()
    again = invoke(f"--relay={short}", "--minutes=60", f"--out={out}")  # measures before it goes on
    assert again.exit_code == 0, again.stderr
    assert "all 1 cells are there" in again.stdout
    assert "continuing" in (first / "log.txt").read_text()
    assert json.loads((out / "speed.json").read_text())["seconds"]["per_kimg"] > 0
    cell = json.loads((out / "ce-seed0.json").read_text())
    assert cell["run"]["finished"]
    assert cell["run"]["curves"]["swd50"]["nimg"] == [32, 544, 1024]
