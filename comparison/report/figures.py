"""The report's figures as PNG and SVG files, by matplotlib."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from comparison.findings.model import MetricFindings, Results
from comparison.report import samples
from comparison.report.style import LineStyle
from comparison.runs.collect import Runs, image_size
from dnnlib import UserError, make_folder

MANY = 7  # from here on bands would hide each other, and the legend the curves
SVG_OPTIONS = {"svg.hashsalt": "comparison", "svg.fonttype": "none"}  # the same input gives the same file


def write_figures(folder: Path, results: Results, runs: Runs, styles: Mapping[str, LineStyle]) -> list[Path]:
    """Write every figure as `<name>.png` and `<name>.svg`; returns the paths."""
    make_folder(folder, "`outdir`")
    labels = {loss.key: loss.label for loss in results.losses}
    written: list[Path] = []
    for metric, analysed in results.metrics.items():
        if not analysed.curves:
            continue
        for axis in ("nimg", "seconds"):
            name = f"{metric}-against-{'images' if axis == 'nimg' else 'seconds'}"
            written += _save(curve_figure(metric, analysed, axis, labels, styles), folder / name)
        if any(summary.final.n for summary in analysed.summary.values()):
            written += _save(final_figure(metric, analysed, labels, styles), folder / f"{metric}-final")
        if results.k_curve[metric]:
            written += _save(k_figure(metric, results), folder / f"{metric}-over-k")
    if any(run.samples for by_seed in runs.values() for run in by_seed.values()):
        written += _save(samples_figure(runs, labels), folder / "samples")
    return written


def curve_figure(
    metric: str, analysed: MetricFindings, axis: str, labels: Mapping[str, str], styles: Mapping[str, LineStyle]
) -> Figure:
    """A metric against images or training seconds: mean over seeds, band from the lowest to the highest seed."""
    figure, axes = _figure()
    for key, band in analysed.curves.items():
        x = [n / 1000 for n in band.nimg] if axis == "nimg" else band.seconds
        style = styles[key]
        line = (0, style.dash) if style.dash else "solid"
        if len(analysed.curves) <= MANY:
            axes.fill_between(x, band.low, band.high, color=style.light, alpha=0.15, linewidth=0)
        axes.plot(x, band.mean, color=style.light, linestyle=line, label=f"{labels[key]} (n = {band.n})")
    axes.set_xlabel("thousand real images" if axis == "nimg" else "training seconds (without evaluation)")
    axes.set_ylabel(f"{metric} ({analysed.better} is better)")
    if all(low > 0 for band in analysed.curves.values() for low in band.low):
        axes.set_yscale("log")
    if len(analysed.curves) <= MANY:
        axes.legend(frameon=False)
    else:
        figure.set_size_inches(9.5, max(4.2, 0.24 * len(analysed.curves)))
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def final_figure(
    metric: str, analysed: MetricFindings, labels: Mapping[str, str], styles: Mapping[str, LineStyle]
) -> Figure:
    """Final values: every seed a dot, the mean with its 95 % interval."""
    keys = [key for key, summary in analysed.summary.items() if summary.final.n]
    figure, axes = _figure(height=1.4 + 0.45 * len(keys))
    for y, key in enumerate(keys):
        summary = analysed.summary[key]
        final, colour = summary.final, styles[key].light
        dots = [one.final for one in summary.seeds.values()]
        axes.plot(dots, [y] * len(dots), "o", color=colour, alpha=0.45, markersize=5)
        axes.plot(final.mean, y, "D", color=colour, markersize=7)
        if final.low is not None:
            axes.hlines(y, final.low, final.high, color=colour)
    axes.set_yticks(range(len(keys)), [labels[key] for key in keys])
    axes.set_ylim(len(keys) - 0.4, -0.6)
    axes.set_xlabel(f"final {metric} ({analysed.better} is better; diamond: mean, line: 95 % interval)")
    return figure


def k_figure(metric: str, results: Results) -> Figure:
    """The final value over k with 95 % intervals, and cross-entropy as the line that k approaches."""
    figure, axes = _figure()
    for family in dict.fromkeys(point.family for point in results.k_curve[metric]):
        points = [point for point in results.k_curve[metric] if point.family == family]
        errors = [
            [0 if p.low is None else p.mean - p.low for p in points],
            [0 if p.high is None else p.high - p.mean for p in points],
        ]
        xs = [p.k for p in points]
        axes.errorbar(xs, [p.mean for p in points], errors, marker="o", markersize=4, capsize=3, label=family)
    for loss in results.losses:
        final = results.metrics[metric].summary[loss.key].final
        if loss.reference and final.n:
            axes.axhline(final.mean, color="#3d3d3d", linestyle="dashed", label=loss.label)
            if final.low is not None:
                axes.axhspan(final.low, final.high, color="#3d3d3d", alpha=0.1, linewidth=0)
    axes.set_xlabel("k")
    axes.set_ylabel(f"final {metric}, 95 % intervals")
    axes.legend(frameon=False)
    return figure


def samples_figure(runs: Runs, labels: Mapping[str, str], steps: int = 5) -> Figure:
    """Samples of the first seed: a row for each loss, image counts from left to right, the same latents everywhere."""
    shown = {key: run for key, by_seed in runs.items() if (run := next(iter(by_seed.values()))).samples}
    counts = samples.thin(sorted({n for run in shown.values() for n in run.samples}), steps)
    figure = Figure(figsize=(2.2 * len(counts), 1.75 * len(shown) + 0.3), layout="constrained")
    axes = figure.subplots(len(shown), len(counts), squeeze=False)
    for row, (key, run) in zip(axes, shown.items(), strict=True):
        for cell, count in zip(row, counts, strict=True):
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
            if count in run.samples:
                picture = samples.cut(run.samples[count], image_size(run), 4, 3)
                cell.imshow(picture.convert("RGB"), interpolation="nearest")
        row[0].set_ylabel(labels[key])
    for cell, count in zip(axes[0], counts, strict=True):
        cell.set_title(f"{count / 1000:g} kimg", fontsize=10)
    return figure


def _figure(height: float = 4.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    try:
        with matplotlib.rc_context(SVG_OPTIONS):
            figure.savefig(paths[0], dpi=150)
            figure.savefig(paths[1], metadata={"Date": None})
    except OSError as error:
        raise UserError(f"cannot write {stem}: {error.strerror}") from error
    return paths
