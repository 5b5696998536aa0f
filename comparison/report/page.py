"""`report.html`: one self-contained file with curves, samples, tables, projections and settings."""

from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from comparison.findings.model import Projected, Results
from comparison.findings.sentences import number
from comparison.report import samples, tables
from comparison.report.samples import Samples
from comparison.report.style import LineStyle
from dnnlib import atomic_write, json_text

FEW = 6  # comparisons that are all told in words, and pages that are not folded away
MOST_PAGES = 40  # of closest pairs, 200 kB each


def write_report(outdir: Path, results: Results, pictures: Samples, styles: Mapping[str, LineStyle]) -> Path:
    """Write `report.html` into `outdir`; needs no other file and no network when opened."""
    path = outdir / "report.html"
    with atomic_write(path, "w") as stream:
        stream.write(render(outdir, results, pictures, styles))
    return path


def render(outdir: Path, results: Results, pictures: Samples, styles: Mapping[str, LineStyle]) -> str:
    """The page's text."""
    indexed = {key: {"index": i, "dash": style.dash} for i, (key, style) in enumerate(styles.items())}
    return Template(_asset("report.html")).substitute(
        title=escape(title(results)),
        lead=escape(_lead(results)),
        css=_asset("report.css"),
        colours=_colours(styles),
        sentences=_findings(results),
        tables="\n".join(
            [tables.metric_tables(m, results.metrics[m], results.losses) for m in results.main_metrics]
            + [tables.counts_table(results), _details(results)]
        ),
        k_section=_k_section(outdir, results),
        copies_section=_copies_section(outdir, results),
        projection_section=_projection_section(outdir, results),
        tuning_section=_tuning_section(results),
        settings=_settings(results),
        results=_embedded(results),
        pictures=_embedded(pictures),
        styles=_embedded(indexed),
        js=_asset("report.js"),
    )


def title(results: Results) -> str:
    """The page's heading."""
    names = [loss.label for loss in results.losses]
    shown = " / ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} other losses"
    return f"{shown} on {results.data.name}"


def _lead(results: Results) -> str:
    settings, data = results.settings, results.data
    counts = results.counts.values()
    parts = [
        f"{len(results.losses)} losses, {len(settings['seeds'])} seeds, {settings['kimg']:g} kimg",
        "{} x {} pixels".format(*data.size) if data.size else "",
        f"{data.subset} images" if data.subset else "all images",
        f"{sum(c.finished for c in counts)} of {sum(c.planned for c in counts)} runs finished",
        results.created,
    ]
    return " · ".join(part for part in parts if part)


def _findings(results: Results) -> str:
    """The sentences about final values, or why there are none."""
    sentences = [text for metric in results.main_metrics for text in _short(results, metric)]
    if not results.metrics:
        sentences = ["No metric has been computed yet."]
    elif not sentences:
        sentences = ["Cross-entropy is not among the losses, so nothing is compared with it."]
    troubled = [
        f"{loss.label}: {count.diverged} of {count.begun} runs diverged, {count.collapsed} collapsed."
        for loss in results.losses
        if (count := results.counts[loss.key]).diverged or count.collapsed
    ]
    missing = [f"{name} was not computed: {reason}." for name, reason in results.not_computed.items()]
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences + results.copying + troubled + missing)
    return f'<ul class="findings">{items}</ul>'


def _short(results: Results, metric: str) -> list[str]:
    """The sentences about one metric; those that saw no difference as one when there are many."""
    rows = [row for row in results.metrics[metric].comparisons if row.quantity == "final"]
    if len(rows) <= FEW:
        return [row.sentence for row in rows]
    names = {loss.key: loss.label for loss in results.losses}
    quiet = [names[row.loss] for row in rows if row.verdict == "none"]
    told = [row.sentence for row in rows if row.verdict != "none"]
    if quiet:
        told.append(f"Final {metric}: no difference from cross-entropy seen for {', '.join(quiet)}; see the table.")
    return told


def _details(results: Results) -> str:
    """Tables of the metrics' parts, folded away."""
    parts = [
        tables.metric_tables(metric, analysed, results.losses)
        for metric, analysed in results.metrics.items()
        if metric not in results.main_metrics
    ]
    return f"<details><summary>Parts of the metrics</summary>{''.join(parts)}</details>" if parts else ""


def _k_section(outdir: Path, results: Results) -> str:
    blocks = []
    for metric, points in results.k_curve.items():
        if not points:
            continue
        rows = [
            f"<td>{number(p.k)}</td><td>{escape(p.family)}</td>" + tables.cell(p.mean, p.low, p.high) + tables.cell(p.n)
            for p in points
        ]
        picture = outdir / "figures" / f"{metric}-over-k.png"
        image = (
            _picture(
                picture,
                f"final {metric} over k; the values are in the table",
                ' style="max-width:100%;background:#fff"',
            )
            if picture.is_file()
            else ""
        )
        blocks.append(image + tables.table(f"{metric}: final value over k", ["k", "loss", "final", "seeds"], rows, "k"))
    if not blocks:
        return ""
    return f'<section aria-labelledby="h-k"><h2 id="h-k">Which k?</h2>{"".join(blocks)}</section>'


def _copies_section(outdir: Path, results: Results) -> str:
    """The generated images that are most like training images, of one run of each loss; folded away for many."""
    names = {loss.key: loss.label for loss in results.losses}
    pages = []
    for pairs in results.closest_pairs[:MOST_PAGES]:
        title = f"{names[pairs.loss]}, seed {pairs.seed}, {pairs.nimg / 1000:g} kimg ({pairs.metric})"
        picture = _picture(outdir / pairs.picture, f"closest pairs of {title}", ' style="max-width:100%"')
        opened = " open" if len(results.closest_pairs) <= FEW else ""
        pages.append(f"<details{opened}><summary>{escape(title)}</summary>{picture}</details>")
    if not pages:
        return ""
    note = "Generated image, training image, difference; the first seed of each loss, its last evaluation."
    return (
        '<section aria-labelledby="h-copies"><h2 id="h-copies">Closest to training images</h2>'
        f'<p class="note">{note}</p>{"".join(pages)}</section>'
    )


def _projection_section(outdir: Path, results: Results) -> str:
    """Fig. 5: the targets found by the first and the last snapshot of every loss."""
    projections = results.projections
    if not projections:
        return ""
    head = ["target", *(loss.label for loss in results.losses if loss.key in projections[0].losses)]
    rows = []
    for target in projections:
        row = f"<td>{_picture(outdir / target.picture, f'target {target.target}')}{escape(target.target)}</td>"
        for loss in results.losses:
            found = target.losses.get(loss.key)
            if not found:
                continue
            alt = f"{target.target} projected with the {{}} snapshot of {loss.label}"
            shown = [_projected(outdir, found[which], alt.format(which)) for which in ("first", "last")]
            row += f"<td>{''.join(shown)}</td>"
        rows.append(row)
    name = projections[0].distance
    note = f"Above with the untrained, below with the last snapshot; seed {projections[0].seed}, distance: {name}."
    body = tables.table(note, head, rows, "projections").replace("<table", '<table class="projection"', 1)
    return f'<section aria-labelledby="h-proj"><h2 id="h-proj">Projections</h2>{body}</section>'


def _projected(outdir: Path, found: Projected, alt: str) -> str:
    text = f"{found.nimg / 1000:g} kimg: distance {number(found.distance)}, {number(found.psnr)} dB"
    return f'{_picture(outdir / found.picture, alt)}<span class="range">{escape(text)}</span>'


def _tuning_section(results: Results) -> str:
    tuning = results.tuning
    if not tuning:
        return ""
    rows = [
        tables.label(loss.key, loss.label)
        + "".join(f"<td>{'' if value is None else number(value)}</td>" for value in (trial.rate, trial.gamma))
        + tables.cell(trial.mean)
        + f"<td>{trial.diverged}</td><td>{'chosen' if trial.chosen else ''}</td>"
        for loss in results.losses
        for trial in tuning.trials.get(loss.key, [])
    ]
    seeds = ", ".join(map(str, tuning.seeds))
    caption = f"Final {tuning.metric} after {tuning.kimg:g} kimg, mean over seeds {seeds}"
    body = tables.table(caption, ["loss", "learning rate", "R1 weight", tuning.metric, "diverged", ""], rows, "tuning")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in tuning.notes)
    title = "Learning rates and R1 weights"
    return f'<section aria-labelledby="h-tune"><h2 id="h-tune">{title}</h2>{body}{notes}</section>'


def _settings(results: Results) -> str:
    settings, data = results.settings, results.data
    hashes = sorted(set(data.hash_by_seed.values()))
    pairs = {
        "Data": f"{data.name}" + (f", {data.subset} images drawn by each seed" if data.subset else ""),
        "Data hash": ", ".join(h[:16] for h in hashes) or "unknown",
        "Length": f"{settings['kimg']:g} kimg, {settings['evaluations']} evaluations after the untrained network",
        "Seeds": ", ".join(map(str, settings["seeds"])),
        "Metrics": ", ".join(settings["metrics"]) or "none",
        "Further flags": " ".join(settings["train_flags"]) or "none",
        "Versions": ", ".join(f"{key} {value}" for key, value in results.environment.items()),
    }
    pairs |= {loss.label: loss.command for loss in results.losses}
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs.items())
    return f"<dl>{items}</dl>"


def _colours(styles: Mapping[str, LineStyle]) -> str:
    light = "".join(f"--loss-{i}: {style.light};" for i, style in enumerate(styles.values()))
    dark = "".join(f"--loss-{i}: {style.dark};" for i, style in enumerate(styles.values()))
    return (
        f":root {{{light}}}\n@media (prefers-color-scheme: dark) {{ :root {{{dark}}} }}\n"
        f"@media print {{ :root {{{light}}} }}"
    )


def _embedded(value: Any) -> str:
    """JSON inside a script element: no `</script>` or `<!--` may occur in it."""
    return json_text(value, separators=(",", ":")).replace("<", "\\u003c")


def _picture(path: Path, alt: str, style: str = "") -> str:
    with samples.opened(path) as picture:
        return f'<img{style} src="{samples.data_uri(picture)}" alt="{escape(alt)}">'


def _asset(name: str) -> str:
    return resources.files("comparison.report").joinpath("assets", name).read_text(encoding="utf-8")
