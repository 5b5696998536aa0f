"""The results of `benchmarks.speed.ops` as one page, runs side by side.

python -m benchmarks.speed.ops_page docs/results/ops-*.json --out=docs/results/operators.md
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from dnnlib import atomic_write, read_json
from dnnlib.cli import door

CASE = ("use", "shape", "dtype", "implementation")
ORDERS = {"forward": "forward", "gradient": "gradient", "second": "second gradient"}


def page(reports: dict[str, dict[str, Any]]) -> str:
    """Reports by name as Markdown."""
    lines = ["# Operators against memory copies and convolutions"]
    for name, report in reports.items():
        lines += ["", f"{name}:", "", *(f"* {key}: {value}" for key, value in report["provenance"].items())]
    note = "Times in ms; in brackets the share of the copy rate for the least number of bytes."
    lines += ["", note if len(reports) == 1 else f"{note} Runs in the order above.", ""]
    lines += _side_by_side(reports.values(), "operators", CASE, ORDERS, _time)
    rates = {"forward": "forward GFLOP/s", "backward": "backward GFLOP/s"}
    lines += ["", "3 x 3 convolutions:", ""]
    lines += _side_by_side(reports.values(), "convolutions", ("shape", "dtype"), rates, _rate)
    return "\n".join(lines) + "\n"


def operators_table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of one report as lines of Markdown."""
    return _side_by_side([{"operators": rows}], "operators", CASE, ORDERS, _time)


def _side_by_side(reports: Iterable[dict], part: str, keys: tuple[str, ...], values: dict[str, str], cell) -> list[str]:
    """A table with a row for each case that any report has, and the columns of each report."""
    by_case = [{tuple(_plain(row[key]) for key in keys): row for row in report[part]} for report in reports]
    lines = ["| " + " | ".join([*keys, *list(values.values()) * len(by_case)]) + " |"]
    lines += ["|---" * (len(keys) + len(values) * len(by_case)) + "|"]
    for case in dict.fromkeys(case for rows in by_case for case in rows):
        cells = [cell(rows[case], value) if case in rows else "" for rows in by_case for value in values]
        lines.append("| " + " | ".join([*case, *cells]) + " |")
    return lines


def _plain(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _time(row: dict[str, Any], order: str) -> str:
    return f"{row[f'{order}_ms']:.3f} ({row[f'{order}_share_of_copy']:.0%})"


def _rate(row: dict[str, Any], direction: str) -> str:
    return f"{row[f'{direction}_gflops']:.0f}"


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("files", type=Path, nargs=-1, required=True)
@click.option("--out", type=Path, required=True, help="The page.")
@door
def main(files: tuple[Path, ...], out: Path) -> None:
    """Write the page."""
    with atomic_write(out, "w") as stream:
        stream.write(page({file.stem: read_json(file) for file in files}))


if __name__ == "__main__":
    main()
