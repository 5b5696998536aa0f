"""What a comparison shows, in words that claim no more than the numbers do."""

from collections.abc import Mapping

from comparison.findings.model import Better, Comparison, LossSummary

LEVEL = 0.05
MANY = 7  # losses, of which not all are told


def number(value: float | None) -> str:
    """A value with four significant digits, as all tables and sentences write it; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:.4g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e7 else text


def comparison(row: Comparison, metric: str, better: Better, names: Mapping[str, str]) -> str:
    """One to four sentences about a row of `analysis.compare_with`."""
    subject = f"{names[row.loss]} against {names[row.reference]}, {row.quantity} {metric}"
    n = row.n
    if n == 0:
        return f"{subject}: no pair of finished runs, so nothing can be said." + _left_out(row)
    return f"{subject}: {_finding(row, better)}{_left_out(row)}"


def copying(metric: str, summary: Mapping[str, LossSummary], names: Mapping[str, str]) -> str:
    """One sentence about the share of generated images that show training images again; only the worst of many."""
    found = {key: loss.final for key, loss in summary.items() if loss.final.n}
    if not found:
        return ""
    shown = sorted(found, key=lambda key: found[key].mean, reverse=True)[:1] if len(found) > MANY else found
    parts = [f"{names[key]} {_percent(found[key].mean)}{_range(summary[key])}" for key in shown]
    which = "most for " if len(found) > MANY else ""
    return (
        f"Share of generated images that show training images again at the end ({metric}): {which}{'; '.join(parts)}."
    )


def verdict(row: Comparison) -> str:
    """What the numbers of a row allow to say.

    "nothing" (no pairs), "same" (equal values), "one seed", "difference" (p after Holm at most 0.05 and an interval
    without zero), "hint" (such an interval alone), "undecided" (such a p alone), "none" (neither).
    """
    if row.n == 0:
        return "nothing"
    if all(d == 0 for d in row.differences):
        return "same"
    if row.n == 1:
        return "one seed"
    excludes_zero, significant = row.low > 0 or row.high < 0, row.p_holm <= LEVEL
    return {(True, True): "difference", (True, False): "hint", (False, True): "undecided"}.get(
        (excludes_zero, significant), "none"
    )


def _finding(row: Comparison, better: Better) -> str:
    said = verdict(row)
    n, difference = row.n, row.mean
    if said == "same":
        return f"exactly the same values with {_seeds(n)}."
    size = _size(difference, row.reference_mean, better)
    if said == "one seed":
        return f"{size} with one seed, which says nothing about chance."
    interval = f"95 % interval of the difference {number(row.low)} to {number(row.high)}"
    tests = f"p {_p(row.p)}" + (f" ({_p(row.p_holm, '')} after Holm)" if row.tests > 1 else "")
    numbers = f"{interval}; better in {row.better_in} of {n} seeds; {tests}"
    if said == "none":
        return (
            f"no difference seen with {_seeds(n)} ({size}; {numbers}). "
            "Differences inside the interval are not excluded either."
        )
    conclusion = {
        "difference": "More than chance would explain.",
        "hint": f"A hint, no proof{_limit(row)}.",
        "undecided": "Interval and test disagree: undecided.",
    }[said]
    return f"{size} on average over {_seeds(n)} ({numbers}). {conclusion}"


def _size(difference: float, reference: float, better: Better) -> str:
    direction = "lower" if difference < 0 else "higher"
    judgement = "better" if (difference < 0) == (better == "lower") else "worse"
    share = f", {100 * abs(difference) / abs(reference):.3g} %" if reference else ""
    return f"{number(abs(difference))} {direction} ({judgement}{share})"


def _limit(row: Comparison) -> str:
    """What keeps the test from deciding, when it is the number of seeds."""
    if row.smallest_p * row.tests <= LEVEL:
        return ""
    corrected = f" ({_p(min(1.0, row.smallest_p * row.tests), '')} after Holm)" if row.tests > 1 else ""
    return f": with {_seeds(row.n)} the permutation test cannot get below p {_p(row.smallest_p)}{corrected}"


def _left_out(row: Comparison) -> str:
    return f" Left out: {', '.join(row.left_out)}." if row.left_out else ""


def _range(summary: LossSummary) -> str:
    values = [run.final for run in summary.seeds.values()]
    return (
        "" if len(values) == 1 else f" ({_percent(min(values))} to {_percent(max(values))} over {_seeds(len(values))})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _p(p: float, equals: str = "= ") -> str:
    return "< 0.0001" if p < 1e-4 else f"{equals}{p:.2g}"


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
