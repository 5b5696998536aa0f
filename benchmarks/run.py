"""`python benchmarks/run.py`, from any folder, is `python -m benchmarks.stages`: all benchmarks of a device.

Python looks for modules beside a file that it runs, here one folder too deep; so the command starts again as a module.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks.stages", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})
