"""`bias_act` of the piecewise linear activations on the CPU, where the machine has a C++ compiler.

One pass over memory in place of three or four: 2 to 3 times faster at the sizes of the networks (docs/operators.md).
The source needs no header of PyTorch, so it compiles in about a second; the binary is cached. A build that fails is
said once, and the PyTorch expressions run: nothing but time is lost.
"""

import ctypes
import functools
import logging
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from torch_utils.machine.environment import processor_fields
from torch_utils.ops import bias_act_torch
from torch_utils.ops.activation import Options
from torch_utils.ops.layout import dense_layout
from torch_utils.ops.native import cache
from torch_utils.ops.native.errors import NativeError

_log = logging.getLogger("torch_utils.ops")

# Where comparisons may trap, compilers vectorise a choice between two values with AVX-512's masks only.
_FLAGS = ("-std=c++17", "-O3", "-fopenmp", "-ffp-contract=off", "-fno-trapping-math", "-shared", "-fPIC")
_PROCESSOR = "-march=native"
_NAMES = {torch.float32: "float", torch.bfloat16: "bfloat16"}
_SMALLEST = 2**14  # elements; below, calls cost more than passes


class CpuKernels:
    """The two functions of the library, on tensors."""

    def __init__(self, library: ctypes.CDLL):
        self._library = library

    def activate(self, x: torch.Tensor, b: torch.Tensor | None, options: Options) -> torch.Tensor:
        """The result of `bias_act` for a dense `x` of a supported dtype."""
        y = torch.empty_like(x)
        size = x.shape[options.dim]
        stride = x.stride(options.dim) if size > 1 else x.numel()  # along an axis of one entry it may be any number
        b = x.new_zeros([size]) if b is None else b.contiguous()
        counts = (ctypes.c_int64(n) for n in (x.numel() // (size * stride), size, stride))
        self._function("forward", x)(_at(x), _at(b), _at(y), *counts, *_settings(options))
        return y

    def slope(self, grad: torch.Tensor, y: torch.Tensor, options: Options) -> torch.Tensor:
        """The gradient with respect to x, where `y` is the result."""
        grad = grad.contiguous(memory_format=dense_layout(y))
        dx = torch.empty_like(y)
        self._function("backward", y)(_at(grad), _at(y), _at(dx), ctypes.c_int64(y.numel()), *_settings(options))
        return dx

    def _function(self, name: str, x: torch.Tensor):
        return getattr(self._library, f"{name}_{_NAMES[x.dtype]}")


def paying(x: torch.Tensor, options: Options) -> CpuKernels | None:
    """The kernels where they can take the place of the PyTorch expressions and are worth a call, else None."""
    if x.numel() < _SMALLEST or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    return kernels_for(x, options) if type(x) in (torch.Tensor, torch.nn.Parameter) else None


def kernels_for(x: torch.Tensor, options: Options) -> CpuKernels | None:
    """The kernels where they apply to `x`, else None; the first call compiles."""
    if x.device.type != "cpu" or x.dtype not in _NAMES or x.numel() == 0 or not options.slope_from_result:
        return None
    return build().kernels if x.is_contiguous(memory_format=dense_layout(x)) else None


class Build(NamedTuple):
    """The kernels, or one line that says why there are none."""

    kernels: CpuKernels | None
    failure: str = ""


@functools.cache
def build() -> Build:
    """Compile (or read from the cache), load and check; tried once in a process."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if compiler is None or sys.platform != "linux":
        return Build(None, "no C++ compiler" if sys.platform == "linux" else "it is written for Linux")
    try:
        return Build(_checked(_load(compiler)))
    except (NativeError, OSError, subprocess.SubprocessError, AttributeError) as error:
        detail = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
        failure = f"{compiler}: " + " ".join((detail or str(error)).split())[:300]
        _log.warning("operators: using PyTorch expressions for bias_act on the CPU: %s", failure)
        return Build(None, failure)


def _load(compiler: str) -> CpuKernels:
    source = Path(__file__).with_suffix(".cpp").read_text(encoding="utf-8")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    fields = processor_fields()  # which -march=native depends on
    processor = fields.get("flags") or fields.get("Features") or platform.machine()
    identity = [source, *_FLAGS, _PROCESSOR, version, processor]
    binary = cache.cached_binary("bias_act-cpu", identity, lambda: _compile(compiler, source))
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(binary)
        file.flush()
        return CpuKernels(ctypes.CDLL(file.name))


def _compile(compiler: str, source: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "bias_act.cpp", Path(folder) / "bias_act.so"
        path.write_text(source, encoding="utf-8")
        command = [compiler, *_FLAGS, _PROCESSOR, str(path), "-o", str(result)]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return result.read_bytes()


def _checked(kernels: CpuKernels) -> CpuKernels:
    """The kernels whose results on a small example are those of the PyTorch expressions, bit for bit."""
    x, b = torch.linspace(-3, 3, 120).reshape(2, 5, 3, 4), torch.linspace(-1, 1, 5)
    options = Options(1, "lrelu", 0.2, 2.0, 1.5)
    with torch.no_grad():
        for layout in (torch.contiguous_format, torch.channels_last):
            y = kernels.activate(x.contiguous(memory_format=layout), b, options)
            same = torch.equal(y, bias_act_torch.apply(x, b, options))
            expected = bias_act_torch.slope_at_result(x, y, options)
            if not (same and torch.equal(kernels.slope(x, y, options), expected)):
                raise NativeError("its results differ from PyTorch's")
    return kernels


def _at(x: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def _settings(options: Options) -> tuple:
    clamp = math.nan if options.clamp < 0 else options.clamp
    floats = (ctypes.c_float(value) for value in (options.alpha, options.gain, clamp))
    return *floats, ctypes.c_int(torch.get_num_threads())
