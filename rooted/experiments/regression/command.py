"""Rooted logistic regression on Wine, Ionosphere, Madelon and Specheart (section 4.2: Table 1, Figure 1).

    python -m rooted.experiments.regression --data-dir=FOLDER     # UCI's files in FOLDER
    python -m rooted.experiments.regression                       # fetched from UCI's archive

Three protocols, all with 5-fold cross-validation repeated with several seeds and standardisation on the
training part only: `paper` (gradient descent, learning rate 0.01, 200 iterations, Specheart 1000), `tuned` (the
same with each method's own learning rate, chosen by inner validation) and `optimum` (L-BFGS). `variants` reruns
`paper` with other scalings and start weights, to see which explains the published figures.
"""

import difflib
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import torch
from tqdm import tqdm

from dnnlib import UserError, make_folder, write_json
from dnnlib.cli import Command, Number, door
from rooted.experiments.regression import convergence
from rooted.experiments.regression.cross_validation import (
    INF,
    INITS,
    SCALINGS,
    Grid,
    Protocol,
    Scores,
    fit_and_score,
    score_split,
    splits,
)
from rooted.experiments.regression.regression_tables import rows_of_table, rows_of_variants
from rooted.experiments.regression.tabular import LOADERS, Source, Table, load
from rooted.experiments.reporting import to_markdown, write_csv
from torch_utils.machine.environment import provenance

PAPER_RATE = 0.01
RATES = [0.01, 0.03, 0.1, 0.3, 1.0]
STRENGTHS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
MOST_ROOTS = 1000
FEW_ROOTS = [3.0, 5.0, 8.0, 11.0, 14.0, 17.0, 20.0]


def iterations_of(name: str) -> int:
    """Iterations of gradient descent in the paper: 1000 for Specheart, else 200."""
    return 1000 if name.startswith("spect") else 200


def protocols(name: str, ks: list[float]) -> list[Protocol]:
    """The three protocols for a data set; `ks` are the roots of the paper's protocol."""
    few = [k for k in ks if k in FEW_ROOTS] or ks
    return [
        Protocol("paper", Grid([INF, *ks], [0.0, 1e-3, 1e-2, 1e-1], [PAPER_RATE]), "gd", iterations_of(name), 2),
        Protocol("tuned", Grid([INF, *few], [0.0], RATES), "gd", iterations_of(name), 2),
        Protocol("optimum", Grid([INF, *few], STRENGTHS), "optimum", 300, 2),
    ]


def repetitions(table: Table, seeds: list[int]) -> list[int]:
    """Seeds of the folds: all of them, but only the first for a large data set (Madelon), whose folds vary less."""
    return seeds if len(table.y) <= 1000 else seeds[:1]


def variant_accuracy(table: Table, scaling: str, init: str, ks: list[float], folds: int, seed: int) -> np.ndarray:
    """Test accuracy (folds, roots) in the paper's setting with another scaling or start."""
    grid = Grid(ks, [0.0], [PAPER_RATE])
    parts = enumerate(splits(table, folds, [seed]))
    return np.array(
        [
            fit_and_score(table, a, b, grid, "gd", iterations_of(table.name), scaling, init, fold)[:, 0, 0]
            for fold, (a, b) in parts
        ]
    )


def run_all(tables: list[Table], ks: list[float], seeds: list[int], folds: int, jobs: int) -> tuple[dict, dict]:
    """Scores of every (data set, protocol) and accuracies of every (data set, scaling, init)."""
    arguments = []
    for table in tables:
        for protocol in protocols(table.name, ks):
            for index, (train, test) in enumerate(splits(table, folds, repetitions(table, seeds))):
                arguments.append(
                    (("scores", table.name, protocol.name, index), score_split, table, protocol, train, test)
                )
        few = [INF, *[k for k in (3.0, 6.0, 11.0, 20.0) if k in ks]]
        for scaling in SCALINGS:
            for init in INITS:
                key = ("variant", table.name, scaling, init)
                arguments.append((key, variant_accuracy, table, scaling, init, few, folds, seeds[0]))
    arguments.sort(key=lambda item: -item[2].x.size)  # the large data set first: no straggler at the end
    done = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        tasks = {pool.submit(function, *rest): key for key, function, *rest in arguments}
        for future in tqdm(as_completed(tasks), total=len(tasks), desc="fits", unit="task"):
            done[tasks[future]] = future.result()

    scores, variants = {}, {}
    for table in tables:
        for protocol in protocols(table.name, ks):
            parts = [
                done["scores", table.name, protocol.name, i] for i in range(folds * len(repetitions(table, seeds)))
            ]
            test, validation = (np.array([part[side] for part in parts]) for side in (0, 1))
            scores[table.name, protocol.name] = Scores(protocol.grid, test, validation)
        for scaling in SCALINGS:
            for init in INITS:
                variants[table.name, scaling, init] = (few, done["variant", table.name, scaling, init])
    return scores, variants


def _one_thread() -> None:
    """Small matrices: two processes of one thread each are several times faster than one of two threads."""
    torch.set_num_threads(1)


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Folder with UCI's files; left out: fetched from UCI."
)
@click.option("--verify/--no-verify", default=True, help="Compare the files' checksums.")
@click.option("--datasets", default=",".join(LOADERS), help="Comma-separated data sets.")
@click.option("--k-min", type=Number(min=0, min_open=True), default=3, help="Lowest root.")
@click.option("--k-max", type=Number(min=0, min_open=True), default=20, help="Highest root.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="Repetitions of the folds; Madelon: one.")
@click.option("--folds", type=click.IntRange(min=2), default=5)
@click.option("--jobs", type=click.IntRange(min=1), default=2, help="Processes of one thread each.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/regression"))
@door
def main(
    data_dir: Path | None,
    verify: bool,
    datasets: str,
    k_min: float,
    k_max: float,
    seeds: int,
    folds: int,
    jobs: int,
    out: Path,
) -> None:
    """Run the protocols, the variants and the convergence study; write tables, figures and results.json."""
    names = list(dict.fromkeys(name.strip() for name in datasets.split(",")))
    unknown = [name for name in names if name not in LOADERS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], LOADERS, n=2, cutoff=0.5) or list(LOADERS)
        raise UserError(f"--datasets: unknown data set '{unknown[0]}'; nearest: {', '.join(near)}")
    if k_max < k_min:
        raise UserError(f"--k-max={k_max:g} is below --k-min={k_min:g}; give a larger one")
    if k_max - k_min >= MOST_ROOTS:
        raise UserError(f"--k-max={k_max:g} is more than {MOST_ROOTS} roots from --k-min={k_min:g}; give a smaller one")
    if data_dir is not None and not data_dir.is_dir():
        raise UserError(f"--data-dir: no folder {data_dir}; give the one with UCI's files or leave it out")
    source = Source(data_dir, verify)
    tables = [load(name, source) for name in names]
    for table in tables:
        smallest = int(np.bincount(table.y).min())
        if folds > smallest:
            raise UserError(
                f"--folds={folds}: the smallest class of {table.name} has {smallest} samples; give at most that many"
            )
    folder = make_folder(out, "`out`")
    ks = [k_min + step for step in range(int(k_max - k_min + 1e-9) + 1)]

    scores, variants = run_all(tables, ks, list(range(seeds)), folds, jobs)
    table_rows = rows_of_table(scores, folds)
    variant_rows = rows_of_variants(variants)
    _one_thread()
    curves = [row for table in tables for row in convergence.study(table, iterations_of(table.name))]

    write_csv(folder / "table1.csv", table_rows)
    write_csv(folder / "variants.csv", variant_rows)
    write_csv(folder / "convergence.csv", curves)
    convergence.draw(curves, folder / "convergence.png")
    settings = {"k": ks, "seeds": seeds, "folds": folds, "datasets": names}
    content = {"settings": settings, "provenance": provenance("cpu", "numpy")}
    write_json(folder / "results.json", {**content, "table1": table_rows, "variants": variant_rows})
    click.echo(to_markdown(table_rows))
    click.echo(to_markdown(variant_rows))
    click.echo(f"wrote {folder}/results.json, table1.csv, variants.csv, convergence.csv, convergence.png")
