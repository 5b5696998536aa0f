"""What stands beside results: versions that are there, and the command as it can be given again."""

import json
import platform
import subprocess
import sys

import torch

from torch_utils.machine import environment

PROGRAM = (
    "import json; from torch_utils.machine.environment import provenance; print(json.dumps(provenance('cpu', 'numpy')))"
)


def test_versions():
    found = environment.versions("python", "torch", "click", "surely-not-a-package")
    assert list(found) == ["python", "torch", "click"]
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__


def test_provenance_of_a_module_and_of_a_file(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    for arguments in (["program.py", "--k=2"], ["-m", "program", "--k=2"]):
        found = json.loads(
            subprocess.check_output(
                [sys.executable, *arguments], cwd=tmp_path, env={"PYTHONPATH": str(environment.SOURCE)}, text=True
            )
        )
        assert found["command"] == " ".join(["python", *arguments])
    assert set(found) == {"device", "threads", "torch", "python", "numpy", "commit", "date", "command"}
