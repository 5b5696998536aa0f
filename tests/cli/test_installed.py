"""The wheel in an environment that has the dependencies and no checkout."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from rooted_stylegan.command import DOORS, main

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "rooted", "rooted_stylegan", "training", "generation", "projection", "metrics", "comparison", "torch_utils",
    "dnnlib",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the checkout."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]:
        shutil.copy(path, source)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", f"--wheel-dir={folder}", str(source))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs `rooted-stylegan` of a new environment in an empty folder; it returns what was printed."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    purelib = _of(python, "purelib")
    # The dependencies alone: what installs this project in development is a .pth file, which is not read from there.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (purelib / "dependencies.pth").write_text("\n".join(paths), encoding="utf-8")
    _pip("--python", str(python), "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel))
    work = folder / "work"
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(*arguments, status=0):
        done = subprocess.run(
            [_of(python, "scripts") / "rooted-stylegan", *arguments],
            cwd=work, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    run.folder = work
    return run


def _pip(*arguments):
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _of(python, path):
    code = f"import sysconfig; print(sysconfig.get_path({path!r}))"
    return Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def test_the_wheel_has_only_the_packages_and_one_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [entries] = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert re.findall(r"^(\S+) =", entries, re.MULTILINE) == ["rooted-stylegan"]
    built = {name for name in names if ".dist-info/" not in name}
    kept = {
        f"{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert built == kept, built ^ kept


def test_the_installed_command_checks_data_and_says_how_it_is_called(installed):
    text = installed("train", "--help")
    assert "rooted-stylegan train --preset=demo" in text
    assert "train.py" not in text
    (installed.folder / "set.tar").write_bytes(b"")
    assert "convert it with rooted-stylegan dataset" in installed("train", "--data=set.tar", "--device=cpu", status=2)


@pytest.mark.slow
def test_every_installed_door_does_its_work(installed):
    pictures = installed.folder / "pictures"
    pictures.mkdir()
    for seed in range(8):
        pixels = np.random.RandomState(seed).randint(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{seed}.png")
    tiny = ("--batch=4", "--cbase=256", "--cmax=16", "--map-depth=2", "--grid=2x2", "--workers=1")
    cpu = "--device=cpu"
    assert "8 images of 16 x 16" in installed("dataset", "--source=pictures", "--dest=set.zip")
    installed("train", "--data=set.zip", cpu, *tiny, "--kimg=0.008", "--metrics=swd", "--run-dir=run")
    assert "gpus" not in installed("train", "--data=set.zip", cpu, *tiny, "--kimg=0.008", "--metrics=none",
                                   "--run-dir=two", "--gpus=2")  # fmt: skip
    network = f"--network={next((installed.folder / 'run').glob('network-snapshot-*.safetensors'))}"
    installed("generate", network, "--seeds=0,1", cpu, "--outdir=out")
    installed("mix", network, "--rows=0", "--cols=1", cpu, "--outdir=mixed")
    installed("project", network, "--target=pictures/0.png", "--distance=pixel", "--num-steps=2", cpu, "--outdir=w")
    assert '"swd"' in installed("metrics", network, "--data=set.zip", "--metrics=swd", cpu)
    installed("convert", network.removeprefix("--network="), "net.pt")
    assert "16 x 16, 3 channels" in installed("doctor", "--data=set.zip")
    installed("compare", "--data=set.zip", "--losses=ce,rlo:k=2", "--seeds=2", "--kimg=0.008", "--metrics=swd",
              "--outdir=comparison", "--evaluations=1", cpu, "--", *tiny)  # fmt: skip
    assert (installed.folder / "comparison" / "report.html").is_file()


def test_the_group_lists_its_commands_and_names_them_to_who_mistypes():
    text = CliRunner().invoke(main, ["--help"]).stdout
    names = [name for name in DOORS if name in main.list_commands(None)]
    assert all(re.search(rf"^  {name} ", text, re.MULTILINE) for name in names)
    assert {"train", "generate", "mix", "project", "metrics", "dataset", "compare", "convert", "doctor"} <= set(names)
    result = CliRunner().invoke(main, ["trian"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "'trian'" in result.stderr
    assert "choose one of train, generate" in result.stderr


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.module.startswith("rooted_stylegan.")])
def test_a_module_run_by_its_path_names_the_command(name):
    path = ROOT / f"{DOORS[name].module.replace('.', '/')}.py"
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert f"`rooted-stylegan {name}`, or `python {DOORS[name].script}` " in ended.value.code
