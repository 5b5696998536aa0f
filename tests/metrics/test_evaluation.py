"""Every metric end to end on the CPU, with a stand-in for the detector."""

import json
import sys

import numpy as np
import pytest
import torch

import metrics
from dnnlib import UserError
from metrics.blocks import BLOCK
from metrics.detectors.detector import Detector
from metrics.features.moments import Moments, statistics_device
from metrics.measures.frechet import frechet_distance
from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig, set_precision

ALL = [
    *("fid300_full", "fid300_train", "fid300", "fid_inf300_full", "kid300_full", "kid300", "pr300_3_full"),
    *("pr300_3_train", "dc300_5_full", "is300", "ppl2_wend_40", "ppl_zfull_40", "ppl_wfull_40", "ppl_zend_40"),
    *("ppl_wend_40", "fd_dinov2_300", "kd_dinov2_300", "swd30", "swd20_train"),
]


def test_every_metric_end_to_end(make_generator, dataset, detector_file, tmp_path):
    ticks = []
    results = metrics.compute(
        ALL,
        G=make_generator(c_dim=3),
        dataset=dataset,
        detector=detector_file,
        cache_dir=tmp_path,
        bootstrap=4,
        progress=lambda *tick: ticks.append(tick),
    )
    assert len(results) == len(ALL)
    assert not any("fid" in result.metric or "kid" in result.metric for result in results)
    for result in results:
        assert result.results
        assert all(np.isfinite(value) for value in result.results.values())
        assert set(result.intervals) == set(result.results)
        for key, (low, high) in result.intervals.items():
            assert low <= result.results[key] <= high
        json.dumps(result.record("network-snapshot-000000.safetensors"), allow_nan=False)
    by_metric = {result.metric: result for result in results}
    assert {"swd30", "swd30_32", "swd30_16"} == set(by_metric["swd30"].results)
    assert any(key.endswith("_recall") for result in results for key in result.results)
    assert any(key.endswith("_coverage") for result in results for key in result.results)
    assert ("generated images", 300, 300) in ticks


def test_value_is_that_of_the_statistic_on_the_detectors_features(make_generator, dataset, detector_file, tmp_path):
    from metrics.features.sampling import GeneratedImages

    [result] = metrics.compute(
        ["fid100_train"], G=make_generator(), dataset=dataset, detector=detector_file, cache_dir=tmp_path, seed=6
    )
    module = torch.jit.load(str(detector_file))
    source = GeneratedImages(make_generator(), None, 6, torch.device("cpu"))
    with torch.no_grad():
        generated = module(torch.cat([source.images(0, 64), source.images(64, 100)]))
        real = module(dataset.images(range(len(dataset))))
    expected = frechet_distance(Moments.of(real), Moments.of(generated))
    assert list(result.results.values()) == pytest.approx([expected], rel=1e-5)
    assert result.provenance["num_real"] == 192
    assert result.provenance["num_gen"] == 100


def test_real_sets(make_generator, make_images, detector_file, tmp_path):
    """_train: subset and flips; _full: neither; no suffix: flips, no subset."""
    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    for index, image in enumerate(make_images(30)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index:02d}.png")
    dataset = ImageDataset(folder, max_size=12, xflip=True, random_seed=1)
    options = {"G": make_generator(), "dataset": dataset, "detector": detector_file, "cache_dir": tmp_path}
    results = metrics.compute(["fid80_train", "fid80_full", "fid80", "swd_full", "swd_train"], **options)
    assert [result.provenance["num_real"] for result in results] == [24, 30, 60, 30, 24]
    assert len({result.provenance["dataset_hash"] for result in results}) == 3


def test_seed_and_batch_size(make_generator, dataset, detector_file, tmp_path):
    def value(**options):
        [result] = metrics.compute(
            ["fid130_train"],
            G=make_generator(),
            dataset=dataset,
            detector=detector_file,
            cache_dir=tmp_path,
            **options,
        )
        return next(iter(result.results.values()))

    assert value(seed=1) == value(seed=1)
    assert value(seed=1) != value(seed=2)
    for batch_size in (1, 7, 1000):
        assert value(seed=1, batch_size=batch_size) == pytest.approx(value(seed=1), rel=1e-4)


def test_a_metric_alone_and_among_others_is_the_same(make_generator, dataset, detector_file, tmp_path):
    options = {"G": make_generator(), "dataset": dataset, "detector": detector_file, "cache_dir": tmp_path}
    [alone] = metrics.compute(["fid100_train"], **options)
    many = metrics.compute(["fid300_train", "kid300_train", "swd30", "fid100_train"], **options)
    assert many[3].results == pytest.approx(alone.results, rel=1e-9)
    [swd] = metrics.compute(["swd30"], **options)
    assert many[2].results == swd.results


def test_swd_needs_nothing_but_numpy_and_torch(tmp_path):
    """In a fresh process: no network, and neither torch-fidelity, torchvision, lpips nor timm is imported."""
    import subprocess

    code = """
import socket, sys
def refuse(*_): raise OSError("no network in this test")
socket.socket.connect = refuse
sys.path.insert(0, sys.argv[1])
import conftest, metrics
from training.dataset import ImageDataset
dataset = ImageDataset.from_arrays(conftest.coloured_images(20))
[result] = metrics.compute(["swd50"], G=conftest.StandInGenerator(), dataset=dataset)
assert result.results["swd50"] > 0
print([name for name in ("torch_fidelity", "torchvision", "lpips", "timm") if name in sys.modules])
"""
    from pathlib import Path

    here = Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(here)], capture_output=True, text=True, cwd=here.parent.parent
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_missing_detector_is_one_clear_line_before_any_work(make_generator, dataset):
    G = make_generator()
    G.synthesis = None  # would fail if anything were generated
    with pytest.raises(metrics.DetectorUnavailable) as caught:
        metrics.compute(["swd", "fid50k_full"], G=G, dataset=dataset, offline=True)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("https://", "weights-inception-2015-12-05", "ROOTED_DETECTOR_DIR", "swd runs without", "save it as"):
        assert part in message


def test_a_missing_detector_can_be_marked_instead(make_generator, dataset):
    fid, swd = metrics.compute(
        ["fid100_full", "swd20"], G=make_generator(), dataset=dataset, offline=True, mark_unavailable=True
    )
    assert fid.results == {}
    assert "ROOTED_DETECTOR_DIR" in fid.not_computed
    assert "not_computed" in fid.record()
    assert swd.results["swd20"] > 0
    assert swd.not_computed is None


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("pr100_3_train", 3, "at least 4 images"),
        ("is5", 20, "at least 10 images"),
        ("kid1", 20, "at least 2"),
        ("fid_inf10_full", 40, "at least 20"),
        ("kid9", 20, "with `bootstrap` needs at least 10"),
    ],
)
def test_too_few_images(make_generator, make_images, detector_file, name, count, message):
    options = {"dataset": ImageDataset.from_arrays(make_images(count)), "detector": detector_file}
    with pytest.raises(UserError, match=message):
        metrics.compute([name], G=make_generator(), bootstrap=2 if "bootstrap" in message else 0, **options)


def test_the_least_number_of_images_gives_finite_intervals(make_generator, make_images, detector_file, tmp_path):
    names = ["fid10_full", "kid10_full", "pr10_3_full", "dc10_5_full", "is10", "swd10", "ppl2_wend_10"]
    results = metrics.compute(
        names,
        G=make_generator(),
        dataset=ImageDataset.from_arrays(make_images(10)),
        detector=detector_file,
        cache_dir=tmp_path,
        bootstrap=200,
    )
    for result in results:
        assert np.isfinite([*result.intervals.values()]).all()


def test_everything_is_in_float32_whatever_is_set(dataset, tmp_path, detector_file, monkeypatch):
    """TF32, bfloat16 on the CPU and a network that trains in bfloat16 change nothing, and are as before afterwards."""
    torch.manual_seed(0)
    shared = {"z_dim": 8, "c_dim": 0, "w_dim": 8, "mapping_layers": 1, "channel_base": 128, "channel_max": 8}
    G = Generator(GeneratorConfig(**shared, img_resolution=32, img_channels=3)).eval()
    options = {"dataset": dataset, "detector": detector_file, "cache_dir": tmp_path}
    names = ["fid70_train", "ppl2_wend_40"]
    expected = [result.results for result in metrics.compute(names, G=G, **options)]

    seen = []
    call = Detector.__call__

    def watched(self, images):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return call(self, images)

    monkeypatch.setattr(Detector, "__call__", watched)
    set_precision(G, torch.bfloat16, 4)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = True
        found = [result.results for result in metrics.compute(names, G=G, **options)]
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert set(seen) == {("highest", False)}
    assert found == expected
    assert any(module.precision.dtype is torch.bfloat16 for module in G.modules() if hasattr(module, "precision"))


def test_devices_without_float64_leave_statistics_to_the_cpu():
    assert statistics_device(torch.device("mps")).type == "cpu"
    assert statistics_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "`seed`"),
        ({"bootstrap": 1}, "`bootstrap`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"detector": "nowhere.pt"}, "nowhere.pt"),
        ({"dataset": None}, "`data`"),
    ],
)
def test_mistakes(make_generator, dataset, options, message):
    with pytest.raises(UserError, match=message):
        metrics.compute(["fid100_train"], **{"G": make_generator(), "dataset": dataset, **options})


def test_a_detector_file_that_is_none(make_generator, dataset, tmp_path):
    (tmp_path / "text.pt").write_text("not a network")
    with pytest.raises(UserError, match="cannot be read as a TorchScript file"):
        metrics.compute(["fid100_full"], G=make_generator(), dataset=dataset, detector=tmp_path / "text.pt")


def test_grey_images_and_images_with_alpha(make_generator, make_images, detector_file, tmp_path):
    options = {"detector": detector_file, "cache_dir": tmp_path}
    grey = ImageDataset.from_arrays(make_images(40, channels=1))
    [result] = metrics.compute(["fid64_full"], G=make_generator(img_channels=1), dataset=grey, **options)
    assert next(iter(result.results.values())) > 0
    alpha = ImageDataset.from_arrays(make_images(40, channels=4))
    for result in metrics.compute(["fid64_full", "swd20"], G=make_generator(img_channels=4), dataset=alpha, **options):
        assert next(iter(result.results.values())) > 0


def test_compare_two_sets(make_images, detector_file, tmp_path):
    real, fake = ImageDataset.from_arrays(make_images(120)), ImageDataset.from_arrays(make_images(100, seed=1))
    options = {"detector": detector_file, "cache_dir": tmp_path}
    names = ["fid50k_full", "kid50k_full", "pr50k3_full", "swd30"]
    results = metrics.compare(names, real=real, fake=fake, **options)
    assert results[0].metric.endswith("_100_full")  # as many as there are
    assert results[0].provenance["num_gen"] == 100
    assert results[0].provenance["num_real"] == 120
    same = metrics.compare(["fid50k_full", "swd"], real=real, fake=real, **options)
    assert next(iter(same[0].results.values())) == pytest.approx(0, abs=1e-6)
    assert same[1].results["swd"] == 0
    with pytest.raises(UserError, match="needs a generator"):
        metrics.compare(["ppl2_wend"], real=real, fake=fake, **options)


def test_sorted_folders_are_drawn_from_evenly(make_images, detector_file, tmp_path):
    """A folder sorted by class: neither its first images nor splits in its order may stand for all of it."""
    dark, bright = make_images(200) // 4, 255 - make_images(200, seed=1) // 4
    both = ImageDataset.from_arrays(np.concatenate([dark, bright]))
    options = {"detector": detector_file, "cache_dir": tmp_path}

    def values(name: str, fake: ImageDataset, **more) -> list[float]:
        [result] = metrics.compare([name], real=both, fake=fake, **options, **more)
        return list(result.results.values())

    [half] = values("fid200_full", both)
    [first] = values("fid200_full", ImageDataset.from_arrays(dark))
    assert half < 0.05 * first
    assert values("fid200_full", both) == [half]
    assert values("fid200_full", both, seed=1) != [half]
    mixed = np.stack([dark, bright], axis=1).reshape(400, *dark.shape[1:])
    in_turn, by_class = values("is400", ImageDataset.from_arrays(mixed)), values("is400", both)
    assert by_class[0] == pytest.approx(in_turn[0], rel=0.02)
    [swd, *_] = values("swd100", both)
    [swd_dark, *_] = values("swd100", ImageDataset.from_arrays(dark))
    assert swd < swd_dark
    assert values("swd", both)[0] == 0


def test_intervals_cover_the_scatter_over_seeds(make_generator, make_images, detector_file, tmp_path):
    """The interval's width matches the scatter of the value over fresh generated images."""
    dataset = ImageDataset.from_arrays(make_images(1000))
    options = {"G": make_generator(), "dataset": dataset, "detector": detector_file, "cache_dir": tmp_path}
    values = [
        next(iter(metrics.compute([f"kid{4 * BLOCK}_full"], seed=seed, **options)[0].results.values()))
        for seed in range(12)
    ]
    [result] = metrics.compute([f"kid{4 * BLOCK}_full"], bootstrap=200, **options)
    [(low, high)] = result.intervals.values()
    assert 0.5 < (high - low) / (2 * 1.96 * np.std(values)) < 3
