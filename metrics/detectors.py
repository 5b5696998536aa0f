"""Networks whose features are compared: Inception-v3, VGG16, DINOv2, LPIPS, or a TorchScript file of the user.

One interface: uint8 [N, C, H, W] in, float32 features [N, D] out. The architectures come from torch-fidelity,
timm and lpips. Only the weight files are fetched: once, checked, and read as data, never as code.
"""

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dnnlib import UserError
from dnnlib.download import cached_path, download, file_sha256


class DetectorUnavailable(UserError):
    """A detector's weights or library cannot be had; metrics that need none, such as swd, still can be computed."""


class Detector:
    """A feature extractor with its identity.

    Attributes:
        name: of the network.
        sha256: of its weight file.
        file: the weight file's name.
        preprocessing: how images are resized and scaled, in words.
        num_features: D.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        sha256: str,
        preprocessing: str,
        extract: Callable[[torch.Tensor], torch.Tensor],
        *,
        logits: Callable[[torch.Tensor], torch.Tensor] | None = None,
        distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.name, self.file, self.sha256, self.preprocessing = name, path.name, sha256, preprocessing
        self._extract, self._logits, self._distance = extract, logits, distance

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Features, float32 [N, D], of uint8 images [N, C, H, W] with C = 1 (repeated) or 3."""
        with torch.no_grad():
            features = self._extract(three_channels(images))
        if features.ndim != 2 or len(features) != len(images):
            raise UserError(
                f"the detector {self.file} gives a tensor of shape {tuple(features.shape)} for {len(images)} images; "
                "it must give [N, D]"
            )
        return features.to(torch.float32)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Class logits [N, classes] of features, for the Inception score."""
        if self._logits is None:
            raise UserError(f"the detector {self.file} gives no class logits, which the Inception score needs")
        with torch.no_grad():
            return self._logits(features)

    def distance(self, img0: torch.Tensor, img1: torch.Tensor) -> torch.Tensor:
        """Perceptual distances [N] of float32 images [N, C, H, W] in [0, 255], for path lengths."""
        if self._distance is None:
            raise UserError(f"the detector {self.file} gives no distance of images, which path lengths need")
        with torch.no_grad():
            return self._distance(three_channels(img0), three_channels(img1))

    def describe(self) -> dict[str, str]:
        """For the record of a result."""
        return {"name": self.name, "file": self.file, "sha256": self.sha256, "preprocessing": self.preprocessing}


def three_channels(images: torch.Tensor) -> torch.Tensor:
    """Grey images repeated to RGB, as StyleGAN2-ADA's metrics do.

    Raises:
        UserError: 2 or 4 channels, which no detector was trained on.
    """
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] != 3:
        raise UserError(
            f"detectors take grey or RGB images, these have {images.shape[1]} channels; swd compares any images"
        )
    return images


def open_detector(
    family: str,
    device: torch.device,
    *,
    file: str | os.PathLike | None = None,
    offline: bool = False,
    cache_dir: str | os.PathLike | None = None,
) -> Detector:
    """Open the detector of a family ("inception", "vgg16", "lpips", "dinov2"; "file" for the TorchScript `file`).

    Raises:
        DetectorUnavailable: its library is not installed, or its weights are neither in the folder
            `ROOTED_DETECTOR_DIR` nor in the cache nor to be had from the network.
        UserError: `file` is no TorchScript file.
    """
    if family == "file":
        return open_torchscript(Path(file), device)
    make, file_name, url, sha256 = _PRETRAINED[family]
    path = _weights(family, file_name, url, sha256, offline, cache_dir)
    return make(path, device)


def open_torchscript(path: Path, device: torch.device) -> Detector:
    """A user's TorchScript file: `forward(images)` takes uint8 [N, 3, H, W] and gives features [N, D].

    For the Inception score its features are read as class logits; for path lengths it gets float32 images in
    [0, 255], and the squared difference of features is the distance. A file whose `forward` has arguments
    `return_features` or `return_lpips`, as those of StyleGAN2-ADA have, is called with them set.
    """
    digest = file_sha256(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, the files are still about
            module = torch.jit.load(path, map_location=device).eval()
        arguments = {argument.name for argument in module.forward.schema.arguments}
    except (RuntimeError, ValueError, AttributeError) as error:
        raise UserError(f"--detector={path} is not a TorchScript file: {f'{error}'.splitlines()[0]}") from error
    options = {"return_features": True} if "return_features" in arguments else {}
    lpips_options = {"resize_images": False, "return_lpips": True} if "return_lpips" in arguments else options

    def run(images: torch.Tensor, **options: bool) -> torch.Tensor:
        try:
            features = module(images, **options)
        except Exception as error:  # what its code raises, and what torch raises in it
            shape = " x ".join(map(str, images.shape))
            raise UserError(
                f"--detector={path} fails on images of shape {shape} ({_last_line(error)}); it must take them and "
                "give features [N, D]; if memory is short, lower --batch"
            ) from error
        if not isinstance(features, torch.Tensor):
            raise UserError(f"--detector={path} gives a {type(features).__name__}; it must give a tensor [N, D]")
        return features

    def distance(img0: torch.Tensor, img1: torch.Tensor) -> torch.Tensor:
        difference = run(img0, **lpips_options) - run(img1, **lpips_options)
        return difference.square().flatten(1).sum(dim=1)

    return Detector(
        f"TorchScript {digest[:8]}",
        path,
        digest,
        "none: the file's own",
        lambda images: run(images, **options),
        logits=None if options else lambda features: features,
        distance=distance,
    )


def _last_line(error: Exception) -> str:
    """TorchScript puts a traceback before what was raised."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


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
    )


def _lpips(path: Path, device: torch.device) -> Detector:
    lpips = _library("lpips", "lpips")
    network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    weights = _require_plain_tensors(path)
    for name, parameter in network.net.named_parameters():
        _, _, layer = name.partition(".")  # slice3.12.weight is features.12.weight of torchvision
        parameter.data.copy_(weights[f"features.{layer}"])
    network = network.to(device).eval().requires_grad_(False)
    return Detector(
        "LPIPS 0.1 on VGG16",
        path,
        file_sha256(path),
        "none: images as they come, scaled from [0, 255]",
        lambda images: network(images.float() / 127.5 - 1, torch.zeros_like(images.float())).flatten(1),
        distance=lambda img0, img1: network(img0 / 127.5 - 1, img1 / 127.5 - 1).flatten(),
    )


def _dinov2(path: Path, device: torch.device) -> Detector:
    from metrics.dinov2 import load_dinov2

    _library("timm", "timm")
    extract = load_dinov2(_require_plain_tensors(path), device)
    return Detector(
        "DINOv2 ViT/14, class token",
        path,
        file_sha256(path),
        "bicubic to 224 x 224 with antialiasing, ImageNet mean and deviation",
        extract,
    )


# Family: how to build it, the file's name, its URL, and the first digits of its SHA-256 where they are published
# (as part of the file's name). The record of a result holds the whole SHA-256 of the file that was used.
_VGG16_FILE = ("vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")
_PRETRAINED: dict[str, tuple[Callable[[Path, torch.device], Detector], str, str, str | None]] = {
    "inception": (
        _inception,
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d",
    ),
    "vgg16": (_vgg16, *_VGG16_FILE),
    "lpips": (_lpips, *_VGG16_FILE),
    "dinov2": (
        _dinov2,
        "dinov2_vitl14_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        None,
    ),
}


def _weights(
    family: str, file_name: str, url: str, sha256: str | None, offline: bool, cache_dir: str | os.PathLike | None
) -> Path:
    folder = os.environ.get("ROOTED_DETECTOR_DIR")
    if folder and (Path(folder) / file_name).is_file():
        path = Path(folder) / file_name
        if sha256 is not None and not file_sha256(path).startswith(sha256):
            raise DetectorUnavailable(
                f"{path} is damaged (its SHA-256 does not begin with {sha256}); fetch {url} again"
            )
        return path
    try:
        return download(url, sha256=sha256, cache_dir=cache_dir, offline=offline)
    except UserError as error:
        raise DetectorUnavailable(
            f"the {family} detector needs {file_name} from {url}, which cannot be had ({_reason(error)}); save it as "
            f"{cached_path(url, cache_dir)} or put it in a folder and set ROOTED_DETECTOR_DIR to that folder; "
            "swd runs without any detector, --detector=FILE takes another"
        ) from error


def _reason(error: UserError) -> str:
    if error.__cause__ is not None:
        return f"{error.__cause__}"
    return "not in the cache, and --offline was given" if "--offline" in f"{error}" else f"{error}"


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
        reason = f"{error}".splitlines()[0] if f"{error}" else type(error).__name__
        raise DetectorUnavailable(
            f"{path} is not a file of weights ({reason}); remove it and fetch it again"
        ) from error
