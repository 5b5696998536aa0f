"""Whether anything is broken, in less than a minute: kernels, training steps, graphs, continuation, generation.

    python -m benchmarks.speed.quick --device=cuda --json=quick.json

Each check says `ok` or `FAILED`, its seconds and one line; the others run all the same. The exit status is 1 if any
failed. The kernels that it compiles are in the cache afterwards, so that what follows does not wait for them.
"""

import concurrent.futures
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import click
import torch

from benchmarks.speed import tools
from benchmarks.speed.measuring import Stopwatch, device_option, json_option, training_run
from dnnlib import first_line, write_json
from dnnlib.cli import door
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from torch_utils.ops import describe_implementations, use_implementation
from torch_utils.processes.distributed import World
from training.config.number_format import cpu_has_bf16_units
from training.training_loop import Housekeeping, TrainingRun

BATCH = 8


def resolution(device: torch.device) -> int:
    """Of the `auto` configuration whose phases are run: on the CPU the smallest."""
    return 64 if device.type == "cuda" else 16


def operators(device: torch.device) -> str:
    """On a GPU the CUDA kernels must be in use."""
    text = describe_implementations()
    assert device.type == "cpu" or text.startswith("operators: CUDA kernels"), text
    return text


def compilation(device: torch.device) -> str:
    """Every kernel that the networks and the augmentation launch, for this GPU."""
    from torch_utils.ops.geometry import Geometry
    from torch_utils.ops.native import bias_act, kernels, scaling, upfirdn2d

    if device.type == "cpu":
        return "none needed"
    ones, none = (1, 1), (0, 0, 0, 0)
    square = [(Geometry(up, down, none), (4, 4)) for up, down in ((ones, ones), ((2, 2), ones), (ones, (2, 2)))]
    long = [
        (Geometry(up, down, none), (1, 12) if 2 in (up[0], down[0]) else (12, 1))
        for pair in ((2, 1), (1, 2))
        for up, down in ((pair, ones), (ones, pair))
    ]
    wanted = [
        variant
        for dtype in kernels.SCALARS
        for geometry, taps in square + long
        for variant in upfirdn2d.variants(dtype, geometry, taps).values()
    ]
    wanted += [bias_act.variant(dtype, act, 1) for dtype in kernels.SCALARS for act in ("lrelu", "tanh")]
    wanted += [scaling.variant(dtype) for dtype in kernels.SCALARS]
    wanted = list(dict.fromkeys(wanted))
    major, minor = torch.cuda.get_device_capability(device)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda variant: len(kernels.binary(variant, 10 * major + minor)), wanted))
    return f"{len(sizes)} kernels for sm_{10 * major + minor}"


def small_run(device: torch.device, precision: str = "fp32", **options: bool) -> AbstractContextManager[TrainingRun]:
    """A run of the `auto` configuration, eager unless said otherwise; on the CPU with few channels."""
    options = {"cuda_graphs": False, "precision": precision, "device": device.type, "batch": BATCH, **options}
    options |= {"aug": "fixed", "p": 0.2}
    options |= {"cmax": 64} if device.type == "cpu" else {}
    return training_run(resolution(device), **options)


def check_step(run: TrainingRun) -> None:
    """A step leaves nothing that is not finite."""
    run.step()
    assert run.G_opt.skipped + run.D_opt.skipped == 0, "a gradient is not finite"
    assert all(parameter.isfinite().all() for parameter in run.G_ema.parameters())


def training_step(precision: str) -> Callable[[torch.device], str]:
    """A step with all phases and the implementation that `--ops=native` insists on."""

    def check(device: torch.device) -> str:
        if device.type == "cpu" and precision == "bf16" and not cpu_has_bf16_units():
            return "left out: this processor does not multiply bfloat16 natively"
        with small_run(device, precision) as run, use_implementation("native"):
            check_step(run)
            return f"{resolution(device)} x {resolution(device)}, {run.config.precision.dtype}"

    return check


def agreement(device: torch.device) -> str:
    """The gradients of all phases with and without the kernels."""
    worst = 0.0
    with small_run(device) as run:
        batch = run.real_batch()
        for phase in run.phases:
            gradients = []
            for choice in ("auto", "torch"):
                with use_implementation(choice):
                    run.runner.accumulate(phase, 0, batch)
                gradients.append(phase.optimizer.gradient.clone())
            worst = max(worst, float((gradients[0] - gradients[1]).norm() / gradients[1].norm()))
    assert worst < 1e-3, f"they differ by {worst:.2g} of their length"
    if device.type == "cuda":
        from torch_utils.ops.native import availability

        assert availability.of_device(device.index).failure is None, availability.of_device(device.index).failure
    return f"gradients differ by at most {worst:.1g} of their length"


def graphs(device: torch.device) -> str:
    """Steps from CUDA graphs of all phases."""
    if device.type == "cpu":
        return "none on the CPU"
    lines: list[str] = []
    with small_run(device, "bf16", cuda_graphs=True) as run:
        run.runner.log = lines.append
        for _ in range(2):
            check_step(run)
        assert not lines, lines[0]
        return f"graphs of {', '.join(run.runner.graphs)}"


def continuation(device: torch.device) -> str:
    """A checkpoint is written and loaded, and the next step does the same."""
    with small_run(device) as run:
        run.step()
        run.checkpoints.save(run.progress.nimg)
        again = TrainingRun(run.config, run.dataset, run.run, World(), Housekeeping(progress_bar=False))
        assert again.continued
        before = flat(again.G)
        run.step()
        again.step()
        there, here = flat(run.G), flat(again.G)
        again.stream.close(), again.reports.close()
    difference = float((there - here).norm() / (there - before).norm())
    assert difference < 0.1, f"the next steps differ by {difference:.2g} of their length"
    return f"the next steps differ by {difference:.1g} of their length"


def flat(network: torch.nn.Module) -> torch.Tensor:
    """A copy of all parameters in one tensor."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def generation(device: torch.device) -> str:
    """Images per second, in the format that `--precision=auto` takes."""
    size = resolution(device)
    rate = tools.generation(size, "auto", device, BATCH)["images_per_second"]
    return f"{rate:.0f} images/s at {size} x {size}"


CHECKS: dict[str, Callable[[torch.device], str]] = {
    "operators": operators,
    "compilation": compilation,
    "step in float32": training_step("fp32"),
    "step in bfloat16": training_step("bf16"),
    "agreement": agreement,
    "graphs": graphs,
    "continuation": continuation,
    "generation": generation,
}


@click.command(help=__doc__.split("\n\n")[0])
@device_option("cuda")
@json_option
@door
def main(device: str, json_path: Path | None) -> None:
    """Run all checks."""
    place, checks = choose_device(device, 0), {}
    watch = Stopwatch(place)
    for name, check in CHECKS.items():
        start = watch.now()
        try:
            said, ok = check(place), True
        except Exception as error:
            traceback.print_exc()
            said, ok = f"{type(error).__name__}: {first_line(error)}", False
        checks[name] = {"ok": ok, "seconds": round(watch.now() - start, 1), "said": said}
        print(f"{'ok    ' if ok else 'FAILED'} {checks[name]['seconds']:6.1f} s  {name}: {said}", flush=True)
        if json_path is not None:
            write_json(json_path, {"machine": provenance(place), "checks": checks})
    sys.exit(0 if all(check["ok"] for check in checks.values()) else 1)


if __name__ == "__main__":
    main()
