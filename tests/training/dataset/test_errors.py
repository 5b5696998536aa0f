"""Every way in which data can be wrong is one line that names the file and the remedy."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.dataset import ImageDataset

NAMES = [f"a/{i}.png" for i in range(4)]


def png(size=(16, 16), mode="RGB", **save):
    file = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image.convert(mode).save(file, "png", **save)
    return file.getvalue()


def folder(path, labels=None, **files):
    """Four images and, where given, a `dataset.json` (a str as it stands) and further files."""
    (path / "a").mkdir()
    for name in NAMES:
        (path / name).write_bytes(png())
    for name, content in files.items():
        (path / "a" / name.replace("_", ".")).write_bytes(content)
    if labels is not None:
        (path / "dataset.json").write_text(labels if isinstance(labels, str) else json.dumps({"labels": labels}))
    return path


def refused(pattern, *args, **kwargs):
    with pytest.raises(UserError, match=pattern) as caught:
        ImageDataset(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def archive(path, entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_no_such_data(tmp_path):
    message = refused("`path`", tmp_path / "nothing")
    assert str(tmp_path / "nothing") in message


def test_neither_folder_nor_zip(tmp_path):
    (tmp_path / "data.tar").write_bytes(b"x")
    refused("dataset_tool.py", tmp_path / "data.tar")


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    refused("holds no images", tmp_path)
    refused("holds no images", archive(tmp_path / "a.zip", {"notes.txt": "x"}))


def test_empty_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    refused("empty file", tmp_path / "a.zip")
    refused("holds no images", archive(tmp_path / "b.zip", {}))


def test_damaged_zip(tmp_path):
    whole = archive(tmp_path / "a.zip", {name: png() for name in NAMES}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    refused("not a readable zip", tmp_path / "cut.zip")
    (tmp_path / "text.zip").write_bytes(b"this is no zip at all" * 10)
    refused("not a readable zip", tmp_path / "text.zip")


def test_a_flipped_bit_in_a_zip_is_found_when_read(tmp_path):
    path = archive(tmp_path / "a.zip", {name: png() for name in NAMES})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        info = file.getinfo(NAMES[2])
    data[info.header_offset + 200] ^= 16
    path.write_bytes(data)
    for cache in ("memory", "none"):
        with pytest.raises(UserError, match=rf"a\.zip: cannot read {NAMES[2]} \(Bad CRC"):
            ImageDataset(path, cache=cache).images([2])


def test_damaged_headers_in_a_zip_are_found_when_opened(tmp_path):
    path = archive(tmp_path / "a.zip", {name: png() for name in NAMES})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        data[file.getinfo(NAMES[1]).header_offset] ^= 255
    path.write_bytes(data)
    refused(NAMES[1], path)


@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/etc/out.png", "\\out.png", "..\\out.png", "C:/out.png"]
)
def test_entries_that_climb_out(tmp_path, name):
    message = refused("outside of the archive", archive(tmp_path / "a.zip", {"ok.png": png(), name: png()}))
    assert "a.zip" in message


def test_encrypted_zip(tmp_path):
    path = archive(tmp_path / "a.zip", {"x.png": png()})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag "encrypted" in the local header ...
    data[data.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    path.write_bytes(data)
    refused("x.png.*encrypted", path)


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        (png((32, 32)), r"z\.png is 32 x 32, but a/0\.png is 16 x 16.*--resolution=16x16"),
        (png(mode="L"), r"z\.png has the image mode L, but a/0\.png has RGB.*--on-error=convert"),
        (png(mode="RGBA"), r"z\.png has the image mode RGBA.*--on-error=convert"),
        (png(mode="LA"), r"z\.png has the unsupported image mode LA .*--on-error=convert"),
        (png(mode="P"), r"z\.png has the unsupported image mode P .*--on-error=convert"),
        (png(mode="1"), r"z\.png has the unsupported image mode 1 .*--on-error=convert"),
        (png(mode="I;16"), r"z\.png has the unsupported image mode I;16 .*--on-error=convert"),
        (b"", r"z\.png cannot be read as an image.*--on-error=skip"),
        (b"this is text", r"z\.png cannot be read as an image.*--on-error=skip"),
        (png()[:20], r"z\.png cannot be read as an image.*--on-error=skip"),
    ],
)
def test_one_odd_image(tmp_path, file, pattern):
    refused(pattern, folder(tmp_path, z_png=file))


def test_an_unsupported_first_image(tmp_path):
    (tmp_path / "0.png").write_bytes(png(mode="LA"))
    refused("mode LA", tmp_path)


@pytest.mark.parametrize(("size", "near"), [((50, 50), "48x48"), ((100, 75), "128x96"), ((16, 128), "32x112")])
def test_sizes_that_networks_cannot_have(tmp_path, size, near):
    (tmp_path / "0.png").write_bytes(png(size))
    refused(rf"0\.png is {size[0]} x {size[1]}, but .*, the same for both; .*--resolution={near}", tmp_path)


def test_another_shape_than_asked_for(tmp_path):
    (tmp_path / "0.png").write_bytes(png((48, 32)))
    assert ImageDataset(tmp_path, resolution=(32, 48)).image_shape == (3, 32, 48)
    for wanted in (32, (48, 32)):
        refused("48 x 32, but 32 x .* is asked for; .*--resolution=32x", tmp_path, resolution=wanted)


def test_another_resolution_than_asked_for(tmp_path):
    refused("16 x 16, but 32 x 32 is asked for; .*--resolution=32x32", folder(tmp_path), resolution=32)


def test_an_image_cut_short_is_named_when_read(tmp_path):
    ds = ImageDataset(folder(tmp_path, z_png=png()[:-300]), cache="none")
    with pytest.raises(UserError, match=r"a/z\.png"):
        ds.image(4)


def test_a_file_removed_in_mid_run(tmp_path):
    ds = ImageDataset(folder(tmp_path), cache="none")
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(UserError, match=rf"{NAMES[1]} is not there any more"):
        ds.images([0, 1])
    with pytest.raises(UserError, match=NAMES[1]):
        ds.content_hash()


def test_a_file_exchanged_in_mid_run(tmp_path):
    ds = ImageDataset(folder(tmp_path), cache="none")
    (tmp_path / NAMES[1]).write_bytes(png((32, 32)))
    with pytest.raises(UserError, match=rf"{NAMES[1]} has changed"):
        ds.image(1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_permission(tmp_path):
    (folder(tmp_path) / NAMES[3]).chmod(0)
    refused(NAMES[3], tmp_path)


@pytest.mark.parametrize("count", [0, 5])
def test_subset_out_of_range(tmp_path, count):
    refused(f"`max_size`={count}: .*from 1 to 4", folder(tmp_path), max_size=count)


def test_cond_without_labels(tmp_path):
    refused("`use_labels`: .*no labels in a dataset.json.*--labels-from", folder(tmp_path), use_labels=True)
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    refused("`use_labels`: .*no labels", tmp_path, use_labels=True)
    refused("`use_labels`: .*built-in faces", None, use_labels=True)


def test_labels_missing_for_some_images(tmp_path):
    path = folder(tmp_path, labels=[[NAMES[0], 0], [NAMES[3], 1]])
    refused(r"dataset\.json: no label for a/1\.png and 1 more; .*`use_labels`", path, use_labels=True)
    assert len(ImageDataset(path)) == 4  # without --cond nobody needs them


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ([[1, 2], [1, 2], [1, 2, 3], [1, 2]], r"line 4: the label of a/2\.png is a vector of 3, but .*a vector of 2"),
        ([0, 1, [1.0, 2.0], 1], r"line 4: the label of a/2\.png is a vector of 2, but .*a class number"),
        ([0, 1, -1, 0], r"line 4: the label of a/2\.png is -1; "),
        ([0, 1, "cat", 0], r'line 4: the label of a/2\.png is "cat"; '),
        ([0, 1, 1.5, 0], r"line 4: the label of a/2\.png is 1\.5; "),
        ([0, 1, True, 0], r"line 4: the label of a/2\.png is true; "),
        ([0, 1, None, 0], r"line 4: the label of a/2\.png is null; "),
        ([0, 1, [], 0], r"line 4: the label of a/2\.png is \[\]; "),
        ([0, 1, [1, float("nan")], 0], r"line 4: the label of a/2\.png is \[1, NaN\]; "),
        ([0, 1, 10**9, 0], r"class number 1000000000 is too large"),
    ],
)
def test_wrong_labels_name_the_line(tmp_path, values, pattern):
    rows = ",\n".join(json.dumps(pair) for pair in zip(NAMES, values, strict=True))
    refused(rf"dataset\.json.*{pattern}", folder(tmp_path, labels=f'{{"labels": [\n{rows}\n]}}'), use_labels=True)


GOOD = '["a/0.png", 0],\n["a/1.png", 0],\n'


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (
            f'{{"labels": [\n{GOOD}["a/2.png", 0],\n["a/3.png", 1],\n]}}',
            r"line [56]: a comma before the closing bracket; remove it",
        ),
        (f'{{"labels": [\n{GOOD}["a\\2.png", 0]]}}', r"line 4: .*forward slashes"),
        (f'{{"labels": [\n{GOOD}["a\\img.png", 0]]}}', r"line 4: .*forward slashes"),
        (f'{{"labels": [\n{GOOD}["a\\\\img.png", 0]]}}', r"line 4: .*forward slashes"),
        (f'{{"labels": [\n{GOOD}["a\\b.png", 0]]}}', r"forward slashes"),
        (f'{{"labels": [\n{GOOD}["a/2.png" 0]]}}', r"line 4: not valid JSON"),
        ('{"labels": [', r"line 1: not valid JSON"),
        ("", r"line 1: not valid JSON"),
        ("[]", r"outermost value must be an object"),
        ('{"labels": 3}', r'"labels" must be null or a list'),
        ('{"labels": [["a/0.png", 0, 1]]}', r'entry 1 of "labels"'),
        ('{"labels": [["a/0.png", 0], 7]}', r'entry 2 of "labels"'),
        ('{"labels": [\n["a/0.png", 0],\n["a/0.png", 1]]}', r"line 2: a/0\.png has two different labels"),
        ('{"labels": null, "classes": "cat"}', r'"classes" must be a list of names'),
    ],
)
def test_broken_dataset_json_names_the_line(tmp_path, text, pattern):
    refused(rf"dataset\.json.*{pattern}", folder(tmp_path, labels=text), use_labels=True)


def test_dataset_json_that_is_not_utf8(tmp_path):
    folder(tmp_path)
    (tmp_path / "dataset.json").write_bytes('{"labels": null,\n"classes": ["schön"]}'.encode("latin-1"))
    refused(r"dataset\.json line 2: not UTF-8", tmp_path)


def test_too_few_class_names(tmp_path):
    text = json.dumps({"labels": [[name, i] for i, name in enumerate(NAMES)], "classes": ["only", "three", "names"]})
    refused('"classes" names 3 classes, but the labels have 4', folder(tmp_path, labels=text), use_labels=True)


@pytest.mark.parametrize(
    ("images", "labels", "pattern"),
    [
        (np.zeros((2, 3, 16, 16), np.float32), None, "uint8"),
        (np.zeros((3, 16, 16), np.uint8), None, "uint8"),
        (np.zeros((0, 3, 16, 16), np.uint8), None, "uint8"),
        (np.zeros((2, 3, 80, 8), np.uint8), None, "8 x 80, but"),
        (np.zeros((2, 3, 18, 18), np.uint8), None, "18 x 18, but"),
        (np.zeros((2, 3, 16, 16), np.uint8), [0], "1 labels for 2 images"),
        (np.zeros((2, 3, 16, 16), np.uint8), [0, -1], "class numbers"),
        (np.zeros((2, 3, 16, 16), np.uint8), [0.5, 1], "class numbers"),
    ],
)
def test_wrong_arrays(images, labels, pattern):
    with pytest.raises(UserError, match=pattern):
        ImageDataset.from_arrays(images, labels)


def test_builtin_faces_without_scikit_image(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.data", None)
    refused("scikit-image", "builtin:faces")
