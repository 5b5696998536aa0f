"""LPIPS 0.1 on VGG16 (Zhang et al. 2018), as the package `lpips` computes it, with torchvision's weights."""

import warnings
from collections.abc import Mapping

import torch


def lpips_vgg16(weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """`lpips.LPIPS(net="vgg")` with the weights of torchvision's VGG16, by name; on the CPU, without gradients.

    Raises:
        ImportError: the package is not installed.
        KeyError, RuntimeError: weights of another network.
    """
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package calls torchvision by an old argument's name
        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    # slice1.0.weight is features.0.weight of torchvision.
    own = {name: weights[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()}
    network.net.load_state_dict(own)
    return network.eval().requires_grad_(False)
