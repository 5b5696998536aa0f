"""`python -m benchmarks.attack --minutes=5`: attack every door with damaged and hostile files."""

import sys
import time
from collections import Counter
from pathlib import Path

import click

from benchmarks.attack.field import battlefield
from benchmarks.attack.page import page
from benchmarks.attack.runner import BATCH, KINDS, SHARES, attack
from dnnlib import atomic_write
from dnnlib.json_files import append_record, read_records
from torch_utils.machine.environment import provenance


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=5.0, show_default=True, help="How long to go on.")
@click.option("--seed", default=0, show_default=True, help="Of all cases.")
@click.option("--kind", type=click.Choice(list(KINDS)), multiple=True, help="Only these.")
@click.option("--pieces", type=click.Path(path_type=Path), help="Add to this file; the table is of all that is in it.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table there.")
def main(minutes: float, seed: int, kind: tuple[str, ...], pieces: Path | None, out: Path | None) -> None:
    """Attack every door with damaged and hostile files; status 1 where one gave way.

    It may be done in pieces, each with a seed of its own.
    """
    end, counts, faults = time.monotonic() + 60 * minutes, Counter(), {}
    with battlefield() as field:
        for turn in range(10**9):
            for name in kind or KINDS:
                number = BATCH // SHARES.get(name, 1)
                found = attack(field, name, seed, range(turn * number, (turn + 1) * number))
                counts[name] += number
                for case, fault in found:
                    faults.setdefault(name, []).append(fault)
                    click.echo(f"{name} {case}: {fault}")
                if time.monotonic() > end:
                    break
            if time.monotonic() > end:
                break
    piece = {
        "command": f"python -m benchmarks.attack --minutes={minutes:g} --seed={seed}",
        "provenance": provenance("cpu", "pillow", "numpy", "safetensors"),
        "cases": counts,
        "faults": faults,
    }
    if pieces is not None:
        append_record(pieces, piece)
    text = page([piece] if pieces is None else read_records(pieces))
    click.echo(text)
    if out is not None:
        with atomic_write(out, "w") as stream:
            stream.write(text)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
