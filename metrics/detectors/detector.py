"""What turns images into features: uint8 [N, C, H, W] in, float32 [N, D] out; and TorchScript files of the user.

The networks that metrics are named after are in `metrics.detectors.pretrained`.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from dnnlib import UserError, first_line, last_line
from dnnlib.download import file_sha256
from metrics.results import library_versions


class DetectorUnavailable(UserError):
    """A detector's weights or library cannot be had; metrics that need none, such as swd, still can be computed."""


class Detector:
    """A feature extractor with its identity.

    Attributes:
        name: of the network.
        sha256: of its weight file.
        file: the weight file's name.
        preprocessing: how images are resized and scaled, in words.
        libraries: name and version of each library that its code comes from; other versions may give other features.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        sha256: str,
        preprocessing: str,
        extract: Callable[[torch.Tensor], torch.Tensor],
        *,
        libraries: tuple[str, ...] = (),
        logits: Callable[[torch.Tensor], torch.Tensor] | None = None,
        distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.name, self.file, self.sha256, self.preprocessing = name, path.name, sha256, preprocessing
        self.libraries = ", ".join(f"{k} {v}" for k, v in library_versions(*libraries, "torch").items())
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
        return self._finite(features).to(torch.float32)

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
            return self._finite(self._distance(three_channels(img0), three_channels(img1)))

    def _finite(self, values: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(values).all():
            raise UserError(
                f"the detector {self.file} gives NaN or infinity, so no metric can be computed; one in half precision "
                "may need float32"
            )
        return values

    def describe(self) -> dict[str, str]:
        """For the record of a result."""
        parts = ("name", "file", "sha256", "preprocessing", "libraries")
        return {part: getattr(self, part) for part in parts}


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
        raise UserError(f"--detector={path} is not a TorchScript file: {first_line(error)}") from error
    options = {"return_features": True} if "return_features" in arguments else {}
    lpips_options = {"resize_images": False, "return_lpips": True} if "return_lpips" in arguments else options

    def run(images: torch.Tensor, **options: bool) -> torch.Tensor:
        try:
            features = module(images, **options)
        except Exception as error:  # what its code raises, and what torch raises in it
            shape = " x ".join(map(str, images.shape))
            raise UserError(
                f"--detector={path} fails on images of shape {shape} ({last_line(error)}); it must take them and "
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
