"""dataset_tool.py --align and projector.py --align, with a stand-in that finds what is painted in red."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from dnnlib import UserError
from projection.targets import load_target
from rooted_stylegan import dataset_tool, making
from training.dataset import ImageDataset

FACE = np.array([[-10.0, 0], [10, 0], [0, 8], [-7, 20], [7, 20]])


class RedEyes:
    """Faces whose left eye is a red dot, upright, of one size; the upper one is the largest."""

    def __init__(self, needed_by=""):
        pass

    def faces(self, picture):
        assert picture.mode == "RGB"
        pixels = np.asarray(picture)
        rows, columns = np.nonzero((pixels[:, :, 0] > 200) & (pixels[:, :, 1] < 60))
        return [
            SimpleNamespace(points=FACE + np.array([x + 10.5, y + 0.5])) for y, x in zip(rows, columns, strict=True)
        ]


def paint(path, eyes, size=(120, 100), **save):
    """Blue where a face is to be cut out, grey elsewhere."""
    image = Image.new("RGB", size, "grey")
    draw = ImageDraw.Draw(image)
    for x, y in eyes:
        draw.rectangle((x - 32, y - 40, x + 52, y + 44), fill="blue")
    for x, y in eyes:
        draw.point((x, y), fill="red")
    image.save(path, **save)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "FaceFinder", RedEyes)
    folder = tmp_path / "photos"
    folder.mkdir()
    paint(folder / "a.png", [(40, 45)])
    paint(folder / "b.png", [])
    paint(folder / "c.png", [(40, 45), (150, 150)], size=(260, 240))
    (folder / "d.png").write_bytes(b"no picture")
    return folder


def run(photos, *arguments):
    options = [f"--source={photos}", f"--dest={photos.parent / 'faces.zip'}", *arguments]
    return CliRunner().invoke(dataset_tool.main, options)


def test_the_largest_face_of_each_picture(photos):
    report = photos.parent / "report.json"
    result = run(photos, "--align=ffhq", "--resolution=16", "--on-error=skip", f"--report={report}")
    assert result.exit_code == 0, result.output
    assert "2 faces in 2 of 4 pictures" in result.output
    assert "left out, no face: 1: b.png" in result.output
    assert "left out, unreadable: 1: d.png" in result.output
    dataset = ImageDataset(photos.parent / "faces.zip")
    assert len(dataset) == 2
    middle = dataset.images([0, 1])[:, :, 2:14, 2:14].float().mean(dim=(2, 3))
    assert (middle[:, 2] > 240).all()
    assert (middle[:, 1] < 10).all(), "only what lies around the face"
    assert dataset.meta["align"].startswith("ffhq")
    left_out = json.loads(report.read_text())["left_out"]
    assert {(entry["source"], entry["kind"]) for entry in left_out} == {("b.png", "no face"), ("d.png", "unreadable")}
    with Image.open(photos.parent / "faces-faces.png") as sheet:
        assert sheet.size == (10 * 16, 16)


def test_all_faces_and_stopping(photos):
    result = run(photos, "--align=ffhq", "--faces=all", "--resolution=16", "--min-size=64")
    assert result.exit_code == 2
    assert "d.png: unreadable" in result.output, "a picture without a face stops nothing, a damaged one does"
    (photos / "d.png").unlink()
    report = photos.parent / "report.json"
    result = run(photos, "--align=ffhq", "--faces=all", "--resolution=16", f"--report={report}", "--workers=3")
    assert result.exit_code == 0, result.output
    written = json.loads(report.read_text())["written"]
    assert [entry["source"] for entry in written] == ["a.png", "c.png", "c.png#2"]
    result = run(photos, "--align=ffhq", "--resolution=16", "--min-size=128", "--overwrite")
    assert "left out, too small: 2" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--align=ffhq"], "--align=ffhq needs --resolution"),
        (["--align=ffhq", "--recipe=ffhq"], "--align=ffhq and --recipe exclude each other"),
        (["--faces=all", "--resolution=16"], "--faces belongs to --align=ffhq"),
    ],
)
def test_mistakes(photos, arguments, message):
    result = run(photos, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_targets_of_the_projector(tmp_path):
    paint(tmp_path / "face.png", [(40, 45)])
    turned = Image.open(tmp_path / "face.png").rotate(90, expand=True)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "phone.png", exif=exif)
    for name, channels in (("face.png", 3), ("phone.png", 3), ("face.png", 1), ("face.png", 4)):
        target = load_target(tmp_path / name, channels, 16, finder=RedEyes())
        assert target.shape == (channels, 16, 16)
        if channels == 3:
            assert target[2, 2:14, 2:14].float().mean() > 240
    paint(tmp_path / "none.png", [])
    with pytest.raises(UserError, match=r"none.png shows no face; leave it or `align` out"):
        load_target(tmp_path / "none.png", 3, 16, finder=RedEyes())
