"""The real detectors with random weights in the official files' form; with the real ones where they are at hand."""

import os
import sys
from pathlib import Path

import pytest
import torch

import metrics
from dnnlib import UserError
from metrics.detectors.detector import Detector, DetectorUnavailable
from metrics.detectors.registry import DETECTORS, open_detector
from torch_utils.machine import environment

REAL_WEIGHTS = os.environ.get("ROOTED_DETECTOR_DIR")  # read before the tests hide it
CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def save(path: Path, weights: dict) -> Path:
    torch.save(weights, path)
    return path


def check(detector: Detector, width: int) -> torch.Tensor:
    features = detector(IMAGES)
    assert features.shape == (2, width)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert torch.allclose(detector(IMAGES[:1]), features[:1], rtol=1e-3, atol=1e-4)
    assert not torch.equal(features[0], features[1])
    grey = IMAGES[:, :1]
    assert torch.allclose(detector(grey), detector(grey.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)
    assert set(detector.describe()) == {"name", "file", "sha256", "preprocessing", "libraries"}
    return features


def test_inception(tmp_path, monkeypatch):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with monkeypatch.context() as patch:  # make a network without weights to take random ones from
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        empty = save(tmp_path / "empty.pth", {})
        torch.manual_seed(0)
        network = module.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(empty))
    path = save(tmp_path / "weights.pth", network.state_dict())
    detector = DETECTORS["inception"].load(path, CPU)
    features = check(detector, 2048)
    network.features_list = ["2048", "logits_unbiased"]
    expected, logits = network(IMAGES)
    assert torch.equal(features, expected)
    versions = environment.versions("torch", "torch-fidelity")
    assert detector.libraries == f"torch-fidelity {versions['torch-fidelity']}, torch {versions['torch']}"
    assert torch.allclose(detector.logits(features), logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="path lengths"):
        detector.distance(IMAGES.float(), IMAGES.float())


@pytest.mark.slow
def test_vgg16(tmp_path):
    pytest.importorskip("torch_fidelity.feature_extractor_vgg16")
    import torchvision

    path = save(tmp_path / "weights.pth", torchvision.models.vgg16(weights=None).state_dict())
    check(DETECTORS["vgg16"].load(path, CPU), 4096)


def test_lpips(tmp_path):
    pytest.importorskip("lpips")
    import torchvision

    torch.manual_seed(0)
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    path = save(tmp_path / "weights.pth", {f"features.{name}": value for name, value in features.state_dict().items()})
    detector = DETECTORS["lpips"].load(path, CPU)
    images = IMAGES.float()
    other = images.flip(0)
    distances = detector.distance(images, other)
    assert distances.shape == (2,)
    assert (distances > 0).all()
    assert torch.allclose(distances, detector.distance(other, images), rtol=1e-4)
    assert detector.distance(images, images).abs().max() == 0
    near = detector.distance(images, images + 1)
    assert (near < distances).all()
    with pytest.raises(UserError, match="no class logits"):
        detector.logits(torch.zeros(1, 4))


def test_dinov2(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    weights = {**model.state_dict(), "mask_token": torch.zeros(1, 384)}  # as the official file has it
    assert weights["pos_embed"].shape == (1, 1 + 37 * 37, 384)
    check(DETECTORS["dinov2"].load(save(tmp_path / "weights.pth", weights), CPU), 384)


def test_positions_are_resized_smoothly():
    from metrics.detectors.dinov2 import resize_positions

    grid = torch.linspace(0, 36, 37)
    rows, columns = torch.meshgrid(grid, grid, indexing="ij")
    embedding = torch.cat([torch.full((1, 1, 2), 9.0), torch.stack([rows, columns], dim=-1).view(1, -1, 2)], dim=1)
    small = resize_positions(embedding, 16)
    assert small.shape == (1, 1 + 256, 2)
    assert torch.equal(small[:, 0], embedding[:, 0])
    ramp = small[0, 1:].view(16, 16, 2)[:, 3, 0]
    assert torch.allclose(ramp[2:-2].diff(), torch.full((11,), 37 / 16.1), atol=0.15)
    assert torch.equal(resize_positions(embedding, 37), embedding)


@pytest.mark.parametrize("family", ["inception", "vgg16", "lpips", "dinov2"])
def test_missing_weights_are_one_line_with_the_remedy(family, tmp_path):
    with pytest.raises(DetectorUnavailable) as caught:
        open_detector(family, CPU, offline=True, cache_dir=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("https://", ".pth", str(tmp_path), "ROOTED_DETECTOR_DIR", "swd runs without"):
        assert part in message


def test_a_damaged_file_in_the_detector_folder(tmp_path, monkeypatch):
    (tmp_path / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"damaged")
    monkeypatch.setenv("ROOTED_DETECTOR_DIR", str(tmp_path))
    with pytest.raises(DetectorUnavailable, match="it is damaged"):
        open_detector("inception", CPU, offline=True)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity")
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "weights.pth", {"fc.weight": Malicious()})
    with pytest.raises(DetectorUnavailable, match="not a file of weights"):
        DETECTORS["inception"].load(path, CPU)
    assert not (tmp_path / "executed").exists()


def test_without_torch_fidelity_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", raising=False)
    with pytest.raises(DetectorUnavailable, match=r"needs torch-fidelity .*pip install 'rooted-stylegan\[metrics\]'"):
        DETECTORS["inception"].load(save(tmp_path / "weights.pth", {}), CPU)


@pytest.fixture
def dinov2_weights(tmp_path, monkeypatch) -> Path:
    """The file of a small DINOv2 with random weights in the detectors' folder."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    monkeypatch.setenv("ROOTED_DETECTOR_DIR", str(tmp_path))
    return save(tmp_path / "dinov2_vitl14_pretrain.pth", model.state_dict())


def test_a_file_without_a_published_hash_can_be_pinned(dinov2_weights):
    """What a result's record says of the file is what pins it; the name of DINOv2's holds no digits to check."""
    recorded = open_detector("dinov2", CPU, offline=True).describe()["sha256"]
    assert len(recorded) == 64
    for sha256 in (recorded, recorded[:8].upper()):
        assert open_detector("dinov2", CPU, offline=True, sha256=sha256).sha256 == recorded
    for sha256 in ("0" * 64, recorded[1:9]):
        with pytest.raises(
            UserError, match=f"dinov2_vitl14_pretrain.pth has the SHA-256 {recorded}, .*`detector_sha256`"
        ):
            open_detector("dinov2", CPU, offline=True, sha256=sha256)


def test_a_file_with_another_hash_is_not_even_opened(tmp_path, dataset, make_generator):
    (tmp_path / "text.pt").write_text("opening this would be another error")
    options = {"detector": tmp_path / "text.pt", "G": make_generator(), "dataset": dataset}
    with pytest.raises(UserError, match=r"text\.pt has the SHA-256"):
        metrics.compute(["fid100_full"], detector_sha256="00000000", **options)
    with pytest.raises(UserError, match="`detector_sha256`=abc: give 8 to 64"):
        metrics.compute(["fid100_full"], detector_sha256="abc", **options)


@pytest.mark.parametrize("weights", [{"cls_token": torch.zeros(1, 1, 384)}, {}])
def test_other_weights_under_the_name_are_one_line(dinov2_weights, weights):
    save(dinov2_weights, weights)
    with pytest.raises(DetectorUnavailable, match="does not hold the weights of the dinov2 detector") as caught:
        open_detector("dinov2", CPU, offline=True)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fid100", "kid100", "pr100_3", "is100", "ppl2_wend_32", "fd_dinov2_100"])
def test_with_the_real_weights(name, make_generator, dataset, monkeypatch, tmp_path):
    if not REAL_WEIGHTS:
        pytest.skip("set ROOTED_DETECTOR_DIR to a folder with the detectors' weights")
    monkeypatch.setenv("ROOTED_DETECTOR_DIR", REAL_WEIGHTS)
    try:
        [result] = metrics.compute([name], G=make_generator(), dataset=dataset, offline=True, cache_dir=tmp_path)
    except DetectorUnavailable as error:
        pytest.skip(str(error))
    assert all(torch.isfinite(torch.tensor(value)) for value in result.results.values())
    if not name.startswith(("is", "ppl")):
        [same] = metrics.compare([name], real=dataset, fake=dataset, offline=True, cache_dir=tmp_path)
        value = next(iter(same.results.values()))
        assert value == pytest.approx(1 if name.startswith("pr") else 0, abs=1e-2 if name.startswith("k") else 1e-3)
