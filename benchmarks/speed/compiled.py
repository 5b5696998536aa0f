"""The phases that differentiate twice, compiled: are they right, are they faster, what does compiling cost?

    python -m benchmarks.speed.compiled --json=compiled.json --threads=1 --cpu-time

R1 (Dreg) and path-length regularisation (Greg) of the demo's networks as functions that return the gradients of all
parameters: `torch.autograd.grad` twice inside one compiled region. Eager is what training does, and beside it the same
without the compiled loops of the operators, which a compiler cannot use. Needs a PyTorch that traces `autograd.grad`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
import torch._dynamo

from benchmarks.speed.measuring import (
    Stopwatch,
    cpu_time_option,
    device_option,
    json_option,
    threads_option,
    training_run,
)
from dnnlib import UserError, first_line, write_json
from dnnlib.cli import door
from torch_utils.machine.allocator import keep_freed_memory
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from torch_utils.ops import use_implementation
from training.objective import gradient_penalty
from training.training_loop import TrainingRun

Gradients = tuple[torch.Tensor | None, ...]


def phases(run: TrainingRun) -> dict[str, Callable[[], Gradients]]:
    """The gradients of each phase as a function of nothing."""
    real = run.real_batch()
    ws = run.G.mapping(torch.randn(len(real.images), run.G.z_dim, device=run.device), real.labels).detach()

    noise = torch.randn_like(real.images) / real.images[0, 0].numel() ** 0.5

    def r1() -> Gradients:
        images = real.images.detach().requires_grad_()
        penalty = gradient_penalty(images, run.D(images, real.labels)).mean()
        return torch.autograd.grad(penalty, list(run.D.parameters()), allow_unused=True)

    def path_length() -> Gradients:
        # As `training.objective.path_lengths`, but with one draw of the noise: compiled draws are others.
        latents = ws.detach().requires_grad_()
        images = run.G.synthesis(latents, noise_mode="const")
        [slope] = torch.autograd.grad((images * noise).sum(), latents, create_graph=True)
        penalty = (slope.square().sum(2).mean(1).sqrt() - 1).square().mean()
        return torch.autograd.grad(penalty, list(run.G.synthesis.parameters()), allow_unused=True)

    return {"Dreg": r1, "Greg": path_length}


def difference(found: Gradients, expected: Gradients) -> float | str:
    """Length of the difference of all gradients, relative to their length; or what is lost."""
    lost = error = length = 0.0
    for a, b in zip(found, expected, strict=True):
        # A compiler leaves out what is zero: the bias of torgb, on which no slope depends.
        b = torch.zeros([]) if b is None else b.double()
        lost += a is None and bool(b.any())
        error += float(((torch.zeros([]) if a is None else a.double()) - b).square().sum())
        length += float(b.square().sum())
    return f"{lost:.0f} of {len(expected)} gradients are lost" if lost else (error / length) ** 0.5


def measure(name: str, phase: Callable[[], Gradients], watch: Stopwatch) -> dict[str, Any]:
    """Milliseconds eager, eager without loops, and compiled; seconds of compiling; relative difference."""
    found: dict[str, Any] = {"phase": name, "eager_ms": watch.seconds(phase) * 1e3}
    with use_implementation("torch"):
        expected, found["expressions_ms"] = phase(), watch.seconds(phase) * 1e3
        start, work = time.perf_counter(), time.process_time()
        try:
            compiled = torch.compile(phase, fullgraph=True)
            found["difference"] = difference(compiled(), expected)
        except Exception as error:  # what a version of PyTorch cannot compile is a result
            return found | {"failure": f"{type(error).__name__}: {first_line(error)}"}
        found |= {"compile_wall_s": time.perf_counter() - start, "compile_here_s": time.process_time() - work}
        found["compiled_ms"] = watch.seconds(compiled) * 1e3
    return found


@click.command(help=__doc__.split("\n\n")[0])
@device_option("cpu")
@threads_option
@cpu_time_option
@json_option
@door
def main(device: str, cpu_time: bool, json_path: Path | None) -> None:
    """Measure both phases."""
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        raise UserError(f"PyTorch {torch.__version__} compiles no call of autograd.grad; 2.14 does")
    place = choose_device(device, 0)
    keep_freed_memory()
    results: dict[str, Any] = {"machine": provenance(place), "phases": []}
    with training_run(preset="demo", device=place.type) as run, torch._dynamo.config.patch(trace_autograd_ops=True):
        run.D.requires_grad_(True), run.G.requires_grad_(True)
        for name, phase in phases(run).items():
            results["phases"].append(measure(name, phase, Stopwatch(place, 15, cpu_time)))
            print(results["phases"][-1], flush=True)
            if json_path is not None:  # after each: compiling may take longer than one has
                write_json(json_path, results)


if __name__ == "__main__":
    main()
