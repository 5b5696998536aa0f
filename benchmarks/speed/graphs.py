"""Training from CUDA graphs beside eager training: the same losses, and the time of a step.

    python -m benchmarks.speed.graphs --device=cuda --data=faces64.zip --json=graphs.json

Two runs of the `auto` configuration begin from the same seed, one eager and one from graphs. Their losses are compared
after every one of the first steps, in float32 and without TensorFloat-32, where only the order of sums may differ; then
each trains on for `--seconds` in bfloat16 without being looked at. On the CPU nothing is captured: both are eager.
"""

import itertools
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.speed.measuring import Stopwatch, device_option, json_option, training_run
from dnnlib import write_json
from dnnlib.cli import door
from torch_utils.machine.allocator import keep_freed_memory
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from training.training_loop import TrainingRun

COMPARED = ("Loss/G/loss", "Loss/D/loss", "Gradient/Gmain", "Gradient/Dmain")


def traced(run: TrainingRun, steps: int) -> list[dict[str, float]]:
    """Statistics after every step."""
    rows = []
    for _ in range(steps):
        run.step()
        means = {name: summary.mean for name, summary in run.statistics.summaries().items()}
        rows.append({name: means[name] for name in COMPARED if name in means})
    return rows


def largest_difference(one: list[dict[str, float]], other: list[dict[str, float]]) -> dict[str, float]:
    """By statistic: the largest difference of any step, relative to the statistic."""
    return {
        name: max(abs(a[name] - b[name]) / max(abs(a[name]), 1e-8) for a, b in zip(one, other, strict=True))
        for name in one[0]
    }


def steps_per_second(run: TrainingRun, seconds: float, watch: Stopwatch) -> float:
    """Steps of a whole cycle of the phases at a time, until the time is over."""
    cycle = max(phase.interval for phase in run.phases)
    start = watch.now()
    for done in itertools.count(cycle, cycle):
        for _ in range(cycle):
            run.step()
        if (taken := watch.now() - start) >= seconds:
            return done / taken
    raise AssertionError("unreachable")


def measure(choice: str, options: dict[str, Any], steps: int, seconds: float, watch: Stopwatch) -> dict[str, Any]:
    """Statistics in float32 and seconds per kimg in the precision that `auto` takes, with graphs or eager."""
    said: list[str] = []
    graphs = choice == "graphs"
    with training_run(**options, precision="fp32", cuda_graphs=graphs) as run:
        run.runner.log = said.append
        rows = traced(run, steps)
        captured = list(run.runner.graphs)
    with training_run(**options, precision="auto", cuda_graphs=graphs) as run:
        run.runner.log = said.append
        run.step()
        rate = steps_per_second(run, seconds, watch)
        per_kimg = 1000 / (rate * run.config.batch_size)
        precision = run.config.precision.dtype
    return {"captured": captured, "said": said, "rows": rows, "precision": precision, "sec_per_kimg": per_kimg}


@click.command(help=__doc__.split("\n\n")[0])
@device_option("cuda")
@click.option("--data", help="Training images of that size [noise].")
@click.option("--resolution", default=64, show_default=True, help="Of the noise.")
@click.option("--steps", default=34, show_default=True, help="Whose losses are compared.")
@click.option("--seconds", default=15.0, show_default=True, help="Of training that is timed, each.")
@json_option
@door
def main(device: str, data: str | None, resolution: int, steps: int, seconds: float, json_path: Path | None) -> None:
    """Train both ways."""
    place = choose_device(device, 0)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    options = {"device": place.type, "aug": "fixed", "p": 0.2}
    options |= {"resolution": resolution} if data is None else {"data": data}
    results: dict[str, Any] = {"machine": provenance(place), "steps": steps}
    for choice in ("eager", "graphs"):
        found = results[choice] = measure(choice, options, steps, seconds, Stopwatch(place))
        print(f"{choice}: {found['sec_per_kimg']:.2f} s/kimg in {found['precision']}", *found["said"], flush=True)
        if json_path is not None:  # after each: a benchmark may run out of time
            write_json(json_path, results)
    results["largest_difference"] = largest_difference(results["eager"]["rows"], results["graphs"]["rows"])
    print("largest relative difference within", steps, "steps:", results["largest_difference"])
    if json_path is not None:
        write_json(json_path, results)


if __name__ == "__main__":
    main()
