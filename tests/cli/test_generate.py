"""`generate.py` and `style_mixing.py` from the command line; every file that they write is opened."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image

from generation.mixing import default_layers
from rooted_stylegan import generate, style_mixing
from torch_utils.media.images import to_uint8
from training.networks import Generator, GeneratorConfig
from training.snapshot import load_snapshot, save_snapshot

RESOLUTION = 16
NUM_WS = 6
ROOT = Path(__file__).resolve().parents[2]


def save_network(path, **options):
    torch.manual_seed(0)
    config = GeneratorConfig(img_resolution=RESOLUTION, channel_base=128, channel_max=16, z_dim=8, w_dim=12, **options)
    G = Generator(config)
    G.mapping.w_avg.normal_()
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    save_snapshot(
        path, G=None, D=None, G_ema=G, metadata={"class_names": ["cat", "dog", "1"] if config.c_dim else None}
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def rgb(folder):
    return save_network(folder / "rgb.safetensors", mapping_layers=2)


@pytest.fixture(scope="module")
def gray(folder):
    return save_network(folder / "gray.safetensors", mapping_layers=2, img_channels=1, c_dim=3)


@pytest.fixture(scope="module")
def rgba(folder):
    return save_network(folder / "rgba.safetensors", mapping_layers=2, img_channels=4)


def run(*arguments, command=generate.main):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def succeed(*arguments, command=generate.main):
    result = run(*arguments, command=command)
    assert result.exit_code == 0, result.output
    return result


def names(path):
    return sorted(file.name for file in path.iterdir())


def pixels(path, mode="RGB", size=(RESOLUTION, RESOLUTION)):
    with Image.open(path) as picture:
        assert (picture.mode, picture.size) == (mode, size)
        return np.asarray(picture)


def expected(network, seed, label=None, **options):
    """The published recipe, step by step."""
    G = load_snapshot(network).G_ema
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, G.z_dim))
    image = G(z, label, noise_mode=options.pop("noise_mode", "const"), **options)
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy().squeeze()


def close(a, b):
    """Equal but for the last bit of a quantised value, which the number of images computed at once can move."""
    difference = np.abs(a.astype(int) - b.astype(int))
    assert a.shape == b.shape
    return difference.max() <= 1 and (difference > 0).mean() < 0.01


# -------- Single pictures


def test_command_line_of_the_reference(tmp_path, rgb):
    out = tmp_path / "a" / "b"
    options = "--seeds=3,85,265-267", "--trunc=0.7", "--noise-mode=const"
    assert succeed(f"--network={rgb}", *options, f"--outdir={out}").stderr == ""
    assert names(out) == ["seed0003.png", "seed0085.png", "seed0265.png", "seed0266.png", "seed0267.png"]
    for seed in (3, 266):
        assert close(pixels(out / f"seed{seed:04d}.png"), expected(rgb, seed, truncation_psi=0.7))
    assert pixels(out / "seed0003.png").std() > 5


def test_official_pickle(tmp_path, fixtures_dir):
    network = fixtures_dir / "official_layout_res32_cond_gray.pkl"
    succeed("--network", network, "--seeds=0", "--class=2", "--outdir", tmp_path)
    label = torch.tensor([[0.0, 0, 1]])
    assert close(pixels(tmp_path / "seed0000.png", "L", (32, 32)), expected(network, 0, label))


def test_metadata_says_how_to_make_it_again(tmp_path, gray):
    succeed("--network", gray, "--seeds=7", "--class=dog", "--trunc=.5", "--trunc-cutoff=2", "--outdir", tmp_path)
    with Image.open(tmp_path / "seed0007.png") as picture:
        assert picture.text == {
            **{"network": "gray.safetensors", "network_hash": load_snapshot(gray).hash, "seed": "7"},
            **{"truncation_psi": "0.5", "truncation_cutoff": "2", "class": "dog", "noise_mode": "const"},
        }


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_and_noise_modes_do_not_change_a_picture(tmp_path, rgb, batch_size):
    for mode in ("const", "random", "none"):
        options = ("--network", rgb, "--noise-mode", mode, "--batch-size", batch_size)
        succeed(*options, "--seeds=0-3", "--outdir", tmp_path / mode)
        succeed(*options, "--seeds=2", "--outdir", tmp_path / f"{mode} alone")
        assert close(pixels(tmp_path / mode / "seed0002.png"), pixels(tmp_path / f"{mode} alone" / "seed0002.png"))
    assert close(pixels(tmp_path / "none" / "seed0001.png"), expected(rgb, 1, noise_mode="none"))
    assert not close(pixels(tmp_path / "none" / "seed0001.png"), pixels(tmp_path / "random" / "seed0001.png"))


def test_truncation_cutoff(tmp_path, rgb):
    succeed("--network", rgb, "--seeds=1", "--trunc=0", "--trunc-cutoff=3", "--outdir", tmp_path)
    wanted = expected(rgb, 1, truncation_psi=0, truncation_cutoff=3)
    assert close(pixels(tmp_path / "seed0001.png"), wanted)
    assert not close(wanted, expected(rgb, 1))


@pytest.mark.parametrize(("mode", "name"), [("L", "gray"), ("RGB", "rgb"), ("RGBA", "rgba")])
def test_modes(tmp_path, request, mode, name):
    network = request.getfixturevalue(name)
    label = ("--class=0",) if name == "gray" else ()
    succeed("--network", network, "--seeds=0,1", *label, "--outdir", tmp_path)
    succeed("--network", network, "--grid=2x1", *label, "--outdir", tmp_path)
    first = pixels(tmp_path / "seed0000.png", mode)
    grid = pixels(tmp_path / "grid.png", mode, (2 * RESOLUTION, RESOLUTION))
    assert close(grid[:, :RESOLUTION], first)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("2", [0, 0, 1]),
        ("dog", [0, 1, 0]),
        ("1", [0, 1, 0]),  # an index, although a class is called 1
        ("cat=0.5,dog=0.5", [0.5, 0.5, 0]),
        ("cat=3, 2=1", [0.75, 0, 0.25]),
    ],
)
def test_classes_by_index_name_and_mixture(tmp_path, gray, text, label):
    succeed("--network", gray, "--seeds=4", f"--class={text}", "--outdir", tmp_path)
    assert close(pixels(tmp_path / "seed0004.png", "L"), expected(gray, 4, torch.tensor([label], dtype=torch.float32)))


def test_class_of_an_unconditional_network_is_only_noted(tmp_path, rgb):
    result = succeed("--network", rgb, "--seeds=4", "--class=3", "--outdir", tmp_path)
    assert result.stderr == "note: the network is unconditional; --class has no effect\n"


def test_labels_are_vectors(tmp_path, gray):
    succeed("--network", gray, "--seeds=1", "--class=dog", "--outdir", tmp_path / "class")
    succeed("--network", gray, "--seeds=1", "--label=0,1,0", "--outdir", tmp_path / "label")
    succeed("--network", gray, "--grid=1x1", "--label=0,1,1", "--outdir", tmp_path / "both")
    paths = [tmp_path / name for name in ("class/seed0001.png", "label/seed0001.png")]
    one, other = (pixels(path, "L") for path in paths)
    assert np.array_equal(one, other)
    with Image.open(tmp_path / "both" / "grid.png") as picture:
        assert picture.text["label"] == "0,1,1"
        assert "class" not in picture.text
    G = load_snapshot(gray).G_ema
    z = torch.from_numpy(np.random.RandomState(0).randn(1, 8)).float()
    image = G(z, torch.tensor([[0.0, 1, 1]]), noise_mode="const")
    assert close(pixels(tmp_path / "both" / "grid.png", "L"), to_uint8(image)[0, 0].numpy())


def test_truncation_towards_the_mean_of_the_class(tmp_path, gray):
    """With psi 0 every picture is the one of the mean w of the class, whatever the mode."""
    options = ("--network", gray, "--trunc=0", "--trunc-to=class", "--outdir", tmp_path)
    succeed(*options, "--seeds=1,2", "--class=cat")
    succeed(*options, "--rows=1", "--cols=2", "--label=1,0,0", command=style_mixing.main)
    G = load_snapshot(gray).G_ema
    z = torch.from_numpy(np.random.RandomState(0).randn(1 << 14, 8)).float()
    mean = G.mapping(z, torch.eye(3)[:1].expand(len(z), -1)).mean(dim=0, keepdim=True)
    wanted = to_uint8(G.synthesis(mean, noise_mode="const"))[0, 0].numpy()
    for name in ("seed0001.png", "seed0002.png", "1-2.png"):
        assert close(pixels(tmp_path / name, "L"), wanted)
    with Image.open(tmp_path / "seed0001.png") as picture:
        assert picture.text["truncation_to"] == "class"
    succeed("--network", gray, "--trunc=0", "--seeds=1", "--class=cat", "--outdir", tmp_path / "mean")
    assert not close(pixels(tmp_path / "mean" / "seed0001.png", "L"), wanted)


def test_projected_latents(tmp_path, rgb):
    ws = load_snapshot(rgb).G_ema.mapping(torch.randn(3, 8)).numpy()
    np.savez(tmp_path / "one.npz", w=ws[:1])
    np.savez(tmp_path / "two.npz", w=ws[1:])
    files = (f"--projected-w={tmp_path / 'one.npz'}", f"--projected-w={tmp_path / 'two.npz'}")
    result = succeed("--network", rgb, *files, "--seeds=5", "--outdir", tmp_path / "out")
    assert result.stderr == "note: --projected-w is given; --seeds has no effect\n"
    assert names(tmp_path / "out") == ["proj00.png", "proj01.png", "proj02.png"]
    image = load_snapshot(rgb).G_ema.synthesis(torch.tensor(ws[2:]), noise_mode="const")
    wanted = (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert close(pixels(tmp_path / "out" / "proj02.png"), wanted)


def test_latents_of_other_programs(tmp_path, rgb):
    """For the same w in every file and shape the same picture."""
    G = load_snapshot(rgb).G_ema
    ws = G.mapping(torch.randn(2, 8))
    w = ws[:, 0].numpy()
    np.savez(tmp_path / "0.npz", latents=ws.numpy())
    np.save(tmp_path / "1.npy", w.astype(np.float64))
    torch.save(ws, tmp_path / "2.pt")
    torch.save({"w": ws.bfloat16().float().requires_grad_(), "step": 3}, tmp_path / "3.pt")
    pictures = {f"{i}.png": {"img": torch.zeros(3), "latent": one[0], "noise": [one]} for i, one in enumerate(ws)}
    torch.save(pictures, tmp_path / "4.pt")
    torch.save({"latent": ws.half()}, tmp_path / "5.pt", _use_new_zipfile_serialization=False)
    files = [f"--projected-w={path}" for path in sorted(tmp_path.iterdir())]
    succeed("--network", rgb, *files, "--outdir", tmp_path / "out")
    drawn = [pixels(tmp_path / "out" / f"proj{index:02d}.png").astype(int) for index in range(12)]
    for index, picture in enumerate(drawn):
        assert np.abs(picture - drawn[index % 2]).max() <= (0 if index // 2 < 3 or index // 2 == 4 else 4)

    np.save(tmp_path / "one.npy", w[0])
    np.save(tmp_path / "layers.npy", ws[0].numpy())
    files = [f"--projected-w={tmp_path / name}.npy" for name in ("one", "layers")]
    succeed("--network", rgb, *files, "--outdir", tmp_path / "again")
    for name in ("proj00.png", "proj01.png"):
        assert np.array_equal(pixels(tmp_path / "again" / name), drawn[0])


class Calls:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1.0], "has no array named 'w', 'latents', 'latent'"),
        ({"a": {"latent": torch.zeros(3)}, "b": {"latent": torch.zeros(4)}}, "has no array named"),
        (torch.zeros(1, 18, 512), "of shape [1, 18, 512]; this network takes [N, 6, 12], [6, 12], [N, 12] or [12]"),
        (torch.zeros(1).expand(1 << 20, 12), "many times its size"),
        (torch.zeros(6, 12).to_sparse(), "not an ordinary one"),
        (Calls(), "cannot be read"),
    ],
)
def test_torch_files_that_hold_no_latents(tmp_path, rgb, content, message, capfd):
    path = tmp_path / "w.pt"
    torch.save(content, path)
    result = run("--network", rgb, f"--projected-w={path}", "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert result.stderr.startswith(f"error: --projected-w: {path} ")
    assert message in result.stderr
    assert "executed" not in result.output + capfd.readouterr().out


def test_projected_noise(tmp_path, rgb):
    G = load_snapshot(rgb).G_ema
    ws = G.mapping(torch.randn(1, 8))
    np.savez(tmp_path / "w.npz", w=ws.numpy())
    maps = {name: torch.randn_like(b) for name, b in G.named_buffers() if name.endswith("noise_const")}
    safetensors.torch.save_file(maps, tmp_path / "noise.safetensors")
    options = (f"--projected-w={tmp_path / 'w.npz'}", f"--projected-noise={tmp_path / 'noise.safetensors'}")
    succeed("--network", rgb, *options, "--outdir", tmp_path / "out")
    G.load_state_dict(maps, strict=False)
    wanted = (G.synthesis(ws, noise_mode="const") * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
    assert close(pixels(tmp_path / "out" / "proj00.png"), wanted.numpy())

    maps.popitem()
    safetensors.torch.save_file(maps, tmp_path / "noise.safetensors")
    for more, message in [((), "does not hold the noise maps of this network"), (("--noise-mode=none",), "leave out")]:
        result = run("--network", rgb, *options, *more, "--outdir", tmp_path / "more")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert message in result.stderr


# -------- Grids and mixing


def test_grid_in_reading_order(tmp_path, rgb):
    succeed("--network", rgb, "--grid=3x2", "--outdir", tmp_path)
    assert names(tmp_path) == ["grid.png"]
    grid = pixels(tmp_path / "grid.png", size=(3 * RESOLUTION, 2 * RESOLUTION))
    assert close(grid[RESOLUTION:, RESOLUTION : 2 * RESOLUTION], expected(rgb, 4))
    succeed("--network", rgb, "--grid=3", "--seeds=10-13", "--outdir", tmp_path)
    grid = pixels(tmp_path / "grid.png", size=(3 * RESOLUTION, 2 * RESOLUTION))
    assert close(grid[RESOLUTION:, :RESOLUTION], expected(rgb, 13))
    assert not grid[RESOLUTION:, RESOLUTION:].any()
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.text["seeds"] == "10,11,12,13"


def mixed(network, row, column, layers, psi):
    G = load_snapshot(network).G_ema
    z = torch.from_numpy(np.concatenate([np.random.RandomState(seed).randn(1, G.z_dim) for seed in (row, column)]))
    w, styles = G.mapping(z, truncation_psi=psi).clone()
    w[layers] = styles[layers]
    image = G.synthesis(w[None], noise_mode="const")
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def test_style_mixing(tmp_path, rgb):
    options = ("--network", rgb, "--mix-rows=85,100", "--mix-cols=55,85,9", "--mix-layers=0-2", "--trunc=0.8")
    succeed(*options, "--outdir", tmp_path / "a")
    pairs = [f"{row}-{column}.png" for row in (85, 100) for column in (55, 85, 9)]
    assert names(tmp_path / "a") == sorted({*pairs, "85-85.png", "100-100.png", "55-55.png", "9-9.png", "grid.png"})
    grid = pixels(tmp_path / "a" / "grid.png", size=(4 * RESOLUTION, 3 * RESOLUTION))
    cells = grid.reshape(3, RESOLUTION, 4, RESOLUTION, 3).transpose(0, 2, 1, 3, 4)
    assert not cells[0, 0].any()
    assert close(cells[2, 3], mixed(rgb, 100, 9, [0, 1, 2], psi=0.8))
    assert close(cells[2, 3], pixels(tmp_path / "a" / "100-9.png"))
    assert close(cells[0, 1], expected(rgb, 55, truncation_psi=0.8))
    assert close(cells[2, 0], expected(rgb, 100, truncation_psi=0.8))
    with Image.open(tmp_path / "a" / "100-9.png") as picture:
        text = picture.text
    assert (text["row_seed"], text["column_seed"], text["mixed_layers"]) == ("100", "9", "0,1,2")

    options = ("--network", rgb, "--rows=85,100", "--cols=55,85,9", "--styles=0-2", "--trunc=0.8")
    succeed(*options, "--outdir", tmp_path / "b", command=style_mixing.main)
    assert names(tmp_path / "b") == names(tmp_path / "a")
    assert all((tmp_path / "b" / n).read_bytes() == (tmp_path / "a" / n).read_bytes() for n in names(tmp_path / "a"))


def test_style_mixing_of_a_conditional_network_with_default_layers(tmp_path, gray):
    options = ("--network", gray, "--mix-rows=0", "--mix-cols=1", "--class=cat")
    succeed(*options, "--outdir", tmp_path / "default")
    succeed(*options, f"--mix-layers=0-{NUM_WS // 2 - 1}", "--outdir", tmp_path / "half")
    mixed_picture = pixels(tmp_path / "default" / "0-1.png", "L")
    assert np.array_equal(mixed_picture, pixels(tmp_path / "half" / "0-1.png", "L"))
    for seed in (0, 1):
        assert not close(mixed_picture, pixels(tmp_path / "default" / f"{seed}-{seed}.png", "L"))


def test_default_layers_are_the_references_in_large_networks():
    layers_at_resolution = {32: 4, 64: 5, 128: 6, 256: 7, 512: 7, 1024: 7}
    for resolution, count in layers_at_resolution.items():
        num_ws = 2 * (resolution.bit_length() - 1) - 2
        assert default_layers(num_ws) == list(range(count))


# -------- Videos


def frames_of(path):
    if path.suffix == ".mp4":
        return list(imageio.v3.imiter(path, plugin="FFMPEG"))
    with Image.open(path) as picture:
        frames = []
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
    return frames


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b.astype(float)).mean(), 1e-9))


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp"])
def test_video_passes_through_its_pictures_and_loops(tmp_path, rgb, kind):
    if kind == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    succeed("--network", rgb, "--seeds=0-2", "--video", kind, "--frames=4", "--trunc=0.6", "--outdir", tmp_path)
    assert names(tmp_path) == [f"interpolation.{kind}"]
    frames = frames_of(tmp_path / f"interpolation.{kind}")
    assert len(frames) == 12
    for seed in range(3):
        key = expected(rgb, seed, truncation_psi=0.6)
        assert frames[4 * seed].shape == key.shape
        others = [psnr(frame, key) for index, frame in enumerate(frames) if index != 4 * seed]
        assert psnr(frames[4 * seed], key) > max(15, *others)  # halved colour resolution costs a lot in noise


def test_video_grid_shares_out_the_seeds(tmp_path, rgba):
    options = ("--video=webp", "--grid=2x1", "--loop=no", "--frames=3", "--curve=linear")
    succeed("--network", rgba, "--seeds=0-5", *options, "--outdir", tmp_path)
    with Image.open(tmp_path / "interpolation.webp") as picture:
        assert (picture.n_frames, picture.size, picture.mode) == (7, (2 * RESOLUTION, RESOLUTION), "RGBA")
        picture.seek(6)
        last = np.asarray(picture)
    assert psnr(last[:, :RESOLUTION], expected(rgba, 2)) > psnr(last[:, :RESOLUTION], expected(rgba, 0))
    assert psnr(last[:, RESOLUTION:], expected(rgba, 5)) > psnr(last[:, RESOLUTION:], expected(rgba, 3))


def test_video_in_z_and_of_a_conditional_gray_network(tmp_path, gray):
    pytest.importorskip("imageio_ffmpeg")
    options = ("--video=mp4", "--space=z", "--curve=linear", "--frames=2", "--fps=10", "--class=dog=1")
    succeed("--network", gray, "--seeds=0,1", *options, "--outdir", tmp_path)
    frames = frames_of(tmp_path / "interpolation.mp4")
    assert (len(frames), frames[0].shape) == (4, (RESOLUTION, RESOLUTION, 3))
    assert imageio.v3.immeta(tmp_path / "interpolation.mp4", plugin="FFMPEG")["fps"] == 10


def test_video_from_projected_latents(tmp_path, rgb):
    np.savez(tmp_path / "w.npz", w=load_snapshot(rgb).G_ema.mapping(torch.randn(2, 8)).numpy())
    options = (f"--projected-w={tmp_path / 'w.npz'}", "--video=gif", "--frames=5", "--fps=20")
    succeed("--network", rgb, *options, "--outdir", tmp_path / "out")
    with Image.open(tmp_path / "out" / "interpolation.gif") as picture:
        assert (picture.n_frames, picture.size) == (10, (RESOLUTION, RESOLUTION))
        assert (picture.info["duration"], picture.info["loop"]) == (50, 0)


# -------- Mistakes: one line, status 2, nothing written


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "w.npz", **arrays)
    return f"--projected-w={tmp_path / 'w.npz'}"


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("rgb", [], "say what to draw"),
        ("rgb", ["--video=gif", "--grid=2x2"], "say what to draw"),
        ("rgb", ["--seeds=4294967296"], "'--seeds': '4294967296' is too large"),
        ("gray", ["--seeds=0"], "conditional: give --class, an index from 0 to 2 or a name (cat, dog, 1)"),
        ("gray", ["--seeds=0", "--label=0,1"], "--label has 2 numbers; this network has labels of 3 numbers"),
        ("gray", ["--seeds=0", "--label=0,1,1", "--class=1"], "--label and --class both say what to draw"),
        ("gray", ["--seeds=0", "--label=0,nan,1"], "'nan' is not a finite number"),
        ("rgb", ["--seeds=0", "--label=0"], "--label has 1 numbers; this network has no labels"),
        ("rgb", ["--seeds=0", "--trunc-to=class"], "--trunc-to=class: this network is not conditional"),
        ("gray", ["--seeds=0", "--class=3"], "the network has no class '3'; choose an index from 0 to 2"),
        ("gray", ["--seeds=0", "--class=bird"], "the network has no class 'bird'"),
        ("gray", ["--seeds=0", "--class=cat=x"], "'x' is no weight"),
        ("gray", ["--seeds=0", "--class=cat=-1,dog=2"], "'-1' is no weight"),
        ("gray", ["--seeds=0", "--class=cat=0"], "the weights of the mixture are all zero"),
        ("rgb", ["--seeds=0", "--trunc-cutoff=7"], "--trunc-cutoff=7: the network has 6 layers"),
        ("rgb", ["--seeds=0", "--device=cuda:99"], "--device=cuda:99: there is no such device here"),
        ("rgb", ["--seeds=0", "--device=tpu"], "--device=tpu: there is no such device here"),
        ("rgb", ["--seeds=0", "--device=meta"], "--device=meta: there is no such device here"),
        ("rgb", ["--seeds=0", "--network-sha256=00"], "not the expected 00"),
        ("rgb", ["--seeds=0-2", "--grid=2x2"], "--grid=2x2 has 4 cells, but 3 pictures are asked for"),
        ("rgb", ["--seeds=0-2", "--grid=2x1", "--video=gif"], "3 pictures cannot be shared out evenly among 2 cells"),
        ("rgb", ["--seeds=0", "--video=gif"], "a video needs at least two pictures"),
        ("rgb", ["--seeds=0,1", "--video=gif", "--fps=60"], "more than GIF can show"),
        ("rgb", ["--mix-rows=1"], "style mixing needs both --mix-rows and --mix-cols"),
        ("rgb", ["--mix-rows=1", "--mix-cols=2", "--mix-layers=6"], "no layer 6; its layers are 0 to 5"),
        ("rgb", ["--mix-rows=1", "--mix-cols=2", "--grid=2"], "--mix-rows has its own seeds and grid"),
        ("rgb", ["--projected-w=absent.npz"], "absent.npz cannot be read as an .npz, .npy or .pt file"),
    ],
)
def test_mistakes(tmp_path, request, network, arguments, message):
    out = tmp_path / "out"
    result = run("--network", request.getfixturevalue(network), "--outdir", out, *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not out.exists() or not names(out)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.zeros([1, 14, 512], np.float32)}, "of shape [1, 14, 512]; this network takes [N, 6, 12]"),
        ({"w": np.zeros([2, 5, 12], np.float32)}, "of shape [2, 5, 12]"),
        ({"latents": np.zeros([0, NUM_WS, 12], np.float32)}, "of shape [0, 6, 12]"),
        ({"w": np.zeros([], np.float32)}, "of shape []"),
        ({"w": np.full([1, NUM_WS, 12], np.nan)}, "values that are not finite numbers"),
        ({"w": np.zeros([1, NUM_WS, 12], int)}, "values that are not finite numbers"),
        ({"w": np.array([[None]], dtype=object)}, "cannot be read as an .npz, .npy or .pt file"),
        ({"x": np.zeros(1)}, "has no array named 'w'"),
    ],
)
def test_wrong_projected_latents(tmp_path, rgb, arrays, message):
    result = run("--network", rgb, npz(tmp_path, **arrays), "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert message in result.stderr


@pytest.mark.parametrize("kind", ["header", "unclosed", "stream", "cut", "text"])
def test_damaged_projected_latents(tmp_path, rgb, kind):
    """The parser of NumPy's headers, zlib and zipfile each fail in their own way."""
    path = tmp_path / "damaged.npz"
    whole = io.BytesIO()
    np.save(whole, np.ones([1, NUM_WS, 12], np.float32))
    changes = {
        "header": lambda data: data.replace(b"'<f4'", b"2 3 4"),
        "unclosed": lambda data: data.replace(b"}", b"(", 1),
        "text": lambda data: b"w = 1",
        "cut": lambda data: data[:20],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", changes.get(kind, lambda data: data)(whole.getvalue()))
    if kind == "stream":
        data = bytearray(path.read_bytes())
        data[36:44] = b"\xff" * 8  # behind the entry's own header
        path.write_bytes(data)
    result = run("--network", rgb, f"--projected-w={path}", "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert result.stderr.startswith(f"error: --projected-w: {path} ")


def test_style_mixing_names_its_own_flag(tmp_path, rgb):
    arguments = ("--network", rgb, "--rows=1", "--cols=2", "--styles=0-9", "--outdir", tmp_path / "out")
    result = run(*arguments, command=style_mixing.main)
    assert (result.exit_code, result.stderr) == (
        2,
        "error: --styles: the network has no layer 9; its layers are 0 to 5\n",
    )


def test_projected_latents_have_no_z(tmp_path, rgb):
    file = npz(tmp_path, w=np.zeros([2, NUM_WS, 12], np.float32))
    result = run("--network", rgb, file, "--video=gif", "--space=z", "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--space=z needs latents z" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--seeds=a,b"], ["--seeds=5-1"], ["--seeds=-3"], ["--grid=0x2"], ["--grid=2x"], ["--grid=axb"], ["--video=avi"]],
)
def test_values_of_another_kind_are_usage_errors(tmp_path, rgb, arguments):
    result = run("--network", rgb, "--outdir", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[0].split('=')[0]}'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_output_folder_that_is_a_file(tmp_path, rgb):
    (tmp_path / "out").write_text("")
    result = run("--network", rgb, "--seeds=0", "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--outdir: cannot make" in result.stderr


def test_missing_ffmpeg_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = run("--network=absent.pkl", "--seeds=0,1", "--video=mp4", "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: MP4 files need ffmpeg: run `pip install imageio-ffmpeg`")


@pytest.mark.parametrize("exists", [True, False])
def test_so_is_a_wrong_program(tmp_path, monkeypatch, exists):
    pytest.importorskip("imageio_ffmpeg")
    if exists:
        (tmp_path / "ffmpeg").write_text("not executable")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    result = run("--network=absent.pkl", "--seeds=0,1", "--video=mp4", "--outdir", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "ffmpeg is no program; correct or unset IMAGEIO_FFMPEG_EXE" in result.stderr


def test_command_line_shows_no_traceback(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x04cos\nsystem\n\x8c\x04true\x85R.")
    command = [
        sys.executable,
        "generate.py",
        "--network",
        tmp_path / "evil.pkl",
        "--seeds=0",
        "--outdir",
        tmp_path / "o",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "was refused and nothing in it was executed: it wants to import 'os.system'" in result.stderr
    assert not (tmp_path / "o").exists()
