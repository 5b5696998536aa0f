"""The kernels of one device: which source, which constants; compiled once, loaded once."""

import ctypes
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from torch_utils.ops.activation import CONSTANTS, SMOOTH, activations
from torch_utils.ops.native import cache, compiler
from torch_utils.ops.native.driver import Device
from torch_utils.ops.native.errors import NativeError

SCALARS = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "Half",
    torch.bfloat16: "BFloat16",
}


class Variant(NamedTuple):
    """One compilation: the source file (without suffix) and its constants."""

    source: str
    defines: tuple[tuple[str, str], ...]

    def options(self) -> tuple[str, ...]:
        """The constants as options of the compiler."""
        return tuple(f"-D{name}={value}" for name, value in self.defines)


class Launch(NamedTuple):
    """All that starts a kernel."""

    variant: Variant
    entry: str
    grid: int
    block: int
    shared: int
    arguments: list[ctypes.Structure | ctypes._SimpleCData]


class Launcher(Protocol):
    """Runs launches; the tests have one that runs the same sources on the CPU."""

    def run(self, launch: Launch) -> None:
        """Start the kernel."""


class Kernels:
    """Compiles, loads and launches on one CUDA device.

    Attributes:
        arch: 10 * major + minor of the compute capability.
    """

    def __init__(self, device_index: int):
        major, minor = torch.cuda.get_device_capability(device_index)
        self.arch = 10 * major + minor
        self._device = Device(device_index)
        self._functions: dict[tuple[Variant, str], ctypes.c_void_p] = {}

    def run(self, launch: Launch) -> None:
        """Launch on PyTorch's current stream; the first launch of a variant compiles it or reads it from the cache."""
        key = launch.variant, launch.entry
        if key not in self._functions:
            self._functions[key] = self._device.load(binary(launch.variant, self.arch), launch.entry)
        self._device.launch(self._functions[key], launch.grid, launch.block, launch.shared, launch.arguments)


def binary(variant: Variant, arch: int) -> bytes:
    """The compiled variant, from the cache where it is there."""
    source, headers = sources(variant)
    name = f"{variant.source}-sm{arch}"
    identity = [source, *headers.values(), *variant.options(), str(arch), compiler.nvrtc_version()]
    return cache.cached_binary(
        name, identity, lambda: compiler.compile_kernels(source, headers, variant.options(), arch)
    )


def sources(variant: Variant) -> tuple[str, dict[str, str]]:
    """Text of the source file and of what it includes."""
    folder = Path(__file__).parent
    try:
        text = (folder / f"{variant.source}.cu").read_text(encoding="utf-8")
        scalars = (folder / "scalar.cuh").read_text(encoding="utf-8")
    except OSError as error:
        raise NativeError(f"the kernel's source is missing: {error}") from error
    return text, {"scalar.cuh": scalars, "activations.cuh": _activations()}


def _activations() -> str:
    """C++ functions value, first and second of (u, o): the smooth activation number `o.act` and its derivatives."""
    lines = [f"#define {name} Compute({number})" for name, number in CONSTANTS.items()]
    for name in ("value", "first", "second"):
        cases = [f"case {index}: return {getattr(activations[act], name)};" for index, act in enumerate(SMOOTH)]
        lines += [f"static __device__ Compute {name}(Compute u, const Options& o) {{ switch (o.act) {{"]
        lines += [*cases, "} return u; }"]
    return "\n".join(lines) + "\n"
