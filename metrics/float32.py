"""Metrics compute in float32, whatever training has chosen."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """In this block products of float32 are in float32: no TF32 on a GPU, no bfloat16 on a CPU.

    PyTorch lets cuDNN use TF32 unless told otherwise, and training tells it otherwise unless `--allow-tf32` is given.
    Features would depend on who asks for them, and the cache would mix both kinds.
    """
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn
