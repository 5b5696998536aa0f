"""Edits from the command line: they add up, act where they should, and whatever the network lacks is one line."""

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from dnnlib import UserError
from generation.directions import pca_directions
from generation.edits import Edit, Editor
from rooted_stylegan import generate
from training.networks import Generator, GeneratorConfig
from training.snapshot import save_snapshot


@pytest.fixture(scope="module")
def G():
    torch.manual_seed(0)
    sizes = {"channel_base": 128, "channel_max": 16, "z_dim": 8, "w_dim": 12, "mapping_layers": 2}
    made = Generator(GeneratorConfig(img_resolution=16, **sizes)).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)
    return made


@pytest.fixture(scope="module")
def network(G, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    save_snapshot(path, G=None, D=None, G_ema=G, metadata={"class_names": None})
    return path


def test_an_edit_is_a_step_along_its_direction_in_its_layers(G):
    ws = torch.randn(2, G.num_ws, G.w_dim)
    moved = Editor(G).add(ws, [Edit("pca", 2, 1.5, (0, 3))])
    found = pca_directions(G)
    expected = ws.clone()
    expected[:, [0, 3]] += 1.5 * found.scales[2] * found.vectors[2]
    torch.testing.assert_close(moved, expected)


def test_edits_add_up_and_cancel_out(G):
    ws = torch.randn(1, G.num_ws, G.w_dim)
    there = [Edit("pca", 0, 2.0), Edit("sefa", 1, -1.0, (1, 2))]
    back = [Edit("sefa", 1, 1.0, (1, 2)), Edit("pca", 0, -2.0)]
    torch.testing.assert_close(Editor(G).add(ws, there + back), ws)


@pytest.mark.parametrize("edit", [Edit("pca", 12, 1.0), Edit("sefa", 0, 1.0, (6,)), Edit("pca", 0, 1.0, (0, 50))])
def test_what_the_network_has_not_is_refused(G, edit):
    with pytest.raises(UserError, match=r"`(edit|direction_layers)`"):
        Editor(G).add(torch.zeros(1, G.num_ws, G.w_dim), [edit])


def run(network, out, *flags):
    return CliRunner().invoke(generate.main, [f"--network={network}", f"--outdir={out}", *flags])


@pytest.mark.parametrize("flags", [["--seeds=1-3", "--grid=3x1"], ["--mix-rows=1", "--mix-cols=2"], ["--seeds=1,2"]])
def test_pictures_grids_and_mixing_are_edited(network, tmp_path, flags):
    assert run(network, tmp_path / "plain", *flags).exit_code == 0
    result = run(network, tmp_path / "edited", *flags, "--edit=pca0:3", "--edit=sefa1:-2:0-2")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "edited").iterdir())
    for name in names:
        plain, edited = (Image.open(tmp_path / folder / name) for folder in ("plain", "edited"))
        assert plain.tobytes() != edited.tobytes()
        assert edited.text["edits"] == "pca0:3.0 sefa1:-2.0:0-2"
        assert "edits" not in plain.text


def test_noise_of_one_seed_for_every_picture(network, tmp_path):
    flags = ["--seeds=1,2", "--noise-mode=random"]
    assert run(network, tmp_path / "a", *flags, "--noise-seed=2").exit_code == 0
    assert run(network, tmp_path / "b", *flags).exit_code == 0
    equal = [
        Image.open(tmp_path / "a" / name).tobytes() == Image.open(tmp_path / "b" / name).tobytes()
        for name in ("seed0001.png", "seed0002.png")
    ]
    assert equal == [False, True]


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--edit=pca0"], "--edit=pca0: write an edit as"), (["--edit=pca12:1"], "12 such directions"),
     (["--edit=sefa0:1:9"], "layers are 0 to 5"), (["--noise-seed=1"], "--noise-mode=random")],
)  # fmt: skip
def test_mistakes_are_one_line(network, tmp_path, flags, words):
    result = run(network, tmp_path, "--seeds=1", *flags)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
