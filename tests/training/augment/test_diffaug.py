"""DiffAugment against a naive version that goes through the pixels one by one."""

import numpy as np
import pytest
import torch

from training.augment import DiffAugment


def images(channels: int, n: int = 3, size: int = 16, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(channels), dtype=dtype)


def naive(image: np.ndarray, at: float) -> np.ndarray:
    """One image [C, H, W] with every quantity at that quantile of its uniform distribution."""
    channels, size = image.shape[0], image.shape[1]
    colours = 3 if channels >= 3 else 1
    out = image.astype(np.float64).copy()
    out[:colours] += at - 0.5
    if colours == 3:
        for y in range(size):
            for x in range(size):
                mean = out[:3, y, x].mean()
                out[:3, y, x] = mean + (out[:3, y, x] - mean) * (2 * at)
    mean = out[:colours].mean()
    out[:colours] = mean + (out[:colours] - mean) * (at + 0.5)

    most = size // 8
    shift = min(int(np.floor(-most + at * (2 * most + 1))), most)
    moved = np.zeros_like(out)
    for y in range(size):
        for x in range(size):
            if 0 <= y - shift < size and 0 <= x - shift < size:
                moved[:, y, x] = out[:, y - shift, x - shift]

    half = size // 2
    start = min(int(np.floor(-(half // 2) + at * (size + 1))), size - half // 2)
    for y in range(size):
        for x in range(size):
            if start <= y < start + half and start <= x < start + half:
                moved[:, y, x] = 0
    return moved


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.77, 1.0])
def test_against_the_naive_version(device, channels, at):
    batch = images(channels)
    found = DiffAugment().to(device)(batch.to(device), debug_percentile=at).cpu()
    expected = np.stack([naive(image.numpy(), at) for image in batch])
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


def test_every_image_gets_its_own_and_p_is_a_probability():
    pipe = DiffAugment()
    torch.manual_seed(0)
    one = images(3, n=1).expand(600, 3, 16, 16)
    always = pipe(one)
    assert len({image.numpy().tobytes() for image in always}) == 600
    pipe.p.fill_(0.0)
    assert torch.equal(pipe(one), one)
    pipe.p.fill_(0.25)
    # Brightness, saturation, contrast, both shifts and cutout all leave an image alone with 0.75 each; a shift of 0
    # (one in five at 16 pixels) does as well.
    same = (pipe(one) == one).flatten(1).all(dim=1).double().mean().item()
    assert same == pytest.approx(0.75**4 * (0.75 + 0.25 / 5) ** 2, abs=0.06)


def test_ranges_are_the_papers():
    torch.manual_seed(0)
    constant = DiffAugment()(torch.zeros(3000, 1, 16, 16))
    brightness = constant.flatten(1).amax(dim=1) + constant.flatten(1).amin(dim=1)
    assert -0.5 <= brightness.min() < -0.45
    assert 0.45 < brightness.max() <= 0.5
    white = DiffAugment()(torch.full((3000, 1, 16, 16), 100.0))
    empty = (white == 0).sum(dim=[1, 2, 3])
    # A whole hole has 8 x 8 pixels; one that overhangs at a corner has 4 x 4; a shift empties two rows and columns.
    assert empty.min() >= 16
    assert empty.max() <= 64 + 2 * 16 * 2
    rows = (white[:, 0] == 0).all(dim=2)
    assert rows[:, 0].double().mean().item() == pytest.approx(0.4, abs=0.04)  # shifted down by 1 or 2 of -2 to 2


def test_can_be_differentiated_twice():
    pipe = DiffAugment()
    batch = images(3, n=2, size=8, dtype=torch.float64).requires_grad_(True)

    def augmented(x):
        torch.manual_seed(3)
        return pipe(x).square()

    assert torch.autograd.gradcheck(augmented, (batch,))
    assert torch.autograd.gradgradcheck(augmented, (batch,))
