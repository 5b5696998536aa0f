"""Detectors that users bring as TorchScript files, and what all detectors refuse."""

import warnings
from pathlib import Path

import pytest
import torch

from dnnlib import UserError
from metrics.detectors.detector import Detector, Network
from metrics.detectors.registry import open_detector
from metrics.detectors.torchscript import open_torchscript

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_channels():
    seen = []
    network = Network(features=lambda images: seen.append(images) or images.flatten(1).float())
    detector = Detector("stand-in", Path("stand-in.pt"), "0" * 64, "none", network)
    detector(IMAGES)
    detector(IMAGES[:, :1])
    assert torch.equal(seen[0], IMAGES)
    assert torch.equal(seen[1], IMAGES[:, :1].repeat(1, 3, 1, 1))
    opaque, clear = torch.full_like(IMAGES[:, :1], 255), torch.zeros_like(IMAGES[:, :1])
    detector(torch.cat([IMAGES, opaque], dim=1))
    detector(torch.cat([IMAGES, clear], dim=1))
    detector(torch.cat([IMAGES[:, :1], opaque], dim=1))
    assert torch.equal(seen[2], IMAGES)
    assert (seen[3] == 255).all()
    assert torch.equal(seen[4], seen[1])
    with pytest.raises(UserError, match="5 channels"):
        detector(IMAGES[:, :1].repeat(1, 5, 1, 1))


class NotFeatures(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(torch.float32)


class LikeStyleGAN(torch.nn.Module):
    """With the arguments of the detectors that StyleGAN2-ADA publishes."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        width = 7 if return_features else 3
        return images.to(torch.float32).mean(dim=(1, 2, 3))[:, None].repeat(1, width)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_files(tmp_path, recwarn):
    torch.jit.script(NotFeatures()).save(str(tmp_path / "bad.pt"))
    torch.jit.script(LikeStyleGAN()).save(str(tmp_path / "good.pt"))
    with pytest.raises(UserError, match=r"bad\.pt gives a tensor of shape"):
        open_detector("file", CPU, file=tmp_path / "bad.pt")(IMAGES)
    detector = open_detector("file", CPU, file=tmp_path / "good.pt")
    assert detector(IMAGES).shape == (2, 7)
    with pytest.raises(UserError, match="no class logits"):
        detector.logits(detector(IMAGES))


class Demanding(torch.nn.Module):
    """Takes no images but those of 299 x 299 pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2] != 299:
            raise RuntimeError("299 x 299 pixels are expected")
        return images.flatten(1).to(torch.float32)


class Several(torch.nn.Module):
    """Gives two tensors."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Demanding, "fails on images of shape 2 x 3 x 8 x 8 .*299 x 299 pixels are expected"),
        (Several, "gives a tuple; it must give a tensor"),
    ],
)
def test_a_file_whose_code_fails_is_named(tmp_path, module, message):
    path = tmp_path / "other.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module()).save(str(path))
    detector = open_torchscript(path, CPU)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    for call in (lambda: detector(images), lambda: detector.distance(images.float(), images.float())):
        with pytest.raises(UserError, match=f"`detector`={path} {message}") as caught:
            call()
        assert "\n" not in str(caught.value)


class Overflowing(torch.nn.Module):
    """Numbers that half precision cannot hold."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.to(torch.float16) * 1000).flatten(1)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_features_that_are_not_finite_are_refused(tmp_path):
    torch.jit.script(Overflowing()).save(str(tmp_path / "half.pt"))
    detector = open_detector("file", CPU, file=tmp_path / "half.pt")
    assert torch.isfinite(detector(IMAGES // 255)).all()
    for call in (lambda: detector(IMAGES), lambda: detector.distance(IMAGES.float(), 255 - IMAGES.float())):
        with pytest.raises(UserError, match=r"half\.pt gives NaN or infinity"):
            call()
