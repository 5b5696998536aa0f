"""Load binaries and launch kernels through the CUDA driver, in the context and on the stream that PyTorch uses."""

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator

import torch

from torch_utils.ops.native.errors import NativeError

_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED


class Device:
    """One GPU: its primary context, kept for the life of the process, and the functions loaded into it."""

    def __init__(self, index: int):
        torch.cuda.init()
        self._cuda = load_driver()
        self._context = ctypes.c_void_p()
        device = ctypes.c_int()
        # The driver and PyTorch count the same devices: both obey CUDA_VISIBLE_DEVICES.
        self._check(self._cuda.cuDeviceGet(ctypes.byref(device), ctypes.c_int(index)))
        self._check(self._cuda.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), device))
        self._index = index

    def load(self, binary: bytes, entry: str) -> ctypes.c_void_p:
        """Load a binary and find one of its functions; allowed while a graph is being captured."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        with self._current(), self._relaxed_capture():
            self._check(self._cuda.cuModuleLoadData(ctypes.byref(module), binary))
            self._check(self._cuda.cuModuleGetFunction(ctypes.byref(function), module, entry.encode()))
        return function

    def launch(self, function: ctypes.c_void_p, grid: int, block: int, shared: int, arguments: list) -> None:
        """Launch on PyTorch's current stream of this device; `arguments` are ctypes values in the kernel's order."""
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream(self._index).cuda_stream)
        with self._current():
            self._check(
                self._cuda.cuLaunchKernel(
                    function,
                    *(ctypes.c_uint(n) for n in (grid, 1, 1, block, 1, 1, shared)),
                    stream,
                    pointers,
                    None,
                )
            )

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the context current; a thread that has not called CUDA yet has none."""
        before = ctypes.c_void_p()
        self._check(self._cuda.cuCtxPushCurrent_v2(self._context))
        try:
            yield
        finally:
            self._check(self._cuda.cuCtxPopCurrent_v2(ctypes.byref(before)))

    @contextlib.contextmanager
    def _relaxed_capture(self) -> Iterator[None]:
        mode = ctypes.c_int(_RELAXED)
        self._check(self._cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode)))
        try:
            yield
        finally:
            self._check(self._cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode)))

    def _check(self, code: int) -> None:
        if code != 0:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text))
            raise NativeError(f"the CUDA driver says {(text.value or b'').decode() or code}")


@functools.cache
def load_driver() -> ctypes.CDLL:
    """The driver's library.

    Raises:
        NativeError: there is none.
    """
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        raise NativeError(f"no CUDA driver ({error})") from error
