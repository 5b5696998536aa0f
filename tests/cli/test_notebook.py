"""The notebook, executed: from pictures to a projection."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that runs all cells in an empty folder with settings from the environment; it returns the cells."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("skimage")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"QUICKSTART_{name}", str(value))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=None)
        client.execute()
        return notebook.cells

    return run


def _pictures_of(cells):
    return [o for cell in cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]


def test_it_runs_from_pictures_to_projection(execute, tmp_path):
    cells = execute(KIMG=0.05, STEPS=2)
    assert len(_pictures_of(cells)) == 2
    assert (tmp_path / "quickstart" / "run" / "finished.json").is_file()
    assert (tmp_path / "quickstart" / "projection" / "projected_w.npz").is_file()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_runs_as_it_stands(execute):
    assert len(_pictures_of(execute())) == 2


def test_it_pins_nothing_and_carries_no_outputs():
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any("==" in line for cell in cells for line in cell.source.splitlines() if "pip install" in line)
    assert not any(cell.get("outputs") for cell in cells)
