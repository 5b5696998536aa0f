"""Speed and memory of this machine: `python benchmarks/run.py` runs all, `python -m benchmarks.NAME` one of them."""
