import csv
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from comparison.findings import results
from comparison.report import figures, samples, style
from comparison.report import page as report
from comparison.runs import collect
from comparison.runs.collect import read_runs
from comparison.runs.design import Design, Tuning, load_design, reconcile, save_design
from comparison.runs.jobs import job_of, run_folder
from comparison.runs.losses import parse_losses
from dnnlib import UserError
from dnnlib.json_files import strict
from training.run_dir import RunDir


@pytest.fixture(scope="module")
def built(comparison_folder):
    outdir, design = comparison_folder
    return outdir, design, results.build_results(outdir, design, read_runs(outdir, design))


def test_results_files(built):
    outdir, design, content = built
    results.write_results(outdir, content)
    read = json.loads((outdir / "results.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read == json.loads(json.dumps(strict(content)))
    with open(outdir / "results.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(design.losses) * len(design.seeds)
    for row in rows:
        expected = content.metrics[row["metric"]].summary[row["loss"]].seeds[int(row["seed"])]
        assert float(row["final"]) == expected.final


def test_figures_as_png_and_svg(built, tmp_path):
    outdir, design, content = built
    paths = figures.write_figures(tmp_path, content, read_runs(outdir, design), style.line_styles(design.losses))
    names = {path.name for path in paths}
    assert {"swd-against-images.png", "swd-against-seconds.svg", "swd-final.png", "samples.svg"} <= names
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 200
        else:
            assert path.read_text().startswith("<?xml")


def test_equal_places_hold_equal_cells(built):
    outdir, design, _ = built
    shown_samples = samples.collect_samples(read_runs(outdir, design))
    assert (shown_samples.columns, shown_samples.rows) == (6, 4)
    assert shown_samples.nimg[0] == 0
    assert set(shown_samples.pictures) == {loss.key for loss in design.losses}


def test_many_runs_make_no_endless_report(built, monkeypatch):
    outdir, design, _ = built
    monkeypatch.setattr(samples, "PICTURE_LIMIT", 20)
    few = samples.collect_samples(read_runs(outdir, design))
    assert len(few.seeds) == 1
    assert len(few.nimg) == 6
    assert (few.nimg[0], few.nimg[-1]) == (0, 40000)


def test_report_escapes_what_users_name(write_comparison, tmp_path):
    design = write_comparison(tmp_path, seeds=1)
    content = results.build_results(tmp_path, design, read_runs(tmp_path, design))
    content = replace(content, data=replace(content.data, name="</script><script>alert(1)</script>"))
    text = report.render(tmp_path, content, samples.Samples(), style.line_styles(design.losses))
    assert "<script>alert" not in text
    assert text.count("</script>") == 4


def test_report_before_anything_was_run(write_comparison, tmp_path):
    design = write_comparison(tmp_path / "full", seeds=1)
    runs = read_runs(tmp_path, design)
    content = results.build_results(tmp_path, design, runs)
    text = report.render(tmp_path, content, samples.collect_samples(runs), style.line_styles(design.losses))
    assert "No metric has been computed yet." in text
    assert "0 of 3 runs finished" in text


def test_no_network_is_needed(built):
    outdir, design, content = built
    text = report.render(outdir, content, samples.Samples(), style.line_styles(design.losses))
    assert re.findall(r"""(?:src|href)=["']?(?!data:|\$)[a-z]+:""", text) == []


def test_different_images_are_not_compared(write_comparison, tmp_path):
    design = write_comparison(tmp_path, seeds=1)
    options = run_folder(tmp_path, design.losses[0], 0) / "training_options.json"
    changed = json.loads(options.read_text()) | {"dataset_hash": "f" * 64}
    options.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="saw different images"):
        read_runs(tmp_path, design)


def test_reading_a_run_that_was_cut_off(write_run, tmp_path):
    folder = tmp_path / "run"
    write_run(folder, 0, [100.0, 50.0, 25.0])
    with open(folder / "metric-swd.jsonl", "a") as stream:
        stream.write('{"results": {"swd": 24.0}, "nimg": 40000, "metric": "swd"}\n{"results": {"sw')
    run = collect.read_run(folder)
    assert run.curves["swd"].nimg == (0, 20000, 40000)
    assert run.curves["swd"].value == (100.0, 50.0, 24.0)  # evaluated twice: the later line counts
    assert run.curves["swd"].seconds == (0.5, 12.5, 24.5)
    assert run.finished
    assert RunDir(folder).nimg() == 40000
    (folder / "metric-swd.jsonl").write_text('{"results": {}}\nnonsense\n{"results": {}}\n')
    with pytest.raises(UserError, match="line 2 is not a JSON object"):
        collect.read_run(folder)


def test_finished_is_what_training_says(write_run, tmp_path):
    """A run that was made longer has reached its former end, and is not finished."""
    write_run(tmp_path / "run", 0, [100.0, 50.0, 25.0])
    assert collect.read_run(tmp_path / "run").finished
    RunDir(tmp_path / "run").reopen()
    assert not collect.read_run(tmp_path / "run").finished


@pytest.mark.parametrize("recorded", ["by training", "before training recorded it"])
def test_a_run_that_was_given_up_has_diverged(write_run, tmp_path, recorded):
    folder = tmp_path / "run"
    write_run(folder, 0, [100.0, 50.0, 25.0])
    RunDir(folder).reopen()
    assert not collect.read_run(folder).diverged
    if recorded == "by training":
        RunDir(folder).give_up({"kimg": 40.0, "reason": "..."})
    else:
        collect.failure_file(folder).write_text(json.dumps({"status": 2, "message": "...", "diverged": True}))
    run = collect.read_run(folder)
    assert run.diverged
    assert not run.finished


def make_design(**changes):
    values = {"losses": tuple(parse_losses("ce,rlo:k=2")), "seeds": (0, 1), "kimg": 10.0, "metrics": ("swd",)}
    return Design(**{**values, **changes})


def test_design_round_trip(tmp_path):
    design = make_design(data="a b.zip", tuning=Tuning((0.001, 0.002), (1000,), 2.0), train_flags=("--batch=8",))
    save_design(tmp_path, design)
    assert load_design(tmp_path) == design
    (tmp_path / "comparison.json").write_text('{"speed": 3}')
    with pytest.raises(UserError, match=r"comparison\.json"):
        load_design(tmp_path)


def test_losses_and_seeds_may_be_added_but_nothing_else_changed():
    grown = reconcile(make_design(), make_design(losses=tuple(parse_losses("ce,rlo:k=5")), seeds=(1, 2)))
    assert [loss.key for loss in grown.losses] == ["ce", "rlo-k2-bounded", "rlo-k5-bounded"]
    assert grown.seeds == (0, 1, 2)
    with pytest.raises(UserError, match=r"^`kimg`: the comparison in `outdir` was begun with 10"):
        reconcile(make_design(), make_design(kimg=20.0))
    with pytest.raises(UserError, match="`train_flags`"):
        reconcile(make_design(), make_design(train_flags=("--batch=8",)))


def test_runs_differ_in_nothing_but_loss_and_seed(tmp_path):
    design = make_design(data="a b.zip", subset=20, evaluations=5, train_flags=("--batch=8",),
                         tuned={"rlo-k2-bounded": {"glr": 0.001, "dlr": 0.001}})  # fmt: skip
    jobs = [job_of(tmp_path, design, loss, 1) for loss in design.losses]
    ce, rlo = (job.flags for job in jobs)
    assert set(ce) ^ set(rlo) == {
        f"--run-dir={tmp_path}/runs/ce-seed1", "--loss=ce",
        f"--run-dir={tmp_path}/runs/rlo-k2-bounded-seed1", "--loss=rlo", "--k=2", "--rlo-form=bounded",
        "--glr=0.001", "--dlr=0.001",
    }  # fmt: skip
    assert {"--seed=1", "--kimg=10", "--tick=2", "--metrics=swd", "--subset=20", "--data=a b.zip"} <= set(ce)
    assert "'--data=a b.zip'" in jobs[0].command


def test_a_metric_that_could_not_be_computed_is_said(write_comparison, tmp_path):
    design = write_comparison(tmp_path, seeds=1)
    for loss in design.losses:
        line = {"results": {}, "metric": "fid50k_full", "not_computed": "no detector", "nimg": 0}
        (run_folder(tmp_path, loss, 0) / "metric-fid50k_full.jsonl").write_text(json.dumps(line) + "\n")
    content = results.build_results(tmp_path, design, read_runs(tmp_path, design))
    assert content.not_computed == {"fid50k_full": "no detector"}
    assert list(content.metrics) == ["swd"]
    text = report.render(tmp_path, content, samples.Samples(), style.line_styles(design.losses))
    assert "fid50k_full was not computed: no detector." in text


def test_many_losses_are_told_briefly(write_comparison, tmp_path):
    design = write_comparison(tmp_path, losses="ce,rlo:k=2..12", seeds=3)
    content = results.build_results(tmp_path, design, read_runs(tmp_path, design))
    text = report.render(tmp_path, content, samples.Samples(), style.line_styles(design.losses))
    findings = text.split('<ul class="findings">')[1].split("</ul>")[0]
    assert "CE and 11 other losses" in text
    assert "RLO-11 bounded against CE" in findings  # a hint
    assert findings.count("no difference seen") == 0
    assert "no difference from cross-entropy seen for RLO-2 bounded" in findings
