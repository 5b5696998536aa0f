"""Folders and archives as people have them: linked, zipped as a whole, sideways, with formats that are not read."""

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dnnlib import UserError
from torch_utils.media.pictures import upright
from training.dataset import ImageDataset
from training.dataset.making.image_files import TAR_SUFFIXES, from_image_files


def png(seed=0, size=(16, 16)):
    file = io.BytesIO()
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (*size[::-1], 3)).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def jpeg_stored_sideways(path, size, orientation):
    """White above and black below when upright."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2] = 255
    undone = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    if orientation in undone:
        image = image.transpose(undone[orientation])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif, quality=95)


def test_links_to_folders_are_followed_once(tmp_path):
    for i in range(3):
        put(tmp_path / "store" / "cat" / f"{i}.png", png(i))
        put(tmp_path / "pets" / "dog" / f"{i}.png", png(10 + i))
    os.symlink(tmp_path / "store" / "cat", tmp_path / "pets" / "cat")
    os.symlink(tmp_path / "pets", tmp_path / "pets" / "dog" / "again")  # a circle
    os.symlink(tmp_path / "pets" / "dog", tmp_path / "pets" / "a-second-name")
    assert len(ImageDataset(tmp_path / "pets")) == 6
    names = [item.name for item in from_image_files(tmp_path / "pets", "auto", None).items]
    assert names == [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(3)]


def packed(kind, path, files):
    if kind == "folder":
        for name, content in files.items():
            put(path / name, content)
        return path
    path = path.with_suffix(f".{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


FILES = {f"00000/{i}.png": png(i) for i in range(4)}
FILES["dataset.json"] = json.dumps({"labels": [[name, i % 2] for i, name in enumerate(FILES)]}).encode()


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_data_set_that_was_packed_with_its_folder(tmp_path, kind):
    inside = packed(kind, tmp_path / "a", {f"myset/{name}": content for name, content in FILES.items()})
    source = from_image_files(inside, "auto", None)
    assert [item.label for item in source.items] == [0, 1, 0, 1]
    assert source.items[0].load().size == (16, 16)
    if kind != "tar":
        plain = packed(kind, tmp_path / "b", FILES)
        both = [ImageDataset(path, use_labels=True) for path in (inside, plain)]
        assert both[0].content_hash() == both[1].content_hash()
        assert (both[0].to_tensor() == both[1].to_tensor()).all()


def test_labels_that_lie_elsewhere_are_said(tmp_path):
    files = {f"myset/{name}": content for name, content in FILES.items()} | {"other/1.png": png(9)}
    path = packed("zip", tmp_path / "a", files)
    with pytest.raises(UserError, match=r"no labels in a dataset\.json at its top \(myset/dataset\.json lies inside"):
        ImageDataset(path, use_labels=True)
    assert "myset/dataset.json is not at its top and not read" in from_image_files(path, "auto", None).description


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(16, 16), (24, 16), (16, 24)])
def test_training_sees_pictures_upright(tmp_path, orientation, size):
    for i in range(2):
        jpeg_stored_sideways(tmp_path / "p" / f"{i}.jpg", size, orientation)
    dataset = ImageDataset(tmp_path / "p")
    assert dataset.image_shape == (3, size[1], size[0])
    image = dataset.image(0)
    assert image[:, : size[1] // 2].mean() > 250
    assert image[:, size[1] // 2 :].mean() < 5


def png_stored_sideways(path, place):
    """White above and black below in 16 x 24 pixels when upright; `place` is where the file says so."""
    stored = Image.fromarray(np.repeat([[255], [0]], 12, axis=0).astype(np.uint8)).resize((16, 24))
    exif, texts, exif_at_once = Image.Exif(), PngInfo(), {}
    exif[0x0112] = 6
    data = exif.tobytes()
    if place == "eXIf":
        exif_at_once = {"exif": exif}
    elif place == "text":
        texts.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", zip=True)
    elif place == "XMP":
        texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    path.parent.mkdir(parents=True, exist_ok=True)
    stored.transpose(Image.Transpose.ROTATE_90).save(path, pnginfo=texts, **exif_at_once)
    if place == "behind the pixels":
        chunk = b"eXIf" + data.removeprefix(b"Exif\0\0")
        content = path.read_bytes()
        length, crc = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:-12] + length + chunk + crc + content[-12:])


@pytest.mark.parametrize("place", ["eXIf", "text", "XMP", "behind the pixels"])
def test_png_that_is_stored_sideways(tmp_path, place):
    for i in range(2):
        png_stored_sideways(tmp_path / "p" / f"{i}.png", place)
    item = from_image_files(tmp_path / "p", "auto", None).items[0]
    assert item.header()[1] == upright(item.load()).size == (16, 24)
    dataset = ImageDataset(tmp_path / "p")
    if place == "behind the pixels":  # that far the headers are not read
        with pytest.raises(UserError, match=r"0\.png .* tells behind its pixels how to turn them; .* dataset_tool\.py"):
            dataset.image(0)
    else:
        assert dataset.image_shape == (1, 24, 16)
        assert dataset.image(0)[:, :12].min() == 255
        assert dataset.image(0)[:, 12:].max() == 0


def test_what_is_turned_has_another_hash_than_what_is_not(tmp_path):
    jpeg_stored_sideways(tmp_path / "a" / "0.jpg", (16, 16), 3)
    data = (tmp_path / "a" / "0.jpg").read_bytes()
    put(tmp_path / "b" / "0.jpg", data.replace(b"Exif", b"exif"))  # the same file, but nobody finds its EXIF data
    hashes = {ImageDataset(tmp_path / name).content_hash() for name in "ab"}
    assert len(hashes) == 2


def test_formats_that_are_not_read_are_said(tmp_path):
    put(tmp_path / "a" / "0.png", png())
    put(tmp_path / "a" / "1.psd", b"8BPS")
    put(tmp_path / "b" / "1.psd", b"8BPS")
    assert ImageDataset(tmp_path / "a").left_out == "1 files are left out: Photoshop; save it as PNG"
    with pytest.raises(UserError, match=r"holds no images that are read \(1 files are left out: Photoshop"):
        ImageDataset(tmp_path / "b")


MODES = {
    ".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tbz2": "w:bz2", ".tar.xz": "w:xz",
    ".txz": "w:xz",
}  # fmt: skip


@pytest.mark.parametrize("suffix", TAR_SUFFIXES)
def test_tars_of_every_compression(tmp_path, suffix):
    path = tmp_path / f"photos{suffix}"
    with tarfile.open(path, MODES[suffix]) as archive:
        for i in range(3):
            member = tarfile.TarInfo(f"photos/{i}.png")
            member.size = len(png(i))
            archive.addfile(member, io.BytesIO(png(i)))
    source = from_image_files(path, "auto", None)
    assert [item.name for item in source.items] == [f"photos/{i}.png" for i in range(3)]
    assert (np.asarray(source.items[2].load()) == np.asarray(Image.open(io.BytesIO(png(2))))).all()


def test_damaged_compressed_tars_are_one_line(tmp_path):
    for suffix in (".tgz", ".tar.bz2", ".txz"):
        (tmp_path / f"x{suffix}").write_bytes(b"nothing of the kind")
        with pytest.raises(UserError, match="is not a readable tar"):
            from_image_files(tmp_path / f"x{suffix}", "auto", None)
