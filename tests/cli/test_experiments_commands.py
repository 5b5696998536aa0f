"""The experiments' command lines, end to end on small settings, and their one-line errors."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn")
pytest.importorskip("timm")
pytest.importorskip("matplotlib")
from click.testing import CliRunner

from rooted.experiments import spirals
from rooted.experiments.classification import command as classification
from rooted.experiments.regression import command as regression


def run(module, *arguments):
    return CliRunner().invoke(module.main, [str(argument) for argument in arguments])


def fails(module, message, *arguments):
    result = run(module, *arguments)
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An .npz of JPEGs: three classes of coloured noise, 60 training and 30 test images."""
    rng = np.random.default_rng(0)
    arrays = {"classes": np.array(["red", "green", "blue"])}
    for part, count in (("train", 60), ("test", 30)):
        labels, contents = np.arange(count) % 3, []
        for label in labels:
            image = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            image[..., label] += 100
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "JPEG")
            contents.append(stream.getvalue())
        arrays[f"{part}_labels"] = labels.astype(np.uint8)
        arrays[f"{part}_offsets"] = np.cumsum([0, *map(len, contents)])
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(contents), np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "colours.npz"
    np.savez(path, **arrays)
    return path


def test_regression_makes_table_1(data_dir, tmp_path):
    result = run(
        regression, f"--data-dir={data_dir / 'uci'}", "--datasets=wine", "--seeds=1", "--folds=2", "--k-max=4",
        "--jobs=1", f"--out={tmp_path}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    protocols = [row["protocol"] for row in results["table1"]]
    assert protocols == ["published", "paper", "tuned", "optimum"]
    for row in results["table1"][1:]:
        cell = row["LR"] or row["LR-L2"]
        assert 85 < float(cell.split(" ±")[0]) <= 100
    with open(tmp_path / "convergence.csv") as stream:
        curves = list(csv.DictReader(stream))
    assert {row["method"] for row in curves} == {"LR", "RLO-3", "RLO-11"}
    assert any(float(row["condition number"]) > 1 for row in curves if row["condition number"])
    assert (tmp_path / "convergence.png").stat().st_size > 10_000


def test_regression_refuses_wrong_input(tmp_path, data_dir):
    fails(regression, "unknown data set 'beer'", "--datasets=beer", f"--out={tmp_path}")
    fails(regression, "no folder", f"--data-dir={tmp_path / 'none'}", f"--out={tmp_path}")
    fails(regression, "unknown data set 'bier'; nearest: wine", "--datasets=bier", f"--out={tmp_path}")
    fails(regression, "below --k-min", "--k-max=2", f"--out={tmp_path}")
    fails(regression, "more than 1000 roots", "--k-max=1e300", f"--out={tmp_path}")
    wine = ["--datasets=wine", f"--data-dir={data_dir / 'uci'}", f"--out={tmp_path}"]
    fails(regression, "--folds=49: the smallest class of wine has 48 samples", *wine, "--folds=49")
    empty = tmp_path / "empty"
    empty.mkdir()
    fails(regression, "6be6b1203f3d51df", "--datasets=wine", f"--data-dir={empty}", f"--out={tmp_path}")
    shutil.copy(data_dir / "uci" / "wine.data", empty)
    (empty / "wine.data").chmod(0o644)
    with open(empty / "wine.data", "a") as stream:
        stream.write("1,2,3\n")
    fails(regression, "expected 6be6b1203f3d51df", "--datasets=wine", f"--data-dir={empty}", f"--out={tmp_path}")
    fails(
        regression, "not a table of numbers", "--datasets=wine", f"--data-dir={empty}", "--no-verify",
        f"--out={tmp_path}",
    )  # fmt: skip


WINE = [[label, *range(13)] for label in (1, 2, 3) for _ in range(6)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a table of numbers"),
        ("1,2,3\n", "1 x 3 numbers, not 14"),
        ("\n".join(",".join(map(str, row)) for row in [*WINE, [4, *range(13)]]), "the label 4, not 1, 2, 3"),
        ("\n".join(",".join(map(str, row)) for row in [*WINE, [1, *range(12), "nan"]]), "not finite"),
        ("\n".join(",".join(map(str, row)) for row in WINE[:-2]), "smallest class has 4 samples"),
    ],
)
def test_regression_names_a_wrong_file(tmp_path, content, message):
    (tmp_path / "wine.data").write_text(content)
    arguments = ["--datasets=wine", f"--data-dir={tmp_path}", "--no-verify", f"--out={tmp_path / 'out'}"]
    fails(regression, message, *arguments)
    fails(regression, str(tmp_path / "wine.data"), *arguments)


@pytest.mark.parametrize(
    ("name", "files", "wrong"),
    [
        ("ionosphere", ["ionosphere.data"], {"ionosphere.data": ""}),
        ("spect", ["SPECT.train", "SPECT.test"], {"SPECT.test": "0,1\n"}),
        ("madelon", ["madelon_train.data", "madelon_train.labels"], {"madelon_train.labels": "1\n"}),
    ],
)
def test_regression_names_the_wrong_file_of_several(data_dir, tmp_path, name, files, wrong):
    for file in files:
        shutil.copyfile(data_dir / "uci" / file, tmp_path / file)
    ((file, content),) = wrong.items()
    (tmp_path / file).write_text(content)
    fails(regression, file, f"--datasets={name}", f"--data-dir={tmp_path}", "--no-verify", f"--out={tmp_path / 'out'}")


def test_spirals_draw_six_panels(tmp_path, monkeypatch):
    monkeypatch.setattr(spirals, "ITERATIONS", {2: 60, 3: 20, 4: 15})
    result = run(spirals, "--seeds=2", "--points=300", f"--out={tmp_path}")
    assert result.exit_code == 0, result.output
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert len(runs) == 3 * 3 * 2
    assert all(0.4 < value <= 1 for entry in runs for value in entry["test accuracy"])
    with Image.open(tmp_path / "spirals.png") as image:
        assert image.width > 900


def test_classification_trains_every_loss_and_continues(pictures, tmp_path):
    arguments = ["--preset=smoke", f"--data={pictures}", "--epochs=3", "--batch=20", "--limit=60"]
    result = run(classification, *arguments, f"--out={tmp_path / 'a'}")
    assert result.exit_code == 0, result.output
    runs = json.loads((tmp_path / "a" / "results.json").read_text())["runs"]
    assert [entry["loss"] for entry in runs] == ["ce", "focal", "rlo-k8-bounded", "rlo-k8-convex"]
    for entry in runs:
        assert len(entry["history"]) == 3
        assert entry["history"][-1]["train_accuracy"] > 0.4
        assert 0 < entry["share_of_loss"] < 0.5
    assert list((tmp_path / "a" / "ce-seed0").glob("events.out.tfevents*"))
    fails(classification, "was made with epochs 3, not 4", *arguments, "--epochs=4", f"--out={tmp_path / 'a'}")
    record = tmp_path / "a" / "ce-seed0" / "result.json"
    whole = record.read_text()
    for content in (whole[:-40], "", "[]", "{}", whole.replace('"accuracy"', '"acuracy"')):
        record.write_text(content)
        fails(classification, f"{record} is not the record of a run", *arguments, f"--out={tmp_path / 'a'}")


def test_the_fast_recipe_trains_every_loss_under_label_noise(pictures, tmp_path):
    arguments = ["--preset=fast", f"--data={pictures}", "--epochs=2", "--batch=20", "--limit=60", "--seeds=1"]
    result = run(classification, *arguments, "--label-noise=0.4", "--tune-lr=0.05,0.1", f"--out={tmp_path}")
    assert result.exit_code == 0, result.output
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [entry["loss"] for entry in runs] == ["ce", "focal", "rlo-k8-bounded", "rlo-k8-convex"]
    for entry in runs:
        config = entry["config"]
        assert (config["model"], config["flips"], config["label_smoothing"]) == ("fast", "turns", 0.2)
        assert config["lr"] in (0.05, 0.1)


def test_classification_that_diverges_says_so(pictures, tmp_path):
    common = ["--preset=smoke", f"--data={pictures}", "--epochs=1", "--batch=20", "--limit=60", f"--out={tmp_path}"]
    for message, *options in (
        ("the loss of ce is not finite at lr 1e+30; lower --lr", "--losses=ce", "--lr=1e30"),
        ("the logits of ce are not finite at lr 1e+30; lower --lr", "--losses=ce", "--lr=1e30", "--batch=60"),
        ("lower --lr or raise --k", "--losses=rlo", "--k=1e-5"),
    ):
        result = run(classification, *common, *options)
        assert result.exit_code == 2, result.output + repr(result.exception)
        assert result.stderr.rstrip().endswith(f"error: {message}" if message.startswith("the") else message)
    result = run(classification, *common, "--losses=ce", "--tune-lr=1e30")
    assert result.exit_code == 2
    assert "--tune-lr: training diverged at each of these rates" in result.stderr
    result = run(classification, *common, "--losses=ce", "--tune-lr=1e30,0.01")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "results.json").read_text())["runs"][0]["config"]["lr"] == 0.01
    # A mistake is no diverged rate.
    fails(classification, "nearest: resnet18", *common, "--tune-lr=0.1", "--model=resnet81")


@pytest.mark.parametrize("device", ["tpu", "mps", "meta", "cuda:99"])
def test_classification_refuses_a_device_that_is_not_here(device, pictures, tmp_path):
    fails(classification, "no such device here", f"--data={pictures}", f"--out={tmp_path}", f"--device={device}")


def test_classification_refuses_wrong_input(pictures, tmp_path):
    common = [f"--data={pictures}", f"--out={tmp_path}"]
    fails(classification, "nearest: cifar10", "--data=cifr10", f"--out={tmp_path}")
    fails(classification, "nearest: resnet18", *common, "--model=resnet81")
    fails(classification, "out of range", *common, "--k=0")
    fails(classification, "'ten' is not a number", *common, "--k=ten")
    fails(classification, "unknown loss 'hinge'", *common, "--losses=hinge")
    fails(classification, "not a list of numbers", *common, "--tune-lr=low")
    result = run(classification, *common, "--model=resnet19")
    names = result.stderr.split("nearest: ")[1].strip().split(", ")
    assert names[0] == "resnet18"
    assert len(set(names)) == len(names) > 1
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"not an archive")
    fails(classification, "not a readable archive", f"--data={damaged}", f"--out={tmp_path}")
    with np.load(pictures) as arrays:
        changed = dict(arrays)
    changed["classes"] = changed["classes"][:2]
    np.savez(tmp_path / "labels.npz", **changed)
    fails(classification, "labels reach 2, but there are 2 classes", f"--data={tmp_path / 'labels.npz'}")
    del changed["test_offsets"]
    np.savez(tmp_path / "short.npz", **changed)
    short = [f"--data={tmp_path / 'short.npz'}", f"--out={tmp_path}"]
    fails(classification, "no array test_offsets in it; needed are classes, train_jpeg", *short)
    (tmp_path / "folder").mkdir()
    fails(classification, "no folders train and val", f"--data={tmp_path / 'folder'}", f"--out={tmp_path}")


@pytest.mark.slow
def test_classification_under_torchrun_equals_its_settings(pictures, tmp_path):
    """Two processes share every batch; the record is one, and the accuracy beats chance."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m",
        "rooted.experiments.classification", f"--data={pictures}", "--losses=rlo", "--form=bounded", "--epochs=4",
        "--batch=20", "--limit=60", "--device=cpu", f"--out={tmp_path}",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (run_,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert len(run_["history"]) == 4
    assert run_["history"][-1]["train_accuracy"] > 0.4
