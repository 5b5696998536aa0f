"""`python -m benchmarks.kill_test --runs=100`: interrupt that many runs and say which are not what they should be."""

import random
import sys
from collections import Counter
from pathlib import Path

import click

from benchmarks.kill_test.disks import small_disk
from benchmarks.kill_test.interruptions import STATUSES, Outcome, interrupted_run
from benchmarks.kill_test.runs import BF16, TINY, finish


@click.command()
@click.option("--runs", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--most", type=click.IntRange(min=1), default=3, show_default=True, help="Interruptions of a run.")
@click.option("--seed", default=0, show_default=True, help="Of the kinds and moments.")
@click.option("--kind", type=click.Choice(list(STATUSES)), multiple=True, help="Only these.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
def main(runs: int, most: int, seed: int, kind: tuple[str, ...], precision: str) -> None:
    """Interrupt runs, continue them, and compare them with one that was left alone; status 1 where one differs."""
    choose, options, outcomes = random.Random(seed), BF16 if precision == "bf16" else TINY, []
    with small_disk() as disk:
        reference = Path(disk.folder) / "uninterrupted"
        finish(reference, options)
        for number in range(runs):
            kinds = [choose.choice(kind or tuple(STATUSES)) for _ in range(choose.randint(1, most))]
            outcome = interrupted_run(disk, f"run{number}", reference, kinds, choose, options)
            outcomes.append(outcome)
            verdict = "differs in " + ", ".join(outcome.differences) if outcome.differences else "identical"
            click.echo(f"run {number}: {', '.join(outcome.kinds)}: {'; '.join([verdict, *outcome.lost])}")
        click.echo(table(outcomes, str(disk)))
    sys.exit(1 if any(outcome.differences or outcome.lost for outcome in outcomes) else 0)


def table(outcomes: list[Outcome], full: str) -> str:
    """How often each kind happened, and what came of it, as Markdown; `full` says how the disk was filled."""
    happened = Counter(kind for outcome in outcomes for kind in outcome.kinds)
    lost = Counter(what.partition(":")[0] for outcome in outcomes for what in outcome.lost)
    rows = [f"| {kind} | {happened[kind]} | {lost[kind]} |" for kind in STATUSES if happened[kind]]
    different = sum(bool(outcome.differences) for outcome in outcomes)
    inside = sum(outcome.inside_saves for outcome in outcomes)
    return "\n".join(
        [
            "", "| interruption | times | lost |", "|---|---|---|", *rows, "",
            f"{len(outcomes)} runs, {happened.total()} interruptions, {inside} inside a save (disk full: {full}): "
            f"{different} runs differ, {lost.total()} lost.",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
