"""Samples are cut from the grids of runs, whatever the shape of the images."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from comparison.findings.results import build_results
from comparison.report import figures, page, style
from comparison.report.samples import collect_samples, cut
from comparison.runs.collect import read_runs


@pytest.mark.parametrize(("cell", "shown"), [((16, 16), (16, 16)), ((24, 16), (24, 16)), ((192, 256), (96, 128))])
def test_cells_are_cut_and_reduced_in_their_shape(tmp_path, cell, shown):
    grid = Image.new("L", (4 * cell[0], 3 * cell[1]))
    grid.paste(255, (cell[0], cell[1], 2 * cell[0], 2 * cell[1]))
    grid.save(tmp_path / "fakes.png")
    part = cut(tmp_path / "fakes.png", cell, 3, 2)
    assert part.size == (3 * shown[0], 2 * shown[1])
    assert (np.asarray(part)[-shown[1] + 4 : -4, shown[0] + 4 : 2 * shown[0] - 4] == 255).all()


def test_a_report_on_images_that_are_not_square(tmp_path, write_comparison):
    design = write_comparison(tmp_path, losses="ce,rlo:k=11", seeds=2)
    for path in tmp_path.rglob("training_options.json"):
        options = {**json.loads(path.read_text()), "G_kwargs": {"img_resolution": 16, "base_size": [4, 6]}}
        path.write_text(json.dumps(options))
    for path in tmp_path.rglob("fakes*.png"):
        Image.new("RGB", (7 * 24, 4 * 16)).save(path)
    runs = read_runs(tmp_path, design)
    built = build_results(tmp_path, design, runs)
    assert built.data.size == (24, 16)
    pictures = collect_samples(runs)
    assert (pictures.columns, pictures.rows) == (6, 4)
    data = pictures.pictures["ce"][0][pictures.nimg[-1]].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (6 * 24, 4 * 16)
    styles = style.line_styles(design.losses)
    assert "24 x 16 pixels" in page.render(tmp_path, built, pictures, styles)
    assert figures.samples_figure(runs, {loss.key: loss.label for loss in built.losses}).axes
