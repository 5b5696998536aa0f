"""The walls of docs/architecture.md, checked against the imports."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {
    "rooted",
    "training",
    "torch_utils",
    "metrics",
    "projection",
    "generation",
    "comparison",
    "dnnlib",
    "rooted_stylegan",
    "studio",
}
DOORS = {"train", "generate", "style_mixing", "projector", "calc_metrics", "dataset_tool", "compare", "studio"}

# What each package may import of the project; docs/architecture.md draws the same.
ALLOWED = {
    "rooted": set(),
    "dnnlib": set(),
    "torch_utils": {"dnnlib"},
    "metrics": {
        "dnnlib", "torch_utils", "training.dataset", "training.networks", "training.run_dir", "training.snapshot",
    },
    "training": {"dnnlib", "torch_utils", "rooted"},
    "generation": {"dnnlib", "torch_utils", "training.snapshot", "training.networks"},
    "projection": {"dnnlib", "torch_utils", "training.snapshot", "training.networks"},
    "comparison": {"dnnlib", "torch_utils", "rooted", "metrics", "projection", "training"},
    "studio": {
        "dnnlib", "torch_utils", "generation", "projection", "training.networks", "training.run_dir",
        "training.snapshot",
    },
    "rooted_stylegan": {
        "dnnlib", "torch_utils", "rooted", "metrics", "training", "generation", "projection", "comparison", "studio",
    },
}  # fmt: skip
# The rooms of a package: each imports only rooms before it.
ROOMS = {
    "comparison": ("runs", "findings", "report"),
    "torch_utils": ("machine", "ops", "processes", "media", "published"),
    "metrics": ("copying", "detectors", "features", "measures"),
    "training": ("options", "networks", "augment", "dataset", "run_dir", "snapshot", "config", "outputs", "starting"),
}
# The paper's experiments are programs of their own: they may use files and checkpoints of the project.
EXPERIMENTS = {"rooted", "dnnlib", "torch_utils"}


@functools.cache
def imports_of(path: Path) -> set[str]:
    """Dotted names of the project's modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.partition(".")[0] in OURS | DOORS}


def files() -> list[Path]:
    return sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_package_may(path):
    package = path.relative_to(ROOT).parts[0]
    allowed = EXPERIMENTS if "experiments" in path.parts or path.name == "sklearn.py" else ALLOWED[package]
    for name in imports_of(path):
        inside = name.partition(".")[0] == package
        permitted = any(name == wall or name.startswith(wall + ".") for wall in allowed)
        assert inside or permitted, f"{path.name} imports {name}"


def _module(name: str) -> tuple[str, ...] | None:
    """The file that a dotted name is in, as the parts of its path; a name of a package is its `__init__`."""
    parts = tuple(name.split("."))
    while parts:
        for found in (parts, (*parts, "__init__")):
            if (ROOT.joinpath(*found).with_suffix(".py")).is_file():
                return found
        parts = parts[:-1]
    return None


@functools.cache
def _neighbours() -> dict[str, dict[str, set[str]]]:
    """For every folder: which files and rooms side by side in it import which others, in whatever depth."""
    graphs: dict[str, dict[str, set[str]]] = {}
    for path in [*files(), *(ROOT / f"{door}.py" for door in DOORS)]:
        ours = path.relative_to(ROOT).with_suffix("").parts
        if len(ours) == 1:  # a door, which may have the name of a package
            ours = (path.name,)
        for name in imports_of(path):
            theirs = _module(name)
            if theirs is None or theirs == ours:
                continue
            depth = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            graph = graphs.setdefault("/".join(ours[:depth]) or ".", {})
            graph.setdefault(ours[depth], set()).add(theirs[depth])
    return graphs


@pytest.mark.parametrize("folder", sorted(_neighbours()))
def test_imports_run_one_way(folder):
    """No two packages, rooms or files side by side import each other, nor do longer circles of them."""
    graphlib.TopologicalSorter(_neighbours()[folder]).prepare()


def test_the_run_directory_knows_nothing_of_training():
    """So that metrics, comparisons and benchmarks can ask it."""
    for path in (ROOT / "training" / "run_dir").rglob("*.py"):
        for name in imports_of(path):
            assert name.startswith(("dnnlib", "torch_utils", "training.run_dir")), f"{path} imports {name}"


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_rooms_before_it(package):
    folders = {path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS[package])
    for index, room in enumerate(ROOMS[package]):
        later = {f"{package}.{name}" for name in ROOMS[package][index + 1 :]}
        for path in (ROOT / package / room).rglob("*.py"):
            for name in imports_of(path):
                assert ".".join(name.split(".")[:2]) not in later, f"{path} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "training").rglob("*.py")), ids=lambda path: path.name)
def test_training_knows_the_loss_only_as_an_object(path):
    """Nothing in training but its options, and the records they are written to, mentions k."""
    if {"options", "config"} & set(path.parts) or path.name == "command.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "k" not in names


def test_the_help_of_every_command_needs_no_torch():
    """What is imported for its options says that nothing in it imports torch, so that it answers at once."""
    code = "import importlib, sys; from rooted_stylegan.command import DOORS, main\n"
    code += "for name in main.list_commands(None): importlib.import_module(DOORS[name].module).main\n"
    imported = subprocess.run(
        [sys.executable, "-c", f"{code}print(*sys.modules)"], cwd=ROOT, capture_output=True, text=True
    )
    modules = set(imported.stdout.split())
    assert {"rooted_stylegan.train", "training.convert", "torch_utils.doctor"} <= modules, imported.stderr
    assert not {"torch", "numpy", "scipy", "PIL", "filelock"} & modules


def test_the_document_names_every_package_door_and_room():
    """And every module beside the rooms of training, which are what a run is."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [f"{room}/" for package in ROOMS.values() for room in package]
    beside = [path.name for path in (ROOT / "training").glob("*.py") if path.name != "__init__.py"]
    for name in [*ALLOWED, *(f"{door}.py" for door in DOORS), *rooms, *beside]:
        assert name in text, name


def test_the_files_to_read_first_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\d\. `([^`]+)`", text, flags=re.MULTILINE)
    assert 6 <= len(listed) <= 10
    assert [name for name in listed if not (ROOT / name).is_file()] == []


def test_no_file_names_a_module_level_switch():
    """No `global` statement anywhere: what changes behaviour is an argument."""
    for path in files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), path


def test_tests_mirror_the_rooms():
    """Every folder of tests is named after the package or room whose tests it holds."""
    others = {ROOT / "tests", ROOT / "tests" / "cli"}
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")} - others
    assert [str(folder) for folder in folders if not (ROOT / folder.relative_to(ROOT / "tests")).is_dir()] == []
