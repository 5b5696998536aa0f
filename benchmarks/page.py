"""The outcomes of `benchmarks/run.py` as one page: the machine, the goals, and what each stage found."""

from collections.abc import Iterator
from typing import Any

from benchmarks.goals import Goal, table
from benchmarks.speed.ops_page import operators_table

WORST = 12  # operators that the page shows of the large shapes


def page(summary: dict[str, Any], goals: list[Goal]) -> str:
    """Markdown.

    Args:
        summary: "machine": its facts by name; "stages": by name `status`, `seconds`, and where there is one `result`.
        goals: what `benchmarks.goals.goals` makes of the results.
    """
    ran = summary["stages"]
    lines = [f"# {summary['machine']['device']}", ""]
    lines += [f"* {key}: {value}" for key, value in summary["machine"].items() if key not in ("device", "kind")]
    lines += ["", table(goals), "| stage | status | seconds |", "|---|---|---|"]
    lines += [f"| {name} | {stage['status']} | {stage['seconds']} |" for name, stage in ran.items()]
    results = {name: stage["result"] for name, stage in ran.items() if "result" in stage}
    for part in (_quick, _steps, _graphs, _kernels, _losses, _operators):
        lines += part(results)
    return "\n".join(lines) + "\n"


def _quick(results: dict[str, Any]) -> Iterator[str]:
    if "quick" in results:
        yield from ("", "## Quick checks", "", "| check | | seconds | |", "|---|---|---|---|")
        for name, check in results["quick"]["checks"].items():
            yield f"| {name} | {'ok' if check['ok'] else 'FAILED'} | {check['seconds']} | {check['said']} |"


def _steps(results: dict[str, Any]) -> Iterator[str]:
    cases = [case for name, found in results.items() if name.startswith("step") for case in found["cases"]]
    if cases:
        yield from ("", "## Training steps", "")
        yield "| resolution | batch | precision | CUDA graphs | s/kimg | GFLOP/s | share of convolutions | peak GiB |"
        yield "|---|---|---|---|---|---|---|---|"
    for case in cases:
        yield (
            f"| {case['resolution']} | {case['batch']} | {case['precision']} | {'yes' if case['cuda_graphs'] else 'no'}"
            f" | {case['sec_per_kimg']:.3g} | {case['gflop_per_second']:.0f} | {case['share_of_convolution_rate']:.0%}"
            f" | {case['peak_memory_gib']:.2f} |"
        )


def _graphs(results: dict[str, Any]) -> Iterator[str]:
    found = results.get("graphs", {})
    both = {choice: found[choice] for choice in ("eager", "graphs") if choice in found}
    if both:
        yield from (
            "",
            "## Training from CUDA graphs",
            "",
            "| | phases captured | s/kimg | said |",
            "|---|---|---|---|",
        )
    for choice, row in both.items():
        captured, said = ", ".join(row["captured"]) or "none", "; ".join(row["said"])
        yield f"| {choice} | {captured} | {row['sec_per_kimg']:.3g} ({row['precision']}) | {said} |"
    if "largest_difference" in found:
        differences = ", ".join(f"{name} {value:.2g}" for name, value in found["largest_difference"].items())
        yield from ("", f"Largest relative difference of any of the first {found['steps']} steps: {differences}.")


def _kernels(results: dict[str, Any]) -> Iterator[str]:
    stages = [found for name, found in results.items() if name.startswith("kernels")]
    if stages:
        yield from ("", "## Where the time of a step goes", "", "Milliseconds of a GPU's kernels by kind.", "")
        yield "| resolution | CUDA graphs | phase | by the clock | kernels (launches) | kinds |"
        yield "|---|---|---|---|---|---|"
    for found in stages:
        for name, phase in found["phases"].items():
            kinds = ", ".join(f"{kind} {ms:.2f}" for kind, ms in phase["kinds"].items())
            graphs = "yes" if found["cuda_graphs"] else "no"
            yield (
                f"| {found['resolution']} | {graphs} | {name} | {phase['clock_ms']:.1f}"
                f" | {phase['kernels_ms']:.1f} ({phase['launches']:.0f}) | {kinds} |"
            )


def _losses(results: dict[str, Any]) -> Iterator[str]:
    stages = ("losses", "losses-compiled")
    rows = [(name, row) for name in stages for row in results.get(name, {}).get("losses", [])]
    if rows:
        yield from (
            "",
            "## Losses",
            "",
            "| stage | loss | shape | dtype | ms | / cross-entropy |",
            "|---|---|---|---|---|---|",
        )
    for name, row in rows:
        shape = " x ".join(map(str, row["shape"]))
        ratio = row["ratio_to_cross_entropy"]
        yield f"| {name} | {row['loss']} | {shape} | {row['dtype']} | {row['median_ms']} | {ratio} |"


def _operators(results: dict[str, Any]) -> Iterator[str]:
    rows = [row for row in results.get("ops", {}).get("operators", []) if row["implementation"] == "auto"]
    if rows:
        yield from ("", f"## Operators: the {WORST} furthest from the copy rate", "")
        yield from operators_table(sorted(rows, key=lambda row: row["forward_share_of_copy"])[:WORST])
