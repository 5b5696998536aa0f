"""Time and memory of the rooted losses beside `torch.nn.functional.cross_entropy`, as JSON lines.

    python -m benchmarks.speed.losses                                       # the CPU, eager
    python -m benchmarks.speed.losses --device=cuda --compile --dtype=float32 --dtype=bfloat16 --json=losses.json

Per shape and loss one line: median, fastest and quartiles of forward + backward in milliseconds, the median of the
ratio to cross-entropy in the same round, and the bytes of size (N, C) or more that are kept for the backward pass.
The losses take turns within a round, so that slow spells of the machine meet all of them.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import click
import torch
import torch.nn.functional as F

from benchmarks.speed.measuring import Stopwatch, device_option, json_option, threads_option
from dnnlib import UserError, write_json
from dnnlib.cli import door
from rooted.functional import focal_cross_entropy, rooted_cross_entropy
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance

LOSSES: dict[str, Callable] = {
    "cross_entropy": F.cross_entropy,
    "rlo-k8-convex": lambda x, y: rooted_cross_entropy(x, y, k=8),
    "rlo-k8-bounded": lambda x, y: rooted_cross_entropy(x, y, k=8, form="bounded"),
    "focal-gamma3": lambda x, y: focal_cross_entropy(x, y, gamma=3),
}


def forward_backward_ms(loss: Callable, logits: torch.Tensor, target: torch.Tensor) -> float:
    """Milliseconds of one forward and backward pass, the gradient included."""
    logits.grad = None
    watch = Stopwatch(logits.device)
    start = watch.now()
    loss(logits, target).backward()
    return 1e3 * (watch.now() - start)


def kept_bytes(loss: Callable, logits: torch.Tensor, target: torch.Tensor) -> int:
    """Bytes of storages kept for the backward pass that are at least as large as the logits' elements in bytes."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(logits, target)
    return sum(size for size in kept.values() if size >= logits.numel())


def measure(
    shape: tuple[int, int], device: torch.device, dtype: torch.dtype, compiled: bool, rounds: int
) -> list[dict]:
    """One record per loss for logits of that shape."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).to(device, dtype).requires_grad_(True)
    target = torch.randint(shape[1], shape[:1], generator=generator).to(device)
    # Not for shapes that vary: each is compiled for itself, as in training.
    losses = {name: torch.compile(loss, dynamic=False) if compiled else loss for name, loss in LOSSES.items()}
    for loss in losses.values():
        for _ in range(3):
            forward_backward_ms(loss, logits, target)
    times: dict[str, list[float]] = {name: [] for name in losses}
    order = list(losses.items())
    for round_ in range(rounds):
        # A new first loss in every round: the one after a pause finds a colder cache.
        first = round_ % len(order)
        for name, loss in order[first:] + order[:first]:
            times[name].append(forward_backward_ms(loss, logits, target))
    records = []
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        ratios = [a / b for a, b in zip(values, times["cross_entropy"], strict=True)]
        records.append(
            {
                "loss": name,
                "shape": list(shape),
                "dtype": str(dtype).removeprefix("torch."),
                "median_ms": round(middle, 3),
                "fastest_ms": round(min(values), 3),
                "quartiles_ms": [round(low, 3), round(high, 3)],
                "ratio_to_cross_entropy": round(statistics.median(ratios), 3),
                "kept_bytes": kept_bytes(LOSSES[name], logits, target),
            }
        )
    return records


def _shape(text: str) -> tuple[int, int]:
    n, times_sign, classes = text.partition("x")
    if not (times_sign and n.isdigit() and classes.isdigit() and int(n) > 0 and int(classes) > 1):
        raise UserError(f"--shape={text} is not SAMPLESxCLASSES, for example 4096x1000")
    return int(n), int(classes)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--shape", "shapes", multiple=True, default=["4096x1000", "8192x32000"], show_default=True)
@device_option("cpu")
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    multiple=True,
    default=["float32"],
    show_default=True,
)
@click.option("--compile", "compiled", is_flag=True, help="Compile every loss with torch.compile, cross-entropy too.")
@click.option("--rounds", type=click.IntRange(min=2), default=15, show_default=True)
@threads_option
@json_option
@door
def main(
    shapes: tuple[str, ...],
    device: str,
    dtypes: tuple[str, ...],
    compiled: bool,
    rounds: int,
    json_path: Path | None,
) -> None:
    """Print one JSON line for the machine, then one per shape and loss."""
    sizes = [_shape(text) for text in shapes]
    place = choose_device(device)
    machine = {**provenance(place), "compiled": compiled, "rounds": rounds}
    print(json.dumps(machine))
    records: list[dict] = []
    for dtype in dtypes:
        for shape in sizes:
            for record in measure(shape, place, getattr(torch, dtype), compiled, rounds):
                print(json.dumps(record), flush=True)
                records.append(record)
            if json_path is not None:  # after each shape: a benchmark may run out of time
                write_json(json_path, {"machine": machine, "losses": records})


if __name__ == "__main__":
    main()
