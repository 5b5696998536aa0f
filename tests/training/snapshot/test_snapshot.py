import functools
import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import dnnlib.download
from dnnlib import UserError
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.snapshot import Snapshot, load_snapshot, save_snapshot
from training.snapshot.build import build_network

METADATA = {
    "cur_nimg": 12000,
    "augment_p": 0.125,
    "class_names": ["cat", "größer"],
    "loss": {"name": "rlo", "k": 2.0},
    "training_set": {"path": "a.zip", "xflip": True, "max_size": None},
}


def small_networks(c_dim=0, img_channels=3):
    torch.manual_seed(0)
    sizes = {"img_resolution": 8, "img_channels": img_channels, "c_dim": c_dim, "channel_base": 64, "channel_max": 8}
    G = Generator(GeneratorConfig(**sizes, z_dim=16, w_dim=16, mapping_layers=2, conv_clamp=256.0))
    D = Discriminator(DiscriminatorConfig(**sizes, architecture="resnet", mbstd_group_size=2, freeze_layers=2))
    G_ema = Generator(G.config)
    return {"G": G, "D": D, "G_ema": G_ema}


@pytest.fixture
def saved(tmp_path):
    networks = small_networks(c_dim=2)
    path = tmp_path / "network-snapshot-000012.safetensors"
    save_snapshot(path, **networks, metadata=METADATA)
    return path, networks


@pytest.mark.parametrize("tag", ["res16_rgb", "res32_cond_gray"])
def test_official_networks_give_the_published_numbers(fixtures_dir, tag):
    snapshot = load_snapshot(fixtures_dir / f"official_layout_{tag}.pkl")
    numbers = np.load(fixtures_dir / f"networks_{tag}.npz")
    z, c = torch.tensor(numbers["z"]), torch.tensor(numbers["c"])
    for G in (snapshot.G, snapshot.G_ema):
        np.testing.assert_allclose(G.mapping(z, c), numbers["ws"], atol=1e-4)
        np.testing.assert_allclose(G(z, c, noise_mode="const"), numbers["img_const"], atol=1e-4)
        np.testing.assert_allclose(G(z, c, noise_mode="none"), numbers["img_none"], atol=1e-4)
    logits = snapshot.D(torch.tensor(numbers["img_const"]), c)
    np.testing.assert_allclose(logits, numbers["logits"], atol=1e-4)
    assert snapshot.metadata["training_set"]["resolution"] == snapshot.G.img_resolution
    assert snapshot.metadata["augment_p"] == 1.0
    assert snapshot.metadata["class_names"] is None


def test_official_to_snapshot_keeps_every_tensor(fixtures_dir, tmp_path):
    official = load_snapshot(fixtures_dir / "official_layout_res16_rgb.pkl")
    save_snapshot(tmp_path / "a.safetensors", G=official.G, D=official.D, G_ema=official.G_ema, metadata={})
    again = load_snapshot(tmp_path / "a.safetensors")
    for name in ("G", "D", "G_ema"):
        ours, theirs = getattr(again, name).state_dict(), getattr(official, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_loaded_networks_are_ready_to_use_and_can_be_trained_further(saved):
    path, networks = saved
    snapshot = load_snapshot(path)
    assert snapshot.metadata == METADATA
    assert snapshot.generator is snapshot.G_ema
    for name, original in networks.items():
        network = getattr(snapshot, name)
        assert network.config == original.config
        assert not network.training
        for key, tensor in network.state_dict().items():
            assert (tensor.device.type, tensor.dtype) == ("cpu", torch.float32)
            assert torch.equal(tensor, original.state_dict()[key])
        assert not any(p.requires_grad for p in network.parameters())
        assert not any(t.is_meta for t in [*network.parameters(), *network.buffers()])
        network.requires_grad_(True)
        for parameter in network.parameters():
            parameter.data.add_(1)  # the memory is writable and its own
    assert torch.equal(load_snapshot(path).G.synthesis.b4.const, networks["G"].synthesis.b4.const)


def test_same_networks_give_same_bytes_in_any_process(saved, tmp_path):
    path, _ = saved
    code = (
        "import sys; from training.snapshot import load_snapshot, save_snapshot\n"
        "s = load_snapshot(sys.argv[1])\n"
        "save_snapshot(sys.argv[2], G=s.G, D=s.D, G_ema=s.G_ema, metadata=dict(reversed(s.metadata.items())))"
    )
    again = tmp_path / "again.safetensors"
    root = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", code, str(path), str(again)], check=True, env=environment)
    assert again.read_bytes() == path.read_bytes()


def test_headers_of_every_length_are_recognised(tmp_path):
    """A header of 128 bytes more than a multiple of 256 makes the file begin with 0x80, as pickles do."""
    G_ema = small_networks()["G_ema"]
    first_bytes = set()
    for length in range(0, 256, 4):
        path = tmp_path / "a.safetensors"
        save_snapshot(path, G=None, D=None, G_ema=G_ema, metadata={"text": "x" * length})
        first_bytes.add(path.read_bytes()[0])
        assert load_snapshot(path).metadata == {"text": "x" * length}
    assert 0x80 in first_bytes


def test_partial_files_and_shared_networks(tmp_path):
    networks = small_networks()
    save_snapshot(tmp_path / "a.safetensors", G=None, D=None, G_ema=networks["G"], metadata={})
    partial = load_snapshot(tmp_path / "a.safetensors")
    assert (partial.G, partial.D) == (None, None)
    assert partial.generator is partial.G_ema
    save_snapshot(tmp_path / "b.safetensors", G=networks["G"], D=None, G_ema=networks["G"], metadata={})
    assert load_snapshot(tmp_path / "b.safetensors").G_ema is not None
    with pytest.raises(UserError, match="holds no generator"):
        _ = Snapshot(None, networks["D"], None).generator


def test_hash_and_checksum(saved):
    path, _ = saved
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_snapshot(path, sha256=digest.upper()).hash == digest[:16]
    with pytest.raises(UserError, match=f"has the SHA-256 {digest}, not the expected 00"):
        load_snapshot(path, sha256="00")


def test_addresses(monkeypatch, saved, tmp_path):
    asked = []

    def download(url, **options):
        asked.append((url, options["sha256"], options["offline"]))
        return saved[0]

    monkeypatch.setattr(dnnlib.download, "download", download)
    load_snapshot("https://example.org/a.pkl", offline=True)
    load_snapshot("hf://someone/nets/sub/a.safetensors")
    load_snapshot("hf://someone/nets@v2/a.pkl")
    assert asked == [
        ("https://example.org/a.pkl", None, True),
        ("https://huggingface.co/someone/nets/resolve/main/sub/a.safetensors", None, False),
        ("https://huggingface.co/someone/nets/resolve/v2/a.pkl", None, False),
    ]
    for address, message in [
        ("hf://someone/nets", "hf://someone/nets is incomplete"),
        ("ftp://example.org/a.pkl", "not ftp://"),
        (tmp_path, r"is a folder; name the file, for example .*network-snapshot-000012\.safetensors"),
        (tmp_path / "absent.pkl", "there is no network file"),
    ]:
        with pytest.raises(UserError, match=message):
            load_snapshot(address)


def test_download_with_cache_and_checksum(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path, _ = saved
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{path.name}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        first = load_snapshot(url, sha256=digest, cache_dir=tmp_path / "cache")
        server.shutdown()
    again = load_snapshot(url, cache_dir=tmp_path / "cache", offline=True)
    assert first.hash == again.hash == digest[:16]
    with pytest.raises(UserError):
        load_snapshot(url, cache_dir=tmp_path / "other", offline=True)


def rewritten(path, *, header=None, tensors=None, entries=None):
    """A snapshot with its JSON text or its tensors changed; None keeps them."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    old = json.loads(data[8 : 8 + length])["__metadata__"]
    content = json.loads(old["rooted_stylegan_snapshot"])
    new_tensors = safetensors.torch.load(data)
    if header:
        header(content)
    if tensors:
        tensors(new_tensors)
    text = {"rooted_stylegan_snapshot": json.dumps(content)}
    path.write_bytes(safetensors.torch.save(new_tensors, metadata=text if entries is None else entries))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entries": {"format": "pt"}}, "no snapshot of this project: it does not say which network"),
        ({"entries": {"rooted_stylegan_snapshot": "{"}}, "damaged header"),
        ({"entries": {"rooted_stylegan_snapshot": "[" * 100_000}}, "damaged header"),
        ({"entries": {"rooted_stylegan_snapshot": "[]"}}, "damaged header"),
        ({"header": lambda h: h.update(version=2)}, "snapshot format 2; this program reads format 1"),
        ({"header": lambda h: h["networks"].update(E={})}, "damaged header"),
        ({"header": lambda h: h["networks"].pop("D")}, "belongs to none of its networks"),
        ({"header": lambda h: h["networks"]["G"].update(z_dim=10**9)}, "z_dim='1000000000', which no StyleGAN2"),
        ({"header": lambda h: h["networks"]["G"].update(z_dim=None)}, "z_dim='None', which no StyleGAN2"),
        ({"header": lambda h: h["networks"]["G"].update(conv_clamp=float("nan"))}, "NaN is no JSON"),
        ({"header": lambda h: h["networks"]["G"].update(conv_clamp=10**400)}, "conv_clamp='1000"),
        ({"header": lambda h: h["networks"]["G"].update(conv_clamp=1e308)}, "conv_clamp='1e\\+308"),
        (
            {"header": lambda h: h["metadata"].update(class_names=5)},
            "'class_names' in its metadata should be",
        ),
        ({"header": lambda h: h["metadata"].update(training_set={"path": 5})}, "'training_set.path' in its metadata"),
        ({"header": lambda h: h["networks"]["G"].update(odd=1)}, "unknown field odd"),
        ({"header": lambda h: h["networks"]["G"].update(z_dim=17)}, r"G do not fit .* instead of \[16, 33\]"),
        ({"tensors": lambda t: t.pop("D.b4.out.bias")}, "D do not fit its architecture: b4.out.bias is missing"),
        ({"tensors": lambda t: t.update({"G.x": torch.zeros(1)})}, "x is unknown"),
        ({"tensors": lambda t: t.update({"D.b4.out.bias": torch.zeros(8, dtype=torch.int32)})}, "holds torch.int32"),
    ],
)
def test_wrong_snapshots_end_in_one_line(saved, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        load_snapshot(rewritten(saved[0], **changes))
    assert "\n" not in str(caught.value)


def test_other_files_are_told_apart(tmp_path, saved):
    path = tmp_path / "network.pt"
    torch.save({"g_ema": {}}, path)
    with pytest.raises(UserError, match=r"torch.save archive.*python -m training.convert"):
        load_snapshot(path)
    for content in (b"", b"hello, this is text", b"\x1f\x8b gzip"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="neither a safetensors snapshot nor an official network pickle"):
            load_snapshot(path)
    cut = saved[0].read_bytes()[:-100]
    path.write_bytes(cut)
    with pytest.raises(UserError, match="no complete safetensors file"):
        load_snapshot(path)


def test_number_types_that_pytorch_has_not(tmp_path):
    text = json.dumps({"version": 1, "networks": {"G": {"img_resolution": 8}}, "metadata": {}})
    entry = {"dtype": "F6_E2M3", "shape": [8], "data_offsets": [0, 6]}
    header = json.dumps({"__metadata__": {"rooted_stylegan_snapshot": text}, "G.x": entry}).encode()
    header += b" " * (-len(header) % 8)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(6))
    with pytest.raises(UserError, match=r"holds numbers of the type 'F6_E2M3'|no complete safetensors file"):
        load_snapshot(tmp_path / "a.safetensors")


def test_a_failed_save_leaves_the_previous_file(saved, tmp_path):
    path, networks = saved
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_snapshot(path, **networks, metadata={"loss": float("nan")})
    with pytest.raises(UserError, match="cannot write"):
        save_snapshot(tmp_path / "absent" / "a.safetensors", **networks, metadata={})
    assert path.read_bytes() == before


def test_a_config_cannot_ask_for_memory_that_the_file_does_not_have():
    config = GeneratorConfig(img_resolution=8192, z_dim=1 << 16, w_dim=1 << 16, channel_max=1 << 16).to_dict()
    with pytest.raises(UserError, match="is missing"):  # the whole network would take more than 100 GiB
        build_network("G", config, {}, "file")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 381624121\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>", "a web page"),
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_what_is_no_network_is_named(tmp_path, content, what):
    (tmp_path / "net.pkl").write_bytes(content)
    with pytest.raises(UserError, match=f"net.pkl is neither .*, but {what}"):
        load_snapshot(tmp_path / "net.pkl")


def test_networks_of_tensorflow_are_named(tmp_path):
    # PROTO 2, the global dnnlib.tflib.network.Network, STOP
    (tmp_path / "tf.pkl").write_bytes(b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81.")
    with pytest.raises(UserError, match=r"TensorFlow versions of StyleGAN.*legacy\.py"):
        load_snapshot(tmp_path / "tf.pkl")
