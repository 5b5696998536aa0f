import csv
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image

from dnnlib import UserError
from rooted_stylegan.projector import main
from training.networks import Generator, GeneratorConfig
from training.snapshot import load_snapshot, save_snapshot


@pytest.fixture(scope="module")
def make_network(tmp_path_factory):
    def make(name="network", class_names=None, **options):
        torch.manual_seed(2)
        values = {
            "img_resolution": 16,
            "channel_base": 64,
            "channel_max": 8,
            "z_dim": 8,
            "w_dim": 8,
            "mapping_layers": 1,
        }
        G = Generator(GeneratorConfig(**{**values, **options}))
        path = tmp_path_factory.mktemp("networks") / f"{name}.safetensors"
        save_snapshot(path, G=None, D=None, G_ema=G, metadata={"class_names": class_names, "cur_nimg": 1000})
        return path

    return make


@pytest.fixture(scope="module")
def network(make_network):
    return make_network()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("first", "second"):
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(main, ["--distance=pixel", *map(str, arguments)])


def test_one_target(network, pictures, tmp_path):
    result = run(f"--network={network}", f"--target={pictures / 'first.png'}", f"--outdir={tmp_path}",
                 "--num-steps=6", "--save-video=false")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "first.png: pixel distance" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "target.png", "proj.png", "comparison.png", "projected_w.npz", "projected_noise.safetensors", "loss.csv",
        "loss.png", "projection.json",
    }  # fmt: skip
    G = load_snapshot(network).generator
    with np.load(tmp_path / "projected_w.npz") as file:
        ws = torch.from_numpy(file["w"])
    assert ws.shape == (1, G.num_ws, G.w_dim)
    noise = safetensors.torch.load_file(tmp_path / "projected_noise.safetensors")
    G.load_state_dict({**G.state_dict(), **noise})
    image = (G.synthesis(ws, noise_mode="const") * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    with Image.open(tmp_path / "proj.png") as picture:
        assert picture.mode == "RGB"
        shown = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
    assert (image[0].int() - shown.int()).abs().max() <= 1  # latents and noise give the picture again
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.size == (32, 16)
    with open(tmp_path / "loss.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    record = json.loads((tmp_path / "projection.json").read_text())
    assert record["final_distance"] == pytest.approx(min(float(row["distance"]) for row in rows), rel=1e-6)
    assert record["network_hash"] == load_snapshot(network).hash


def test_a_folder_with_tuning_and_video(network, pictures, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    result = run(f"--network={network}", f"--target={pictures}", f"--outdir={tmp_path}", "--num-steps=6", "--space=w+",
                 "--pti-steps=4", "--video-every=2", "--save-video=true", "--batch=2")  # fmt: skip
    assert result.exit_code == 0, result.output
    for name in ("first", "second"):
        folder = tmp_path / name
        frames, _ = imageio_ffmpeg.count_frames_and_secs(str(folder / "proj.mp4"))
        assert frames == 4 + 3  # steps 0, 2, 4, 5 of the latents, then 0, 2, 3 of the tuning
        size = next(imageio_ffmpeg.read_frames(str(folder / "proj.mp4")))["size"]
        assert size == (512, 256)
        tuned = load_snapshot(folder / "tuned-network.safetensors")
        with np.load(folder / "projected_w.npz") as file:
            image = tuned.generator.synthesis(torch.from_numpy(file["w"]), noise_mode="const")
        shown = np.asarray(Image.open(folder / "proj.png"))
        expected = (image[0].permute(1, 2, 0) * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
        assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 1
        assert "pivot_distance" in json.loads((folder / "projection.json").read_text())
        assert not list(folder.glob(".*"))


def test_batches_do_not_change_the_result(network, pictures, tmp_path):
    for batch in (1, 2):
        run(f"--network={network}", f"--target={pictures}", f"--outdir={tmp_path / str(batch)}", "--num-steps=5",
            "--save-video=no", f"--batch={batch}")  # fmt: skip
    for name in ("first", "second"):
        ws = [np.load(tmp_path / batch / name / "projected_w.npz")["w"] for batch in ("1", "2")]
        np.testing.assert_allclose(ws[0], ws[1], atol=1e-4)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_other_modes(make_network, pictures, tmp_path, channels, mode):
    network = make_network(img_channels=channels)
    result = run(f"--network={network}", f"--target={pictures / 'first.png'}", f"--outdir={tmp_path}", "--num-steps=3")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "proj.png") as picture:
        assert picture.mode == mode


def test_classes_and_labels(make_network, pictures, tmp_path):
    network = make_network(c_dim=3, class_names=["pug", "husky", "collie"])
    common = (f"--network={network}", f"--target={pictures / 'first.png'}", f"--outdir={tmp_path}", "--num-steps=2",
              "--save-video=no")  # fmt: skip
    ws = []
    for label in ("--class=husky", "--label=0,1,0", "--class=2"):
        result = run(*common, label)
        assert result.exit_code == 0, result.output
        ws.append(np.load(tmp_path / "projected_w.npz")["w"])
    assert np.array_equal(ws[0], ws[1])
    assert not np.array_equal(ws[0], ws[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target={pictures}/nowhere.png"], "there is no such file or folder"),
        (["--target={pictures}/first.png", "--class=1"], "--class: this network is not conditional"),
        (["--target={pictures}/first.png", "--network={conditional}"], "this network is conditional: give --class"),
        (
            ["--target={pictures}/first.png", "--network={conditional}", "--class=3"],
            "--class: the network has no class '3'",
        ),
        (["--target={pictures}/first.png", "--network={pictures}/first.png"], "neither a safetensors snapshot nor"),
        (["--target={pictures}/first.png", "--network={pictures}/none.pkl"], "there is no network file"),
        (["--target={pictures}/first.png", "--device=meta"], "--device=meta: there is no such device here"),
        (["--target={pictures}/first.png", "--seed=4294967296"], "'--seed'"),
        (["--target={pictures}/first.png", "--network-sha256=00"], "not the expected 00"),
        (["--target={pictures}/first.png", "--network=https://a.invalid/b.pkl", "--offline"], "--offline"),
        (["--target={pictures}/first.png", "--distance=nothing"], "--distance=nothing is neither"),
        (["--target={pictures}/first.png", "--outdir={pictures}/first.png/out"], "--outdir: cannot make"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(make_network, network, pictures, tmp_path, arguments, message):
    conditional = make_network("conditional", c_dim=3)
    given = [argument.format(pictures=pictures, conditional=conditional) for argument in arguments]
    result = run(f"--network={network}", f"--outdir={tmp_path / 'out'}", "--num-steps=2", *given)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_missing_ffmpeg_is_said_before_the_work(network, pictures, tmp_path, monkeypatch):
    def missing():
        raise UserError("MP4 files need ffmpeg")

    monkeypatch.setattr("projection.command.require_ffmpeg", missing)
    common = (f"--network={network}", f"--target={pictures / 'first.png'}", f"--outdir={tmp_path}", "--num-steps=2")
    refused = run(*common, "--save-video=true")
    assert refused.exit_code == 2
    assert "MP4 files need ffmpeg" in refused.stderr
    assert run(*common).exit_code == 0  # not asked for: done without
    assert not (tmp_path / "proj.mp4").exists()
