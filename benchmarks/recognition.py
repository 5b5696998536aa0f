"""Does a projection show the same face? Held-out photographs are projected, and a judge looks for the originals.

    python -m benchmarks.recognition --network=network.safetensors --data=faces.zip --out=recognition.json

The judge, EfficientNet-Lite2, takes no part in any distance: it names the nearest, in its features, of `--candidates`
photographs, one of which is the original. `--skip` leaves out the ones with which a distance was chosen.
"""

import functools
import time

import click
import numpy as np
import torch
from scipy.stats import binomtest

from dnnlib import UserError, write_json
from dnnlib.cli import Command, door
from metrics.detectors.registry import open_detector
from metrics.training_data import training_set
from projection.distance import load_distance
from projection.optimization import project
from torch_utils.machine.environment import provenance
from torch_utils.media.images import to_uint8
from training.snapshot import Snapshot, load_snapshot

AT_ONCE = 20  # targets; the result does not depend on it


def held_out(snapshot: Snapshot, data: str, count: int) -> torch.Tensor:
    """`count` photographs, uint8 [count, C, H, W] in random order, that the network was not trained on."""
    known = training_set(snapshot, data, None, has_real_set=True, note=functools.partial(click.echo, err=True))
    rest = known.held_out(count)
    if rest is None:
        if known.content_hash() == snapshot.metadata["training_set"]["content_hash"]:
            raise UserError(f"`data`: the network was trained on all of {data}; train with --subset")
        rest = known.whole(xflip=False)
    if len(rest) < count:
        raise UserError(f"`candidates`: {data} has {len(rest)} photographs that the network was not trained on")
    return rest.images(np.random.RandomState(0).permutation(len(rest))[:count])


def ranks(found: torch.Tensor, candidates: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """How many candidates [M, D] are nearer to each of `found` [N, D] than its original, `candidates[originals]`."""
    distances = torch.cdist(found.double(), candidates.double())
    return (distances < distances.gather(1, originals[:, None])).sum(dim=1)


def summary(rank: torch.Tensor, psnr: torch.Tensor) -> dict[str, float | list[float]]:
    """Share recognised with its 95 % interval (Wilson), share among the first five, PSNR in dB."""
    recognised = binomtest(int((rank == 0).sum()), len(rank))
    interval = recognised.proportion_ci(method="wilson")
    return {
        "recognised": recognised.statistic,
        "interval": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "among_first_5": float((rank < 5).double().mean()),
        "psnr_db": round(float(psnr.mean()), 3),
        "psnr_standard_error": round(float(psnr.std() / len(psnr) ** 0.5), 3),
    }


@click.command(cls=Command)
@click.option("--network", required=True, metavar="FILE", help="Trained on a --subset of the data, or on other data.")
@click.option("--data", required=True, metavar="PATH", help="Photographs of the network's size and channels.")
@click.option("--out", required=True, metavar="FILE", help="JSON to write.")
@click.option("--distances", default="pixel,lite0", show_default=True, metavar="LIST")
@click.option("--count", default=160, show_default=True, type=click.IntRange(2), help="Photographs to project.")
@click.option("--candidates", default=200, show_default=True, type=click.IntRange(2), help="To tell them from.")
@click.option("--skip", default=40, show_default=True, type=click.IntRange(0), help="Candidates not to project.")
@click.option("--steps", default=150, show_default=True, type=click.IntRange(1), help="Of each projection.")
@door
def main(network: str, data: str, out: str, distances: str, count: int, candidates: int, skip: int, steps: int) -> None:
    """Project with each distance, and write how many are recognised."""
    if skip + count > candidates:
        raise UserError(f"`count`={count} and `skip`={skip} are more than the {candidates} of `candidates`")
    snapshot = load_snapshot(network)
    photographs = held_out(snapshot, data, candidates)
    originals = torch.arange(skip, skip + count)
    judge = open_detector("lite2", torch.device("cpu"))
    known = judge(photographs)
    record = {
        "machine": provenance("cpu", "numpy", "timm"),
        "network": {"hash": snapshot.hash, "kimg": snapshot.metadata.get("cur_nimg", 0) / 1000},
        "distances": {},
    }
    for name in distances.split(","):
        started = time.process_time()
        distance = load_distance(name)
        results = []
        for part in originals.split(AT_ONCE):
            results.append(project(snapshot.generator, photographs[part], num_steps=steps, distance=distance))
            click.echo(f"{name}: {len(results) * AT_ONCE} of {count}", err=True)
        rank = ranks(judge(to_uint8(torch.cat([r.images for r in results]))), known, originals)
        found = summary(rank, torch.cat([r.psnr for r in results]))
        seconds = round(time.process_time() - started)
        record["distances"][name] = {**found, "processor_seconds": seconds, "ranks": rank.tolist()}
        click.echo(f"{name}: {found}")
        write_json(out, record, indent=None)  # after each, so that an interruption keeps what is there


if __name__ == "__main__":
    main()
