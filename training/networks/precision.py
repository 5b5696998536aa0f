"""In which number format and memory layout the convolutions of each resolution run.

This is a property of a run, not of the network: parameters stay float32, and neither configs nor weights record it.
"""

import dataclasses

import torch

from dnnlib import UserError


@dataclasses.dataclass(frozen=True)
class Precision:
    """Number format and memory layout of the feature maps of one resolution."""

    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format

    def cast(self, x: torch.Tensor) -> torch.Tensor:
        """Convert feature maps [N, C, H, W]; no copy where nothing changes."""
        x = x.to(dtype=self.dtype, memory_format=self.memory_format)
        if self.memory_format == torch.channels_last and x.shape[1] == 1 != x.stride(1):
            # One channel is laid out both ways already; only the strides tell a convolution which way is meant.
            x = x[:, 0, :, :, None].permute(0, 3, 1, 2)
        return x


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """`x` in float32 (float64 stays), contiguous; no copy where it is so already."""
    return x.to(dtype=torch.promote_types(x.dtype, torch.float32), memory_format=torch.contiguous_format)


class ResolutionBlock(torch.nn.Module):
    """A part of a network that works at one resolution, with a precision of its own."""

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.precision = Precision()


def lay_out_narrow_blocks(network: torch.nn.Module) -> None:
    """Keep float32 feature maps in channels-last order where that is faster on a CPU: few maps of few pixels.

    Measured in docs/results/small-networks.md.

    Args:
        network: A `Generator` or `Discriminator`, its precision set.
    """
    for block in network.modules():
        if (
            isinstance(block, ResolutionBlock)
            and block.precision == Precision()
            and 8 <= block.resolution <= 64
            and network.config.channels(block.resolution) <= 64
        ):
            block.precision = Precision(memory_format=torch.channels_last)


def set_precision(
    network: torch.nn.Module, dtype: torch.dtype, num_reduced_res: int, channels_last: bool = False
) -> None:
    """Run the `num_reduced_res` highest resolutions of `network` in `dtype`, the rest in float32.

    Kept in float32 everywhere: parameters, mapping, demodulation coefficients, sum of the ToRGB outputs, minibatch
    standard deviation, fully connected layers, logits. With `num_reduced_res` as large as the number of resolutions
    every convolution runs in `dtype`. Karras et al. 2020 (ADA), appendix D: 4 resolutions, clamped to ±256.

    Args:
        network: A `Generator` or `Discriminator`.
        dtype: torch.float32, torch.bfloat16 or torch.float16. For numerical checks also torch.float64, with all
            resolutions and `network.double()`.
        num_reduced_res: How many of the highest resolutions use `dtype`; 0 for none.
        channels_last: Keep feature maps of those resolutions in channels-last order in memory.

    Raises:
        UserError: `dtype` is none of these, or `num_reduced_res` is negative.
    """
    if dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise UserError(f"precision {dtype} is not supported; choose float32, bfloat16 or float16")
    if num_reduced_res < 0:
        raise UserError(f"the number of resolutions in reduced precision is {num_reduced_res}; it must be 0 or more")
    blocks = [module for module in network.modules() if isinstance(module, ResolutionBlock)]
    highest = max(block.resolution for block in blocks)
    reduced = Precision(dtype, torch.channels_last if channels_last else torch.contiguous_format)
    for block in blocks:
        block.precision = reduced if block.resolution << num_reduced_res > highest else Precision()
