"""The command that runs all benchmarks: its verdicts on made-up results, time limits, merging, and mistakes."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import stages as run
from benchmarks.goals import goals, table
from benchmarks.page import page
from benchmarks.plans import Stage


def operator(use, share, shape=(16, 64, 256, 256), dtype="bf16", implementation="auto"):
    shares = {f"{order}_share_of_copy": share for order in ("forward", "gradient", "second")}
    return {"use": use, "shape": list(shape), "dtype": dtype, "implementation": implementation, **shares}


def case(resolution, batch, seconds, **more):
    found = {"resolution": resolution, "batch": batch, "sec_per_kimg": seconds}
    return {**found, "precision": "bfloat16", "cuda_graphs": False, **more}


GPU = {
    "quick": {"checks": {"operators": {"ok": True}, "graphs": {"ok": False}}},
    "tests-ops": {"passed": 900},
    "tests-training": {"passed": 5, "failed": 1, "unfinished": 1},
    "ops": {
        "operators": [
            operator("D skip down", 0.85),
            operator("D filter before down-convolution", 0.7, dtype="fp32"),
            operator("D skip down", 0.1, shape=(16, 512, 8, 8)),  # small
            operator("D skip down", 0.2, implementation="torch"),
            operator("bias_act lrelu", 0.9),
            operator("augmentation grid_sample", 0.3),
        ]
    },
    "step": {"cases": [case(64, 32, 1.9), case(64, 8, 0.5), case(256, 16, 2.9)]},
    "step-graphs": {"cases": [case(64, 32, 1.2, cuda_graphs=True)]},
}
CPU = {
    "step": {
        "cases": [
            {"resolution": 32, "batch": 16, "precision": "float32", "share_of_convolution_rate": 0.83,
             "peak_memory_gib": 3.3},
        ]
    },
    "tools": {"start_up_seconds": {"import_rooted_adds": 0.06, "train_help": 0.5, "one_step_and_exit": 9}},
    "metrics": {"evaluation / (generator + detector)": [1.2, 1.1], "frechet_distance": [1.9, 1.8]},
    "losses": {
        "losses": [
            {"loss": name, "ratio_to_cross_entropy": ratio}
            for name, ratio in (("cross_entropy", 1.0), ("rlo-8-bounded", 1.2), ("rlo-8-convex", 1.6))
        ]
    },
}  # fmt: skip


def verdicts(results, device):
    return {goal.what: (goal.verdict, goal.where) for goal in goals(results, device)}


def test_verdicts_on_a_gpu():
    found = verdicts(GPU, "cuda")
    assert found["quick checks that fail"] == ("not reached", "graphs")
    assert found["tests-ops: tests that fail or did not end"] == ("reached", "900 pass")
    assert found["tests-training: tests that fail or did not end"][0] == "not reached"
    verdict, where = found["upfirdn2d forward: share of the copy rate, large shapes"]
    assert verdict == "not reached"
    assert where == "1 of 2 shapes reach it; lowest: D filter before down-convolution, 16 x 64 x 256 x 256, fp32"
    assert found["bias_act gradient: share of the copy rate, large shapes"][0] == "reached"
    assert found["64 x 64, batch 32: s/kimg"] == ("reached", "bfloat16, CUDA graphs")
    assert found["256 x 256, batch 16: s/kimg"] == ("reached", "bfloat16, eager")
    assert [goal.found for goal in goals(GPU, "cuda") if goal.what.startswith("tests-training")] == [2]


def test_verdicts_on_a_cpu():
    found = verdicts(CPU, "cpu")
    assert found["float32 step: share of the convolution rate"][0] == "reached"
    assert found["bfloat16 step: share of the convolution rate"] == (
        "not measured", "this processor does not multiply bfloat16 natively",
    )  # fmt: skip
    assert found["peak memory of a step: GB"] == ("not reached", "float32")  # 3.3 GiB are 3.54 GB
    assert found["import rooted adds: s"][0] == "not reached"
    assert found["train.py --help: s"][0] == "reached"
    assert found["evaluation / (generator + detector), on the clock"] == ("reached", "processor time: 1.10")
    assert found["Frechet distance in 2048 dimensions, processor: s"][0] == "reached"
    assert found["rooted losses: time / that of cross-entropy"][0] == "not reached"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_was_not_measured_is_not_reached(device):
    found = goals({}, device)
    assert len(found) >= 6
    assert {goal.verdict for goal in found} == {"not measured"}
    text = table(found)
    assert text.count("not measured") == len(found)
    assert len({line.count("|") for line in text.splitlines()}) == 1


PLANS = {
    "cpu": run.stages("cpu"), "cuda": run.stages("cuda"),
    "short": run.nine_minutes(stand_in=False), "rehearsal": run.nine_minutes(stand_in=True),
}  # fmt: skip


@pytest.mark.parametrize("plan", PLANS)
def test_every_stage_is_a_program_of_the_project(plan, tmp_path):
    for name, stage in PLANS[plan].items():
        line = stage.line(tmp_path, name)
        assert line[:2] == [sys.executable, "-m"]
        assert importlib.util.find_spec(line[2]) is not None
        assert "{" not in " ".join(line)
        for option in line[3:]:
            assert not option.startswith("tests/") or Path(run.SOURCE, option).exists()


def test_the_nine_minutes_hold_all_their_stages_and_are_rehearsed_whole():
    short = PLANS["short"]
    assert sum(stage.limit for stage in short.values()) <= run.NINE_MINUTES
    assert list(short) == list(PLANS["rehearsal"])
    assert set(short) <= set(PLANS["cuda"])


@pytest.mark.slow
def test_a_stage_of_the_rehearsal(tmp_path):
    out, page = tmp_path / "out", tmp_path / "page.md"
    stages = "--stages=graphs,losses-compiled"
    arguments = ["--nine-minutes", "--stand-in", stages, f"--out={out}", f"--page={page}"]
    result = CliRunner().invoke(run.main, arguments)
    assert result.exit_code == 0, result.output
    ran = json.loads((out / "summary.json").read_text())["stages"]
    assert {stage["status"] for stage in ran.values()} == {0}, ran
    # Nothing is captured on the CPU, where equal runs give equal bits.
    assert set(ran["graphs"]["result"]["largest_difference"].values()) == {0.0}
    assert "## Training from CUDA graphs" in page.read_text()
    assert "## Losses" in page.read_text()


def test_the_page_has_what_each_stage_found():
    check = {"ok": False, "seconds": 1.0, "said": "RuntimeError: no"}
    step = case(
        64, 32, 1.25, gflop_per_second=1e4, share_of_convolution_rate=0.5, peak_memory_gib=3.0, cuda_graphs=True
    )
    side = {"captured": ["Gmain"], "said": [], "precision": "bfloat16", "sec_per_kimg": 1.5}
    loss = {"loss": "rlo", "shape": [4, 5], "dtype": "float32", "median_ms": 1, "ratio_to_cross_entropy": 1.1}
    milliseconds = {f"{order}_ms": 1.0 for order in ("forward", "gradient", "second")}
    results = {
        "quick": {"checks": {"graphs": check}},
        "step-graphs": {"cases": [step]},
        "graphs": {"eager": side, "graphs": side, "steps": 3, "largest_difference": {"Loss/G/loss": 2e-5}},
        "losses-compiled": {"losses": [loss]},
        "ops": {"operators": [{**operator("D skip down", 0.3), **milliseconds}]},
    }
    stages = {name: {"status": 0, "seconds": 1.0, "result": result} for name, result in results.items()}
    text = page({"machine": {"device": "A GPU", "kind": "cuda", "torch": "2.11"}, "stages": stages}, goals({}, "cuda"))
    assert text.startswith("# A GPU\n\n* torch: 2.11\n")
    for line in (
        "| graphs | FAILED | 1.0 | RuntimeError: no |",
        "| 64 | 32 | bfloat16 | yes | 1.25 | 10000 | 50% | 3.00 |",
        "| eager | Gmain | 1.5 (bfloat16) |  |",
        "Largest relative difference of any of the first 3 steps: Loss/G/loss 2e-05.",
        "| losses-compiled | rlo | 4 x 5 | float32 | 1 | 1.1 |",
    ):
        assert line in text.splitlines()
    assert "| D skip down | 16 x 64 x 256 x 256 | bf16 | auto | 1.000 (30%)" in text


def test_the_command_as_a_file_in_another_folder(tmp_path):
    program = Path(run.__file__).with_name("run.py")
    done = subprocess.run([sys.executable, program, "--stages=walks"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no walks" in done.stderr


class Python(Stage):
    """A stage that runs a program text."""

    def line(self, out, name):
        return [sys.executable, "-c", *(part.format(json=out / f"{name}.json") for part in self.command)]


HANGS = """
import time
try:
    print("begun")
    time.sleep(600)
except KeyboardInterrupt:
    print("as far as it came")
"""
PROGRAMS = {
    "writes": Python(("import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('[1]')", "{json}")),
    "fails": Python(("raise SystemExit('it is broken')",)),
    "tests-ops": Python(("print('2 failed, 7 passed, 3 skipped in 4.56s (0:00:04)'); raise SystemExit(1)",)),
    "hangs": Python((HANGS,), limit=2),
}


@pytest.fixture
def call(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "stages", lambda device: dict(PROGRAMS))

    def invoke(*arguments, out="a"):
        result = CliRunner().invoke(run.main, [f"--out={tmp_path / out}", *arguments])
        return result, tmp_path / out

    return invoke


def test_a_stage_that_fails_or_hangs_does_not_end_the_others(call, monkeypatch, tmp_path):
    class Patient(subprocess.Popen):
        """A process whose time is over when it has printed its first line."""

        def wait(self, timeout=None):
            if timeout != PROGRAMS["hangs"].limit:
                return super().wait(timeout)
            while "begun" not in (tmp_path / "a" / "hangs.log").read_text() and self.poll() is None:
                time.sleep(0.01)
            return super().wait(0)

    monkeypatch.setattr(run.subprocess, "Popen", Patient)
    monkeypatch.setattr(run, "GRACE", 600)
    result, out = call()
    assert result.exit_code == 0, result.output
    ran = json.loads((out / "summary.json").read_text())["stages"]
    assert list(ran) == list(PROGRAMS)
    assert ran["writes"]["status"] == 0
    assert ran["writes"]["result"] == [1]
    assert ran["fails"]["status"] == 1
    assert "it is broken" in ran["fails"]["log"]
    assert ran["tests-ops"]["result"] == {"failed": 2, "passed": 7, "skipped": 3}
    assert ran["hangs"]["status"] == "time limit"
    assert "as far as it came" in ran["hangs"]["log"]
    assert "| fails | 1 |" in (out / "summary.md").read_text()


def test_results_are_added_and_merged(call):
    call("--stages=writes", out="a")
    call("--stages=fails", out="b")
    result, out = call("--stages=none", f"--merge={call('--stages=writes', out='a')[1]}", out="b")
    assert result.exit_code == 0, result.output
    assert set(json.loads((out / "summary.json").read_text())["stages"]) == {"writes", "fails"}


def test_the_budget_is_kept(call):
    _, out = call("--budget=30")
    ran = json.loads((out / "summary.json").read_text())["stages"]
    assert {stage["status"] for stage in ran.values()} == {"not started: the budget is spent"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages=writes,walks"], "there is no walks"),
        (["--stages=none", "--merge=nowhere"], "--merge=nowhere"),
        (["--nine-minutes"], "--device=cuda"),
        (["--stand-in"], "give both"),
    ],
)
def test_mistakes_are_named(call, arguments, message):
    result, _ = call(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
