"""What the measurements say about the project's goals for speed and memory, from the JSON of the benchmarks."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

LARGE = 32 * 2**20
"""Bytes of input from which a shape counts as large: less fits in the caches of a GPU."""

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


class Goal(NamedTuple):
    """One goal: what is measured, the value found (None: not measured), its bound, and where it was found."""

    what: str
    found: float | None
    bound: float
    at_least: bool
    where: str = ""

    @property
    def verdict(self) -> str:
        """`reached`, `not reached` or `not measured`."""
        if self.found is None or math.isnan(self.found):
            return "not measured"
        reached = self.found >= self.bound if self.at_least else self.found <= self.bound
        return "reached" if reached else "not reached"


def goals(results: dict[str, Any], device: str) -> list[Goal]:
    """The goals for a device.

    Args:
        results: what the stages of `benchmarks/run.py` wrote, by the name of the stage; any may be missing.
        device: "cpu" or "cuda".
    """
    found = [*_tests(results)]
    found += [*_on_gpu(results)] if device == "cuda" else [*_on_cpu(results)]
    return found


def _tests(results: dict[str, Any]) -> Iterator[Goal]:
    if "quick" in results:
        broken = [name for name, check in results["quick"]["checks"].items() if not check["ok"]]
        yield Goal("quick checks that fail", len(broken), 0, False, ", ".join(broken))
    for name in ("tests-ops", "tests-training"):
        if name in results:
            counts = results[name]
            failed = sum(counts.get(kind, 0) for kind in ("failed", "error", "unfinished"))
            yield Goal(f"{name}: tests that fail or did not end", failed, 0, False, f"{counts.get('passed', 0)} pass")


def _on_gpu(results: dict[str, Any]) -> Iterator[Goal]:
    rows = [row for row in results.get("ops", {}).get("operators", []) if row["implementation"] == "auto"]
    large = [row for row in rows if _input_bytes(row) >= LARGE]
    for family in ("upfirdn2d", "bias_act", "scaling"):
        of_family = [row for row in large if _family(row) == family]
        for order in ("forward", "gradient"):
            key = f"{order}_share_of_copy"
            lowest = min(of_family, key=lambda row: row[key], default=None)
            where = ""
            if lowest is not None:
                shape = " x ".join(map(str, lowest["shape"]))
                reached = f"{sum(row[key] >= 0.8 for row in of_family)} of {len(of_family)} shapes reach it"
                where = f"{reached}; lowest: {lowest['use']}, {shape}, {lowest['dtype']}"
            yield Goal(
                f"{family} {order}: share of the copy rate, large shapes",
                None if lowest is None else lowest[key], 0.8, True, where,
            )  # fmt: skip
    cases = [case for stage in ("step", "step-graphs", "step-more") for case in results.get(stage, {}).get("cases", [])]
    for resolution, batch, bound in ((64, 32, 1.5), (256, 16, 3.0)):
        fitting = [case for case in cases if (case["resolution"], case["batch"]) == (resolution, batch)]
        best = min(fitting, key=lambda case: case["sec_per_kimg"], default=None)
        where = ""
        if best is not None:
            where = best["precision"] + (", CUDA graphs" if best["cuda_graphs"] else ", eager")
        yield Goal(
            f"{resolution} x {resolution}, batch {batch}: s/kimg",
            None if best is None else best["sec_per_kimg"], bound, False, where,
        )  # fmt: skip


def _on_cpu(results: dict[str, Any]) -> Iterator[Goal]:
    cases = {case["precision"]: case for case in results.get("step", {}).get("cases", [])}
    for precision, bound in (("float32", 0.8), ("bfloat16", 0.45)):
        case = cases.get(precision)
        where = f"{case['resolution']} x {case['resolution']}, batch {case['batch']}" if case else ""
        if case is None and cases and precision == "bfloat16":
            where = "this processor does not multiply bfloat16 natively"
        share = case["share_of_convolution_rate"] if case else None
        yield Goal(f"{precision} step: share of the convolution rate", share, bound, True, where)
    peaks = {case["peak_memory_gib"] * 2**30 / 1e9: precision for precision, case in cases.items()}
    most = max(peaks, default=None)
    yield Goal("peak memory of a step: GB", most, 3.5, False, peaks[most] if most is not None else "")
    start_up = results.get("tools", {}).get("start_up_seconds", {})
    for what, key, bound in (
        ("import rooted adds: s", "import_rooted_adds", 0.05),
        ("train.py --help: s", "train_help", 1.0),
        ("first step, with the start of the program and its end: s", "one_step_and_exit", 15.0),
    ):
        yield Goal(what, start_up.get(key), bound, False)
    losses = results.get("losses", {}).get("losses", [])
    rooted = [loss["ratio_to_cross_entropy"] for loss in losses if loss["loss"].startswith("rlo")]
    yield Goal("rooted losses: time / that of cross-entropy", max(rooted, default=None), 1.5, False)
    _, processor = results.get("metrics", {}).get("frechet_distance", (None, None))
    yield Goal("Frechet distance in 2048 dimensions, processor: s", processor, 2.0, False)
    ratio = results.get("metrics", {}).get("evaluation / (generator + detector)")
    wall, processor = ratio if ratio else (None, None)
    where = f"processor time: {processor:.2f}" if processor is not None else ""
    yield Goal("evaluation / (generator + detector), on the clock", wall, 1.3, False, where)


def _family(row: dict[str, Any]) -> str:
    if "bias_act" in row["use"]:
        return "bias_act"
    if row["use"] in ("G modulation", "sums of squares by channel"):
        return "scaling"
    return "grid_sample" if "grid_sample" in row["use"] else "upfirdn2d"


def _input_bytes(row: dict[str, Any]) -> int:
    return math.prod(row["shape"]) * _BYTES[row["dtype"]]


def table(found: list[Goal]) -> str:
    """The goals as Markdown."""
    lines = ["| goal | found | wanted | verdict | where |", "|---|---|---|---|---|"]
    for goal in found:
        value = "" if goal.found is None else f"{goal.found:.3g}"
        wanted = f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}"
        lines.append(f"| {goal.what} | {value} | {wanted} | {goal.verdict} | {goal.where} |")
    return "\n".join(lines) + "\n"
