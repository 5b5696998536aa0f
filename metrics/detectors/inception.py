"""Inception-v3 as FID's authors published it in 2015, in torch-fidelity's port (Heusel et al. 2017)."""

from collections.abc import Mapping
from pathlib import Path

import torch

from dnnlib.weights import WeightFile
from metrics.detectors.detector import Network
from metrics.detectors.pretrained import Pretrained


def _build(weights: Mapping[str, torch.Tensor], path: Path, device: torch.device) -> Network:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)).to(
        device
    )
    return Network(
        features=lambda images: network(images)[0],
        logits=lambda features: features.to(device) @ network.fc.weight.T,
    )


INCEPTION = Pretrained(
    key="inception",
    title="Inception-v3 of 2015-12-05",
    preprocessing="bilinear to 299 x 299 as TensorFlow 1 without antialiasing, (x - 128) / 128",
    weights=WeightFile(
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d",
    ),
    libraries=("torch-fidelity",),
    build=_build,
)
