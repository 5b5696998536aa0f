"""What `benchmarks/run.py` runs: the stages of a device, and those that tell most in nine minutes of a GPU."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from training.config.number_format import cpu_has_bf16_units

NINE_MINUTES = 530
"""Seconds for all stages of the short plan: what is left of 540 starts the program and writes the page."""


@dataclass(frozen=True)
class Stage:
    """A module that is run, with its options, and the seconds it may take.

    `{json}` in an option stands for the file of the result and `{out}` for the folder.
    """

    command: tuple[str, ...]
    limit: int = 560

    def line(self, out: Path, name: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", *(part.format(json=out / f"{name}.json", out=out) for part in self.command)]


def stages(device: str) -> dict[str, Stage]:
    """The stages of a device by name, the most telling ones first."""
    return _on_cpu() if device == "cpu" else _on_gpu()


def _on_cpu() -> dict[str, Stage]:
    on, to_json = "--device=cpu", "--json={json}"
    precisions = f"--precisions={'fp32,bf16' if cpu_has_bf16_units() else 'fp32'}"
    step = ("benchmarks.speed.training", on, "--resolutions=32", "--batch=16", precisions, to_json)
    operators = ("benchmarks.speed.ops", on, "--resolutions=64", "--repeats=5", "--out={out}/ops")
    return {
        "quick": Stage(("benchmarks.speed.quick", on, to_json), limit=180),
        "step": Stage(step, limit=1800),
        "tools": Stage(("benchmarks.speed.tools", on, "--resolutions=32", precisions, to_json)),
        "metrics": Stage(("benchmarks.speed.metrics", "--images=2000", "--out={json}")),
        "losses": Stage(("benchmarks.speed.losses", on, "--rounds=5", to_json)),
        "ops": Stage(operators, limit=1800),
        "saving": Stage(("benchmarks.speed.saving",)),
        "memory": Stage(("benchmarks.speed.memory", on), limit=1800),
    }


def _tests(*files: str) -> tuple[str, ...]:
    command = ("pytest", "-q", "-m", "gpu", "--maxfail=25", "-p", "no:cacheprovider", "--durations=10", "--tb=short")
    return (*command, *(("-n", "4") if importlib.util.find_spec("xdist") is not None else ()), *files)


def _on_gpu() -> dict[str, Stage]:
    on, to_json = "--device=cuda", "--json={json}"
    step = ("benchmarks.speed.training", on, "--repeats=10", to_json)
    losses = ("benchmarks.speed.losses", on, "--dtype=float32", "--dtype=bfloat16", to_json)
    larger = ("--", "--cbase=8192", "--cmax=256", "--glr=0.0025", "--dlr=0.0025")
    precision = ("benchmarks.speed.bfloat16", on, "--outdir={out}/precision", "--kimg=16", "--jobs=3", to_json, *larger)
    return {
        "quick": Stage(("benchmarks.speed.quick", on, to_json), limit=180),
        "tests-ops": Stage(_tests("tests/torch_utils"), 300),
        "tests-training": Stage(_tests("tests/training"), 240),
        "ops": Stage(("benchmarks.speed.ops", on, "--out={out}/ops")),
        "step": Stage((*step, "--resolutions=64,256", "--precisions=bf16,fp32")),
        "step-graphs": Stage((*step, "--resolutions=64,256,32,128", "--precisions=bf16", "--cuda-graphs")),
        "graphs": Stage(("benchmarks.speed.graphs", on, to_json)),
        "kernels": Stage(("benchmarks.speed.kernels", on, to_json)),
        "losses": Stage(losses),
        "losses-compiled": Stage((*losses, "--compile")),
        "tools": Stage(("benchmarks.speed.tools", on, "--resolutions=64,256,1024", to_json)),
        "precision": Stage(precision, limit=480),
        "step-more": Stage((*step, "--resolutions=32,128", "--precisions=bf16,fp32")),
        "memory": Stage(("benchmarks.speed.memory", on)),
        "saving": Stage(("benchmarks.speed.saving",)),
    }


def nine_minutes(stand_in: bool) -> dict[str, Stage]:
    """Of a GPU's stages those that tell most, in small; their limits add up to `NINE_MINUTES`.

    Args:
        stand_in: on the CPU instead, with sizes for it: a rehearsal of imports, arguments, paths and limits.
    """
    on, to_json = f"--device={'cpu' if stand_in else 'cuda'}", "--json={json}"
    # What may differ between the devices: sizes. The tests of a GPU skip themselves without one.
    sizes, precisions, repeats = ("16,32", "fp32", "1") if stand_in else ("64,256", "bf16", "5")
    step = ("benchmarks.speed.training", on, f"--repeats={repeats}", f"--resolutions={sizes}",
            f"--precisions={precisions}", *(("--batch=2",) if stand_in else ()), to_json)  # fmt: skip
    operators = ("benchmarks.speed.ops", on, f"--resolutions={'32' if stand_in else '256'}", f"--dtypes={precisions}",
                 f"--repeats={repeats}", "--out={out}/ops")  # fmt: skip
    graphs = ("--resolution=16", "--steps=2", "--seconds=1") if stand_in else ("--steps=34", "--seconds=12")
    losses = ("--shape=64x10", "--rounds=2") if stand_in else ("--dtype=float32", "--dtype=bfloat16", "--rounds=9")
    return {
        "quick": Stage(("benchmarks.speed.quick", on, to_json), 80),
        # Those that can fail nowhere but on a GPU come first.
        "tests-ops": Stage(_tests("tests/torch_utils/ops/native", "tests/training/test_cuda_graphs.py"), 110),
        "ops": Stage(operators, 40),
        "step": Stage(step, 60),
        "step-graphs": Stage((*step, "--cuda-graphs"), 100),
        "graphs": Stage(("benchmarks.speed.graphs", on, *graphs, to_json), 95),
        "losses-compiled": Stage(("benchmarks.speed.losses", on, *losses, "--compile", to_json), 45),
    }
