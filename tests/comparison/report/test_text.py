"""Text of files in the report is text, whatever it is: no element, no script, no address of its own."""

import dataclasses
import json
import re

import pytest

from benchmarks.attack.changes import TEXTS
from benchmarks.attack.shown import obeyed
from comparison.findings import results
from comparison.report import page, samples, style
from comparison.runs.collect import read_runs
from comparison.runs.jobs import run_folder


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, write_comparison):
    outdir = tmp_path_factory.mktemp("texts")
    return outdir, write_comparison(outdir, losses="ce", seeds=1)


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_files_is_escaped(comparison, tmp_path, text):
    outdir, design = comparison
    folder = run_folder(outdir, design.losses[0], 0)
    options = json.loads((folder / "training_options.json").read_text())
    (folder / "training_options.json").write_text(json.dumps({**options, "dataset_hash": text}))
    record = {"metric": "swd2", "results": {}, "not_computed": text, "nimg": 8}
    (folder / "metric-swd2.jsonl").write_text(json.dumps(record) + "\n")
    design = dataclasses.replace(design, data=f"x/{text.replace('/', '')}", train_flags=(text,), metrics=("swd", text))
    runs = read_runs(outdir, design)
    built = results.build_results(outdir, design, runs)
    rendered = page.render(outdir, built, samples.collect_samples(runs), style.line_styles(design.losses))
    (tmp_path / "report.html").write_text(rendered, errors="backslashreplace")
    assert obeyed("", tmp_path) == ""
    # What a browser takes for scripts are those of the page with no text: none more, and none ended early.
    scripts = re.findall("<script[ >].*?</script>", rendered, flags=re.DOTALL)
    assert len(scripts) == rendered.count("<script") == rendered.count("</script>")
    assert "CANARY" in rendered
