"""What turns images into features: uint8 [N, C, H, W] in, float32 [N, D] out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dnnlib import UserError
from torch_utils.machine.environment import versions
from torch_utils.media.images import rgb_on_white


class DetectorUnavailable(UserError):
    """A detector's weights or library are not here; metrics that need none, such as swd, still can be computed."""


@dataclass(frozen=True)
class Network:
    """What a detector computes.

    Attributes:
        features: from uint8 [N, 3, H, W]: [N, D].
        logits: class logits [N, classes] from features, if it has classes.
        distance: perceptual distances [N] of float32 images [N, 3, H, W] in [0, 255], if it has one.
    """

    features: Callable[[torch.Tensor], torch.Tensor]
    logits: Callable[[torch.Tensor], torch.Tensor] | None = None
    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None


class Detector:
    """A network with its identity.

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
        network: Network,
        *,
        libraries: tuple[str, ...] = (),
    ) -> None:
        self.name, self.file, self.sha256, self.preprocessing = name, path.name, sha256, preprocessing
        self.libraries = ", ".join(f"{k} {v}" for k, v in versions(*libraries, "torch").items())
        self._network = network

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Features, float32 [N, D], of uint8 images [N, C, H, W]; grey is repeated, alpha composed over white."""
        with torch.no_grad():
            features = self._network.features(rgb_on_white(images))
        if features.ndim != 2 or len(features) != len(images):
            raise UserError(
                f"the detector {self.file} gives a tensor of shape {tuple(features.shape)} for {len(images)} images; "
                "it must give [N, D]"
            )
        return self._finite(features).to(torch.float32)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Class logits [N, classes] of features, for the Inception score."""
        if self._network.logits is None:
            raise UserError(f"the detector {self.file} gives no class logits, which the Inception score needs")
        with torch.no_grad():
            return self._network.logits(features)

    def distance(self, img0: torch.Tensor, img1: torch.Tensor) -> torch.Tensor:
        """Perceptual distances [N] of float32 images [N, C, H, W] in [0, 255], for path lengths."""
        if self._network.distance is None:
            raise UserError(f"the detector {self.file} gives no distance of images, which path lengths need")
        with torch.no_grad():
            return self._finite(self._network.distance(rgb_on_white(img0), rgb_on_white(img1)))

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
