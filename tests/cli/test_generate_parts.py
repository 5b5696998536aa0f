"""Paths through latents, and video files from frames."""

import imageio.v3
import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib import UserError
from generation.interpolation import path_through
from torch_utils.media.video import write_video

KEYS = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("curve", ["cubic", "linear"])
@pytest.mark.parametrize("on_sphere", [False, True])
def test_paths_meet_their_keys(curve, on_sphere):
    loop = path_through(KEYS, 7, loop=True, curve=curve, on_sphere=on_sphere)
    assert loop.shape == (28, 3, 5)
    torch.testing.assert_close(loop[::7], KEYS)
    line = path_through(KEYS, 7, loop=False, curve=curve, on_sphere=on_sphere)
    assert line.shape == (22, 3, 5)
    torch.testing.assert_close(line[::7], KEYS)


def test_cubic_loops_have_no_corner_where_they_close():
    path = path_through(KEYS, 100, loop=True, curve="cubic", on_sphere=False)
    around = torch.cat([path[-3:], path[:3]])
    turns = around.diff(n=2, dim=0).norm(dim=(1, 2))
    inside = path.diff(n=2, dim=0).norm(dim=(1, 2))
    assert turns.max() <= inside.max() * 1.01
    corner = path_through(KEYS, 100, loop=True, curve="linear", on_sphere=False).diff(n=2, dim=0).norm(dim=(1, 2))
    assert corner.max() > 20 * inside.max()


def test_great_circles_have_constant_speed_and_length():
    a, b = torch.tensor([[3.0, 0, 0], [0, 3.0, 0]])
    path = path_through(torch.stack([a, b]), 9, loop=False, curve="linear", on_sphere=True)
    torch.testing.assert_close(path.norm(dim=1), torch.full([10], 3.0))
    angles = torch.atan2(path[:, 1], path[:, 0])
    torch.testing.assert_close(angles.diff(), torch.full([9], np.pi / 18).float())


def test_great_circles_between_equal_and_opposite_directions_are_finite():
    a = torch.tensor([1.0, 2.0])
    path = path_through(torch.stack([a, a, -a]), 4, loop=False, curve="linear", on_sphere=True)
    assert path.isfinite().all()
    torch.testing.assert_close(path[:5], a.expand(5, 2))


def test_one_key_is_no_path():
    with pytest.raises(UserError, match="at least two pictures"):
        path_through(KEYS[:1], 5, loop=True, curve="cubic", on_sphere=False)


def frames(channels, height, width, count=4):
    for index in range(count):
        frame = torch.full([channels, height, width], 40 * index, dtype=torch.uint8)
        if channels in (2, 4):
            frame[-1] = 255
            frame[-1, :, : width // 2] = 0
        yield frame


def test_mp4_has_even_sides_and_transparency_over_white(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    assert write_video(tmp_path / "a.mp4", frames(4, 31, 49), fps=12.5) == 4
    shown = list(imageio.v3.imiter(tmp_path / "a.mp4", plugin="FFMPEG"))
    assert (len(shown), shown[0].shape) == (4, (32, 50, 3))
    assert shown[0][:, :20].min() > 240
    assert shown[0][:, 30:].max() < 15
    assert abs(int(shown[3][16, 40, 0]) - 120) < 8
    assert imageio.v3.immeta(tmp_path / "a.mp4", plugin="FFMPEG")["fps"] == 12.5


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_of_every_mode(tmp_path, channels, suffix):
    assert write_video(tmp_path / f"a{suffix}", frames(channels, 8, 10), fps=30) == 4
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert (picture.n_frames, picture.size, picture.info["loop"]) == (4, (10, 8), 0)
        picture.seek(2)
        last = np.asarray(picture.convert("RGBA"))
    assert abs(int(last[4, 8, 0]) - 80) < 8
    assert last[4, 1, 3] == (0 if channels in (2, 4) else 255)


def failing():
    yield torch.zeros(3, 8, 8, dtype=torch.uint8)
    raise UserError("the second frame cannot be drawn")


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_failure_leaves_no_file(tmp_path, suffix):
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    (tmp_path / f"a{suffix}").write_text("before")
    with pytest.raises(UserError, match="second frame"):
        write_video(tmp_path / f"a{suffix}", failing(), fps=10)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [(f"a{suffix}", "before")]


def test_refusals(tmp_path):
    with pytest.raises(UserError, match=r"video files end in \.mp4, \.gif, \.webp"):
        write_video(tmp_path / "a.avi", frames(3, 8, 8), fps=10)
    with pytest.raises(UserError, match="more than GIF can show"):
        write_video(tmp_path / "a.gif", frames(3, 8, 8), fps=51)
    with pytest.raises(UserError, match="cannot write"):
        write_video(tmp_path / "absent" / "a.gif", frames(3, 8, 8), fps=10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [8, 512])  # frames that the pipe takes at once, and frames that break it
def test_an_ffmpeg_that_fails(tmp_path, monkeypatch, size):
    pytest.importorskip("imageio_ffmpeg")
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*a\.mp4") as caught:
        write_video(tmp_path / "out" / "a.mp4", frames(3, size, size), fps=10)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())
