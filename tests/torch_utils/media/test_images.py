import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib import UserError
from torch_utils.media.images import make_grid, save_image, to_pil, to_uint8


def test_quantisation_follows_the_published_rule():
    x = torch.tensor([-2.0, -1.0, -0.996, 0.0, 0.5, 0.992, 1.0, 7.0])
    expected = [0, 0, 1, 128, 191, 254, 255, 255]
    assert to_uint8(x).tolist() == expected
    assert to_uint8(x[[0, 3, 7]].to(torch.bfloat16)).tolist() == [0, 128, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_png_keeps_mode_pixels_and_text(tmp_path, channels, mode):
    image = torch.arange(channels * 5 * 7, dtype=torch.uint8).reshape(channels, 5, 7)
    path = tmp_path / "a.png"
    save_image(path, image, {"seed": "3", "class": "größe"})
    with Image.open(path) as picture:
        assert (picture.mode, picture.size) == (mode, (7, 5))
        assert (picture.text["seed"], picture.text["class"]) == ("3", "größe")
        array = np.asarray(picture).reshape(5, 7, channels)
    assert np.array_equal(array, image.permute(1, 2, 0).numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_other_formats_and_refusals(tmp_path):
    image = torch.zeros(4, 8, 8, dtype=torch.uint8)
    save_image(tmp_path / "a.webp", image)
    assert Image.open(tmp_path / "a.webp").mode == "RGBA"
    save_image(tmp_path / "a.jpg", image[:3])
    with pytest.raises(UserError, match="JPEG holds no alpha"):
        save_image(tmp_path / "b.jpg", image)
    with pytest.raises(UserError, match=r"must end in one of \.png"):
        save_image(tmp_path / "b.psd", image)
    with pytest.raises(UserError, match="5 channels"):
        save_image(tmp_path / "b.png", torch.zeros(5, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="cannot write"):
        save_image(tmp_path / "absent" / "b.png", image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.webp"]


def test_grid_is_row_by_row_and_fills_with_zero():
    images = torch.arange(1, 6, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 4)
    grid = make_grid(images, columns=3)
    assert grid.shape == (3, 4, 12)
    assert grid[1, ::2, ::4].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert to_pil(grid).size == (12, 4)
