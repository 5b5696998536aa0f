"""LPIPS 0.1 on VGG16 (Zhang et al. 2018), as the package `lpips` computes it, from a weight file of torchvision."""

import os
import warnings

import torch


def lpips_vgg16(path: str | os.PathLike) -> torch.nn.Module:
    """`lpips.LPIPS(net="vgg")` with VGG16's weights from `path`, read as tensors only; on the CPU, without gradients.

    Raises:
        ImportError: the package is not installed.
        KeyError, RuntimeError: the file holds other weights.
        pickle.UnpicklingError: the file holds something else.
    """
    import lpips

    weights = torch.load(path, map_location="cpu", weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package calls torchvision by an old argument's name
        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    # slice1.0.weight is features.0.weight of torchvision.
    own = {name: weights[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()}
    network.net.load_state_dict(own)
    return network.eval().requires_grad_(False)
