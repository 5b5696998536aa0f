"""The compiled CPU loops of bias_act against the PyTorch expressions, and what happens without them."""

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
    if bias_act_cpu.load() is None:
        pytest.skip("no C++ compiler")


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
    from torch_utils.ops import bias_act_torch

    node = bias_act(x.clone().requires_grad_(), act=act, clamp=clamp).grad_fn
    assert isinstance(node, bias_act_torch._PiecewiseLinear._backward_cls)
    return node.loops is not None


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
    assert bias_act_cpu.kernels_for(large, options) is not None
    assert bias_act_cpu.kernels_for(large[:2], options) is None
    assert bias_act_cpu.kernels_for(large.t(), options) is None
    assert bias_act_cpu.kernels_for(large.double(), options) is None
    assert bias_act_cpu.kernels_for(large, options._replace(act="swish")) is None
    assert bias_act_cpu.kernels_for(large, options._replace(gain=-1.0)) is None

    class Module(torch.nn.Module):
        def forward(self, x):
            return bias_act(x, act="lrelu")

    exported = torch.export.export(Module(), (large,))
    other = torch.randn(256, 256)
    torch.testing.assert_close(exported.module()(other), bias_act(other, act="lrelu"))


@pytest.mark.parametrize(
    "trouble",
    [
        lambda *a, **k: (_ for _ in ()).throw(subprocess.CalledProcessError(1, "c++")),
        lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()),
    ],
)
def test_a_compiler_that_fails_means_the_expressions(monkeypatch, trouble, capfd):
    monkeypatch.setattr(bias_act_cpu.subprocess, "run", trouble)
    assert bias_act_cpu.load.__wrapped__() is None
    assert capfd.readouterr() == ("", "")


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert bias_act_cpu.load.__wrapped__() is None


def test_a_library_with_wrong_results_is_not_used(monkeypatch, tmp_path):
    needs_loops()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    read = bias_act_cpu.Path.read_text

    def altered(path, *arguments, **options):
        return read(path, *arguments, **options).replace("u *= o.gain", "u *= o.gain * 1.01f")

    monkeypatch.setattr(bias_act_cpu.Path, "read_text", altered)
    assert bias_act_cpu.load.__wrapped__() is None


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
