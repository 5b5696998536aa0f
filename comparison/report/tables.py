"""The report's tables as HTML. Every number carries its exact value in `data-value` beside the rounded text."""

from collections.abc import Mapping, Sequence
from html import escape

from comparison.findings.analysis import QUANTITIES
from comparison.findings.model import Loss, MetricFindings, Results
from comparison.findings.sentences import number


def cell(value: float | None, low: float | None = None, high: float | None = None, text: str | None = None) -> str:
    """One table cell: the number, and its interval below when there is one."""
    attribute = "" if value is None else f' data-value="{value!r}"'
    shown = escape(number(value) if text is None else text)
    interval = "" if low is None else f'<span class="range">{number(low)} to {number(high)}</span>'
    return f"<td{attribute}>{shown}{interval}</td>"


def table(caption: str, head: Sequence[str], rows: Sequence[str], name: str) -> str:
    """A table that scrolls sideways on a narrow screen; `rows` hold the cells of each line."""
    columns = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table data-table="{escape(name)}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def metric_tables(metric: str, analysed: MetricFindings, losses: Sequence[Loss]) -> str:
    """Summary, paired differences and images to reach values, of one metric."""
    names = {loss.key: loss.label for loss in losses}
    parts = [f"<h3>{escape(metric)} ({analysed.better} is better)</h3>", _summary(metric, analysed, names)]
    if analysed.comparisons:
        parts.append(_fold(_differences(metric, analysed, names), "Differences", names))
        parts.append(_sentences(analysed))
    if analysed.reach:
        parts.append(_fold(_reach(metric, analysed, names), "When values are reached", names))
    return "\n".join(parts)


def counts_table(results: Results) -> str:
    """How many runs each loss finished, and how many diverged or collapsed."""
    columns = ("planned", "begun", "finished", "diverged", "collapsed", "nonfinite_losses")
    rows = [
        label(loss.key, loss.label) + "".join(cell(getattr(results.counts[loss.key], column)) for column in columns)
        for loss in results.losses
    ]
    head = ["loss", *(column.replace("_", " ") for column in columns)]
    return table("Runs", head, rows, "counts")


def label(key: str, name: str) -> str:
    """The cell of a loss."""
    return f'<td data-loss="{escape(key)}">{escape(name)}</td>'


def _summary(metric: str, analysed: MetricFindings, names: Mapping[str, str]) -> str:
    rows = []
    for key, summary in analysed.summary.items():
        intervals = [getattr(summary, quantity) for quantity in QUANTITIES]
        cells = "".join(cell(interval.mean, interval.low, interval.high) for interval in intervals)
        rows.append(label(key, names[key]) + cells + cell(summary.final.n))
    head = ["loss", "final", "best", "average", "seeds"]
    return table(f"{metric}: mean over seeds, 95 % interval below", head, rows, f"summary-{metric}")


def _differences(metric: str, analysed: MetricFindings, names: Mapping[str, str]) -> str:
    rows = []
    for row in analysed.comparisons:
        rows.append(
            label(row.loss, names[row.loss])
            + f'<td data-quantity="{row.quantity}">{row.quantity}</td>'
            + cell(row.mean, row.low, row.high)
            + cell(row.better_in, text=f"{row.better_in} of {row.n}")
            + cell(row.p)
            + cell(row.p_holm)
        )
    reference = names[analysed.comparisons[0].reference]
    head = ["loss", "quantity", "difference", "better in", "p", "p, Holm"]
    return table(f"{metric}: difference to {reference}, paired by seed", head, rows, f"differences-{metric}")


def _sentences(analysed: MetricFindings) -> str:
    items = "".join(f"<li>{escape(row.sentence)}</li>" for row in analysed.comparisons)
    return f'<details><summary>The same in words</summary><ul class="note">{items}</ul></details>'


def _fold(content: str, title: str, names: Mapping[str, str]) -> str:
    """The table itself for few losses, folded away for many."""
    return content if len(names) <= 7 else f"<details><summary>{title}</summary>{content}</details>"


def _reach(metric: str, analysed: MetricFindings, names: Mapping[str, str]) -> str:
    rows = []
    for line in analysed.reach:
        for key, reached in line.losses.items():
            rows.append(
                cell(line.level)
                + label(key, names[key])
                + cell(reached.reached, text=f"{reached.reached} of {reached.runs}")
                + cell(reached.images)
                + cell(reached.seconds)
                + cell(reached.processor)
            )
    head = ["value", "loss", "runs that reach it", "images (median)", "training seconds (median)", "of the processor"]
    from_reference = analysed.reach[0].share_of_reference_run is not None
    which = "what cross-entropy has at 25, 50, 75 and 100 % of its length" if from_reference else "the value"
    caption = f"{metric}: when a run first reaches {which}"
    return table(caption, head, rows, f"reach-{metric}")
