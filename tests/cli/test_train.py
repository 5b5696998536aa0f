"""The command `train.py`: mistakes end in one line and status 2, runs leave what the docs promise."""

import errno
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import dnnlib.files
from rooted_stylegan import train
from training.dataset import files, source

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "--cbase=128",
    "--cmax=8",
    "--batch=8",
    "--kimg=0.03",
    "--tick=0.016",
    "--metrics=none",
    "--grid=2x2",
    "--device=cpu",
]


def invoke(*arguments: str):
    return CliRunner().invoke(train.main, [str(argument) for argument in arguments])


def png(size: tuple[int, int] = (16, 16), mode: str = "RGB", seed: int = 0) -> bytes:
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.RandomState(seed).randint(0, 255, (size[1], size[0], channels), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode=mode).save(stream, "png") if mode != "1" else None
    return stream.getvalue()


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def good_files(count: int = 8) -> dict[str, bytes]:
    return {f"{i:03d}.png": png(seed=i) for i in range(count)}


def labelled(labels) -> dict[str, bytes]:
    return good_files() | {"dataset.json": json.dumps({"labels": labels}).encode()}


BAD_DATA = {
    "damaged zip": (b"not a zip", [], "zip"),
    "empty zip": ({}, [], "image"),
    "climbing entries": (good_files() | {"../evil.png": png()}, [], "evil.png"),
    "different sizes": (good_files() | {"zz.png": png((32, 32))}, [], "zz.png"),
    "too long": ({"a.png": png((128, 16))}, [], "112x32"),
    "no doublings": ({"a.png": png((25, 25))}, [], "24x24"),
    "too small": ({"a.png": png((8, 8))}, [], "16"),
    "unreadable": (good_files() | {"zz.png": b"\x89PNG broken"}, [], "zz.png"),
    "no labels": (good_files(), ["--cond=1"], "--cond"),
    "labels missing for some": (labelled([["000.png", 1]]), ["--cond=1"], "dataset.json"),
    "labels of different length": (
        labelled([[name, [0.0] * (1 + i % 2)] for i, name in enumerate(good_files())]),
        ["--cond=1"],
        "dataset.json",
    ),
    "subset too large": (good_files(), ["--subset=9"], "--subset"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_line_and_status_2(tmp_path, case):
    files, flags, expected = BAD_DATA[case]
    path = tmp_path / "data.zip"
    if isinstance(files, bytes):
        path.write_bytes(files)
    else:
        make_zip(path, files)
    result = invoke(f"--data={path}", f"--outdir={tmp_path / 'out'}", *TINY, *flags)
    assert_one_line(result, expected)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path.parent / "evil.png").exists()


BAD_FLAGS = {
    "no such data": (["--data=nowhere.zip"], "nowhere.zip"),
    "k with ce": (["--loss=ce", "--k=2"], "--k"),
    "k missing": (["--loss=rlo"], "--k"),
    "k of the bounded form out of range": (["--loss=rlo", "--k=1"], "k"),
    "k of the convex form out of range": (["--loss=rlo", "--k=-1", "--rlo-form=convex"], "k"),
    "k not a number": (["--loss=rlo", "--k=nan"], "k"),
    "a loss for the generator with saturating": (["--g-loss=ce", "--saturating"], "leave --g-loss or --saturating out"),
    "pairs with saturating": (["--pair", "--saturating=1"], "leave --pair or --saturating out"),
    "alpha with k": (["--loss=rlo", "--alpha=0.7", "--k=2"], "leave k or alpha out"),
    "alpha with a form": (["--loss=rlo", "--alpha=0.7", "--rlo-form=convex"], "leave form or alpha out"),
    "alpha with ce": (["--loss=ce", "--alpha=0.7"], "--loss=ce --alpha=0.7"),
    "alpha out of range": (["--alpha=0"], "--alpha"),
    "alpha not finite": (["--alpha=inf"], "--alpha"),
    "an unknown loss for the generator": (["--g-loss=hinge"], "--g-loss: 'hinge' is not a loss"),
    "the generator's k out of range": (["--g-loss=rlo:k=1"], "--g-loss: k = 1 is out of range"),
    "lecam out of range": (["--lecam=-1"], "--lecam"),
    "lecam without a discriminator to train": (["--lecam=3e-7", "--dlr=0"], "--lecam regularises the discriminator"),
    "r2 without a discriminator to train": (["--r2-gamma=1", "--dlr=0"], "--r2-gamma regularises"),
    "gamma scaled by something": (["--gamma-scale=k"], "--gamma-scale"),
    "apa with p": (["--aug=apa", "--p=0.2"], "--p belongs to --aug=fixed"),
    "apa with augmentations": (["--aug=apa", "--augpipe=diffaug"], "--augpipe"),
    "apa with ada's target": (["--aug=apa", "--target=0.5"], "--target belongs to --aug=ada"),
    "apa's target without apa": (["--apa-target=0.5"], "--apa-target belongs to --aug=apa"),
    "apa's target out of range": (["--aug=apa", "--apa-target=2"], "--apa-target"),
    "batch not divisible": (["--batch=9", "--batch-gpu=2"], "--batch-gpu"),
    "group not divisible": (["--batch=6", "--mbstd-group=4"], "--mbstd-group"),
    "unknown preset": (["--preset=demonstration"], "--preset"),
    "unknown metric": (["--metrics=fidd50k"], "fidd50k"),
    "p without fixed": (["--p=0.2"], "--p"),
    "fixed without p": (["--aug=fixed"], "--p"),
    "target without ada": (["--aug=noaug", "--target=0.5"], "--target"),
    "augpipe without augmentation": (["--aug=noaug", "--augpipe=bg"], "--augpipe"),
    "p-max without ada": (["--aug=noaug", "--p-max=0.8"], "--p-max"),
    "ada-kimg without ada": (["--aug=fixed", "--p=0.1", "--ada-kimg=100"], "--ada-kimg"),
    "partial resume of nothing": (["--resume-partial"], "--resume-partial"),
    "partial resume of noresume": (["--resume=noresume", "--resume-partial=1"], "--resume-partial"),
    "keep no last": (["--metrics=swd1k", "--keep=last=0"], "'last=0' would keep none; give 1 or more"),
    "keep no best": (["--metrics=swd1k", "--keep=last=2,best=0"], "'best=0' would keep none"),
    "keep the best without metrics": (["--keep=best=2"], "name one with --metrics"),
    "more frozen layers than D has": (["--freezed=11"], "10 at most"),
    "more frozen layers than the plain D has": (["--cfg=cifar", "--freezed=8", "--mbstd-group=4"], "7 at most"),
    "a grid of too many pictures": (["--grid=65x64"], "--grid=65x64 is 4160 pictures"),
    "desc with a slash": (["--desc=a/b"], "--desc"),
    "desc with a backslash": (["--desc=a\\b"], "--desc"),
    "desc with a line break": (["--desc=a\nb"], "--desc"),
    "desc too long": (["--desc=" + "x" * 101], "--desc has 101"),
    "desc too long in bytes": (["--desc=" + "ä" * 51], "--desc has 102"),
    "empty data": (["--data="], "--data is empty; give a path or leave the option out"),
    "empty outdir": (["--outdir="], "--outdir is empty"),
    "empty run-dir": (["--run-dir", ""], "--run-dir is empty"),
    "empty continue": (["--continue="], "--continue is empty"),
    "empty resume": (["--resume="], "--resume is empty"),
    "empty desc": (["--desc="], "--desc is empty"),
    "empty preset": (["--preset="], "--preset is empty"),
    "empty metrics": (["--metrics="], "--metrics is empty; give a value"),
    "metrics without a name": (["--metrics=,"], "'--metrics': it is empty; give names or none"),
    "kimg not a number": (["--kimg=nan"], "--kimg"),
    "kimg not finite": (["--kimg=inf"], "--kimg"),
    "p not a number": (["--aug=fixed", "--p=nan"], "--p"),
    "k infinite": (["--loss=rlo", "--k=inf"], "--k"),
    "resume from nothing": (["--resume=nowhere.pkl"], "nowhere.pkl"),
    "continue nothing": (["--continue=nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_flags_are_one_line_and_status_2(tmp_path, case):
    flags, expected = BAD_FLAGS[case]
    result = invoke(f"--outdir={tmp_path / 'out'}", *TINY, *flags)
    assert_one_line(result, expected)
    assert not list(tmp_path.rglob("*.*"))


def assert_one_line(result, expected: str) -> None:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.stderr
    assert expected in lines[0]
    assert "Traceback" not in result.output


def test_click_itself_refuses_with_status_2():
    for flag in ("--cfg=unknown", "--kimg=0", "--p=2", "--seed=-1", "--grid=8", "--keep=all"):
        result = invoke(flag)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = invoke(f"--outdir={blocked}", *TINY)
    assert_one_line(result, "--outdir")


def test_full_disk_during_a_snapshot_leaves_the_previous_files(tmp_path, monkeypatch):
    assert invoke(f"--run-dir={tmp_path / 'run'}", *TINY, "--snap=1").exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(dnnlib.files.os, "fsync", full)
        result = invoke(f"--continue={tmp_path / 'run'}", "--kimg=0.06", "--snap=1")
    assert_one_line(result, "No space left")
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    assert after == before
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_dry_run_prints_the_configuration_and_writes_nothing(tmp_path):
    result = invoke(f"--outdir={tmp_path / 'out'}", "--dry-run", "--loss=rlo", "--k=11", "--metrics=none")
    assert result.exit_code == 0
    options = json.loads(result.stdout)
    assert options["loss"] == {"name": "rlo", "k": 11.0, "form": "bounded", "saturating": False}
    assert options["batch_size"] == 32
    assert options["loss_kwargs"]["r1_gamma"] == pytest.approx(0.0064)
    assert not (tmp_path / "out").exists()


def test_noresume_is_no_resume():
    plain, named = (
        json.loads(invoke("--dry-run", "--metrics=none", *flags).stdout) for flags in ([], ["--resume=noresume"])
    )
    assert plain == named
    assert named["resume"] is None


def test_a_preset_freezes_no_more_layers_than_there_are(tmp_path):
    data = make_zip(tmp_path / "data.zip", good_files())
    flags = ["--dry-run", "--metrics=none", "--preset=few-shot", f"--data={data}"]
    assert json.loads(invoke(*flags).stdout)["D_kwargs"]["freeze_layers"] == 7
    assert_one_line(invoke(*flags, "--freezed=8"), "7 at most")


def test_a_run_goes_on_from_another_folder_and_with_data_that_moved(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    make_zip(first / "data.zip", good_files())
    monkeypatch.chdir(first)
    assert invoke("--data=data.zip", "--run-dir=run", *TINY).exit_code == 0
    path = first / "run" / "training_options.json"

    def data() -> str:
        return json.loads(path.read_text())["training_set_kwargs"]["path"]

    assert data() == str(first / "data.zip")
    monkeypatch.chdir(second)
    result = invoke("--continue=../first/run", "--kimg=0.04")
    assert result.exit_code == 0, result.stderr

    (first / "data.zip").rename(second / "images.zip")
    assert_one_line(invoke("--continue=../first/run", "--kimg=0.05"), "data.zip")
    result = invoke("--continue=../first/run", "--kimg=0.05", "--data=images.zip")
    assert result.exit_code == 0, result.stderr
    assert data() == str(second / "images.zip")

    # Other images, be they of another size, do not become the run's.
    make_zip(second / "other.zip", {name: png(seed=99) for name in good_files()})
    make_zip(second / "larger.zip", {name: png((32, 32)) for name in good_files()})
    for other in ("other.zip", "larger.zip", "builtin:faces"):
        result = invoke("--continue=../first/run", "--kimg=0.06", f"--data={other}")
        assert_one_line(result, f"{other} does not hold the images that this run began with")
    assert data() == str(second / "images.zip")


def test_the_data_set_is_opened_once(tmp_path, monkeypatch):
    """By a new run, by one that goes on, and also where a metric wants all the images of a subset, mirrored or not."""
    opened = []

    def open_files(path):
        opened.append(path)
        return files.open_files(path)

    monkeypatch.setattr(source, "open_files", open_files)
    data = make_zip(tmp_path / "data.zip", good_files(12))
    flags = ["--subset=8", "--mirror=1", "--metrics=swd8_full,swd8_train,swd8", "--snap=1"]
    result = invoke(f"--data={data}", f"--run-dir={tmp_path / 'run'}", *TINY, *flags)
    assert result.exit_code == 0, result.output
    assert len(opened) == 1
    result = invoke(f"--continue={tmp_path / 'run'}", "--kimg=0.04")
    assert result.exit_code == 0, result.output
    assert len(opened) == 2


def test_the_same_command_finds_its_run_when_the_data_moved(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        make_zip(tmp_path / folder / "data.zip", good_files())
    flags = [f"--run-dir={tmp_path / 'run'}", *TINY]
    assert invoke(f"--data={tmp_path / 'a' / 'data.zip'}", *flags).exit_code == 0
    again = invoke(f"--data={tmp_path / 'b' / 'data.zip'}", *flags)
    assert again.exit_code == 0, again.stderr
    make_zip(tmp_path / "b" / "data.zip", {name: png(seed=99) for name in good_files()})
    assert_one_line(invoke(f"--data={tmp_path / 'b' / 'data.zip'}", *flags), "--run-dir")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_run_leaves_what_the_reference_leaves(tmp_path, mode):
    make_zip(tmp_path / "pictures.zip", {f"{i}.png": png(mode=mode, seed=i) for i in range(8)})
    result = invoke(
        f"--data={tmp_path / 'pictures.zip'}", f"--outdir={tmp_path / 'out'}", *TINY, "--mirror=1", "--snap=1"
    )
    assert result.exit_code == 0, result.output + result.stderr
    (run,) = (tmp_path / "out").iterdir()
    assert run.name == "00000-pictures-mirror-auto1-kimg0.03-batch8-ce"
    names = {path.name for path in run.iterdir()}
    assert {
        "training_options.json",
        "stats.jsonl",
        "log.txt",
        "reals.png",
        "fakes_init.png",
        "fakes000000.png",
    } <= names
    assert "network-snapshot-000000.safetensors" in names
    assert any(name.startswith("events.out.tfevents") for name in names)
    with Image.open(run / "fakes000000.png") as picture:
        assert picture.size == (32, 32)
        assert picture.mode == mode
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert [line["Progress/tick"]["mean"] for line in lines] == [0, 1, 2]
    assert lines[-1]["Progress/kimg"]["mean"] == pytest.approx(0.032)
    for key in ("Loss/scores/fake", "Loss/G/loss", "Loss/D/loss", "Loss/r1_penalty", "Loss/pl_penalty", "Timing/Gmain"):
        assert set(lines[0][key]) == {"num", "mean", "std"}


def test_conditional_training_and_unfinished_runs_are_told_apart(tmp_path):
    data = make_zip(tmp_path / "data.zip", labelled([[name, i % 3] for i, name in enumerate(good_files())]))
    result = invoke(f"--data={data}", f"--outdir={tmp_path / 'out'}", *TINY, "--cond=1")
    assert result.exit_code == 0, result.stderr
    (run,) = (tmp_path / "out").iterdir()
    options = json.loads((run / "training_options.json").read_text())
    assert options["G_kwargs"]["c_dim"] == 3
    # The finished run stays as it is; the same command begins the next one.
    assert invoke(f"--data={data}", f"--outdir={tmp_path / 'out'}", *TINY, "--cond=1").exit_code == 0
    assert sorted(path.name[:5] for path in (tmp_path / "out").iterdir()) == ["00000", "00001"]


def test_same_seed_same_snapshot(tmp_path):
    for name in "ab":
        assert invoke(f"--run-dir={tmp_path / name}", *TINY, "--loss=rlo", "--k=2", "--rlo-form=convex").exit_code == 0
    first, second = ((tmp_path / name / "network-snapshot-000000.safetensors").read_bytes() for name in "ab")
    assert first == second
    assert invoke(f"--run-dir={tmp_path / 'c'}", *TINY, "--seed=1").exit_code == 0
    assert (tmp_path / "c" / "network-snapshot-000000.safetensors").read_bytes() != first


def test_help_names_every_flag_of_the_reference():
    text = invoke("--help").stdout
    reference = """
        outdir gpus snap metrics seed dry-run data cond subset mirror cfg gamma kimg batch aug p target augpipe resume
        freezed fp32 nhwc nobench allow-tf32 workers batch-gpu cbase cmax glr dlr map-depth mbstd-group desc tick
    """
    for name in reference.split():
        assert re.search(rf"--{name}\b", text), name


def test_trains_and_draws_without_compiler_or_gpu(tmp_path):
    """With an empty PATH and no devices, as on a bare machine: one line says what the operators are."""
    environment = {"PATH": "", "HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    commands = [
        ["train.py", f"--run-dir={tmp_path / 'run'}", *TINY],
        ["generate.py", f"--network={tmp_path / 'run' / 'network-snapshot-000000.safetensors'}", "--seeds=0,1",
         f"--outdir={tmp_path / 'out'}"],
    ]  # fmt: skip
    for script, *arguments in commands:
        command = [sys.executable, str(ROOT / script), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    notices = [line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if "C++ compiler" in line]
    assert len(notices) == 1
    assert len(list((tmp_path / "out").glob("seed*.png"))) == 2


def test_the_log_says_that_a_loss_is_unsound_and_which_weights_result(tmp_path):
    flags = ["--loss=rlo", "--k=1.2", "--gamma=7.2", "--lecam=0.36", "--gamma-scale=alpha", "--kimg=0.008"]
    result = invoke(f"--run-dir={tmp_path / 'run'}", *[flag for flag in TINY if "kimg" not in flag], *flags)
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    (warning,) = [line for line in lines if "warning: loss rlo-k1.2-bounded" in line]
    assert "has a lower loss than one that equals it" in warning
    assert any(line.endswith("weights divided by alpha^2 = 36: r1_gamma 0.2, lecam 0.01") for line in lines)
