"""What is made of networks to share: layer swaps, and folders with a card."""

import hashlib

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from torch_utils.media.images import to_uint8
from training.convert import main
from training.networks import Generator, GeneratorConfig
from training.run_dir import RunDir
from training.snapshot import load_snapshot, save_snapshot

SIZES = {"img_resolution": 16, "channel_base": 128, "channel_max": 16, "z_dim": 4, "w_dim": 4, "mapping_layers": 2}


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def snapshot_file(path, seed, *, metadata, **sizes):
    torch.manual_seed(seed)
    G = Generator(GeneratorConfig(**{**SIZES, **sizes}))
    G.mapping.w_avg.normal_()
    save_snapshot(path, G=None, D=None, G_ema=G, metadata=metadata)
    return G


def test_layer_swap(tmp_path):
    a, b, mixed = (tmp_path / f"{name}.safetensors" for name in ("a", "b", "mixed"))
    coarse = snapshot_file(a, 0, metadata={"cur_nimg": 5, "class_names": None})
    fine = snapshot_file(b, 1, metadata={})
    result = run("--swap", a, b, mixed, "--from-resolution=8")
    assert result.exit_code == 0, result.output
    found = load_snapshot(mixed)
    for name, tensor in found.G_ema.state_dict().items():
        source = fine if name.startswith(("synthesis.b8.", "synthesis.b16.")) else coarse
        assert torch.equal(tensor, source.state_dict()[name]), name
    swap = found.metadata["layer_swap"]
    assert (swap["coarse"], swap["fine"], swap["from_resolution"]) == ("a.safetensors", "b.safetensors", 8)
    assert swap["fine_hash"] == load_snapshot(b).hash
    assert "cur_nimg" not in found.metadata

    other = tmp_path / "other.safetensors"
    snapshot_file(other, 0, metadata={}, channel_max=7)
    for arguments, message in [
        ((a, other, mixed, "--swap", "--from-resolution=16"), "same architecture; these have channel_max 16 and 7"),
        ((a, b, mixed, "--swap", "--from-resolution=12"), "--from-resolution=12: choose one of 8, 16"),
        ((a, mixed, "--swap", "--from-resolution=16"), "give one SOURCE, or two with --swap"),
        ((a, b, mixed, "--swap"), "give one SOURCE, or two with --swap"),
        ((a, b, mixed), "give one SOURCE, or two with --swap"),
        ((a, mixed, "--card"), "must be a folder's for --card"),
    ]:
        result = run(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert message in result.stderr


def test_a_card_of_a_run(tmp_path):
    folder = tmp_path / "shared"
    kept = RunDir(tmp_path / "run")
    kept.path.mkdir()
    source = kept.path / "network-snapshot-000005.safetensors"
    data = {"path": "/home/me/faces.zip", "xflip": True, "max_size": None}
    told = {"cur_nimg": 5000, "loss": {"name": "rlo", "k": 11.0}, "training_set": data, "class_names": ["a|b", "<i>"]}
    snapshot_file(source, 0, metadata=told)
    kept.write_options({"description": "faces-auto1", "batch_size": 8, "num_gpus": 1, "device": "cpu"})
    kept.append_stats({"Progress/kimg": {"mean": 5.0}, "Timing/total_sec": {"mean": 65.0}})
    for nimg, value in ((5000, 9.0), (5000, 7.25), (9000, 1.0)):
        result = {"metric": "swd1k", "results": {"swd1k": value}, "computed_from": {"num_gen": 9}}
        kept.append_metric({**result, "nimg": nimg})

    result = run("--card", source, folder)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "grid.png", "network.safetensors"]
    text = (folder / "README.md").read_text()
    front = text.split("---\n")[1]
    assert front.startswith("license:  #")
    assert "library_name: rooted-stylegan\n" in front
    digest = hashlib.sha256((folder / "network.safetensors").read_bytes()).hexdigest()
    for words in ("# shared", "faces.zip, with x-flips", "5 kimg", "k 11.0, name rlo", "faces-auto1", "on 1 x cpu",
                  "| swd1k | 7.25 | 9 generated |", r"a\|b, &lt;i>", digest):  # fmt: skip
        assert words in text, words
    assert "/home" not in text
    snapshot = load_snapshot(folder / "network.safetensors")
    assert snapshot.metadata["training_set"]["path"] == "faces.zip"
    with Image.open(folder / "grid.png") as grid:
        assert grid.size == (6 * 16, 4 * 16)
        first = np.asarray(grid)[:16, :16]
    z = torch.from_numpy(np.random.RandomState(0).randn(1, 4)).float()
    wanted = to_uint8(snapshot.G_ema(z, noise_mode="const"))[0].permute(1, 2, 0).numpy()
    assert np.abs(first.astype(int) - wanted).max() <= 1

    result = run("--card", source, folder)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "README.md exists and may have been edited" in result.stderr


def test_a_card_of_a_conditional_network_whose_file_says_little(tmp_path):
    odd = {"versions": [1], "loss": "x", "layer_swap": None, "imported_from": "official pickle"}
    snapshot_file(tmp_path / "a.safetensors", 0, metadata=odd, c_dim=3)
    result = run("--card", tmp_path / "a.safetensors", tmp_path / "b")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "b" / "README.md").read_text()
    for words in ("| labels | 3 numbers |", "--class=0", "NVIDIA's", "None were found", "a class in each row"):
        assert words in text, words
