"""Data that others made to do harm, or damaged: one line, little memory, and nothing started or executed."""

import contextlib
import gzip
import io
import json
import os
import re
import struct
import subprocess
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from dnnlib.archives import read_entry
from projection.targets import load_target
from torch_utils.media.pictures import FORMATS, MOST_PIXELS, open_picture
from training.dataset import ImageDataset
from training.dataset.making.archives import from_mnist
from training.dataset.making.image_files import from_image_files
from training.dataset.making.make import make_dataset
from training.dataset.making.processing import Settings


def picture(form="png", size=(16, 16)):
    stream = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)).save(stream, form)
    return stream.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claimed(width, height, form="png"):
    """A picture of a few bytes whose header claims that size."""
    if form == "png":
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def one_line(function, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 3000
    return message


def labelled(path, text):
    for name in ("0.png", "1.png"):
        (path / name).write_bytes(picture())
    (path / "dataset.json").write_text(text)
    return path


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_postscript_starts_no_program(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(POSTSCRIPT)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert "not an image format" in one_line(ImageDataset, tmp_path, cache="memory")
    assert "not an image format" in one_line(load_target, tmp_path / name, 3, 16)
    one_line(make_dataset, from_image_files(tmp_path, "auto", None), tmp_path / "d.zip", Settings(size=(16, 16)))


@pytest.mark.parametrize("form", FORMATS)
def test_every_listed_format_is_read(form):
    try:
        data = picture(form)
    except KeyError:
        pytest.skip(f"this Pillow writes no {form}")
    with open_picture(data) as image:
        assert np.asarray(image.convert("RGB")).shape == (16, 16, 3)


@pytest.mark.parametrize("size", [(1 << 16, 1 << 16), (1 << 30, 1), (8192, 8192), (70_000, 16)])
@pytest.mark.parametrize("form", ["png", "bmp"])
def test_pixels_are_bounded_by_the_file(tmp_path, size, form):
    (tmp_path / f"a.{form}").write_bytes(claimed(*size, form))
    one_line(lambda: ImageDataset(tmp_path, cache="none").image(0))
    assert re.search("exceeds limit|too many", one_line(load_target, tmp_path / f"a.{form}", 3, 16))


def test_large_photographs_are_read():
    side = int(MOST_PIXELS**0.5)
    with open_picture(claimed(side, side) + b"\0" * (MOST_PIXELS // 100)) as image:
        assert image.size == (side, side)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("entry", ["1.bmp", "dataset.json"])
def test_zip_entries_that_swell(tmp_path, monkeypatch, compression, entry):
    monkeypatch.setattr("dnnlib.archives.ALWAYS_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        archive.writestr("0.png", picture())
        archive.writestr(entry, b" " * (1 << 23))
    assert f"cannot read {entry} (it unpacks to more than" in one_line(ImageDataset, tmp_path / "a.zip")


def test_zip_entries_that_claim_less_or_more_than_they_hold(tmp_path):
    data = bytes(1 << 16)
    for claim in (10, 1 << 20, (1 << 32) - 2):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.bin", data)
        raw = bytearray((tmp_path / "a.zip").read_bytes())
        directory = raw.index(b"PK\1\2")
        raw[directory + 24 : directory + 28] = struct.pack("<I", claim)
        (tmp_path / "a.zip").write_bytes(raw)
        with zipfile.ZipFile(tmp_path / "a.zip") as archive, contextlib.suppress(zipfile.BadZipFile):
            assert len(read_entry(archive, "a.bin")) <= len(data)


def test_damaged_entries_of_every_compression(tmp_path):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
            archive.writestr("0.png", picture())
        whole = (tmp_path / "a.zip").read_bytes()
        for seed in range(25):
            raw, draw = bytearray(whole), np.random.RandomState(seed)
            for place in draw.randint(len(raw), size=3):
                raw[place] ^= draw.randint(1, 256)
            (tmp_path / "a.zip").write_bytes(raw)
            with contextlib.suppress(UserError):
                ImageDataset(tmp_path / "a.zip", cache="none").image(0)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
@pytest.mark.parametrize("name", ["a.png", "dataset.json"])
def test_pipes_and_devices(tmp_path, make, name):
    (tmp_path / "0.png").write_bytes(picture())
    make(tmp_path / name)
    assert "not a regular file" in one_line(ImageDataset, tmp_path)
    assert "not a regular file" in one_line(load_target, tmp_path / name, 3, 16)
    one_line(ImageDataset, tmp_path / name)


def test_folders_deeper_than_paths(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("a" * 200, dir_fd=here)
        below = os.open("a" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert "cannot read the folder" in one_line(ImageDataset, tmp_path)


@pytest.mark.parametrize(
    "label",
    [
        "1000000", "65536", str(2**63), "9" * 5000, "-1", "1e5", "true", "[1e39]", "[-1e39]", "[1" + "0" * 400 + "]",
        "[NaN]", "[Infinity]", "[[1]]", "[" * 500 + "]" * 500, '"\\u001b[2J"', "[]", "{}",
    ],
)  # fmt: skip
def test_labels_that_are_none(tmp_path, label):
    path = labelled(tmp_path, f'{{"labels": [["0.png", {label}], ["1.png", {label}]]}}')
    message = one_line(ImageDataset, path, use_labels=True)
    assert "dataset.json" in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"labels": null, "x": ' + "[" * 200 + "]" * 200 + "}", "\ud800"]
)
def test_json_that_is_deep_or_no_text(tmp_path, text):
    labelled(tmp_path, "")
    (tmp_path / "dataset.json").write_bytes(text.encode(errors="surrogatepass"))
    assert "dataset.json" in one_line(ImageDataset, tmp_path, use_labels=True)


def test_labels_of_other_files(tmp_path):
    labelled(tmp_path, '{"labels": [["old/0.png", 1], ["old/1.png", 0]]}')
    assert "none of the images" in one_line(from_image_files, tmp_path, "auto", None)


@pytest.mark.parametrize("cell", ["9" * 5000, "65536", "1e39,2", "nan,1", "1,inf"])
def test_tables_with_numbers_that_are_no_labels(tmp_path, cell):
    labelled(tmp_path, '{"labels": null}')
    (tmp_path / "labels.csv").write_text(f"0.png,{cell}\n1.png,{cell}\n")
    one_line(from_image_files, tmp_path, "csv", None)


def test_names_that_are_not_utf8(tmp_path):
    (tmp_path / "d").mkdir()
    for name in (b"\xff", b"\xfe"):
        os.mkdir(os.fsencode(tmp_path / "d") + b"/" + name)
        with open(os.fsencode(tmp_path / "d") + b"/" + name + b"/" + name + b".png", "wb") as stream:
            stream.write(picture())
    assert len(ImageDataset(tmp_path / "d").content_hash()) == 64
    source = from_image_files(tmp_path / "d", "folders", None)
    make_dataset(source, tmp_path / "d.zip", Settings(size=(16, 16)))
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        assert json.loads(archive.read("dataset.json"))["classes"] == ["\udcfe", "\udcff"]


@pytest.mark.parametrize("shape", [(10**6, 28, 28), (-1, 28, 28), (0, 28, 28), (2**31 - 1,) * 3])
def test_mnist_that_claims_much(tmp_path, shape):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4i", 0x803, *shape) + bytes(100)))
    one_line(from_mnist, path)
