"""Pictures of other people: which files are some, what is said of the others, and how they are shown."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from torch_utils.media import pictures
from torch_utils.media.pictures import DECODE_ERRORS, in_mode, is_picture, left_out, open_picture, other_format

HEIC = bytes.fromhex("000000186674797068656963000000006d69663168656963")  # what a HEIC file begins with


@pytest.fixture
def without_heif(monkeypatch):
    """As where pillow-heif is not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats = tuple(name for name in pictures.FORMATS if name != "HEIF")
    monkeypatch.setattr(pictures, "FORMATS", formats)
    pictures._readable.cache_clear()
    pictures.picture_suffixes.cache_clear()
    yield
    pictures._readable.cache_clear()
    pictures.picture_suffixes.cache_clear()


def test_sixteen_bits_become_eight():
    ramp = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    for mode in ("L", "RGB", "RGBA", "LA"):
        shown = np.asarray(in_mode(Image.fromarray(ramp), mode)).reshape(16, 16, -1)
        assert (shown[..., 0] == np.round(ramp / 257)).all()


def test_alpha_lies_on_white():
    clear = Image.new("RGBA", (2, 2), (200, 10, 10, 0))
    assert np.asarray(in_mode(clear, "RGB")).min() == 255
    assert np.asarray(in_mode(clear, "L")).min() == 255
    assert in_mode(clear, "LA").getpixel((0, 0))[1] == 0
    half = in_mode(Image.new("LA", (1, 1), (0, 128)), "RGB").getpixel((0, 0))
    assert half == (127, 127, 127)


def test_what_has_no_range_of_values_is_refused():
    for mode in ("F", "I"):
        with pytest.raises(ValueError, match="no fixed range of values; save it with 8 or 16 bits"):
            in_mode(Image.new(mode, (2, 2)), "RGB")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "what macOS keeps beside a file"),
        (b"8BPS\0\1", "Photoshop; save it as PNG"),
        (b"\n<!DOCTYPE html>", "a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1", "run git lfs pull"),
        (HEIC, "HEIC, which is not read here; to read it: pip install 'rooted-stylegan"),
        (b"anything else", "not an image format that is read here"),
    ],
)
def test_what_is_no_picture_is_named(without_heif, data, said):
    with pytest.raises(DECODE_ERRORS) as caught:
        open_picture(data)
    assert said in pictures.why_unreadable(caught.value)


def test_formats_that_are_not_read_are_counted(without_heif):
    names = ["a.png", "b.HEIC", "c.heic", "d/e.psd", "._f.heic", "notes.txt", "__MACOSX/g.heic"]
    assert [name for name in names if is_picture(name)] == ["a.png"]
    assert left_out(names).startswith("2 files are left out: HEIC; to read it: pip install")
    assert left_out(names).endswith("; 1 files are left out: Photoshop; save it as PNG")
    assert left_out(["a.png", "notes.txt"]) == ""


def test_heic_is_read_where_it_can_be():
    pillow_heif = pytest.importorskip("pillow_heif")
    assert is_picture("a.heic")
    assert other_format("a.heic") is None
    file = io.BytesIO()
    pillow_heif.register_heif_opener()
    Image.new("RGB", (64, 32), (200, 40, 40)).save(file, "HEIF", quality=100)
    with open_picture(file.getvalue()) as picture:
        assert picture.size == (64, 32)
        assert np.abs(np.asarray(picture).astype(int) - (200, 40, 40)).max() < 8
