import json
from dataclasses import replace

import numpy as np
import pytest

from comparison.findings.analysis import analyse_metric, counts
from comparison.findings.model import Counts
from comparison.findings.results import build_results
from comparison.runs.collect import read_runs
from comparison.runs.jobs import run_folder


@pytest.fixture
def results_of(tmp_path, write_comparison):
    def results(**options):
        design = write_comparison(tmp_path, **options)
        return build_results(tmp_path, design, read_runs(tmp_path, design))

    return results


def final_row(results, loss):
    rows = results.metrics["swd"].comparisons
    return next(row for row in rows if row.loss == loss and row.quantity == "final")


def test_a_known_difference_is_found_and_none_is_not_invented(results_of):
    results = results_of(seeds=8, effect=-6.0)
    found = final_row(results, "rlo-k11-bounded")
    assert found.low < -6.0 < found.high
    assert found.p_holm == pytest.approx(2 * 2**-7)
    assert found.better_in == 8
    assert "More than chance would explain" in found.sentence
    none = final_row(results, "rlo-k2-convex")
    assert none.low < 0 < none.high
    assert "no difference seen with 8 seeds" in none.sentence


def test_pairing_removes_what_the_seeds_share(results_of):
    results = results_of(seeds=8, effect=-6.0)
    summary = results.metrics["swd"].summary
    difference = final_row(results, "rlo-k11-bounded")
    unpaired_width = summary["ce"].final.high - summary["ce"].final.low
    assert difference.high - difference.low < unpaired_width


def test_few_seeds_are_no_proof_however_large_the_difference(results_of):
    row = final_row(results_of(seeds=3, effect=-60.0), "rlo-k11-bounded")
    assert row.p == 0.25
    assert "A hint, no proof: with 3 seeds the permutation test cannot get below p = 0.25 (0.5 after Holm)" in (
        row.sentence
    )


def test_one_seed_says_nothing_about_chance(results_of):
    row = final_row(results_of(seeds=1), "rlo-k11-bounded")
    assert row.low is None
    assert "one seed, which says nothing about chance" in row.sentence


def test_diverged_and_unfinished_runs_are_counted_and_left_out(tmp_path, write_comparison):
    design = write_comparison(tmp_path, seeds=5)
    rlo = design.losses[2]
    diverged = run_folder(tmp_path, rlo, 1)
    lines = (diverged / "metric-swd.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    last["results"]["swd"] = None
    (diverged / "metric-swd.jsonl").write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    unfinished = run_folder(tmp_path, rlo, 2)
    (unfinished / "finished.json").unlink()
    for name in ("stats.jsonl", "metric-swd.jsonl"):
        kept = (unfinished / name).read_text().splitlines()[:4]
        (unfinished / name).write_text("\n".join(kept) + "\n")
    runs = read_runs(tmp_path, design)
    results = build_results(tmp_path, design, runs)
    assert counts(runs[rlo.key].values()) == Counts(
        planned=5, begun=5, finished=4, diverged=1, collapsed=0, nonfinite_losses=0
    )
    row = final_row(results, rlo.key)
    assert row.seeds == [0, 3, 4]
    assert row.sentence.endswith("Left out: RLO-11 bounded seed 1 diverged, RLO-11 bounded seed 2 is not finished.")


def test_collapse_is_counted(tmp_path, write_comparison, write_run):
    design = write_comparison(tmp_path, losses="ce,rlo:k=2", seeds=2)
    folder = run_folder(tmp_path, design.losses[1], 0)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    write_run(folder, 0, [200.0, 40.0, 30.0, 90.0, 120.0])
    runs = read_runs(tmp_path, design)
    assert counts(runs["ce"].values()).collapsed == 0
    assert counts(runs["rlo-k2-bounded"].values()).collapsed == 1


def test_reaching_values(tmp_path, write_comparison):
    design = write_comparison(tmp_path, losses="ce,rlo:k=11", seeds=3, effect=-30.0)
    rows = analyse_metric("swd", design.losses, read_runs(tmp_path, design)).reach
    assert [row.share_of_reference_run for row in rows] == [0.25, 0.5, 0.75, 1.0]
    for row in rows:
        assert row.losses["rlo-k11-bounded"].reached == 3
        ce, rlo = row.losses["ce"].images, row.losses["rlo-k11-bounded"].images
        assert ce is None or rlo < ce  # half of the CE runs may never get to the mean of all at the end
    assert rows[1].losses["rlo-k11-bounded"].seconds == pytest.approx(
        0.5 + 12.0 * rows[1].losses["rlo-k11-bounded"].images / 5000
    )


def test_without_cross_entropy_nothing_is_compared(results_of):
    results = results_of(losses="rlo:k=2,rlo:k=11", seeds=2)
    assert results.metrics["swd"].comparisons == []
    assert results.metrics["swd"].reach == []


def test_curve_over_k(results_of):
    results = results_of(losses="ce,rlo:k=2..4,rlo:k=11:form=convex", seeds=3)
    points = results.k_curve["swd"]
    assert [(point.k, point.form) for point in points] == [(2, "bounded"), (3, "bounded"), (4, "bounded")]
    assert all(point.low < point.mean < point.high for point in points)


def test_nothing_begun_gives_an_empty_result(tmp_path, write_comparison):
    design = replace(write_comparison(tmp_path / "a", seeds=1), seeds=(7,))
    results = build_results(tmp_path / "empty", design, read_runs(tmp_path / "empty", design))
    assert results.metrics == {}
    assert all(count.begun == 0 for count in results.counts.values())


def test_the_interval_of_the_summary_is_the_mean_of_finals(results_of):
    results = results_of(seeds=5)
    finals = [run.curves["swd"].value[-1] for run in results.runs["ce"].values()]
    assert results.metrics["swd"].summary["ce"].final.mean == pytest.approx(np.mean(finals))


def test_values_to_reach_can_be_given(tmp_path, write_comparison):
    design = write_comparison(tmp_path, losses="rlo:k=2,rlo:k=11", seeds=3)
    results = build_results(tmp_path, design, read_runs(tmp_path, design), reach=[100.0, -1.0])
    first, never = results.metrics["swd"].reach
    assert (first.level, first.share_of_reference_run) == (100.0, None)
    assert all(reached.reached == 3 and 0 < reached.images < 40_000 for reached in first.losses.values())
    assert all(reached.reached == 0 and reached.images is None for reached in never.losses.values())
