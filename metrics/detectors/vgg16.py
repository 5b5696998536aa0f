"""VGG16 (Simonyan and Zisserman 2015) with torchvision's weights: features of precision and recall, and LPIPS."""

from collections.abc import Mapping
from pathlib import Path

import torch

from dnnlib.weights import VGG16 as WEIGHTS
from metrics.detectors.detector import Network
from metrics.detectors.pretrained import Pretrained
from torch_utils.published.lpips_vgg16 import lpips_vgg16


def _build(weights: Mapping[str, torch.Tensor], path: Path, device: torch.device) -> Network:
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    network = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path)).to(device)
    return Network(features=lambda images: network(images)[0])


def _build_lpips(weights: Mapping[str, torch.Tensor], path: Path, device: torch.device) -> Network:
    network = lpips_vgg16(weights).to(device)
    return Network(
        features=lambda images: network(images.float() / 127.5 - 1, torch.zeros_like(images.float())).flatten(1),
        distance=lambda img0, img1: network(img0 / 127.5 - 1, img1 / 127.5 - 1).flatten(),
    )


VGG16 = Pretrained(
    key="vgg16",
    title="VGG16 (torchvision), second fully connected layer",
    preprocessing="bilinear to 224 x 224 as TensorFlow 1 without antialiasing, ImageNet mean and deviation",
    weights=WEIGHTS,
    libraries=("torch-fidelity", "torchvision"),
    build=_build,
)
LPIPS = Pretrained(
    key="lpips",
    title="LPIPS 0.1 on VGG16",
    preprocessing="none: images as they come, scaled from [0, 255]",
    weights=WEIGHTS,
    libraries=("lpips", "torchvision"),
    build=_build_lpips,
)
