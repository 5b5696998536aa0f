"""A small network that was really trained: fitted in seconds to the built-in faces, one fixed latent for each."""

import pytest
import torch
import torch.nn.functional as F

from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig
from training.snapshot import save_snapshot

RESOLUTION, TRAINED_ON = 16, 64


@pytest.fixture(scope="session")
def photographs():
    """uint8 [100, 1, 16, 16]; the network was fitted to the first 64."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    faces = ImageDataset(None).images(range(100)).to(torch.float32)
    return F.avg_pool2d(faces, 2).round().to(torch.uint8)


@pytest.fixture(scope="session")
def trained(photographs):
    """A generator of 16 x 16 grey faces."""
    torch.manual_seed(0)
    images = photographs[:TRAINED_ON].to(torch.float32) / 127.5 - 1
    G = Generator(
        GeneratorConfig(
            img_resolution=RESOLUTION, img_channels=1, channel_base=512, channel_max=32, z_dim=32, w_dim=32,
            mapping_layers=2,
        )
    )  # fmt: skip
    z = torch.randn(TRAINED_ON, 32)
    optimizer = torch.optim.Adam(G.parameters(), lr=0.01, betas=(0.5, 0.99))
    for _ in range(250):
        chosen = torch.randint(TRAINED_ON, (16,))
        loss = (G(z[chosen], noise_mode="random") - images[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return G.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def network_file(trained, tmp_path_factory):
    """The same as a snapshot file."""
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_snapshot(path, G=None, D=None, G_ema=trained, metadata={"class_names": None})
    return path
