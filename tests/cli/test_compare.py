"""compare.py end to end with tiny networks, and what becomes of it when it is killed."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dnnlib import UserError
from dnnlib.weights import offline_judges
from rooted_stylegan import compare

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--preset=demo", "--cbase=64", "--cmax=8", "--batch=32", "--mbstd-group=4", "--aug=noaug", "--grid=4x2")


def invoke(*arguments):
    return CliRunner().invoke(compare.main, list(map(str, arguments)))


def is_locked(folder):
    with open(folder / ".lock", "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.fixture(scope="module")
def killed(tmp_path_factory, fork, wait_until):
    """A comparison killed in its first run and then repeated: its folder, whether that run was unfinished, output."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    outdir = tmp_path_factory.mktemp("killed")
    names = "swd50,copies20" if offline_judges() else "swd50"
    arguments = [f"--outdir={outdir}", "--losses=ce,rlo:k=11", "--seeds=1", "--kimg=1", f"--metrics={names}",
                 "--evaluations=1", "--projections=1", "--projection-steps=5", "--projection-distance=pixel",
                 "--", *TINY]  # fmt: skip
    process = fork(ROOT / "compare.py", arguments)
    first = outdir / "runs" / "ce-seed0"
    try:
        wait_until(lambda: list(first.glob("checkpoint-*")), process)
    finally:
        process.kill()
        process.join()
    wait_until(lambda: not is_locked(first))  # the training process does not go on by itself
    begun = not (first / "finished.json").exists()
    return outdir, begun, invoke(*arguments)


def test_after_sigkill_it_goes_on_where_it_was(killed):
    outdir, begun, again = killed
    assert begun
    assert again.exit_code == 0, again.stderr
    assert "rlo-k11-bounded-seed0: starting" in again.stderr
    log = (outdir / "runs" / "ce-seed0" / "log.txt").read_text()
    assert "continuing" in log
    results = json.loads((outdir / "results.json").read_text())
    assert all(count["finished"] == 1 for count in results["counts"].values())
    for runs in results["runs"].values():
        curve = runs["0"]["curves"]["swd50"]
        assert curve["nimg"] == [32, 1024]  # nothing evaluated twice
    (row, *_) = results["metrics"]["swd50"]["comparisons"]
    assert row["n"] == 1
    assert row["sentence"] in again.stdout


def test_same_weights_images_and_latents_for_every_loss(killed):
    outdir, _, _ = killed
    folders = [outdir / "runs" / name for name in ("ce-seed0", "rlo-k11-bounded-seed0")]
    for name in ("reals.png", "fakes_init.png"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second
    last = [(folder / "fakes000001.png").read_bytes() for folder in folders]
    assert last[0] != last[1]


def test_report_and_projections(killed):
    outdir, _, _ = killed
    text = (outdir / "report.html").read_text()
    assert "Projections" in text
    results = json.loads((outdir / "results.json").read_text())
    (target,) = results["projections"]
    assert set(target["losses"]) == {"ce", "rlo-k11-bounded"}
    for found in target["losses"].values():
        assert found["first"]["nimg"] < found["last"]["nimg"]
        for which in ("first", "last"):
            assert found[which]["distance"] > 0
            assert (outdir / found[which]["picture"]).is_file()
    assert len(results["data"]["hash_by_seed"]["0"]) == 64
    assert (outdir / "figures" / "swd50-against-images.svg").is_file()


@pytest.mark.skipif(not offline_judges(), reason="needs the extra offline")
def test_copies_of_grey_images(killed):
    outdir, _, again = killed
    results = json.loads((outdir / "results.json").read_text())
    [sentence] = results["copying"]
    assert sentence in again.stdout
    assert "show training images again at the end (copies20): CE 0.0 %; RLO-11 bounded 0.0 %." in sentence
    assert {pairs["loss"]: pairs["nimg"] for pairs in results["closest_pairs"]} == {"ce": 1000, "rlo-k11-bounded": 1000}
    assert results["metrics"]["copies20"]["curves"]["ce"]["nimg"] == [32, 1024]
    assert results["metrics"]["copies20"]["reach"] == []
    assert (outdir / "report.html").read_text().count('alt="closest pairs of ') == 2


def test_finished_runs_are_skipped_and_metrics_stay_as_they_were(killed):
    outdir, _, _ = killed
    before = (outdir / "runs" / "ce-seed0" / "log.txt").read_text()
    result = invoke(f"--outdir={outdir}", "--losses=ce,rlo:k=11", "--seeds=1", "--kimg=1",
                    "--evaluations=1", "--", *TINY)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "starting" not in result.stderr
    assert (outdir / "runs" / "ce-seed0" / "log.txt").read_text() == before


def test_report_only_and_print_commands(killed):
    outdir, _, _ = killed
    (outdir / "report.html").unlink()
    result = invoke(f"--outdir={outdir}", "--report-only")
    assert result.exit_code == 0, result.stderr
    assert (outdir / "report.html").is_file()
    result = invoke(f"--outdir={outdir}", "--losses=ce,rlo:k=2..3", "--seeds=1", "--kimg=1",
                    "--evaluations=1", "--print-commands", "--", *TINY)  # fmt: skip
    lines = result.stdout.splitlines()
    assert [line.split("--k=")[1].split()[0] for line in lines] == ["2", "3"]  # ce and k = 11 are done
    assert all(line.startswith("python train.py --preset=demo --cbase=64") for line in lines)


def test_learning_rate_search_as_commands(tmp_path):
    result = invoke(f"--outdir={tmp_path}", "--losses=ce,rlo:k=2:glr=0.001:dlr=0.001", "--seeds=2", "--kimg=10",
                    "--metrics=swd50", "--tune", "--tune-rates=0.001,0.004", "--tune-gammas=1",
                    "--print-commands")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * 2  # two rates, two seeds; the loss that names its rates is not searched
    assert not any("--gamma" in line for line in lines)
    assert all("--kimg=2 " in line and "--loss=ce" in line for line in lines)
    assert sum("--glr=0.004 --dlr=0.004" in line for line in lines) == 2
    assert not any("--seed=0 " in line or "--seed=1 " in line for line in lines)
    assert "trials of --tune" in result.stderr


def test_r1_weights_are_searched_with_the_rates_as_factors_of_the_configurations(tmp_path):
    arguments = [f"--outdir={tmp_path}", "--losses=ce,rlo:k=1.2:gamma=3,ce:lecam=3e-7", "--seeds=1", "--kimg=10",
                 "--metrics=swd50", "--tune", "--tune-rates=0.001,0.004", "--tune-seeds=1", "--tune-gammas=0.5,1,4",
                 "--print-commands"]  # fmt: skip
    result = invoke(*arguments, "--", "--gamma=0.2")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * 3 + 2 + 2 * 3
    assert [sum(f"--gamma={gamma} " in line for line in lines) for gamma in (0.1, 0.2, 0.8, 3)] == [4, 4 + 10, 4, 2]
    assert "warning: loss rlo-k1.2-bounded: a generator that leaves the data" in result.stderr
    again = invoke(*arguments, "--tune-gammas=0.5,1", "--", "--gamma=0.2")
    assert again.exit_code == 2
    assert "R1 weights 0.1,0.2,0.8 over 2 kimg, not" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--losses=ce,mse"], "'mse' is not a loss"),
        (["--data=/nowhere.zip"], "--data=/nowhere.zip: there is no such file"),
        (["--metrics=fud50k"], "fud50k"),
        (["--report-only"], "holds no comparison"),
        (["--tune", "--tune-rates=fast"], "'--tune-rates': 'fast' is not a valid number"),
        (["--tune", "--tune-gammas=0"], "--tune-gammas"),
        (["--losses=ce,ce:lecam=-1"], "--lecam"),
        (["--losses=ce,ce:augpipe=blur"], "--augpipe"),
        (["--losses=ce,ce:pair:saturating"], "pair has no saturating game"),
        (["--losses=ce,alpha=0.7:k=2"], "leave k or alpha out"),
        (["--", "--pair"], "--pair after -- is set by compare.py itself"),
        (["--tune", "--metrics=none"], "--tune needs a metric"),
        (["--", "--seed=3"], "--seed after -- is set by compare.py itself"),
        (["--reach=far"], "'--reach': 'far' is not a valid number"),
        (
            ["--projection-distance=vgg"],
            "--projection-distance=vgg is neither auto, lpips, lite0, pixel nor a TorchScript file",
        ),
        ([f"--projection-distance={__file__}"], "test_compare.py cannot be read as a TorchScript file"),
        (["--projection-target=/nowhere.png"], "--projection-target=/nowhere.png: there is no such file or folder"),
        ([f"--projection-target={__file__}"], "test_compare.py cannot be read as a picture"),
        (["--losses=rlo:k=2..100000"], "has more than 200 values"),
        (["--subset=100000"], "--subset"),
        ([f"--data={__file__}"], "--data"),
        (["--first-seed=4294967295", "--seeds=2"], "--seed"),
        (["--", "--speed=9"], "--speed"),
        (["--", "--batch=many"], "--batch"),
        (["--", "--batch=7", "--gpus=2"], "--batch=7 is not divisible by the number of processes, 2"),
        (["--", "--dry-run"], "--dry-run after -- would train nothing"),
        (["--print-commands", "--", "--mbstd-group=7"], "--mbstd-group=7 does not divide"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(tmp_path, monkeypatch, arguments, message):
    # Beginning anything would take minutes; the mistakes are found before.
    monkeypatch.setattr("comparison.command.run_jobs", lambda *a: pytest.fail("it began"))
    result = invoke(f"--outdir={tmp_path / 'out'}", "--metrics=swd50", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"losses": "ce"}', '{"losses": [], "seeds": [], "kimg": 1}', "\0"])
@pytest.mark.parametrize("arguments", [[], ["--report-only"]])
def test_a_broken_design_is_named(tmp_path, content, arguments):
    (tmp_path / "comparison.json").write_text(content)
    result = invoke(f"--outdir={tmp_path}", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: cannot read {tmp_path / 'comparison.json'} (")
    assert "give another --outdir" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "comparison.json").read_text() == content


def test_a_failed_check_leaves_the_design_as_it_was(killed):
    outdir, _, _ = killed
    before = (outdir / "comparison.json").read_text()
    result = invoke(f"--outdir={outdir}", "--losses=ce,rlo:k=7", "--seeds=1", "--first-seed=4294967296", "--kimg=1",
                    "--evaluations=1", "--", *TINY)  # fmt: skip
    assert result.exit_code == 2
    assert (outdir / "comparison.json").read_text() == before


def copy_of(outdir, copy):
    """The folder with the two losses that were trained, without those that other tests only planned."""
    shutil.copytree(outdir, copy)
    design = json.loads((copy / "comparison.json").read_text())
    design["losses"] = [loss for loss in design["losses"] if loss["k"] in (None, 11)]
    (copy / "comparison.json").write_text(json.dumps(design))
    return copy


def test_results_are_written_before_projecting(killed, tmp_path, monkeypatch):
    def fail(*arguments):
        raise UserError("no memory left to project")

    outdir = copy_of(killed[0], tmp_path / "copy")
    for name in ("results.json", "results.csv", "report.html"):
        (outdir / name).unlink()
    shutil.rmtree(outdir / "figures")
    monkeypatch.setattr("comparison.findings.projections.project_all", fail)
    result = invoke(f"--outdir={outdir}", "--report-only", "--projections=1", "--projection-distance=pixel")
    assert result.exit_code == 2
    assert "no memory left to project" in result.stderr
    assert json.loads((outdir / "results.json").read_text())["counts"]["ce"]["finished"] == 1
    assert (outdir / "results.csv").is_file()
    assert (outdir / "report.html").is_file()
    assert (outdir / "figures" / "swd50-against-images.svg").is_file()


def test_projections_that_are_left_out_are_told(killed, tmp_path):
    outdir = copy_of(killed[0], tmp_path / "copy")
    first, *_ = sorted((outdir / "runs" / "ce-seed0").glob("network-snapshot-*.safetensors"))
    first.unlink()
    result = invoke(f"--outdir={outdir}", "--report-only", "--projections=1", "--projection-distance=pixel")
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "no projections" in line]
    assert "ce-seed0 left 1" in line
    assert (outdir / "report.html").is_file()


def test_an_outdir_is_needed():
    assert "--outdir is missing" in invoke("--losses=ce").stderr


def test_a_failing_run_is_named_and_reported(tmp_path):
    result = invoke(f"--outdir={tmp_path}", "--losses=ce", "--seeds=1", "--kimg=1", "--metrics=none",
                    "--", *TINY, "--resume=nowhere.pkl")  # fmt: skip
    assert result.exit_code == 2
    assert "1 of the runs failed; ce-seed0 ended with status 2: there is no network file nowhere.pkl" in result.stderr
    assert (tmp_path / "report.html").is_file()
    assert json.loads((tmp_path / "runs" / "ce-seed0.failed.json").read_text())["diverged"] is False
