"""The page of the operators' results is what its command makes of the committed numbers."""

from pathlib import Path

from click.testing import CliRunner

from benchmarks.speed import ops_page

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def test_the_page_in_the_documentation(tmp_path):
    files = sorted(map(str, RESULTS.glob("ops-*.json")))
    result = CliRunner().invoke(ops_page.main, [*files, f"--out={tmp_path / 'page.md'}"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "page.md").read_text() == (RESULTS / "operators.md").read_text()


def test_runs_with_different_cases_side_by_side():
    case = {"use": "D skip down", "shape": [4, 8, 8, 8], "dtype": "fp32", "implementation": "torch"}
    times = {f"{order}_{kind}": 0.5 for order in ops_page.ORDERS for kind in ("ms", "share_of_copy")}
    one = {"provenance": {"device": "A"}, "operators": [{**case, **times}], "convolutions": []}
    other = {**one, "operators": [{**case, **times, "dtype": "bf16"}]}
    rows = [line for line in ops_page.page({"one": one, "other": other}).splitlines() if "skip" in line]
    assert rows == [
        "| D skip down | 4 x 8 x 8 x 8 | fp32 | torch | 0.500 (50%) | 0.500 (50%) | 0.500 (50%) |  |  |  |",
        "| D skip down | 4 x 8 x 8 x 8 | bf16 | torch |  |  |  | 0.500 (50%) | 0.500 (50%) | 0.500 (50%) |",
    ]
