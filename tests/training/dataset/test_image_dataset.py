"""Reading images and labels: what comes out equals what was put in, from a folder, a zip or arrays."""

import json
import multiprocessing
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from training.dataset import ImageDataset
from training.dataset.builtin_faces import builtin_faces

SHAPES = {"L": (16, 16), "RGB": (16, 16, 3), "RGBA": (16, 16, 4)}


def make_folder(path, count=6, mode="RGB", labels=None, classes=None, suffix="png", **more):
    """Write images of noise, some in a sub-folder, and `dataset.json`; return them as [N, C, H, W] in sorted order."""
    rng = np.random.default_rng(0)
    arrays, names = [], []
    for i in range(count):
        pixels = rng.integers(0, 256, SHAPES[mode], dtype=np.uint8)
        names.append(f"{i // 4:05d}/img{i:08d}.{suffix}")
        (path / names[-1]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path / names[-1])
        arrays.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    if labels is not None or more or classes:
        pairs = None if labels is None else list(zip(names, labels, strict=True))
        (path / "dataset.json").write_text(json.dumps({"labels": pairs, "classes": classes, **more}))
    return np.stack(arrays)


def make_zip(path, **kwargs):
    arrays = make_folder(path / "files", **kwargs)
    with zipfile.ZipFile(path / "some.zip", "w") as archive:
        for file in sorted((path / "files").rglob("*.*")):
            archive.write(file, file.relative_to(path / "files").as_posix())
    return path / "some.zip", arrays


@pytest.mark.parametrize("cache", ["auto", "memory", "none"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_images_come_back(tmp_path, mode, cache):
    path, arrays = make_zip(tmp_path, mode=mode)
    for source in (path, tmp_path / "files"):
        ds = ImageDataset(source, cache=cache)
        assert (ds.name, len(ds), ds.resolution, ds.num_channels) == (source.stem, 6, 16, arrays.shape[1])
        assert ds.image_shape == arrays.shape[1:]
        assert (ds.label_dim, ds.has_labels, ds.class_names) == (0, False, None)
        images = ds.images([4, 0, 4])
        assert images.dtype == torch.uint8
        assert (images.numpy() == arrays[[4, 0, 4]]).all()
        assert all((ds.image(i) == arrays[i]).all() for i in range(6))
        assert (ds.to_tensor().numpy() == arrays).all()
        assert ds.label(3).shape == (0,)
        assert ds.labels([1, 2]).shape == (2, 0)


def test_jpeg_and_webp_are_read(tmp_path):
    for suffix in ("jpg", "webp"):
        arrays = make_folder(tmp_path / suffix, suffix=suffix)
        assert ImageDataset(tmp_path / suffix).to_tensor().shape == arrays.shape


def test_returned_arrays_are_the_callers_own(tmp_path):
    make_folder(tmp_path)
    ds = ImageDataset(tmp_path, cache="memory")
    before = ds.image(0)
    for mine in (ds.image(0), ds.images([0])[0].numpy(), ds.to_tensor()[0].numpy()):
        mine[:] = 0
    assert (ds.image(0) == before).all()


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_mirroring_appends_the_mirrored_subset(tmp_path, cache):
    arrays = make_folder(tmp_path, labels=[0, 1, 2, 0, 1, 2])
    ds = ImageDataset(tmp_path, max_size=4, xflip=True, use_labels=True, cache=cache)
    plain = ImageDataset(tmp_path, max_size=4, use_labels=True, cache=cache)
    assert (len(plain), len(ds)) == (4, 8)
    assert (ds.images(range(4)) == plain.to_tensor()).all()
    assert (
        ds.images([6, 1, 4])
        == torch.stack([plain.images([2])[0].flip(-1), plain.images([1])[0], plain.images([0])[0].flip(-1)])
    ).all()
    assert (ds.image(5) == plain.image(1)[:, :, ::-1]).all()
    assert (ds.to_tensor() == ds.images(range(8))).all()
    assert (ds.labels(range(8)) == plain.labels([0, 1, 2, 3, 0, 1, 2, 3])).all()
    assert {a.tobytes() for a in plain.to_tensor().numpy()} < {a.tobytes() for a in arrays}


def test_subset_is_the_references_draw_in_file_order(tmp_path):
    arrays = make_folder(tmp_path, count=12)
    order = np.arange(12)
    np.random.RandomState(7).shuffle(order)
    expected = arrays[sorted(order[:5])]
    assert (ImageDataset(tmp_path, max_size=5, random_seed=7).to_tensor().numpy() == expected).all()
    assert (ImageDataset(tmp_path, max_size=12, random_seed=7).to_tensor().numpy() == arrays).all()


def test_class_labels_become_one_hot(tmp_path):
    path, _ = make_zip(tmp_path, labels=[2, 0, 1, 3, 0, 0], classes=["a", "b", "c", "d", "unused"])
    ds = ImageDataset(path, use_labels=True)
    assert (ds.label_dim, ds.has_labels, ds.class_names) == (4, True, ["a", "b", "c", "d"])
    assert ds.label(0).dtype == np.float32
    assert ds.labels(range(6)).argmax(1).tolist() == [2, 0, 1, 3, 0, 0]
    assert ds.labels(range(6)).sum(1).tolist() == [1] * 6
    # The width of the labels is that of the whole collection, whatever the subset.
    assert ImageDataset(path, use_labels=True, max_size=1).label_dim == 4
    assert ImageDataset(path).class_names is None


def test_vector_labels_stay_as_they_are(tmp_path):
    vectors = [[0.5, -1, 2], [1, 1, 0], [0, 0, 0], [3, 2, 1], [0.25, 0, 0], [1, 0, 1]]
    make_folder(tmp_path, labels=vectors)
    ds = ImageDataset(tmp_path, use_labels=True)
    assert ds.labels(range(6)).tolist() == vectors


def test_meta_holds_the_rest_of_dataset_json(tmp_path):
    make_folder(tmp_path, resize_filter="box", made_by={"tool": "x"})
    assert ImageDataset(tmp_path).meta == {"resize_filter": "box", "made_by": {"tool": "x"}}


def test_clutter_is_no_image(tmp_path):
    arrays = make_folder(tmp_path)
    for name in ("._img.png", ".hidden/a.png", "__MACOSX/00000/._a.png", "notes.txt", "readme.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    assert len(ImageDataset(tmp_path)) == len(arrays)


def test_content_hash_follows_the_selected_content_only(tmp_path):
    path, _ = make_zip(tmp_path, labels=[0, 1, 0, 1, 0, 1])
    moved = tmp_path / "moved.zip"
    moved.write_bytes(path.read_bytes())
    reference = ImageDataset(path).content_hash()
    assert len(bytes.fromhex(reference)) == 32
    assert ImageDataset(moved).content_hash() == reference
    assert ImageDataset(tmp_path / "files").content_hash() == reference
    assert ImageDataset(path, cache="none", max_size=6, random_seed=5).content_hash() == reference
    different = [
        ImageDataset(path, xflip=True),
        ImageDataset(path, max_size=5),
        ImageDataset(path, max_size=5, random_seed=1),
        ImageDataset(path, use_labels=True),
    ]
    file = tmp_path / "files" / "00000" / "img00000002.png"
    pixels = np.array(Image.open(file))
    pixels[3, 3, 1] ^= 1
    Image.fromarray(pixels).save(file)
    different.append(ImageDataset(tmp_path / "files"))
    hashes = {ds.content_hash() for ds in different}
    assert len(hashes | {reference}) == 6


def test_from_arrays(tmp_path):
    arrays = make_folder(tmp_path)
    labels = [0, 1, 2, 0, 1, 2]
    ds = ImageDataset.from_arrays(
        arrays, labels, name="mine", classes=["x", "y", "z"], max_size=4, xflip=True, random_seed=3
    )
    make_folder(tmp_path, labels=labels)
    files = ImageDataset(tmp_path, use_labels=True, max_size=4, xflip=True, random_seed=3)
    assert (ds.to_tensor() == files.to_tensor()).all()
    assert (ds.labels(range(8)) == files.labels(range(8))).all()
    assert (ds.name, ds.class_names, ds.image_shape) == ("mine", ["x", "y", "z"], (3, 16, 16))
    assert (
        ds.content_hash()
        == ImageDataset.from_arrays(
            torch.from_numpy(arrays), labels, max_size=4, xflip=True, random_seed=3
        ).content_hash()
    )
    changed = arrays.copy()
    changed[:, 0, 0, 0] ^= 1
    hashes = {
        ImageDataset.from_arrays(a, given, xflip=f).content_hash()
        for a in (arrays, changed)
        for given in (None, labels)
        for f in (0, 1)
    }
    assert len(hashes) == 8
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert (ImageDataset.from_arrays(arrays, vectors).labels(range(6)).numpy() == vectors).all()


@pytest.mark.parametrize(
    ("size", "resolution", "base_size"),
    [((64, 64), 64, (4, 4)), ((96, 64), 64, (4, 6)), ((48, 64), 64, (4, 3)), ((48, 48), 64, (3, 3))],
)
def test_the_networks_of_a_shape(size, resolution, base_size):
    images = np.random.RandomState(0).randint(0, 256, (3, 1, size[1], size[0]), np.uint8)
    ds = ImageDataset.from_arrays(images, xflip=True)
    assert (ds.resolution, ds.base_size, ds.size_text) == (resolution, base_size, f"{size[0]} x {size[1]}")
    assert (ds.images([1, 4]).numpy() == [images[1], images[1, :, :, ::-1]]).all()


def test_builtin_faces():
    ds = ImageDataset("builtin:faces", resolution=32)
    assert (len(ds), ds.image_shape, ds.name) == (100, (1, 32, 32), "builtin-faces")
    assert ImageDataset(None).content_hash() == ds.content_hash()
    faces = builtin_faces(64)
    assert faces.shape == (100, 1, 64, 64)
    assert faces.dtype == np.uint8
    # Enlarging keeps what the photographs show: averaged back to 32 x 32, both sizes agree.
    halved = faces.astype(float).reshape(100, 1, 32, 2, 32, 2).mean((3, 5))
    assert np.abs(halved - ds.to_tensor().numpy()).mean() < 2
    assert len({face.tobytes() for face in faces}) == 100


def _read_all(ds, queue):
    queue.put(ds.to_tensor().numpy().tobytes())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_zip_is_read_from_other_processes(tmp_path, method):
    path, arrays = make_zip(tmp_path)
    ds = ImageDataset(path, cache="none")
    assert (ds.image(5) == arrays[5]).all()
    context = multiprocessing.get_context(method)
    if (
        method == "spawn"
    ):  # the receiving side is a fresh interpreter: what matters is that the object survives the trip
        assert pickle.loads(pickle.dumps(ds)).to_tensor().numpy().tobytes() == arrays.tobytes()
        return
    queue = context.Queue()
    children = [context.Process(target=_read_all, args=(ds, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert (ds.to_tensor().numpy() == arrays).all()
    assert all(queue.get() == arrays.tobytes() for _ in children)
    for child in children:
        child.join()
        assert child.exitcode == 0


def test_indices_out_of_range(tmp_path):
    make_folder(tmp_path)
    ds = ImageDataset(tmp_path)
    for wrong in (-1, 6):
        with pytest.raises(IndexError):
            ds.image(wrong)
        with pytest.raises(IndexError):
            ds.images([0, wrong])
        with pytest.raises(IndexError):
            ds.labels([wrong])


def test_real_faces(data_dir):
    ds = ImageDataset(data_dir / "faces64.zip", max_size=200)
    assert (len(ds), ds.image_shape, ds.name) == (200, (3, 64, 64), "faces64")
    with zipfile.ZipFile(data_dir / "faces64.zip") as archive:
        order = np.arange(2000)
        np.random.RandomState(0).shuffle(order)
        name = sorted(n for n in archive.namelist() if n.endswith(".png"))[sorted(order[:200])[17]]
        with archive.open(name) as file:
            assert (ds.image(17) == np.array(Image.open(file)).transpose(2, 0, 1)).all()


def test_the_whole_of_a_subset(tmp_path):
    arrays = make_folder(tmp_path, labels=[0, 1, 2, 0, 1, 2])
    for subset in (
        ImageDataset(tmp_path, max_size=2, use_labels=True, xflip=True),
        ImageDataset(tmp_path, use_labels=True),
    ):
        whole = subset.whole(xflip=False)
        assert (whole.to_tensor().numpy() == arrays).all()
        assert whole.labels(range(6)).argmax(1).tolist() == [0, 1, 2, 0, 1, 2]
        mirrored = subset.whole(xflip=True)
        assert mirrored.content_hash() == ImageDataset(tmp_path, use_labels=True, xflip=True).content_hash()
        assert (mirrored.image(7) == arrays[1][:, :, ::-1]).all()
    faces = ImageDataset("builtin:faces", max_size=3)
    assert faces.whole(xflip=False).content_hash() == ImageDataset("builtin:faces").content_hash()


def test_held_out_images_are_those_that_the_subset_leaves_out():
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    dataset = ImageDataset.from_arrays(images, max_size=12, xflip=True)
    rest = dataset.held_out(5)
    assert len(rest) == 5
    assert not rest.xflip
    trained = {image.tobytes() for image in dataset.to_tensor(mirrored=False).numpy()}
    left = {rest.image(i).tobytes() for i in range(5)}
    assert len(left) == 5
    assert not left & trained
    assert len(dataset.held_out(100)) == 8
    assert dataset.whole(xflip=False).held_out(5) is None
