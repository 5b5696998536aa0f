"""`rooted` can be used alone: it needs torch and nothing else."""

import subprocess
import sys

SCRIPT = """
import sys
import torch
known = set(sys.modules)
import rooted
print(*sorted({name.split(".")[0] for name in set(sys.modules) - known}))
"""


def test_import_adds_nothing_to_torch():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["rooted"]
