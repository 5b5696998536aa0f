"""The networks that metrics are named after: Inception-v3, VGG16, DINOv2, LPIPS.

The architectures come from torch-fidelity, timm and lpips. Only the weight files are fetched: once, checked, and read
as data, never as code.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dnnlib import UserError, first_line
from dnnlib.download import file_sha256
from dnnlib.weights import VGG16, WeightFile, locate
from metrics.detectors.detector import Detector, DetectorUnavailable, open_torchscript
from torch_utils.lpips_vgg16 import lpips_vgg16


def open_detector(
    family: str,
    device: torch.device,
    *,
    file: str | os.PathLike | None = None,
    sha256: str | None = None,
    offline: bool = False,
    cache_dir: str | os.PathLike | None = None,
) -> Detector:
    """Open the detector of a family.

    Args:
        family: "inception", "vgg16", "lpips" or "dinov2"; "file" for the TorchScript `file`.
        device: where it runs.
        file: only for the family "file".
        sha256: the file's SHA-256 in hexadecimal, or its first 8 digits or more; None accepts any.
        offline: fetch nothing.
        cache_dir: where weights are fetched to; None for `DNNLIB_CACHE_DIR`, else `~/.cache/dnnlib`.

    Raises:
        DetectorUnavailable: its library is not installed, or its weights are neither in the folder
            `ROOTED_DETECTOR_DIR` nor in the cache nor to be had from the network, or they are damaged.
        UserError: `file` is no TorchScript file, or the SHA-256 is not the one expected.
    """
    if family == "file":
        _check_sha256(Path(file), sha256)
        return open_torchscript(Path(file), device)
    make, weights = _PRETRAINED[family]
    path = _weights(family, weights, offline, cache_dir)
    _check_sha256(path, sha256)
    try:
        return make(path, device)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, RuntimeError) as error:
        raise DetectorUnavailable(
            f"{path} does not hold the weights of the {family} detector ({first_line(error)}); "
            f"fetch {weights.url} again"
        ) from error


def _check_sha256(path: Path, expected: str | None) -> None:
    """Before anything in the file is read or run."""
    if expected is not None and not (digest := file_sha256(path)).startswith(expected.lower()):
        raise UserError(
            f"{path} has the SHA-256 {digest}, not the expected {expected}; correct --detector-sha256 or replace the "
            "file (one hash fits the metrics of one detector)"
        )


def _inception(path: Path, device: torch.device) -> Detector:
    extractor_class = _library("torch_fidelity.feature_extractor_inceptionv3", "torch-fidelity")
    _require_plain_tensors(path)
    network = extractor_class.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
    ).to(device)
    return Detector(
        "Inception-v3 of 2015-12-05",
        path,
        file_sha256(path),
        "bilinear to 299 x 299 as TensorFlow 1 without antialiasing, (x - 128) / 128",
        lambda images: network(images)[0],
        libraries=("torch-fidelity",),
        logits=lambda features: features.to(device) @ network.fc.weight.T,
    )


def _vgg16(path: Path, device: torch.device) -> Detector:
    extractor_class = _library("torch_fidelity.feature_extractor_vgg16", "torch-fidelity")
    _require_plain_tensors(path)
    network = extractor_class.FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path)).to(
        device
    )
    return Detector(
        "VGG16 (torchvision), second fully connected layer",
        path,
        file_sha256(path),
        "bilinear to 224 x 224 as TensorFlow 1 without antialiasing, ImageNet mean and deviation",
        lambda images: network(images)[0],
        libraries=("torch-fidelity", "torchvision"),
    )


def _lpips(path: Path, device: torch.device) -> Detector:
    _library("lpips", "lpips")
    network = lpips_vgg16(_require_plain_tensors(path)).to(device)
    return Detector(
        "LPIPS 0.1 on VGG16",
        path,
        file_sha256(path),
        "none: images as they come, scaled from [0, 255]",
        lambda images: network(images.float() / 127.5 - 1, torch.zeros_like(images.float())).flatten(1),
        libraries=("lpips", "torchvision"),
        distance=lambda img0, img1: network(img0 / 127.5 - 1, img1 / 127.5 - 1).flatten(),
    )


def _dinov2(path: Path, device: torch.device) -> Detector:
    from metrics.detectors.dinov2 import load_dinov2

    _library("timm", "timm")
    extract = load_dinov2(_require_plain_tensors(path), device)
    return Detector(
        "DINOv2 ViT/14, class token",
        path,
        file_sha256(path),
        "bicubic to 224 x 224 with antialiasing, ImageNet mean and deviation",
        extract,
        libraries=("timm",),
    )


# The first digits of a SHA-256 are published as part of a file's name, which DINOv2's are not. `--detector-sha256` pins
# what the record of an earlier result holds, the whole SHA-256 of the file that was used.
_PRETRAINED: dict[str, tuple[Callable[[Path, torch.device], Detector], WeightFile]] = {
    "inception": (
        _inception,
        WeightFile(
            "weights-inception-2015-12-05-6726825d.pth",
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
            "6726825d",
        ),
    ),
    "vgg16": (_vgg16, VGG16),
    "lpips": (_lpips, VGG16),
    "dinov2": (
        _dinov2,
        WeightFile(
            "dinov2_vitl14_pretrain.pth",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        ),
    ),
}


def _weights(family: str, weights: WeightFile, offline: bool, cache_dir: str | os.PathLike | None) -> Path:
    try:
        return locate(weights, f"the {family} detector", offline=offline, cache_dir=cache_dir)
    except UserError as error:
        raise DetectorUnavailable(f"{error}; swd runs without any detector, --detector=FILE takes another") from error


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DetectorUnavailable(
            f"this metric needs {package} ({error}); pip install 'rooted-stylegan[metrics]', or choose swd"
        ) from error


def _require_plain_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a weight file with the unpickler that admits tensors only; what follows may then read it again."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports a damaged or dangerous file by several exceptions
        raise DetectorUnavailable(
            f"{path} is not a file of weights ({first_line(error)}); remove it and fetch it again"
        ) from error
