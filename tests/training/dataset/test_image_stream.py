"""Images in training order: the same for every number of workers, from any start, for any share."""

import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib import UserError
from training.dataset import ImageDataset
from training.dataset.image_stream import ImageStream, pick
from training.dataset.sampler import image_index


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(23):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def expected(ds, numbers, seed=4):
    return ds.images(image_index(np.asarray(numbers), len(ds), seed))


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_batches_follow_the_order(path, workers, cache):
    ds = ImageDataset(path, cache=cache, xflip=True)
    with ImageStream(ds, seed=4, workers=workers) as stream:
        for first in (0, 8, 16, 24, 48, 40, 1000, 1008):  # with jumps ahead and back
            images, labels = stream.batch(first, 8)
            assert images.dtype == torch.uint8
            assert (images == expected(ds, range(first, first + 8))).all()
            assert labels.shape == (8, 0)


def test_labels_come_along(path):
    images = ImageDataset(path).to_tensor()
    ds = ImageDataset.from_arrays(images, np.arange(23), name="labelled")
    _, labels = ImageStream(ds, seed=1).batch(46, 23)
    assert labels.argmax(1).tolist() == image_index(np.arange(46, 69), 23, 1).tolist()


def test_two_ranks_see_the_batches_of_one(path):
    ds = ImageDataset(path, cache="none")
    with ImageStream(ds, seed=4) as first, ImageStream(ds, seed=4) as second:
        for start in range(0, 60, 12):
            shares = [stream.batch(start + 6 * rank, 6)[0] for rank, stream in enumerate((first, second))]
            together = torch.cat(shares)
            assert (together == expected(ds, range(start, start + 12))).all()


class SlowDataset(ImageDataset):
    """Counts what is decoded, and in which threads."""

    def image(self, i):
        self.decoded.append((i, threading.current_thread().name))
        return super().image(i)


def test_the_next_batches_are_decoded_ahead_and_only_once(path):
    ds = SlowDataset(path, cache="none")
    ds.decoded = []
    with ImageStream(ds, seed=4, workers=2, ahead=2) as stream:
        stream.batch(0, 4)
        stream.batch(4, 4)
    coming = image_index(np.arange(16), 23, 4).tolist()
    indices = [i for i, _ in ds.decoded]
    assert set(coming[:8]) <= set(indices) <= set(coming)
    assert len(indices) == len(set(indices))
    assert all(name.startswith("decode") for _, name in ds.decoded)


def test_a_file_that_goes_missing_is_named(path):
    ds = ImageDataset(path, cache="none")
    with ImageStream(ds, seed=4, workers=2) as stream:
        stream.batch(0, 4)
        for file in path.glob("*.png"):
            file.unlink()
        with pytest.raises(UserError, match=r"\d\d\.png is not there any more"):
            stream.batch(4, 36)


def test_threads_end_with_the_stream(path):
    with ImageStream(ImageDataset(path, cache="none"), seed=4, workers=3) as stream:
        stream.batch(0, 4)
        assert any(thread.name.startswith("decode") for thread in threading.enumerate())
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())


def test_picking_from_a_resident_tensor_mirrors_as_the_data_set_does(path):
    images = ImageDataset(path).to_tensor()
    ds = ImageDataset.from_arrays(images, np.arange(23), xflip=True)
    indices = torch.tensor([0, 45, 22, 23, 7, 7, 30])
    pixels = ds.to_tensor(mirrored=False)
    assert len(pixels) == 23
    picked, labels = pick(pixels, ds.labels(range(23)), indices)
    assert (picked == ds.images(indices)).all()
    assert (labels == ds.labels(indices)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_images_stay_on_the_device(path):
    ds = ImageDataset(path, cache="memory", xflip=True)
    images, _ = ImageStream(ds, seed=4, device="cuda").batch(40, 10)
    assert images.is_cuda
    assert (images.cpu() == expected(ds, range(40, 50))).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_images_that_are_decoded_for_a_device_are_pinned(path):
    classes = {"labels": [[f"{i:02d}.png", i % 3] for i in range(23)]}
    (path / "dataset.json").write_text(json.dumps(classes))
    ds = ImageDataset(path, use_labels=True, cache="none")
    with ImageStream(ds, seed=4, device="cuda") as stream:
        images, labels = stream.batch(40, 10)
    assert labels.shape == (10, 3)
    assert images.is_pinned()
    assert labels.is_pinned()
    assert (images == expected(ds, range(40, 50))).all()
