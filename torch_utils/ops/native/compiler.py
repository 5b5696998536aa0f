"""NVRTC, the compiler library that every CUDA build of PyTorch brings along; it needs no GPU, driver or toolkit."""

import ctypes
import functools
import glob
import importlib.metadata
import os
import re
import sys
from pathlib import Path

import torch

from torch_utils.ops.native.errors import NativeError


def compile_kernels(source: str, headers: dict[str, str], options: tuple[str, ...], arch: int) -> bytes:
    """Compile CUDA C++ for one architecture.

    Args:
        source: text of a .cu file.
        headers: texts of what it includes, by name.
        options: e.g. "-DSCALAR=float".
        arch: 10 * major + minor of the compute capability, e.g. 90.

    Returns:
        A binary for this architecture, or, where this NVRTC is older than the GPU, PTX of the newest
        architecture it knows, which the driver translates.

    Raises:
        NativeError: no NVRTC, an architecture that it no longer supports, or a fault in the source (with its log).
    """
    nvrtc = load_nvrtc()
    known = supported_architectures()
    if arch < min(known):
        raise NativeError(f"NVRTC {nvrtc_version()} supports sm_{min(known)} and newer, not sm_{arch}")
    exact = arch in known
    target = f"sm_{arch}" if exact else f"compute_{max(a for a in known if a <= arch)}"
    flags = [f"--gpu-architecture={target}", "--std=c++17", *options]

    program = ctypes.c_void_p()
    texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
    names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
    _check(
        nvrtc,
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", len(headers), texts, names),
    )
    try:
        encoded = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        if nvrtc.nvrtcCompileProgram(program, len(flags), encoded) != 0:
            log = _text(nvrtc, program, "ProgramLog").decode(errors="replace").strip("\0\n ")
            raise NativeError(f"NVRTC {nvrtc_version()} does not compile the kernel for {target}: {log}")
        return _text(nvrtc, program, "CUBIN" if exact else "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


@functools.cache
def load_nvrtc() -> ctypes.CDLL:
    """The library that belongs to this build of PyTorch.

    Raises:
        NativeError: a build of PyTorch without CUDA, or no such library.
    """
    if torch.version.cuda is None:
        raise NativeError("this build of PyTorch has no CUDA")
    tried = []
    for candidate in candidates(torch.version.cuda.split(".")[0]):
        try:
            library = ctypes.CDLL(candidate)
        except OSError as error:
            tried.append(str(error))
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    raise NativeError(f"NVRTC of CUDA {torch.version.cuda} is not installed ({tried[0] if tried else 'no file'})")


@functools.cache
def nvrtc_version() -> str:
    """Such as "13.2"."""
    nvrtc, major, minor = load_nvrtc(), ctypes.c_int(), ctypes.c_int()
    _check(nvrtc, nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


@functools.cache
def supported_architectures() -> tuple[int, ...]:
    """All architectures that this NVRTC makes binaries for, e.g. (75, 80, ...)."""
    nvrtc, count = load_nvrtc(), ctypes.c_int()
    _check(nvrtc, nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    numbers = (ctypes.c_int * count.value)()
    _check(nvrtc, nvrtc.nvrtcGetSupportedArchs(numbers))
    return tuple(numbers)


def candidates(major: str) -> list[str]:
    """Names and paths under which the library may lie, most likely first."""
    if sys.platform == "win32":
        names, folders = f"nvrtc64_{major}*_0.dll", [Path(torch.__file__).parent / "lib"]
    else:
        names, folders = f"libnvrtc*.so.{major}*", [Path(torch.__file__).parent / "lib"]
    for package in (f"nvidia-cuda-nvrtc-cu{major}", "nvidia-cuda-nvrtc"):
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        folders += {Path(file.locate()).parent for file in files if "nvrtc" in file.name and "lib" in file.parts}
    for variable in ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"):
        if variable in os.environ:
            folders += [Path(os.environ[variable]) / name for name in ("lib64", "lib", "bin")]
    folders.append(Path(sys.prefix) / "lib")
    paths = [path for folder in folders for path in sorted(glob.glob(str(folder / names)))]
    # Not its data file, and not the second build beside it, which looks for its own data file in vain.
    return [
        *(p for p in paths if not {"builtins", "alt"} & set(re.split(r"[-.]", Path(p).name))),
        f"libnvrtc.so.{major}",
    ]


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, kind: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{kind}")(program, buffer))
    return buffer.raw


def _check(nvrtc: ctypes.CDLL, code: int) -> None:
    if code != 0:
        raise NativeError(f"NVRTC: {nvrtc.nvrtcGetErrorString(code).decode()}")
