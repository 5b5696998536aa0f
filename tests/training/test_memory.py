"""The memory estimate: its arithmetic, its advice, and that it is near what is measured."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed.memory import CONFIGURATIONS, measure
from training import memory
from training.setup import build_networks, count_parameters

ROOT = Path(__file__).resolve().parents[2]


def test_the_largest_divisor_that_fits():
    estimate = memory.MemoryEstimate(fixed=100.0, per_image=10.0)
    assert estimate.total(4) == 140.0
    assert estimate.fitting_batch_gpu(1000.0, 12) == 12
    assert estimate.fitting_batch_gpu(165.0, 12) == 6
    assert estimate.fitting_batch_gpu(159.0, 12) == 4
    assert estimate.fitting_batch_gpu(105.0, 12) is None


def test_more_of_anything_needs_more(tiny):
    base = memory.estimate(tiny.config(), 10_000)
    assert memory.estimate(tiny.config(), 20_000).fixed > base.fixed
    assert memory.estimate(tiny.config(cbase=256), 10_000).per_image > base.per_image
    assert memory.estimate(tiny.config(precision="bf16"), 10_000).per_image < base.per_image


@pytest.mark.parametrize(
    ("available", "text", "warns"),
    [
        (8 << 30, "8.0 GiB free", False),
        (int(0.765e9), "`batch_gpu`=2 should fit", True),
        (1 << 20, "not even one image fits; lower `cbase`", True),
    ],
)
def test_the_advice(tiny, monkeypatch, available, text, warns):
    monkeypatch.setattr(memory, "available_bytes", lambda device: float(available))
    config = tiny.config(cbase=2048, cmax=64)
    expected = memory.estimate(config, 0)
    if "should fit" in text:
        available = expected.total(2) + 1
        monkeypatch.setattr(memory, "available_bytes", lambda device: available)
    line = memory.advice(config, 0, torch.device("cpu"))
    assert memory.advice(config, 0, torch.device("cpu"), sharing=1_000_000).startswith("warning: memory: ")
    assert text in line
    assert "`batch_gpu`=8" in line
    assert line.startswith("warning: ") == warns


def test_graphs_count_the_feature_maps_more_than_twice(tiny, monkeypatch):
    eager = dataclasses.replace(tiny.config(cbase=2048, cmax=64), device="cuda")
    graphs = dataclasses.replace(eager, precision=dataclasses.replace(eager.precision, cuda_graphs=True))
    less, more = memory.estimate(eager, 10_000), memory.estimate(graphs, 10_000)
    assert more.fixed == less.fixed
    assert 2 < more.per_image / less.per_image < 2.5
    assert memory.without_graphs(graphs) == eager
    on_cpu = dataclasses.replace(graphs, device="cpu")
    assert memory.estimate(on_cpu, 0) == memory.estimate(memory.without_graphs(on_cpu), 0)

    monkeypatch.setattr(memory, "available_bytes", lambda device: more.total(8) + 1)
    assert memory.excess_of_graphs(graphs, 10_000, torch.device("cuda")) is None
    monkeypatch.setattr(memory, "available_bytes", lambda device: more.total(8) - 1)
    line = memory.excess_of_graphs(graphs, 10_000, torch.device("cuda"))
    assert line.startswith("memory: phases run without CUDA graphs")
    assert line.endswith("`cuda_graphs`=1 insists")
    assert memory.advice(graphs, 10_000, torch.device("cuda")).endswith("free: `cuda_graphs`=0 should fit")
    monkeypatch.setattr(memory, "available_bytes", lambda device: less.total(4) + 1)
    assert "`batch_gpu`" in memory.advice(graphs, 10_000, torch.device("cuda")).partition("free: ")[2]


MEASURED = """
import torch
from training.memory import peak_bytes

device = torch.device("cpu")
before = peak_bytes(device)
block = torch.ones(64 << 20)
during = peak_bytes(device)
del block
print(before, during, peak_bytes(device))
"""


def test_what_is_measured_is_the_peak_of_this_process():
    # A process of its own: the peak of the tests' process may be that of an earlier test, far above what it holds.
    ran = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True, cwd=ROOT)
    before, during, after = map(float, ran.stdout.split())
    assert before > 0
    assert before + (200 << 20) < during < before + (400 << 20)
    assert after > before + (200 << 20)


def test_a_run_says_what_it_expects_and_what_it_used(tiny):
    tiny.train(steps=1)
    # The peak is that of the whole test process, so the second line may be a warning.
    lines = [line for line in (tiny.folder / "run" / "log.txt").read_text().splitlines() if "memory: " in line]
    assert "expected for --batch-gpu=8" in lines[0]
    assert "used at most in the first step" in lines[1]


def test_what_was_expected_is_held_against_what_was_used():
    assert (
        memory.comparison(expected=2.0**31, used=2.0**31)
        == "memory: 2.0 GiB used at most in the first step, 2.0 GiB were expected"
    )
    line = memory.comparison(expected=2.0**30, used=2.0**31)
    assert line.startswith("warning: memory: ")
    assert "`batch_gpu`" in line


def test_parameters_are_counted_without_making_them(tiny):
    config = tiny.config()
    networks = build_networks(config, torch.device("cpu"))[:2]
    assert count_parameters(config) == sum(p.numel() for network in networks for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("options", [CONFIGURATIONS[number] for number in (0, 3, 4, 8, 10)], ids=str)
def test_the_estimate_is_within_a_third_of_what_is_measured(options):
    result = measure(options)
    assert 0.75 < result["estimated"] / result["measured"] < 1.33
