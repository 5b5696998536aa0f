"""NVRTC compiles every kernel for every architecture, on a machine without a GPU; the cache survives what may be."""

import functools
import multiprocessing
import re
import sys
from pathlib import Path

import pytest
import torch

from torch_utils.ops.geometry import Geometry
from torch_utils.ops.native import bias_act as native_bias_act
from torch_utils.ops.native import cache, compiler, kernels
from torch_utils.ops.native import scaling as native_scaling
from torch_utils.ops.native import upfirdn2d as native_upfirdn2d
from torch_utils.ops.native.errors import NativeError

# The sources have two branches, below 80 and from there on. The oldest and the newest of both get everything; those in
# between differ by the assembler alone, and get one number type each.
ARCHITECTURES = {
    75: kernels.SCALARS,
    80: kernels.SCALARS,
    86: [torch.float32],
    89: [torch.float64],
    90: [torch.float16],
    100: [torch.bfloat16],
    120: kernels.SCALARS,
}
_NONE = (0, 0, 0, 0)
# What the networks use ([1, 3, 3, 1], square), and the augmentation (12 taps, one axis at a time).
SQUARE = [(Geometry(up, down, _NONE), (4, 4)) for up, down in (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2)))]
LONG = [
    (Geometry((2, 1), (1, 1), _NONE), (1, 12)),
    (Geometry((1, 2), (1, 1), _NONE), (12, 1)),
    (Geometry((1, 1), (2, 1), _NONE), (1, 12)),
    (Geometry((1, 1), (1, 2), _NONE), (12, 1)),
]


def variants(dtypes, cases) -> list[kernels.Variant]:
    found = []
    for dtype in dtypes:
        for geometry, taps in cases:
            found += native_upfirdn2d.variants(dtype, geometry, taps).values()
        found += [native_bias_act.variant(dtype, "lrelu", n) for n in (1, 2**40)]
        found.append(native_bias_act.variant(dtype, "tanh", 1))
        found.append(native_scaling.variant(dtype))
    return list(dict.fromkeys(found))


def compile_all(arch, dtypes, cases):
    try:
        known = compiler.supported_architectures()
    except NativeError as error:
        pytest.skip(f"no NVRTC here: {error}")
    if arch not in known:
        pytest.skip(f"NVRTC {compiler.nvrtc_version()} does not know sm_{arch}")
    for variant in variants(dtypes, cases):
        source, headers = kernels.sources(variant)
        binary = compiler.compile_kernels(source, headers, variant.options(), arch)
        assert binary.startswith(b"\x7fELF"), variant
        for entry in re.findall(r"^ENTRY\((\w+, \w+),", source, re.MULTILINE) or ["upfirdn2d_"]:
            if "SMOOTH" not in dict(variant.defines) or "scalar" in entry:
                assert entry.replace(", ", "_").encode() in binary


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_kernel_compiles(arch):
    compile_all(arch, ARCHITECTURES[arch], SQUARE + LONG)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_kernel_compiles_for_every_type(arch):
    compile_all(arch, kernels.SCALARS, SQUARE + LONG)


@functools.cache
def needs_nvrtc() -> None:
    try:
        compiler.load_nvrtc()
    except NativeError as error:
        pytest.skip(f"no NVRTC here: {error}")


def test_newer_gpu_than_nvrtc_gets_ptx():
    needs_nvrtc()
    newest = max(compiler.supported_architectures())
    source, headers = kernels.sources(native_bias_act.variant(torch.float16, "lrelu", 1))
    options = native_bias_act.variant(torch.float16, "lrelu", 1).options()
    text = compiler.compile_kernels(source, headers, options, newest + 10)
    assert f".target sm_{newest}" in text.decode(errors="replace")
    # One access moves eight values of 16 bits.
    assert b"ld.global.v4" in text
    assert b"st.global.v4" in text


def test_older_gpu_than_nvrtc_is_refused():
    needs_nvrtc()
    with pytest.raises(NativeError, match="not sm_30"):
        compiler.compile_kernels("", {}, (), 30)


def test_faults_in_the_source_come_with_the_log():
    needs_nvrtc()
    with pytest.raises(NativeError, match="undefined_name"):
        compiler.compile_kernels('extern "C" __global__ void f() { undefined_name(); }', {}, (), 90)


@pytest.mark.skipif(sys.platform == "win32", reason="other names there")
def test_the_library_itself_is_taken_not_its_companions(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    names = ("libnvrtc.alt.so.99", "libnvrtc-builtins.alt.so.99.0", "libnvrtc-builtins.so.99.0", "libnvrtc.so.99")
    for name in (*names, "libnvrtc-672ee683.so.99"):
        (tmp_path / "lib" / name).touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    found = [Path(path).name for path in compiler.candidates("99") if str(tmp_path) in path]
    assert found == ["libnvrtc-672ee683.so.99", "libnvrtc.so.99"]


def test_no_nvrtc(monkeypatch):
    monkeypatch.setattr(compiler, "candidates", lambda major: ["/nowhere/libnvrtc.so"])
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    with pytest.raises(NativeError, match="not installed"):
        compiler.load_nvrtc.__wrapped__()


def test_no_cuda_in_pytorch(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(NativeError, match="no CUDA"):
        compiler.load_nvrtc.__wrapped__()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    return tmp_path / "ops"


def test_cache_compiles_once(folder):
    calls = []
    for _ in range(2):
        assert cache.cached_binary("k", ["a"], lambda: calls.append(1) or b"binary") == b"binary"
    assert calls == [1]
    assert cache.cached_binary("k", ["b"], lambda: b"other") == b"other"
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + b"?"])
def test_cache_replaces_a_damaged_file(folder, damage):
    cache.cached_binary("k", ["a"], lambda: b"binary")
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.cached_binary("k", ["a"], lambda: b"again!") == b"again!"
    assert cache.cached_binary("k", ["a"], lambda: b"never") == b"again!"


def test_cache_that_cannot_be_written_is_done_without(folder):
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file in the folder's place")
    assert cache.cached_binary("k", ["a"], lambda: b"binary") == b"binary"


def _fill(index):
    binary = bytes([7]) * 300_000
    return cache.cached_binary("k", ["a"], lambda: binary) == binary


def test_cache_with_several_processes(folder):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert all(pool.map(_fill, range(64), chunksize=1))
    assert len(list(folder.iterdir())) == 1


def test_kernels_depend_on_source_options_architecture_and_compiler(folder, monkeypatch):
    compiled = []
    monkeypatch.setattr(compiler, "compile_kernels", lambda *arguments: compiled.append(arguments) or b"binary")
    monkeypatch.setattr(compiler, "nvrtc_version", lambda: "13.2")
    variant = native_bias_act.variant(torch.float32, "lrelu", 1)
    for _ in range(2):
        kernels.binary(variant, 90)
    kernels.binary(variant, 80)
    kernels.binary(native_bias_act.variant(torch.float16, "lrelu", 1), 90)
    monkeypatch.setattr(compiler, "nvrtc_version", lambda: "13.3")
    kernels.binary(variant, 90)
    assert len(compiled) == 4
