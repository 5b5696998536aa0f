"""`rooted` can be used alone: it needs torch and nothing else, and costs almost no time to import."""

import subprocess
import sys

SCRIPT = """
import time, sys
import torch
known = set(sys.modules)
start = time.process_time()
import rooted
elapsed = time.process_time() - start
new = sorted({name.split(".")[0] for name in set(sys.modules) - known})
print(elapsed, *new)
"""


def test_import_adds_little_to_torch():
    results = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()
        results.append(float(out[0]))
        assert out[1:] == ["rooted"]
        if results[-1] < 0.05:
            return
    raise AssertionError(f"import rooted took {min(results):.3f} s")
