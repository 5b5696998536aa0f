"""The recipes of dataset_tool.py on tiny imitations of the published layouts."""

import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from rooted_stylegan import dataset_tool
from training.dataset import ImageDataset


def run(*args, status=0):
    result = CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


def noise(side, seed):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def put(path, pixels, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **save)


@pytest.mark.parametrize(
    ("folder", "side", "resolution"), [("thumbnails128x128", 128, 64), ("images1024x1024", 1024, 256)]
)
def test_ffhq_is_averaged_over_areas(tmp_path, folder, side, resolution):
    for i in (0, 999, 1000):
        put(tmp_path / folder / f"{i // 1000 * 1000:05d}" / f"{i:05d}.png", noise(side, i))
    output = run("--recipe=ffhq", "--source", tmp_path, "--dest", tmp_path / "a.zip", f"--resolution={resolution}")
    assert f"source: 3 FFHQ images of {side} x {side} (not all of the 70000 published)" in output
    assert "content hash: " in output
    ds = ImageDataset(tmp_path / "a.zip")
    assert (len(ds), ds.resolution, ds.meta["recipe"], ds.meta["resize_filter"]) == (3, resolution, "ffhq", "box")
    factor = side // resolution
    for place, i in enumerate((0, 999, 1000)):
        blocks = noise(side, i).reshape(resolution, factor, resolution, factor, 3).mean((1, 3))
        assert np.abs(ds.image(place).transpose(1, 2, 0) - blocks).max() <= 0.5


def test_ffhq_from_a_zip_at_the_default_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "thumbnails128x128.zip", "w") as archive:
        for i in range(3):
            file = io.BytesIO()
            Image.fromarray(noise(128, i)).save(file, "png")
            archive.writestr(f"thumbnails128x128/00000/{i:05d}.png", file.getvalue())
        archive.writestr("thumbnails128x128/LICENSE.txt", "CC")
    run("--recipe=ffhq", "--source", tmp_path / "thumbnails128x128.zip", "--dest", tmp_path / "a.zip")
    assert (len(ImageDataset(tmp_path / "a.zip")), ImageDataset(tmp_path / "a.zip").resolution) == (3, 64)


def test_ffhq_names_an_image_of_another_size(tmp_path):
    for i, side in enumerate((128, 64, 128)):
        put(tmp_path / "thumbnails128x128" / f"{i:05d}.png", noise(side, i))
    options = ["--recipe=ffhq", "--source", tmp_path / "thumbnails128x128", "--dest", tmp_path / "a.zip"]
    assert "error: 00001.png: other size: 64 x 64, not 128 x 128 as it should be" in run(*options, status=2)
    assert "left out, other size: 1" in run(*options, "--on-error=skip")
    assert "error: --recipe=ffhq" in run(*options, "--resolution=256", "--overwrite", status=2)


def annotation(width, height, *boxes):
    objects = "".join(
        f"<object><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


@pytest.fixture
def dogs(tmp_path):
    """Black pictures in which each dog is a box of its own colour; the second picture is turned by its EXIF data."""
    red, green, blue = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    plan = {
        ("n02000001-Zebra_hound", "n02000001_1"): (
            (300, 200),
            {(20, 40, 120, 140): red, (180, 60, 260, 140): green},
            {},
        ),
        ("n02000002-Alpha_terrier", "n02000002_2"): ((200, 300), {(50, 100, 150, 200): blue}, {"exif": Image.Exif()}),
        ("n02000002-Alpha_terrier", "n02000002_3"): ((200, 200), {(90, 90, 110, 110): green}, {}),
    }
    plan["n02000002-Alpha_terrier", "n02000002_2"][2]["exif"][0x0112] = 3
    for (breed, name), ((width, height), boxes, save) in plan.items():
        pixels = np.zeros((height, width, 3), np.uint8)
        for (a, b, c, d), colour in boxes.items():
            pixels[b:d, a:c] = colour
        put(tmp_path / "dogs" / "Images" / breed / f"{name}.jpg", pixels, quality=95, **save)
        path = tmp_path / "dogs" / "Annotation" / breed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(annotation(width, height, *boxes))
    return tmp_path / "dogs"


def test_stanford_dogs(dogs, tmp_path):
    options = ["--recipe=stanford-dogs", "--source", dogs, "--report", tmp_path / "r.json"]
    output = run(*options, "--dest", tmp_path / "a.zip", "--resolution=64")
    assert "4 dogs in 3 images of 2 breeds" in output
    assert "left out, too small: 1: Images/n02000002-Alpha_terrier/n02000002_3.jpg (24 x 24)" in output
    ds = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert (len(ds), ds.resolution, ds.class_names) == (3, 64, ["Zebra_hound", "Alpha_terrier"])
    assert ds.labels(range(3)).argmax(1).tolist() == [0, 0, 1]
    for i, channel in enumerate((0, 1, 2)):
        image = ds.image(i).astype(int)
        assert image[channel, 16:48, 16:48].min() > 200  # the dog in the middle ...
        assert image[:, :3].max() < 60  # ... and the margin around it
        share = (image[channel] > 125).mean()
        assert share == pytest.approx(1 / 1.2**2, abs=0.04)
    report = json.loads((tmp_path / "r.json").read_text())
    assert [entry["source"].rpartition("/")[2] for entry in report["written"]] == [
        "n02000001_1.jpg#1",
        "n02000001_1.jpg#2",
        "n02000002_2.jpg",
    ]
    assert report["content_hash_with_labels"] == ds.content_hash()


def test_margin_and_small_dogs(dogs, tmp_path):
    run(
        "--recipe=stanford-dogs",
        "--source",
        dogs,
        "--dest",
        tmp_path / "a.zip",
        "--margin=0",
        "--min-size=0",
        "--resolution=16",
    )
    ds = ImageDataset(tmp_path / "a.zip")
    assert len(ds) == 4
    assert ds.meta["margin"] == 0
    assert (ds.image(0)[0, 1:-1, 1:-1] > 200).all()
    run("--recipe=stanford-dogs", "--source", dogs, "--dest", tmp_path / "b.zip", "--labels-from=none")
    assert entries_labels(tmp_path / "b.zip") is None


def entries_labels(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("dataset.json"))["labels"]


def test_stanford_dogs_from_tars(dogs, tmp_path):
    run("--recipe=stanford-dogs", "--source", dogs, "--dest", tmp_path / "a.zip")
    for folder, name in (("Images", "images.tar"), ("Annotation", "annotation.tar")):
        (tmp_path / "tars").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tars" / name, "w") as archive:
            archive.add(dogs / folder, folder)
    run("--recipe=stanford-dogs", "--source", tmp_path / "tars", "--dest", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_dogs_without_annotation(dogs, tmp_path):
    (dogs / "Annotation" / "n02000001-Zebra_hound" / "n02000001_1").unlink()
    options = ["--recipe=stanford-dogs", "--source", dogs, "--dest", tmp_path / "a.zip"]
    assert "error: Images/n02000001-Zebra_hound/n02000001_1.jpg: no annotation; " in run(
        *options, "--on-error=stop", status=2
    )
    assert "left out, no annotation: 1" in run(*options)


def test_an_odd_mode_among_the_dogs_is_converted(dogs, tmp_path):
    odd = dogs / "Images" / "n02000002-Alpha_terrier" / "n02000002_2.jpg"
    Image.open(odd).convert("RGBA").save(odd, format="png")  # one of the published pictures is such a file
    output = run("--recipe=stanford-dogs", "--source", dogs, "--dest", tmp_path / "a.zip")
    assert "converted from RGBA to RGB: 1" in output
    assert len(ImageDataset(tmp_path / "a.zip")) == 3


def test_cifar10_and_mnist(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (5, 4, 3072), dtype=np.uint8)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for number in range(5):
            content = pickle.dumps({"data": data[number], "labels": [number, 1, 2, 9]}, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number + 1}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    run("--source", tmp_path / "cifar-10-python.tar.gz", "--dest", tmp_path / "c.zip")
    ds = ImageDataset(tmp_path / "c.zip", use_labels=True)
    assert (ds.to_tensor().numpy() == data.reshape(20, 3, 32, 32)).all()
    assert ds.labels(range(20)).argmax(1).reshape(5, 4)[:, 0].tolist() == [0, 1, 2, 3, 4]
    digits = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, 6, 28, 28) + digits.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, 6) + bytes([5, 0, 4, 1, 9, 2]))
    run("--source", tmp_path / "train-images-idx3-ubyte", "--dest", tmp_path / "m.zip")
    ds = ImageDataset(tmp_path / "m.zip", use_labels=True)
    assert (ds.image_shape, ds.label_dim) == ((1, 32, 32), 10)
    assert (ds.to_tensor().numpy()[:, 0, 2:-2, 2:-2] == digits).all()
