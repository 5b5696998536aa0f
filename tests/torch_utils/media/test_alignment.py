"""FFHQ's square around a face, and what is cut out of pictures."""

import numpy as np
import pytest
from PIL import Image

from torch_utils.media.alignment import cut_square, ffhq_square, in_picture

UPRIGHT = np.array([[40.0, 50], [60, 50], [50, 60], [43, 72], [57, 72]])


def turned(points, degrees, scale=1.0, shift=(0, 0)):
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


def test_the_square_of_an_upright_face():
    centre, x, y = ffhq_square(UPRIGHT)
    assert centre == pytest.approx([50, 50 + 0.1 * 22])
    assert x == pytest.approx([max(2 * 20, 1.8 * 22), 0])
    assert y == pytest.approx([0, x[0]])
    narrow = UPRIGHT.copy()
    narrow[:2] = [[45, 50], [55, 50]]
    assert ffhq_square(narrow)[1] == pytest.approx([1.8 * 22, 0])


@pytest.mark.parametrize("degrees", [-30, 12, 90])
def test_the_square_moves_with_the_face(degrees):
    square = ffhq_square(turned(UPRIGHT, degrees, 1.7, (30, -4)))
    centre, x, y = ffhq_square(UPRIGHT)
    assert square[0] == pytest.approx(turned(centre, degrees, 1.7, (30, -4)))
    assert square[1:] == pytest.approx(turned(np.stack([x, y]), degrees, 1.7))


@pytest.mark.parametrize("side", [None, 64])
def test_points_come_to_their_places(side):
    face = turned(UPRIGHT, 20, 3, (90, -20))
    yx = np.mgrid[:300, :300] + 0.5
    pixels = sum(255 * np.exp(-((yx[1] - x) ** 2 + (yx[0] - y) ** 2) / 18) for x, y in face[:2])
    square = ffhq_square(face)
    cut = cut_square(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), square, side)
    assert cut.size == ((side,) * 2 if side else (240, 240))
    bright = np.asarray(cut, dtype=float)
    width = cut.width
    for point, half in ((face[0], slice(None, width // 2)), (face[1], slice(width // 2, None))):
        y, x = np.nonzero(bright[:, half] > 128)
        found = np.array([x.mean() + 0.5 + (half.start or 0), y.mean() + 0.5])
        assert in_picture(found[None], square, width)[0] == pytest.approx(point, abs=3 * 240 / width / 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_beyond_the_edge_the_picture_goes_on(mode):
    picture = Image.new("RGB", (100, 80), (200, 120, 40)).convert(mode)
    cut = cut_square(picture, ffhq_square(UPRIGHT - [35, 40]))
    assert cut.mode == mode
    assert np.ptp(np.asarray(cut).reshape(80 * 80, -1).astype(int), axis=0).max() <= 1
    stripes = Image.fromarray((np.arange(100) % 2 * 255).astype(np.uint8)[None].repeat(80, 0))
    cut = np.asarray(cut_square(stripes, ffhq_square(UPRIGHT - [50, 0]))).astype(int)
    assert np.ptp(cut[:, 40:]) > 200, "inside it stays sharp"
    assert np.ptp(cut[:, :20]) < 60, "far outside it is blurred"


def test_a_large_face_is_reduced_and_keeps_its_place():
    picture = Image.new("L", (600, 500), 90)
    assert cut_square(picture, ffhq_square(UPRIGHT * 6), 32).size == (32, 32)
    assert cut_square(picture, ffhq_square(UPRIGHT * 80) - [[3500, 3500], [0, 0], [0, 0]]).size[0] <= 4096
