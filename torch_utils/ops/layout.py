"""Memory layouts that the kernels read."""

import torch


def dense_layout(x: torch.Tensor) -> torch.memory_format:
    """channels_last for images that are laid out so and not also contiguous, else contiguous."""
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def aligned(x: torch.Tensor) -> bool:
    """Whether 16-byte accesses may start at the first element."""
    return x.data_ptr() % 16 == 0
