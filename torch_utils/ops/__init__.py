"""Image operators of StyleGAN2: resampling, biased activations, modulated convolutions, sampling.

Each has a path of plain PyTorch expressions that runs everywhere; `upfirdn2d`, `bias_act` and the factors of
`modulated_conv2d` (`scaling`) also have CUDA kernels. `use_implementation` chooses, `describe_implementations` says
what is in use.
"""

from torch_utils.ops.choice import use_implementation
from torch_utils.ops.dispatch import describe_implementations

__all__ = ["describe_implementations", "use_implementation"]
