"""The operators at every shape of the `auto` configurations, beside memory copies and convolutions, in one run.

    python -m benchmarks.speed.ops --out=docs/results/ops-cpu

writes ops-cpu.json, of which `benchmarks.speed.ops_page` makes a page. For every shape: time of the forward pass, the
gradient and the gradient of the gradient, and the rate of the bytes that must move at least (each input read once, each
result written once) as a share of the rate of a plain copy into existing memory of the same amount. On a GPU each
implementation is measured.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import torch
import torch.nn.functional as F

from benchmarks.speed.measuring import Stopwatch, cpu_time_option, device_option, threads_option
from benchmarks.speed.ops_page import page
from dnnlib import write_json
from dnnlib.cli import IntegerRanges, NameList, door
from torch_utils.machine.allocator import keep_freed_memory
from torch_utils.machine.devices import choose_device
from torch_utils.machine.environment import provenance
from torch_utils.ops import describe_implementations, use_implementation
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.grid_sample import grid_sample
from torch_utils.ops.scaling import channel_products, scale_channels
from torch_utils.ops.upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

Operator = Callable[[torch.Tensor], torch.Tensor]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CHANNEL_BASE, CHANNEL_MAX, IMAGE_CHANNELS = 16384, 512, 3
SYM6_TAPS = 12


class Case(NamedTuple):
    """One use of an operator: shape [C, H, W] of its input; images of few channels stay contiguous float32."""

    use: str
    shape: tuple[int, int, int]
    operator: Operator
    reads_result: bool = False  # the gradient needs the result as well
    reads_input: bool = False  # that of the parameters needs the input as well
    parameters: tuple[torch.Tensor, ...] = ()  # whose gradients are wanted besides the input's


def channels(resolution: int) -> int:
    """The rule of the `auto` configurations below 512."""
    return min(CHANNEL_BASE // resolution, CHANNEL_MAX)


def cases(resolution: int, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Every use of upfirdn2d, bias_act, grid_sample and the modulation in the networks and the augmentation."""
    fir = setup_filter([1, 3, 3, 1], device=device)
    r = 4
    while r <= resolution:
        c = channels(r)
        b = torch.randn(c, device=device, dtype=dtype, requires_grad=True)
        activated = functools.partial(bias_act, b=b, act="lrelu", clamp=256)
        yield Case("bias_act lrelu", (c, r, r), activated, reads_result=True, parameters=(b,))
        s, noise = (torch.randn(shape, device=device, requires_grad=True) for shape in ((1, c), (1, 1, r, r)))
        scaled = functools.partial(lambda x, s, noise: scale_channels(x, s.expand(len(x), -1), noise), s=s, noise=noise)
        yield Case("G modulation", (c, r, r), scaled, reads_input=True, parameters=(s, noise))
        yield Case("sums of squares by channel", (c, r, r), lambda x: channel_products(x, x))
        if r > 4:
            yield Case(
                "G filter after up-convolution", (c, r + 1, r + 1), lambda x: upfirdn2d(x, fir, padding=1, gain=4)
            )
            yield Case("G image up", (IMAGE_CHANNELS, r // 2, r // 2), lambda x: upsample2d(x, fir))
            yield Case("D filter before down-convolution", (c, r, r), lambda x: upfirdn2d(x, fir, padding=2))
            yield Case("D skip down", (c, r, r), lambda x: downsample2d(x, fir))
        r *= 2

    # The warp of the augmentation; its margin depends on the draws, here it doubles the image.
    sym6 = setup_filter(torch.hann_window(SYM6_TAPS + 2)[1:-1], device=device)
    grid = torch.rand(1, 2 * resolution + 24, 2 * resolution + 24, 2, device=device) * 2 - 1
    sampled = lambda x: grid_sample(x, grid.expand(x.shape[0], -1, -1, -1))  # noqa: E731
    yield Case("augmentation up", (IMAGE_CHANNELS, 2 * resolution, 2 * resolution), lambda x: upsample2d(x, sym6))
    yield Case("augmentation grid_sample", (IMAGE_CHANNELS, 4 * resolution, 4 * resolution), sampled)
    side = 2 * resolution + 24
    yield Case("augmentation down", (IMAGE_CHANNELS, side, side), lambda x: downsample2d(x, sym6, padding=-12))


def measure(case: Case, batch: int, dtype: torch.dtype, watch: Stopwatch) -> dict[str, float]:
    """Milliseconds of the three orders, and their bytes per second as shares of the copy's."""
    device = watch.device
    image = case.shape[0] == IMAGE_CHANNELS
    x = torch.randn(batch, *case.shape, device=device, dtype=torch.float32 if image else dtype)
    if not image:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y = case.operator(x)
    v = torch.randn_like(y).requires_grad_()
    inputs = [x, *case.parameters]
    first = torch.autograd.grad(y, inputs, v, create_graph=True)[0]
    w = torch.randn_like(first)

    read_written = x.nbytes + y.nbytes
    again = read_written + (y.nbytes if case.reads_result else 0)
    first_moved = again + (x.nbytes if case.reads_input else 0)
    runs = {
        "forward": (read_written, lambda: case.operator(x)),
        "gradient": (first_moved, lambda: torch.autograd.grad(y, inputs, v, retain_graph=True)),
        "second": (again, lambda: torch.autograd.grad(first, v, w, retain_graph=True)),
    }
    found = {}
    for order, (moved, run) in runs.items():
        copy = bytes_per_second_of_copies(moved, watch)
        taken = watch.device_seconds(run)
        found[f"{order}_ms"] = taken * 1e3
        found[f"{order}_call_ms"] = watch.seconds(run) * 1e3 if device.type == "cuda" else taken * 1e3
        found[f"{order}_share_of_copy"] = moved / taken / copy
    return found


@functools.cache
def bytes_per_second_of_copies(moved: int, watch: Stopwatch) -> float:
    """Bytes read and written per second by a copy that moves as many in all."""
    source = torch.zeros(max(moved // 8, 1), device=watch.device)
    target = torch.zeros_like(source)
    return moved / watch.device_seconds(lambda: target.copy_(source))


def convolution_rates(resolution: int, batch: int, dtype: torch.dtype, watch: Stopwatch) -> list[dict]:
    """FLOP/s of 3 x 3 convolutions, forward and backward, channels_last."""
    device = watch.device
    rows = []
    r = 8
    while r <= resolution:
        c = channels(r)
        x = torch.randn(batch, c, r, r, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(c, c, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(x.requires_grad_(), w.requires_grad_(), padding=1)
        grad = torch.randn_like(y)
        work = 2 * 9 * c * c * r * r * batch

        def forward(x=x, w=w) -> None:
            F.conv2d(x, w, padding=1)

        def backward(y=y, x=x, w=w, grad=grad) -> None:
            torch.autograd.grad(y, [x, w], grad, retain_graph=True)

        rates = work / watch.device_seconds(forward), 2 * work / watch.device_seconds(backward)
        rows.append({"shape": [batch, c, r, r], "forward_gflops": rates[0] / 1e9, "backward_gflops": rates[1] / 1e9})
        r *= 2
    return rows


def described(watch: Stopwatch) -> dict[str, object]:
    """What the numbers depend on."""
    device = watch.device
    return {
        **provenance(device.type),
        "clock": "processor time of the process" if watch.cpu_time else "wall",
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "operators": describe_implementations(),
    }


@click.command(help=__doc__.split("\n\n")[0])
@device_option()
@click.option("--resolutions", type=IntegerRanges(), default="64,256", show_default=True)
@click.option(
    "--batch", type=click.IntRange(min=1), help="Images; default 32 up to 128 x 128 and 16 above, on the CPU 4."
)
@click.option(
    "--dtypes", type=NameList(), default="fp32,bf16", show_default=True, help="Of the feature maps: fp32, bf16, fp16."
)
@click.option("--repeats", type=click.IntRange(min=1), default=9, show_default=True)
@threads_option
@cpu_time_option
@click.option("--out", type=click.Path(path_type=Path), help="Write <out>.json, too.")
@door
def main(
    device: str,
    resolutions: list[int],
    batch: int | None,
    dtypes: tuple[str, ...],
    repeats: int,
    cpu_time: bool,
    out: Path | None,
) -> None:
    place = choose_device(device, 0)
    where = place.type
    keep_freed_memory()
    watch = Stopwatch(place, repeats, cpu_time)
    report: dict = {"provenance": described(watch)}
    report |= {"operators": [], "convolutions": []}
    seen = set()
    for name in dtypes:
        dtype = DTYPES[name]
        for resolution in resolutions:
            images = batch or (4 if where == "cpu" else 32 if resolution <= 128 else 16)
            for case in cases(resolution, place, dtype):
                key = (case.use, case.shape, images, "fp32" if case.shape[0] == IMAGE_CHANNELS else name)
                # On the CPU only bias_act has a second implementation, the compiled loop of "auto".
                both = "bias_act" in case.use or where == "cuda"
                for choice in () if key in seen else ("auto", "torch") if both else ("torch",):
                    with use_implementation(choice):
                        numbers = measure(case, images, dtype, watch)
                    row = {"use": case.use, "shape": [images, *case.shape], "dtype": key[3], "implementation": choice}
                    report["operators"].append({**row, **numbers})
                    print(json.dumps(report["operators"][-1]), file=sys.stderr)
                seen.add(key)
            rates = convolution_rates(resolution, images, dtype, watch)
            known = [row["shape"] + [row["dtype"]] for row in report["convolutions"]]
            report["convolutions"] += [{**row, "dtype": name} for row in rates if [*row["shape"], name] not in known]
    print(page({"This run": report}))
    if out is not None:
        write_json(out.with_name(f"{out.name}.json"), report, indent=1)


if __name__ == "__main__":
    main()
