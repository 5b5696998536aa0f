"""Directions of w: against NumPy's SVD, in files, and drawn as strips."""

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image

from dnnlib import UserError
from generation.directions import affine_weights, load_directions, pca_directions, save_directions, sefa_directions
from generation.latents import sample_w
from rooted_stylegan import generate
from training.networks import Generator, GeneratorConfig
from training.snapshot import save_snapshot

NUM_WS, W_DIM = 6, 12


@pytest.fixture(scope="module")
def G():
    torch.manual_seed(0)
    sizes = {"img_resolution": 16, "channel_base": 128, "channel_max": 16, "z_dim": 8, "w_dim": W_DIM}
    return Generator(GeneratorConfig(**sizes, mapping_layers=2)).eval()


@pytest.fixture(scope="module")
def network(G, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "net.safetensors"
    save_snapshot(path, G=None, D=None, G_ema=G, metadata={})
    return path


def draw(network, outdir, *arguments):
    named = [f"--network={network}", f"--outdir={outdir}", "--device=cpu", *map(str, arguments)]
    return CliRunner().invoke(generate.main, named)


def test_components_explain_the_variance_that_numpys_svd_says(G):
    w = sample_w(G, None).double().numpy()
    _, values, vectors = np.linalg.svd(w - w.mean(axis=0), full_matrices=False)
    found = pca_directions(G, count=5)
    assert found.names == ("pca00", "pca01", "pca02", "pca03", "pca04")
    np.testing.assert_allclose(found.scales.numpy() ** 2, (values**2 / len(w))[:5], rtol=1e-4)
    np.testing.assert_allclose(np.abs((found.vectors.numpy() * vectors[:5]).sum(axis=1)), 1, rtol=1e-4)


def test_sefa_is_numpys_svd_of_the_stacked_affine_weights(G):
    synthesis = G.synthesis
    moved = [synthesis.b4.torgb, synthesis.b8.conv0, synthesis.b8.conv1]  # layers 1 and 2 of w
    stacked = np.concatenate([layer.affine.weight.detach().numpy() for layer in moved])
    _, _, vectors = np.linalg.svd(stacked.astype(np.float64), full_matrices=False)
    found = sefa_directions(G, layers=[2, 1], count=3)
    assert found.layers == ((1, 2),) * 3
    np.testing.assert_allclose(np.abs((found.vectors.numpy() * vectors[:3]).sum(axis=1)), 1, rtol=1e-4)
    along = sample_w(G, None).double().numpy() @ found.vectors.double().numpy().T
    np.testing.assert_allclose(found.scales.numpy(), along.std(axis=0), rtol=1e-4)


def test_every_affine_layer_belongs_to_a_layer_of_w(G):
    names = [name for name, _ in G.named_parameters() if name.endswith("affine.weight")]
    parts = [affine_weights(G, [layer]) for layer in range(NUM_WS)]
    assert (
        sum(map(len, parts))
        == sum(len(G.get_parameter(name)) for name in names)
        == len(affine_weights(G, range(NUM_WS)))
    )


def test_only_the_chosen_layers_move(G):
    found = pca_directions(G, layers=[0, 3])
    ws = torch.zeros(2, NUM_WS, W_DIM)
    moved = found.move(ws, 1, torch.tensor([2.0, -1.0]))
    assert moved.abs().amax(dim=2).nonzero()[:, 1].tolist() == [0, 3, 0, 3]
    torch.testing.assert_close(moved[0, 3], 2 * found.scales[1] * found.vectors[1])
    torch.testing.assert_close(moved[1], -moved[0] / 2)
    assert not ws.any()


def test_a_conditional_network_has_directions_for_a_label():
    torch.manual_seed(0)
    G = Generator(GeneratorConfig(img_resolution=8, channel_base=64, z_dim=8, w_dim=8, mapping_layers=1, c_dim=2))
    one, other = (pca_directions(G, label=label[None]).vectors for label in torch.eye(2))
    assert not torch.allclose(one[0], other[0], atol=1e-3)


def test_named_directions_are_saved_and_used_again(network, tmp_path):
    mine = tmp_path / "mine.safetensors"
    chosen = "--direction=smile=1,turn=0"
    first = draw(network, tmp_path / "a", "--directions=pca", "--seeds=1,2", chosen, "--layers=0-2",
                 f"--save-directions={mine}")  # fmt: skip
    assert first.exit_code == 0, first.output
    more = draw(network, tmp_path / "b", "--directions=sefa", "--seeds=1", "--direction=hair=2",
                f"--save-directions={mine}")  # fmt: skip
    assert more.exit_code == 0, more.output
    again = draw(network, tmp_path / "c", f"--directions={mine}", "--seeds=1,2", "--steps=3", "--strength=3")
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["hair.png", "smile.png", "turn.png"]
    with Image.open(tmp_path / "a" / "smile.png") as a, Image.open(tmp_path / "c" / "smile.png") as c:
        assert (a.size, c.size) == ((7 * 16, 2 * 16), (3 * 16, 2 * 16))
        assert a.text["direction_layers"] == c.text["direction_layers"] == "0,1,2"
        assert c.text["strengths"] == "-3,0,3"
        strips = np.asarray(a)[:, [*range(16), *range(48, 64), *range(96, 112)]], np.asarray(c)
        assert np.abs(strips[0].astype(int) - strips[1]).max() <= 1


def test_seeds_need_not_be_named(network, tmp_path):
    result = draw(
        network, tmp_path, "--directions=pca", "--direction=0..1", "--strength=2", "--steps=2", "--layers=0-1"
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pca00.png", "pca01.png"]
    with Image.open(tmp_path / "pca00.png") as strip:
        assert (strip.size, strip.text["seeds"], strip.text["strengths"]) == ((32, 64), "0,1,2,3", "-2,2")


def test_strength_zero_is_the_picture_itself(network, tmp_path):
    assert draw(network, tmp_path, "--seeds=3").exit_code == 0
    assert draw(network, tmp_path, "--seeds=3", "--directions=sefa", "--direction=sefa00").exit_code == 0
    with Image.open(tmp_path / "seed0003.png") as alone, Image.open(tmp_path / "sefa00.png") as strip:
        assert np.array_equal(np.asarray(alone), np.asarray(strip)[:, 48:64])
        assert not np.array_equal(np.asarray(alone), np.asarray(strip)[:, :16])


def test_saving_over_something_else_is_refused(G, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"notes.txt cannot be read as a safetensors file"):
        save_directions(path, pca_directions(G, count=1), NUM_WS)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds no directions"),
        ({"../up": torch.ones(NUM_WS, W_DIM)}, "cannot be called"),
        ({"a": torch.ones(NUM_WS + 2, W_DIM)}, r"'a' of shape \[8, 12\]; this network takes \[6, 12\]"),
        ({"a": torch.zeros(NUM_WS, W_DIM)}, "not one vector"),
        ({"a": torch.full([NUM_WS, W_DIM], float("nan"))}, "not one vector"),
        ({"a": torch.arange(72.0).reshape(NUM_WS, W_DIM)}, "not one vector"),
    ],
)
def test_files_that_hold_no_directions(tmp_path, tensors, message):
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=message):
        load_directions(tmp_path / "a.safetensors", NUM_WS, W_DIM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=0", "--directions=pca", "--direction=12"], "there is no direction '12'; choose 0 to 11 or pca00"),
        (["--seeds=0", "--directions=pca", "--direction=a=0-2"], "gives one name to several"),
        (["--seeds=0", "--directions=pca", "--direction=0,0"], "has 'pca00' twice"),
        (["--seeds=0", "--directions=pca", "--direction=../a=0"], "a direction cannot be called '../a'"),
        (["--seeds=0", "--directions=pca", "--layers=6"], "--layers: the network's layers are 0 to 5"),
        (["--seeds=0", "--directions=pca", "--strength=3..1"], "no range such as -3..3"),
        (["--seeds=0", "--directions=none.safetensors"], "none.safetensors cannot be read"),
        (["--seeds=0", "--direction=3"], "--direction belongs to --directions"),
        (["--directions=pca", "--direction=0..12"], "there is no direction '0..12'"),
        (["--directions=pca", "--seeds=0", "--grid=2x2"], "leave out --grid and --video"),
    ],
)
def test_mistakes_are_one_line(network, tmp_path, arguments, message):
    result = draw(network, tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert result.output.count("\n") == 1
