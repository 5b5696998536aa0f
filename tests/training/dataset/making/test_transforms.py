"""Cropping and resizing against what the definitions say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from torch_utils.media.pictures import center_crop
from training.dataset.making.source import Problem
from training.dataset.making.transforms import (
    area_average,
    center_crop_wide,
    convert_mode,
    pad,
    part_around,
    resize,
    upright,
)


def noise(width, height, mode="RGB"):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=np.uint8))


def naive_area_average(pixels, width, height):
    """Mean over an upsampled copy in which old and new pixels both are whole blocks."""
    big = pixels.astype(np.float64).repeat(height, axis=0).repeat(width, axis=1)
    old_height, old_width = pixels.shape[:2]
    return big.reshape(height, old_height, width, old_width, *pixels.shape[2:]).mean((1, 3))


@settings(max_examples=40)
@given(
    old=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    new=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mode=st.sampled_from(["L", "RGB"]),
)
def test_box_is_the_mean_of_the_area(old, new, mode):
    image = noise(*old, mode)
    expected = naive_area_average(np.asarray(image), *new)
    result = np.asarray(area_average(image, new))
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 0.5 + 1e-9


def test_integer_factors_and_fractions_are_the_same_filter():
    flat = Image.new("RGB", (31, 17), (10, 200, 77))
    assert np.asarray(area_average(flat, (8, 8))).reshape(-1, 3).tolist() == [[10, 200, 77]] * 64


def test_a_transparent_pixel_lends_no_colour():
    pixels = np.zeros((3, 3, 4), np.uint8)
    pixels[..., 0] = 255  # red and transparent ...
    pixels[0, 0] = (0, 0, 255, 255)  # ... but one pixel, blue and opaque
    for size in ((1, 1), (2, 2)):
        for name in ("box", "lanczos"):
            result = np.asarray(resize(Image.fromarray(pixels), size, name))
            red, _, blue, alpha = result[0, 0].astype(int)
            assert red <= 2
            assert alpha > 0
            assert blue > 245


def test_lanczos_is_pils():
    image = noise(50, 40)
    assert resize(image, (16, 16), "lanczos").tobytes() == image.resize((16, 16), Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize("name", ["lanczos", "box"])
def test_the_right_size_is_left_alone(name):
    image = noise(16, 16)
    assert resize(image, (16, 16), name) is image


@pytest.mark.parametrize(("width", "height"), [(20, 11), (11, 20), (15, 15)])
def test_center_crop_to_a_square(width, height):
    pixels = np.asarray(noise(width, height))
    left, top = (width - min(width, height)) // 2, (height - min(width, height)) // 2
    expected = pixels[top : top + min(width, height), left : left + min(width, height)]
    assert (np.asarray(center_crop(noise(width, height), (16, 16))) == expected).all()


@pytest.mark.parametrize(
    ("size", "shape", "box"),
    [
        ((500, 333), (96, 64), (0, 0, 500, 333)),
        ((500, 375), (96, 64), (0, 21, 500, 354)),
        ((9, 9), (2, 3), (1, 0, 7, 9)),
    ],
)
def test_center_crop_to_another_shape(size, shape, box):
    assert center_crop(noise(*size), shape).tobytes() == noise(*size).crop(box).tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_padding_keeps_all_and_adds_nothing(mode):
    image = noise(60, 30, mode)
    result = pad(image, (48, 32), "box")
    assert result.crop((0, 4, 48, 28)).tobytes() == resize(image, (48, 24), "box").tobytes()
    assert not np.asarray(result)[:4].any()
    assert not np.asarray(result)[28:].any()
    assert pad(noise(48, 32, mode), (48, 32), "box").tobytes() == noise(48, 32, mode).tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_center_crop_wide_has_black_bars(mode):
    result = np.asarray(center_crop_wide(noise(64, 64, mode), (32, 24), "box"))
    assert result.shape[:2] == (32, 32)
    assert (result[:4] == 0).all()
    assert (result[28:] == 0).all()
    expected = naive_area_average(np.asarray(noise(64, 64, mode))[8:56], 32, 24)
    assert np.abs(result[4:28] - expected).max() <= 0.5


def test_center_crop_wide_refuses_what_is_too_small():
    with pytest.raises(Problem, match="too small: 31 x 64"):
        center_crop_wide(noise(31, 64), (32, 24), "box")


def test_exif_orientation(tmp_path):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = (250, 0, 0)  # red on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    result = np.asarray(upright(Image.open(tmp_path / "a.jpg")))
    assert result.shape == (32, 16, 3)
    assert result[:12, :, 0].min() > 200  # the left has become the top
    assert result[20:, :, 0].max() < 50


@settings(max_examples=200)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    margin=st.floats(0, 1),
)
@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (48, 64)])
def test_the_part_around_a_box(shape, size, corners, margin):
    (width, height), (a, b, c, d) = size, corners
    left, right = sorted((int(a * (width - 1)), int(b * (width - 1))))
    top, bottom = sorted((int(c * (height - 1)), int(d * (height - 1))))
    box = (left, top, right + 1, bottom + 1)
    x0, y0, x1, y1 = part_around(box, size, margin, shape)
    assert min(x1 - x0, y1 - y0) >= 1
    assert abs((x1 - x0) * shape[1] - (y1 - y0) * shape[0]) <= max(shape)
    assert min(x0, y0) >= 0
    assert x1 <= width
    assert y1 <= height
    unit = min(shape)
    shorter = max((box[2] - box[0]) * unit / shape[0], (box[3] - box[1]) * unit / shape[1]) * (1 + 2 * margin)
    if shorter * shape[0] <= width * unit and shorter * shape[1] <= height * unit:  # there is room for all of it
        assert (x1 - x0, y1 - y0) == (round(shorter * shape[0] / unit), round(shorter * shape[1] / unit))
        assert x0 <= left
        assert right + 1 <= x1
        assert y0 <= top
        assert bottom + 1 <= y1
    else:
        assert x1 - x0 == width or y1 - y0 == height


def test_conversions():
    rgba = Image.fromarray(np.array([[[0, 0, 0, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], np.uint8))
    assert np.asarray(convert_mode(rgba, "RGB")).tolist() == [[[255, 255, 255], [10, 20, 30], [127, 127, 127]]]
    assert np.asarray(convert_mode(rgba, "L"))[0, 0] == 255
    sixteen = Image.fromarray(np.array([[0, 65535, 257 * 100]], np.uint16))
    assert np.asarray(convert_mode(sixteen, "L")).tolist() == [[0, 255, 100]]
    assert np.asarray(convert_mode(sixteen, "RGB"))[0, 2].tolist() == [100, 100, 100]
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    assert np.asarray(convert_mode(grey, "RGBA")).tolist() == [[[7, 7, 7, 255], [9, 9, 9, 255]]]
    palette = noise(8, 8).quantize(16)
    assert (np.asarray(convert_mode(palette, "RGB")) == np.asarray(palette.convert("RGB"))).all()
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert np.asarray(convert_mode(palette, "RGB"))[0, 0].tolist() == [255] * 3
    assert np.asarray(convert_mode(palette, "RGBA"))[0, 0, 3] == 0
    for mode in ("CMYK", "YCbCr", "HSV", "LAB", "1", "LA"):
        source = noise(4, 4).convert("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", (4, 4))
        assert convert_mode(source, "RGB").mode == "RGB"
    for mode in ("F", "I"):
        with pytest.raises(Problem, match="unsupported mode"):
            convert_mode(noise(4, 4).convert("L").convert(mode), "RGB")


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_box_by_powers_of_two_is_pils_to_within_its_rounding(factor):
    image = noise(16 * factor, 16 * factor)
    ours = np.asarray(area_average(image, (16, 16))).astype(int)
    pils = np.asarray(image.resize((16, 16), Image.Resampling.BOX)).astype(int)
    assert np.abs(ours - pils).max() <= 1
    assert (np.abs(ours - naive_area_average(np.asarray(image), 16, 16)) <= 0.5).all()
