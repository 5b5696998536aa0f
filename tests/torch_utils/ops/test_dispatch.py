"""The choice of implementation: who sees it, what is said, and that nothing but Python and PyTorch is needed."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from torch_utils.ops import describe_implementations, use_implementation
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.choice import insists_on_native
from torch_utils.ops.dispatch import uses_native
from torch_utils.ops.native import availability, library
from torch_utils.ops.native.errors import NativeError
from torch_utils.ops.upfirdn2d import upfirdn2d

ROOT = Path(__file__).resolve().parents[3]
X = torch.ones(1, 1, 4, 4)


def test_choice_is_undone_also_by_an_exception():
    with use_implementation("native"):
        assert uses_native(X)
        with use_implementation("torch"):
            assert not uses_native(X)
        assert uses_native(X)
    assert not uses_native(X)
    with pytest.raises(KeyError), use_implementation("native"):
        raise KeyError
    assert not uses_native(X)


def test_unknown_choice():
    with pytest.raises(ValueError, match="auto, native, torch"), use_implementation("cuda"):
        pass


def test_choice_is_not_seen_by_other_threads_and_tasks():
    seen = []
    with use_implementation("native"):
        thread = threading.Thread(target=lambda: seen.append(uses_native(X)))
        thread.start()
        thread.join()
    assert seen == [False]

    async def inside(chosen, asked):
        with use_implementation("native"):
            chosen.set()
            await asked.wait()
            return uses_native(X)

    async def outside(chosen, asked):
        await chosen.wait()
        found = uses_native(X)
        asked.set()
        return found

    async def both():
        events = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(inside(*events), outside(*events))

    assert asyncio.run(both()) == [True, False]


@pytest.mark.parametrize("choice", ["native", "torch"])
def test_gradients_use_the_implementation_of_the_forward_pass(device, choice):
    x = torch.randn(1, 2, 4, 4, device=device, requires_grad=True)
    with use_implementation(choice):
        y = bias_act(upfirdn2d(x, torch.ones(2, 2, device=device), up=2), act="lrelu")
    other = "torch" if choice == "native" else "native"
    with use_implementation(other):
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        names = graph_names(first.grad_fn)
    assert any("rooted_ops" in name for name in names) == (choice == "native")
    assert any(name in ("_ResampleBackward", "_SlopeBackward") for name in names) == (choice == "torch")


def graph_names(node, seen=None):
    seen = {} if seen is None else seen
    if node is None or node in seen:
        return []
    seen[node] = True
    return [node.name(), *(name for parent, _ in node.next_functions for name in graph_names(parent, seen))]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says something else where there is a GPU")
def test_description_without_gpu():
    expected = "operators: PyTorch expressions (the CUDA kernels need a GPU, and none is usable here); "
    assert describe_implementations().startswith(expected)
    with use_implementation("torch"):
        assert describe_implementations() == "operators: PyTorch expressions, as chosen"


class Failing(availability.Availability):
    """A device whose kernels fail when they are first needed."""

    attempts = 0

    def _prepare(self):
        self.attempts += 1
        self.fail(NativeError("no such\nlibrary"))


@pytest.fixture
def failing(monkeypatch):
    device = Failing(0)
    monkeypatch.setattr(availability, "of_device", lambda index: device)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    return device


def test_failure_is_said_once_and_not_retried(failing, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            y = availability.run_or_fall_back(torch.device("cuda", 0), lambda launcher: 1 / 0, lambda: X, insist=False)
            assert y is X
    assert failing.attempts == 1
    assert [record.getMessage() for record in caplog.records] == [
        "operators: using PyTorch expressions, as the CUDA kernels are not usable: no such library"
    ]


def test_insisting_raises(failing):
    with pytest.raises(NativeError, match="no such library"):
        availability.run_or_fall_back(torch.device("cuda", 0), lambda launcher: X, lambda: X, insist=True)
    with use_implementation("native"):
        assert insists_on_native()


class Usable(availability.Availability):
    """A device whose kernels have passed the check."""

    def works(self):
        return self.failure is None

    def launcher(self):
        return object()


def test_a_kernel_that_fails_later_ends_the_use_of_all(monkeypatch, caplog):
    device, launched = Usable(0), []
    monkeypatch.setattr(availability, "of_device", lambda index: device)

    def launch(launcher):
        launched.append(launcher)
        raise NativeError("does not compile")

    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert availability.run_or_fall_back(torch.device("cuda", 0), launch, lambda: X, insist=False) is X
    assert len(launched) == 1
    assert "does not compile" in caplog.records[0].getMessage()


def test_no_check_during_a_capture(monkeypatch):
    device = Failing(0)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not device.works()
    assert device.attempts == 0
    assert device.failure is None
    with pytest.raises(NativeError, match="before a graph is captured"):
        device.launcher()


def test_runs_without_compiler_ninja_or_gpu(tmp_path):
    """With an empty PATH and home, and no devices: the same results, and at most one line of notice."""
    program = """
import sys
import torch
before = set(sys.modules)
from torch_utils.ops import use_implementation, describe_implementations
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.conv import modulated_conv2d
from torch_utils.ops.grid_sample import grid_sample
from torch_utils.ops.upfirdn2d import setup_filter
assert not {"torch._dynamo", "torch._inductor"} & (set(sys.modules) - before), "over a second of start-up time"
f = setup_filter([1, 3, 3, 1])
for choice in ("auto", "native", "torch"):
    with use_implementation(choice):
        x = torch.randn(64, 4, 8, 8, requires_grad=True)
        y = modulated_conv2d(x, torch.randn(4, 4, 3, 3), torch.randn(64, 4), up=2, padding=1, resample_filter=f)
        y = grid_sample(bias_act(y, torch.zeros(4), act="lrelu", clamp=256), torch.zeros(64, 4, 4, 2))
        g, = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        g.square().sum().backward()
        assert x.grad.isfinite().all()
print(describe_implementations())
"""
    environment = {
        "PATH": "",
        "HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert done.stdout.startswith("operators: PyTorch expressions")
    assert done.stdout.count("\n") == 1
    assert "no C++ compiler" in done.stdout
    assert list(tmp_path.rglob("*")) == []


def test_registered_names():
    assert library._NAME == "rooted_ops"
    for name in ("upfirdn2d", "bias_act", "bias_act_slope", "bias_act_curve"):
        assert hasattr(torch.ops.rooted_ops, name)
