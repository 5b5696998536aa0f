"""Published archives and layouts, imitated in small; labels from folders, JSON and tables."""

import gzip
import io
import json
import pickle
import re
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.dataset.files import FolderFiles
from training.dataset.making import archives, image_files, recipes
from training.dataset.making.labels import labels_from_folders, labels_of


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its strings, as in CIFAR-10's archive."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_python2_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)

    dispatch[str] = dispatch[bytes] = save_python2_string


def pickled(value):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def make_cifar(path, per_batch=3, replace=None):
    rng = np.random.default_rng(0)
    images, labels = [], []
    with tarfile.open(path, "w:gz") as archive:
        for number in (3, 1, 2, 5, 4):  # the archive's own order does not count
            data = rng.integers(0, 256, (per_batch, 3072), dtype=np.uint8)
            classes = rng.integers(0, 10, per_batch).tolist()
            content = {
                "batch_label": "training batch",
                "labels": classes,
                "data": data,
                "filenames": ["x.png"] * per_batch,
            }
            images.append((number, data))
            labels.append((number, classes))
            add(archive, f"cifar-10-batches-py/data_batch_{number}", (replace or pickled)(content))
        add(archive, "cifar-10-batches-py/test_batch", b"never read")
        add(archive, "cifar-10-batches-py/batches.meta", pickled({"label_names": [f"class{i}" for i in range(10)]}))
    data = np.concatenate([batch for _, batch in sorted(images, key=lambda pair: pair[0])])
    return data.reshape(-1, 3, 32, 32), [label for _, batch in sorted(labels) for label in batch]


def pixels(source):
    return np.stack([np.asarray(item.load()) for item in source.items])


def test_cifar10(tmp_path):
    images, labels = make_cifar(tmp_path / "cifar-10-python.tar.gz")
    source = archives.from_cifar10(tmp_path / "cifar-10-python.tar.gz")
    assert (pixels(source) == images.transpose(0, 2, 3, 1)).all()
    assert [item.label for item in source.items] == labels
    assert source.classes == [f"class{i}" for i in range(10)]


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_cifar10_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_cifar(tmp_path / "a.tar.gz", replace=lambda content: pickle.dumps({**content, "data": Evil()}))
    with pytest.raises(UserError, match=r"a\.tar\.gz is not a readable CIFAR-10 archive \(it calls .*open"):
        archives.from_cifar10(tmp_path / "a.tar.gz")
    assert not (tmp_path / "executed").exists()


def test_wrong_cifar10(tmp_path):
    (tmp_path / "text.tar.gz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="not a readable CIFAR-10"):
        archives.from_cifar10(tmp_path / "text.tar.gz")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        add(archive, "readme.txt", b"hello")
    with pytest.raises(UserError, match="holds no data_batch_1"):
        archives.from_cifar10(tmp_path / "other.tar.gz")
    make_cifar(tmp_path / "keys.tar.gz", replace=lambda content: pickled({"other": 1}))
    with pytest.raises(UserError, match="not CIFAR-10's Python version"):
        archives.from_cifar10(tmp_path / "keys.tar.gz")
    make_cifar(tmp_path / "whole.tar.gz", per_batch=20)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:5000])
    with pytest.raises(UserError, match="download it again"):
        archives.from_cifar10(tmp_path / "cut.tar.gz")


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "a\\..\\..\\evil.png"])
def test_a_tar_with_an_entry_that_climbs_out_is_refused(tmp_path, name):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "./good.png", jpeg("red"))
        add(archive, name, jpeg("red"))
    with pytest.raises(UserError, match=rf"a\.tar: the entry {re.escape(repr(name))} points outside"):
        image_files.from_image_files(tmp_path / "a.tar", "none", None)
    make_cifar(tmp_path / "whole.tar")
    with tarfile.open(tmp_path / "whole.tar") as whole, tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        for member in whole.getmembers():
            add(archive, member.name, whole.extractfile(member).read())
        add(archive, name, b"")
    with pytest.raises(UserError, match=rf"c\.tar\.gz: the entry {re.escape(repr(name))} points outside"):
        archives.from_cifar10(tmp_path / "c.tar.gz")


def idx(array, magic):
    return struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist(tmp_path, suffix):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (7, 28, 28), dtype=np.uint8), rng.integers(0, 10, 7, dtype=np.uint8)
    pack = gzip.compress if suffix else bytes
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(pack(idx(images, 0x803)))
    assert not archives.from_mnist(path).has_labels
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels, 0x801)))
    source = archives.from_mnist(path)
    result = pixels(source)
    assert result.shape == (7, 32, 32)
    assert (result[:, 2:-2, 2:-2] == images).all()
    assert result.sum() == images.sum()
    assert [item.label for item in source.items] == labels.tolist()


def test_wrong_mnist(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.compress(idx(np.zeros((4, 28, 28), np.uint8), 0x803))
    for data in (
        b"",
        b"text",
        whole[:-20],
        gzip.compress(idx(np.zeros(4, np.uint8), 0x801)),
        gzip.compress(b"\0\0\x08\3"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is not a readable MNIST file"):
            archives.from_mnist(path)
    path.write_bytes(whole)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(3, np.uint8), 0x801)))
    with pytest.raises(UserError, match="3 labels for 4 images"):
        archives.from_mnist(path)


def jpeg(colour, size=(32, 32)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "jpeg")
    return file.getvalue()


def test_jpeg_arrays(tmp_path):
    files = [jpeg(colour) for colour in ("red", "green", "blue")]
    offsets = np.cumsum([0, *map(len, files)])
    arrays = {
        "train_jpeg": np.frombuffer(b"".join(files), np.uint8),
        "train_offsets": offsets,
        "train_labels": [2, 0, 1],
    }
    np.savez(tmp_path / "a.npz", **arrays, classes=["x", "y", "z"])
    source = archives.from_jpeg_arrays(tmp_path / "a.npz")
    assert pixels(source).argmax(3)[:, 5, 5].tolist() == [0, 1, 2]
    assert [item.label for item in source.items] == [2, 0, 1]
    assert source.classes == ["x", "y", "z"]
    np.savez(tmp_path / "b.npz", **{**arrays, "train_offsets": offsets[:-1]})
    with pytest.raises(UserError, match="does not fit"):
        archives.from_jpeg_arrays(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", other=1)
    with pytest.raises(UserError, match="does not hold train_jpeg"):
        archives.from_jpeg_arrays(tmp_path / "c.npz")


def test_real_cifar10_as_jpeg(data_dir):
    source = archives.from_jpeg_arrays(data_dir / "cifar10-jpeg.npz")
    assert len(source.items) == 50000
    assert source.items[49999].load().size == (32, 32)
    assert source.classes[source.items[49999].label] == "truck"


def test_lmdb_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(UserError, match="pip install lmdb"):
        image_files.from_lmdb(tmp_path)


def test_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb", reason="the optional package lmdb is not installed")
    with lmdb.open(str(tmp_path / "x_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.put(b"b", jpeg("blue"))
        transaction.put(b"a", jpeg("red"))
    source = image_files.from_lmdb(tmp_path / "x_lmdb")
    assert [item.name for item in source.items] == ["a", "b"]
    assert pixels(source).argmax(3)[:, 5, 5].tolist() == [0, 2]


def write(path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg("gray") if data is None else data)


def test_labels_from_folders():
    names = ["set/train/cat/1.png", "set/train/cat/more/2.png", "set/train/dog/3.png"]
    assert labels_from_folders(names) == ([0, 0, 1], ["cat", "dog"])
    assert labels_from_folders(["b/1.png", "a/2.png", "top.png"]) == ([1, 0, None], ["a", "b"])
    for names in (["1.png", "2.png"], ["all/1.png", "all/2.png"]):
        with pytest.raises(UserError, match="`labels_from`=folders"):
            labels_from_folders(names)


@pytest.mark.parametrize(
    ("text", "labels", "classes"),
    [
        ("a.png,1\nb.png,0\n", [1, 0, None], None),
        ("file,label\na.png,dog\nb.png,cat\nc.png,dog\n", [1, 0, 1], ["cat", "dog"]),
        ("file,smile,hat\na.png,1,0\n\nb.png,0.5,1\n./c.png,0,0\n", [[1, 0], [0.5, 1], [0, 0]], ["smile", "hat"]),
    ],
)
def test_labels_from_a_table(tmp_path, text, labels, classes):
    for name in ("a.png", "b.png", "c.png"):
        write(tmp_path / name)
    (tmp_path / "labels.csv").write_text(text)
    names = ["a.png", "b.png", "c.png"]
    assert labels_of(names, FolderFiles(tmp_path), "csv", None) == (labels, classes)
    assert labels_of(names, FolderFiles(tmp_path), "csv", tmp_path / "labels.csv") == (labels, classes)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", "no line names an image"),
        ("file,label\n", "no line names an image"),
        ("a.png\n", "line 1: a label is missing"),
        ("a.png,\n", "line 1: a label is missing"),
        ("a.png,1\nx.png,2\n", r"line 2: there is no image x\.png"),
        ("a.png,1\na.png,2\n", r"line 2: a\.png has two different labels"),
        ("a.png,1,2\nb.png,2\n", "line 2: another number of columns"),
        ("a.png,1,cat\n", r"a\.png: could not convert"),
        ("a.png,1,nan\n", r"a\.png: the label is not finite"),
    ],
)
def test_wrong_tables(tmp_path, text, pattern):
    write(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=rf"labels\.csv.*{pattern}"):
        labels_of(["a.png", "b.png"], FolderFiles(tmp_path), "csv", None)


def test_labels_from_json(tmp_path):
    write(tmp_path / "a.png")
    files = FolderFiles(tmp_path)
    with pytest.raises(UserError, match=r"no dataset\.json .*`labels_file`"):
        labels_of(["a.png"], files, "json", None)
    with pytest.raises(UserError, match="`labels_file`: cannot read"):
        labels_of(["a.png"], files, "json", tmp_path / "none.json")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 3]], "classes": list("wxyz")}))
    for how in ("auto", "json"):
        assert labels_of(["a.png", "b.png"], FolderFiles(tmp_path), how, None) == ([3, None], list("wxyz"))
    assert labels_of(["a.png"], FolderFiles(tmp_path), "none", None) == ([None], None)


# FFHQ


def ffhq_tree(path, folder, side, count=3):
    for i in range(count):
        file = io.BytesIO()
        Image.new("RGB", (side, side), (i, 0, 0)).save(file, "png")
        write(path / folder / f"{i // 1000 * 1000:05d}" / f"{i:05d}.png", file.getvalue())


def test_ffhq_in_all_its_forms(tmp_path):
    ffhq_tree(tmp_path / "ffhq", "thumbnails128x128", 128)
    write(tmp_path / "ffhq" / "in-the-wild-images" / "00000" / "00000.png")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for file in (tmp_path / "ffhq").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path / "ffhq").as_posix())
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(tmp_path / "ffhq" / "thumbnails128x128", "thumbnails128x128")
    for path in ("ffhq", "ffhq/thumbnails128x128", "some.zip", "some.tar"):
        source = recipes.ffhq(tmp_path / path, 64)
        assert pixels(source)[:, 0, 0, 0].tolist() == [0, 1, 2]
        assert {item.size for item in source.items} == {(128, 128)}
        assert "not all of the 70000" in source.description
    with pytest.raises(UserError, match="do not give 256 x 256"):
        recipes.ffhq(tmp_path / "ffhq", 256)
    ffhq_tree(tmp_path / "ffhq", "images1024x1024", 1024, count=1)
    assert len(recipes.ffhq(tmp_path / "ffhq", 256).items) == 1
    (tmp_path / "ffhq" / "thumbnails128x128").rename(tmp_path / "renamed")
    assert {item.size for item in recipes.ffhq(tmp_path / "renamed", 128).items} == {(128, 128)}


def test_wrong_ffhq(tmp_path):
    with pytest.raises(UserError, match="there is no file or folder"):
        recipes.ffhq(tmp_path / "none", 64)
    with pytest.raises(UserError, match="holds no images"):
        recipes.ffhq(tmp_path, 64)
    write(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg .* is 32 pixels wide, but FFHQ has 1024 or 128"):
        recipes.ffhq(tmp_path, 64)


# Stanford Dogs


def annotation(width, height, *boxes):
    objects = "".join(
        f"<object><name>dog</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>".encode()


def dogs_tree(path):
    """Two breeds whose folders sort against their names; one picture with two dogs."""
    terrier, hound = "n02099999-Terrier", "n02088888-Afghan_hound"
    write(path / "Images" / terrier / "n02099999_1.jpg", jpeg("red", (200, 100)))
    write(path / "Annotation" / terrier / "n02099999_1", annotation(200, 100, (10, 10, 80, 80), (120, 20, 190, 90)))
    write(path / "Images" / hound / "n02088888_7.jpg", jpeg("blue", (100, 200)))
    write(path / "Annotation" / hound / "n02088888_7", annotation(100, 200, (0, 50, 100, 150)))


def tarred(path, folder, name):
    with tarfile.open(path / name, "w") as archive:
        archive.add(path / folder, folder)


@pytest.mark.parametrize("form", ["folder", "tars", "zip"])
def test_stanford_dogs(tmp_path, form):
    path = tmp_path / "dogs"
    dogs_tree(path)
    if form == "tars":
        tarred(path, "Images", "images.tar")
        tarred(path, "Annotation", "annotation.tar")
        for folder in ("Images", "Annotation"):
            (path / folder).rename(tmp_path / f"old{folder}")
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "dogs.zip", "w") as archive:
            for file in path.rglob("n*_*"):
                archive.write(file, "archive/" + file.relative_to(path).as_posix())
        path = tmp_path / "dogs.zip"
    source = recipes.stanford_dogs(path)
    assert source.classes == ["Afghan_hound", "Terrier"]
    assert [item.label for item in source.items] == [0, 1, 1]
    assert [item.box for item in source.items] == [(0, 50, 100, 150), (10, 10, 80, 80), (120, 20, 190, 90)]
    assert [item.name.rpartition("/")[2] for item in source.items] == [
        "n02088888_7.jpg",
        "n02099999_1.jpg#1",
        "n02099999_1.jpg#2",
    ]
    assert "3 dogs in 2 images of 2 breeds" in source.description
    assert all(item.load().size == item.size for item in source.items)


def test_dogs_without_usable_annotation(tmp_path):
    dogs_tree(tmp_path)
    breed = "n02099999-Terrier"
    texts = {2: b"<annotation>", 3: annotation(200, 100), 4: annotation(200, 100, (90, 10, 20, 50)), 5: None}
    for number, text in texts.items():
        write(tmp_path / "Images" / breed / f"n02099999_{number}.jpg", jpeg("red", (200, 100)))
        if text is not None:
            write(tmp_path / "Annotation" / breed / f"n02099999_{number}", text)
    problems = [str(item.problem) for item in recipes.stanford_dogs(tmp_path).items if item.problem]
    patterns = ["not XML", "it has no box", "is empty", "no annotation"]
    assert all(pattern in problem for pattern, problem in zip(patterns, problems, strict=True))


def test_boxes_end_at_the_border():
    assert recipes.parse_annotation(annotation(100, 50, (-5, 3, 120, 60))) == ((100, 50), [(0, 3, 100, 50)])
    assert recipes.parse_annotation(annotation(0, 0, (1, 2, 120, 60))) == (None, [(1, 2, 120, 60)])


def test_wrong_dogs(tmp_path):
    write(tmp_path / "Images" / "n02099999-Terrier" / "n02099999_1.jpg")
    with pytest.raises(UserError, match=r"no Annotation/<breed>/ and no annotation\.tar"):
        recipes.stanford_dogs(tmp_path)
    (tmp_path / "annotation.tar").write_bytes(b"x" * 600)
    with pytest.raises(UserError, match=r"annotation\.tar is not a readable tar"):
        recipes.stanford_dogs(tmp_path)
