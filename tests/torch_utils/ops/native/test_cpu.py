"""The compiled CPU loops of bias_act against the PyTorch expressions, and what happens without them."""

import logging
import math
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from torch_utils.ops import use_implementation
from torch_utils.ops.activation import Options
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.native import bias_act_cpu

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cpu-kernels"))


def needs_loops():
    if bias_act_cpu.build().kernels is None:
        pytest.skip(bias_act_cpu.build().failure)


def results(x, b, grad, **options):
    x, b = x.clone().requires_grad_(), None if b is None else b.clone().requires_grad_()
    inputs = [x] if b is None else [x, b]
    y = bias_act(x, b, **options)
    first = torch.autograd.grad(y, inputs, grad, create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), [grad])
    return [y, *first, *second]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
@pytest.mark.parametrize("clamp", [None, 1.25])
@pytest.mark.parametrize("biased", [True, False])
def test_equals_expressions(dtype, layout, act, clamp, biased):
    needs_loops()
    torch.manual_seed(0)
    x, grad = (torch.randn(4, 33, 20, 21, dtype=dtype).contiguous(memory_format=layout) for _ in range(2))
    b = torch.randn(33, dtype=dtype) if biased else None
    found, expected = [], []
    for choice, into in (("auto", found), ("torch", expected)):
        with use_implementation(choice):
            assert (choice == "auto") == uses_loops(x, act, clamp)
            into += results(x, b, grad.requires_grad_(), act=act, clamp=clamp)
    assert found[0].is_contiguous(memory_format=layout)
    for a, e in zip(found, expected, strict=True):
        if dtype == torch.float32:
            assert torch.equal(a, e)
        else:
            # Rounded once rather than at each step; near the clamp that may change the piece.
            error = (a.float() - e.float()).square().mean().sqrt() / e.float().square().mean().sqrt()
            assert error < 0.05


def uses_loops(x, act, clamp):
    return getattr(bias_act(x.clone().requires_grad_(), act=act, clamp=clamp).grad_fn, "loops", None) is not None


@pytest.fixture
def activated(monkeypatch):
    """How many elements each call of the loops had."""
    counts = []
    activate = bias_act_cpu.CpuKernels.activate
    monkeypatch.setattr(
        bias_act_cpu.CpuKernels,
        "activate",
        lambda self, x, b, options: counts.append(x.numel()) or activate(self, x, b, options),
    )
    return counts


def test_native_means_the_loops_at_every_size(activated):
    needs_loops()
    x = torch.randn(2, 3, 4)
    bias_act(x, act="lrelu")
    with use_implementation("native"):
        y = bias_act(x, torch.ones(3), act="lrelu")
        bias_act(x, act="swish")
        bias_act(x.double(), act="lrelu")
        assert bias_act(x[:0], act="lrelu").shape == (0, 3, 4)
    assert activated == [24]
    with use_implementation("torch"):
        assert torch.equal(y, bias_act(x, torch.ones(3), act="lrelu"))


def test_an_axis_of_one_entry_may_have_any_stride():
    needs_loops()
    x = torch.randn(2, 3, 4)[1:, :1]
    assert x.stride() == (12, 4, 1)
    with use_implementation("native"):
        assert torch.equal(bias_act(x, torch.ones(1), dim=0), x + 1)


def test_not_a_number_and_infinity_are_passed_on():
    needs_loops()
    x = torch.tensor([math.nan, math.inf, -math.inf, 1.0]).repeat(2**14).requires_grad_()
    y = bias_act(x, dim=0, act="lrelu", gain=1)
    assert torch.equal(y[:4].isnan(), torch.tensor([True, False, False, False]))
    assert y[1:4].tolist() == [math.inf, -math.inf, 1]
    assert torch.autograd.grad(y.sum(), x)[0][1:4].tolist() == pytest.approx([1, 0.2, 1])


def test_small_strided_or_traced_inputs_take_the_expressions():
    needs_loops()
    options = Options(1, "lrelu", 0.2, 1.0, -1.0)
    large = torch.randn(256, 256)
    assert bias_act_cpu.paying(large, options)
    assert not bias_act_cpu.paying(large[:2], options)
    assert not bias_act_cpu.paying(large.t(), options)
    assert not bias_act_cpu.paying(large.double(), options)
    assert not bias_act_cpu.paying(large, options._replace(act="swish"))
    assert not bias_act_cpu.paying(large, options._replace(gain=-1.0))

    class Module(torch.nn.Module):
        def forward(self, x):
            return bias_act(x, act="lrelu")

    exported = torch.export.export(Module(), (large,))
    other = torch.randn(256, 256)
    torch.testing.assert_close(exported.module()(other), bias_act(other, act="lrelu"))


def build_again(caplog) -> tuple[str, list[str]]:
    """The failure of a build in a process that has none yet, and what is said of it."""
    with caplog.at_level(logging.WARNING):
        built = bias_act_cpu.build.__wrapped__()
    assert built.kernels is None
    return built.failure, [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            subprocess.CalledProcessError(1, "c++", stderr="x.cpp:3:\nerror: no such thing"),
            "x.cpp:3: error: no such thing",
        ),
        (subprocess.TimeoutExpired("c++", 300), "timed out"),
        (FileNotFoundError("gone"), "gone"),
    ],
)
def test_a_build_that_fails_is_said(monkeypatch, caplog, error, reason):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(shutil, "which", lambda name: "/bin/c++")
    monkeypatch.setattr(bias_act_cpu.subprocess, "run", fail)
    failure, said = build_again(caplog)
    assert reason in failure
    assert said == [f"operators: using PyTorch expressions for bias_act on the CPU: {failure}"]


def test_no_compiler_is_no_failure(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert build_again(caplog) == ("no C++ compiler", [])


def test_a_library_with_wrong_results_is_not_used(monkeypatch, tmp_path, caplog):
    needs_loops()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    read = bias_act_cpu.Path.read_text

    def altered(path, *arguments, **options):
        return read(path, *arguments, **options).replace("u *= o.gain", "u *= o.gain * 1.01f")

    monkeypatch.setattr(bias_act_cpu.Path, "read_text", altered)
    failure, said = build_again(caplog)
    assert "results differ" in failure
    assert len(said) == 1


@pytest.mark.parametrize("instructions", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_the_loops_use_vector_instructions(instructions, tmp_path):
    """With SSE, AVX2 and AVX-512: scalar loops are several times slower than the expressions that they replace."""
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs g++ on an x86-64 machine")
    source = Path(bias_act_cpu.__file__).with_suffix(".cpp")
    command = [compiler, *bias_act_cpu._FLAGS, f"-march={instructions}", "-fopt-info-vec-optimized", str(source)]
    finished = subprocess.run([*command, "-o", str(tmp_path / "x.so")], capture_output=True, text=True, check=False)
    if "x86-64-v" in finished.stderr and finished.returncode:
        pytest.skip("this g++ does not know the name of the instruction set")
    assert finished.returncode == 0, finished.stderr
    vectorized = {int(line.split(":")[1]) for line in finished.stderr.splitlines() if "loop vectorized" in line}
    loops = {
        number
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1)
        if "for (int64_t" in line and "store(" in line
    }
    assert len(loops) == 3
    assert vectorized == loops
