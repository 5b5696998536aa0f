"""What a process of the fixture `fork` does: `main` of a script.

A script of its own, as other processes have to run it: `TASK` holds the arguments of `run`.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch


def run(script: Path, arguments: tuple[Any, ...], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Call `main(*arguments)` of the script, its output in two files."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script))["main"](*arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if "TASK" in globals():
    run(*globals()["TASK"])
