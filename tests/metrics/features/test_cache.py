"""The cache of real features: keyed by content, shared by processes, computed again when damaged."""

import hashlib
import threading
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

import metrics
from metrics.features.cache import CacheKey, FeatureCache
from training.dataset import ImageDataset

KEY = CacheKey("a" * 64, 10, "b" * 64, "none", "torch 2.9.0", "cpu", "features")


@pytest.fixture
def folder(tmp_path, make_images):
    path = tmp_path / "photographs"
    path.mkdir()
    for index, image in enumerate(make_images(24)):
        Image.fromarray(image.transpose(1, 2, 0)).save(path / f"{index:02d}.png")
    return path


@pytest.fixture
def evaluate(folder, detector_file, make_generator, tmp_path):
    """Compute names on the folder as it is now; returns the values and the labels of the passes that were made."""

    def run(*names, detector=detector_file, **dataset_options):
        passes = []
        results = metrics.compute(
            names or ("fid70_train",),
            G=make_generator(),
            dataset=ImageDataset(folder, **dataset_options),
            detector=detector,
            cache_dir=tmp_path / "cache",
            progress=lambda label, done, total: passes.append(label),
        )
        return [next(iter(result.results.values())) for result in results], any("real" in label for label in passes)

    return run


@pytest.mark.parametrize("name", ["fid70_train", "kid70_train"])
def test_second_time_the_features_are_from_the_cache(evaluate, name):
    first, computed = evaluate(name)
    second, computed_again = evaluate(name)
    assert (computed, computed_again) == (True, False)
    assert first == second


def test_a_changed_image_is_noticed(evaluate, folder):
    (before,), _ = evaluate()
    Image.new("RGB", (32, 32), (255, 0, 0)).save(folder / "07.png")
    (after,), computed = evaluate()
    assert computed
    assert after != before


def test_a_single_changed_pixel_is_noticed(evaluate, folder):
    evaluate()
    image = Image.open(folder / "07.png").copy()
    red, green, blue = image.getpixel((3, 3))
    image.putpixel((3, 3), ((red + 1) % 256, green, blue))
    image.save(folder / "07.png")
    assert evaluate()[1]


def test_subset_flips_and_detector_are_part_of_the_key(evaluate, tmp_path):
    evaluate()
    assert evaluate(max_size=12)[1]
    assert evaluate(xflip=True)[1]
    assert evaluate(max_size=12, random_seed=5)[1]
    import torch

    class Other(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.to(torch.float32).mean(dim=3).flatten(1)[:, :5]

    torch.jit.script(Other()).save(str(tmp_path / "other.pt"))
    assert evaluate(detector=tmp_path / "other.pt")[1]
    assert not evaluate()[1]
    assert not evaluate(max_size=12)[1]


def test_another_version_of_a_library_is_noticed(evaluate, monkeypatch):
    evaluate()
    with monkeypatch.context() as patch:
        patch.setattr("torch.__version__", "0.0")
        assert evaluate()[1]
    assert not evaluate()[1]


def test_the_key_says_what_the_features_depend_on(evaluate, monkeypatch, folder, detector_file):
    keys = []
    monkeypatch.setattr(FeatureCache, "load", lambda self, key: keys.append(key))
    evaluate()
    [key] = keys
    sha256 = hashlib.sha256(detector_file.read_bytes()).hexdigest()
    assert key == CacheKey(
        content_hash=ImageDataset(folder).content_hash(),
        count=24,
        detector_hash=sha256,
        preprocessing=f"TorchScript {sha256[:8]}: none: the file's own",
        libraries=f"torch {torch.__version__}",
        device="cpu",
        kind="moments",
    )


def test_moving_the_data_keeps_the_key(folder):
    before = ImageDataset(folder).content_hash()
    other = folder.parent / "elsewhere"
    folder.rename(other)
    assert ImageDataset(other).content_hash() == before


def test_a_damaged_file_is_computed_again(evaluate, tmp_path):
    evaluate()
    [file] = (tmp_path / "cache" / "metrics").glob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert evaluate()[1]
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_used_costs_a_note_and_no_result(evaluate, tmp_path, caplog):
    (expected,), _ = evaluate()
    caplog.clear()
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    (tmp_path / "cache").write_text("not a folder")
    (value,), computed = evaluate()
    assert computed
    assert value == expected
    [note] = caplog.messages
    assert "features of real images are not cached" in note
    assert "DNNLIB_CACHE_DIR" in note


def test_a_full_disk_is_said_once(tmp_path, caplog, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnnlib.files.tempfile.mkstemp", full)
    cache = FeatureCache(tmp_path)
    for _ in range(2):
        cache.save(KEY, {"features": np.zeros(3, np.float32)})
    [note] = caplog.messages
    assert "(No space left on device)" in note


def test_every_part_of_the_key_counts():
    names = {
        KEY.file_name(),
        replace(KEY, content_hash="c" * 64).file_name(),
        replace(KEY, count=11).file_name(),
        replace(KEY, detector_hash="c" * 64).file_name(),
        replace(KEY, preprocessing="box").file_name(),
        replace(KEY, libraries="torch 2.9.1").file_name(),
        replace(KEY, device="cuda").file_name(),
        replace(KEY, kind="moments").file_name(),
    }
    assert len(names) == 1 + len(fields(KEY))


def test_readers_see_whole_files_only(tmp_path):
    """Writers of different content race with readers: every array read is one that was written."""
    cache = FeatureCache(tmp_path)
    wrong = []

    def write(value):
        for _ in range(10):
            cache.save(KEY, {"features": np.full((200, 200), value, np.float32)})

    def read():
        for _ in range(40):
            arrays = cache.load(KEY)
            if arrays is not None and len(np.unique(arrays["features"])) != 1:
                wrong.append(arrays)

    threads = [threading.Thread(target=write, args=(value,)) for value in (1, 2)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(list((tmp_path / "metrics").iterdir())) == 1
