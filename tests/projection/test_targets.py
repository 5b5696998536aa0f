import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from projection.targets import find_targets, load_target


def picture(path, mode="RGB", size=(30, 20), colour=None):
    Image.new(mode, size, colour or {"L": 9, "RGB": (200, 10, 10), "RGBA": (200, 10, 10, 80)}[mode]).save(path)
    return path


def test_files_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/one.png", "a/two.png", "b/one.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    found = find_targets([tmp_path / "a", tmp_path / "b" / "one.png"])
    assert [target.name for target in found] == ["000-one", "two", "002-one"]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        find_targets([tmp_path / "nowhere.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        find_targets([tmp_path / "empty"])
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(UserError, match=r"bad\.png cannot be read as a picture"):
        load_target(tmp_path / "bad.png", 3, 16)


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "L"), (4, "RGB"), (3, "RGBA"), (2, "RGBA")])
def test_channels_follow_the_network(tmp_path, channels, mode):
    image = load_target(picture(tmp_path / "p.png", mode), channels, 16)
    assert image.shape == (channels, 16, 16)
    if channels == 4:
        assert (image[3] == 255).all()


@pytest.mark.parametrize(("height", "width", "part"), [(8, 12, (0, 2, 30, 22)), (16, 12, (6, 0, 24, 24))])
def test_the_middle_of_the_networks_shape_is_taken(tmp_path, height, width, part):
    array = np.random.RandomState(0).randint(0, 256, (24, 30, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = Image.fromarray(array).crop(part).resize((width, height), Image.Resampling.LANCZOS)
    assert (load_target(tmp_path / "a.png", 3, height, width).numpy() == np.asarray(expected).transpose(2, 0, 1)).all()


def test_the_central_square_is_taken_and_exif_obeyed(tmp_path):
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 255
    Image.fromarray(array).save(tmp_path / "wide.png")
    assert (load_target(tmp_path / "wide.png", 3, 10) == 255).all()
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    half = np.zeros((16, 16, 3), np.uint8)
    half[:8] = 255
    Image.fromarray(half).save(tmp_path / "turned.png", exif=exif)
    turned = load_target(tmp_path / "turned.png", 1, 16)
    assert turned[0, :, 8:].float().mean() > 250
    assert turned[0, :, :8].float().mean() < 5


def test_sixteen_bits_and_alpha_are_shown_as_data_sets_show_them(tmp_path):
    ramp = np.linspace(2000, 60000, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "16.png")
    image = load_target(tmp_path / "16.png", 3, 16)
    assert (image[0].numpy() == np.round(ramp / 257)).all()
    assert load_target(picture(tmp_path / "clear.png", "RGBA", colour=(200, 10, 10, 0)), 3, 16).min() == 255
    Image.new("F", (16, 16), 0.5).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match="F has no fixed range of values"):
        load_target(tmp_path / "float.tif", 3, 16)


def test_what_a_mac_adds_is_passed_over_and_other_formats_are_said(tmp_path):
    picture(tmp_path / "face.png")
    (tmp_path / "._face.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    (tmp_path / "draft.psd").write_bytes(b"8BPS")
    said = []
    assert [target.name for target in find_targets([tmp_path], said.append)] == ["face"]
    assert said == [f"note: {tmp_path}: 1 files are left out: Photoshop; save it as PNG"]
    (tmp_path / "face.png").unlink()
    with pytest.raises(UserError, match=r"holds no pictures \(1 files are left out: Photoshop"):
        find_targets([tmp_path])
    with pytest.raises(UserError, match="no picture but what macOS keeps beside a file"):
        load_target(tmp_path / "._face.png", 3, 16)
