"""Stand-ins: a small generator and a small detector file, both of fixed random weights."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from training.dataset import ImageDataset


class StandInGenerator(torch.nn.Module):
    """The interface of a generator; blurred noise as images, with per-pixel noise when asked for."""

    def __init__(self, c_dim: int = 0, img_resolution: int = 32, img_channels: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = 8, c_dim, 12, 4
        self.img_resolution, self.img_channels = img_resolution, img_channels
        random = torch.Generator().manual_seed(seed)
        self.to_w = torch.nn.Parameter(torch.randn(self.z_dim + c_dim, self.w_dim, generator=random))
        self.to_img = torch.nn.Parameter(torch.randn(self.w_dim, img_channels * 64, generator=random) / 4)

    def mapping(self, z, c=None, *, truncation_psi=1, truncation_cutoff=None):
        inputs = z if self.c_dim == 0 else torch.cat([z, 3 * c], dim=1)
        return (inputs @ self.to_w).tanh()[:, None].repeat(1, self.num_ws, 1)

    def synthesis(self, ws, *, noise_mode="random", fused_modconv=None):
        small = (ws.mean(dim=1) @ self.to_img).view(len(ws), self.img_channels, 8, 8)
        img = torch.nn.functional.interpolate(small, (self.img_resolution,) * 2, mode="bilinear")
        return img + 0.1 * torch.randn_like(img) if noise_mode == "random" else img


class StandInDetector(torch.nn.Module):
    """Uint8 or float [N, 3, H, W] in [0, 255] to features [N, 16]."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(5)
        self.weight = torch.nn.Parameter(torch.randn(16, 3, 5, 5, generator=random) / 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.nn.functional.conv2d(images.to(torch.float32) / 127.5 - 1, self.weight, stride=2)
        return torch.cat([features.relu().mean(dim=(2, 3))[:, :8], features.abs().amax(dim=(2, 3))[:, 8:]], dim=1)


def write_detector(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(StandInDetector()).save(str(path))
    return path


def coloured_images(count: int, seed: int = 0, channels: int = 3, resolution: int = 32) -> np.ndarray:
    """Uint8 [count, channels, resolution, resolution] of smooth random colours."""
    random = np.random.RandomState(seed)
    small = torch.from_numpy(random.randint(0, 256, (count, channels, 4, 4))).float()
    large = torch.nn.functional.interpolate(small, (resolution, resolution), mode="bicubic").clamp(0, 255)
    return large.to(torch.uint8).numpy()


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in.pt")


@pytest.fixture(scope="session")
def make_generator():
    return StandInGenerator


@pytest.fixture(scope="session")
def make_images():
    return coloured_images


def _textures(count: int, seed: int = 0, size: int = 32) -> np.ndarray:
    """Uint8 RGB [count, 3, size, size]: different smooth shapes with fine structure, on one common layout."""
    random = np.random.default_rng(seed)
    small = torch.from_numpy(random.normal(size=(count, 3, size // 3, size // 3)))
    fine = torch.nn.functional.interpolate(small, (size, size), mode="bicubic").numpy()
    layout = 40 * np.sin(np.arange(size) / size * np.pi)
    return (128 + 35 * fine + layout).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def textures():
    return _textures


@pytest.fixture
def dataset() -> ImageDataset:
    """96 labelled images, mirrored."""
    return ImageDataset.from_arrays(coloured_images(96), labels=np.arange(96) % 3, xflip=True)


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
    """No test reads or leaves anything in the user's cache."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ROOTED_DETECTOR_DIR", raising=False)
