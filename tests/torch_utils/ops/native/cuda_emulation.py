"""A launcher that runs the CUDA sources on the CPU: each variant is compiled as C++ with `cuda_emulation.h`."""

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

from torch_utils.ops.native.kernels import Launch, Variant, sources

_HEADER = Path(__file__).with_name("cuda_emulation.h")


def entries(variant: Variant) -> list[str]:
    """Names of the kernels that a variant's compilation holds."""
    defines = dict(variant.defines)
    if variant.source == "bias_act":
        names = [f"bias_act_{order}_scalar" for order in range(3)]
        return names if "SMOOTH" in defines else [*names, "bias_act_0_vector", "bias_act_1_vector"]
    if variant.source == "scaling":
        layouts, kinds = ("last", "planes"), ("vector", "scalar")
        return [f"{name}_{layout}_{kind}" for name in ("scale", "products") for layout in layouts for kind in kinds]
    return ["upfirdn2d_tiled", "upfirdn2d_channels_last"] if "UP_X" in defines else ["upfirdn2d_any"]


class Emulator:
    """Implements `Launcher` and keeps the names of the kernels that ran."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._libraries: dict[Variant, ctypes.CDLL] = {}
        self.ran: list[str] = []

    @staticmethod
    def possible() -> bool:
        return shutil.which("g++") is not None

    def run(self, launch: Launch) -> None:
        if launch.variant not in self._libraries:
            self._libraries[launch.variant] = self._compile(launch.variant)
        function = getattr(self._libraries[launch.variant], f"emulated_{launch.entry}")
        pointers = (ctypes.c_void_p * len(launch.arguments))(*(ctypes.addressof(a) for a in launch.arguments))
        code = function(pointers, *(ctypes.c_uint(n) for n in (launch.grid, launch.block, launch.shared)))
        assert code == 0, "some threads of a block did not come to the barrier"
        self.ran.append(launch.entry)

    def _compile(self, variant: Variant) -> ctypes.CDLL:
        source, headers = sources(variant)
        name = hashlib.sha256(repr(variant).encode()).hexdigest()[:16]
        for header, text in headers.items():
            (self._folder / header).write_text(text)
        main = self._folder / f"{name}.cpp"
        wrappers = "\n".join(f"EMULATED({entry})" for entry in entries(variant))
        main.write_text(f'#include "{_HEADER}"\n{source}\n{wrappers}\n')
        library = self._folder / f"{name}.so"
        command = ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", f"-I{self._folder}", *variant.options()]
        subprocess.run([*command, str(main), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))
