"""DINOv2 as a detector (Oquab et al. 2023; for Frechet distances: Stein et al. 2023, EDM2).

torch-fidelity's port fetches and runs the code of a repository and takes no weight file. The same vision
transformer is in timm; here it gets the official weight file, whose parameter names are timm's.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F

from dnnlib.weights import WeightFile
from metrics.detectors.detector import Network
from metrics.detectors.pretrained import Pretrained

IMAGE_SIZE = 224
PATCH = 14
_MODELS = {
    384: "vit_small_patch14_dinov2",
    768: "vit_base_patch14_dinov2",
    1024: "vit_large_patch14_dinov2",
    1536: "vit_giant_patch14_dinov2",
}


def _build(weights: Mapping[str, torch.Tensor], path: Path, device: torch.device) -> Network:
    """From uint8 [N, 3, H, W] to the normalised class token [N, width], from an official state dict."""
    import timm

    weights = dict(weights)
    weights.pop("mask_token", None)  # for training only
    weights["pos_embed"] = resize_positions(weights["pos_embed"], IMAGE_SIZE // PATCH)
    model = timm.create_model(
        _MODELS[weights["cls_token"].shape[-1]], pretrained=False, num_classes=0, img_size=IMAGE_SIZE
    )
    model.load_state_dict(weights)
    model = model.to(device).eval().requires_grad_(False)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    def extract(images: torch.Tensor) -> torch.Tensor:
        resized = F.interpolate(images.float(), (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True)
        return model((resized / 255 - mean) / deviation)

    return Network(features=extract)


def resize_positions(embedding: torch.Tensor, side: int) -> torch.Tensor:
    """Position embedding [1, 1 + n^2, width] to a grid of side^2, bicubically as the official model does it.

    The official code enlarges the scale by 0.1 of a patch against rounding and interpolates with that scale.
    """
    class_token, grid = embedding[:, :1], embedding[:, 1:]
    old = round(grid.shape[1] ** 0.5)
    if old == side:
        return embedding
    grid = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    scale = (side + 0.1) / old
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([class_token, grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)


DINOV2 = Pretrained(
    key="dinov2",
    title="DINOv2 ViT/14, class token",
    preprocessing="bicubic to 224 x 224 with antialiasing, ImageNet mean and deviation",
    # Its SHA-256 is not published.
    weights=WeightFile(
        "dinov2_vitl14_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    ),
    libraries=("timm",),
    build=_build,
    in_names=True,
)
