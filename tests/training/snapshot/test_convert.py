"""Conversion between file formats.

The forward passes below follow rosinality's layout with torch functions only (transposed convolution and blur, as that
program computes them), so that equal pictures mean that the converted weights are right and not merely renamed.
"""

import argparse
import contextlib
import copy
import math
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

import training.snapshot.export_onnx
from dnnlib import UserError
from training.convert import main
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.snapshot import Snapshot, load_snapshot, save_snapshot
from training.snapshot.convert import load_rosinality, save_rosinality
from training.snapshot.export_onnx import export_onnx, runtime_opset

SIZES = {"img_resolution": 16, "channel_base": 128, "channel_max": 16}


def randomised(network):
    """Every tensor that training moves gets a value that would show if it were lost."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith(("bias", "noise_strength", "w_avg")):
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    G = Generator(GeneratorConfig(**SIZES, z_dim=12, w_dim=20, mapping_layers=3, conv_clamp=None))
    D = Discriminator(DiscriminatorConfig(**SIZES, conv_clamp=None))
    G, D, G_ema = randomised(G), randomised(D), randomised(Generator(G.config))
    G.mapping.w_avg.copy_(G_ema.mapping.w_avg)
    return Snapshot(G, D, G_ema, {"class_names": None})


# -------- The arithmetic of rosinality's layout


def dense(state, name, x, multiplier=1.0):
    weight = state[f"{name}.weight"]
    return F.linear(x, weight * (multiplier / math.sqrt(weight.shape[1])), state[f"{name}.bias"] * multiplier)


def activated(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def blurred(x, kernel, pad):
    kernel = kernel.flip([0, 1])[None, None].expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, [pad[0], pad[1], pad[0], pad[1]]), kernel, groups=x.shape[1])


def styled(state, name, x, w, noise=None, up=False, demodulate=True):
    weight = state[f"{name}.conv.weight"]  # [1, out, in, k, k]
    n, c = x.shape[:2]
    styles = dense(state, f"{name}.conv.modulation", w).reshape(n, 1, c, 1, 1)
    weight = weight * styles / math.sqrt(c * weight.shape[-1] ** 2)
    if demodulate:
        weight = weight * (weight.square().sum([2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    pictures = []
    for image, kernel in zip(x.split(1), weight, strict=True):
        if up:
            y = F.conv_transpose2d(image, kernel.transpose(0, 1), stride=2)
            pictures.append(blurred(y, state[f"{name}.conv.blur.kernel"], (1, 1)))
        else:
            pictures.append(F.conv2d(image, kernel, padding=kernel.shape[-1] // 2))
    y = torch.cat(pictures)
    if noise is None:
        return y + state[f"{name}.bias"]
    return activated(y + state[f"{name}.noise.weight"] * noise + state[f"{name}.activate.bias"].reshape(1, -1, 1, 1))


def upsampled(x, kernel):
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, 2 * h, 2 * w)
    spread[:, :, ::2, ::2] = x
    return blurred(spread, kernel, (2, 1))


def generate(state, z):
    w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    for index in range(1, 4):
        w = activated(dense(state, f"style.{index}", w, multiplier=0.01))
    x = state["input.input"].expand(len(z), -1, -1, -1)
    x = styled(state, "conv1", x, w, noise=state["noises.noise_0"])
    image = styled(state, "to_rgb1", x, w, demodulate=False)
    for index in range(2):
        x = styled(state, f"convs.{2 * index}", x, w, noise=state[f"noises.noise_{2 * index + 1}"], up=True)
        x = styled(state, f"convs.{2 * index + 1}", x, w, noise=state[f"noises.noise_{2 * index + 2}"])
        image = upsampled(image, state[f"to_rgbs.{index}.upsample.kernel"])
        image = image + styled(state, f"to_rgbs.{index}", x, w, demodulate=False)
    return image


def convolved(x, weight, **options):
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)


def discriminate(state, x):
    x = activated(convolved(x, state["convs.0.0.weight"]) + state["convs.0.1.bias"].reshape(1, -1, 1, 1))
    for index in (1, 2):
        name = f"convs.{index}"
        skip = blurred(x, state[f"{name}.skip.0.kernel"], (1, 1))
        skip = convolved(skip, state[f"{name}.skip.1.weight"], stride=2)
        x = convolved(x, state[f"{name}.conv1.0.weight"], padding=1)
        x = activated(x + state[f"{name}.conv1.1.bias"].reshape(1, -1, 1, 1))
        x = blurred(x, state[f"{name}.conv2.0.kernel"], (2, 2))
        x = convolved(x, state[f"{name}.conv2.1.weight"], stride=2)
        x = (activated(x + state[f"{name}.conv2.2.bias"].reshape(1, -1, 1, 1)) + skip) / math.sqrt(2)
    deviation = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()  # one group of four
    x = torch.cat([x, deviation.expand(len(x), 1, 4, 4)], 1)
    x = activated(
        convolved(x, state["final_conv.0.weight"], padding=1) + state["final_conv.1.bias"].reshape(1, -1, 1, 1)
    )
    x = activated(dense(state, "final_linear.0", x.flatten(1)))
    return dense(state, "final_linear.1", x)


# -------- rosinality


def test_converted_weights_compute_the_same(tmp_path, networks):
    save_rosinality(tmp_path / "r.pt", networks)
    checkpoint = torch.load(tmp_path / "r.pt", weights_only=True)
    z = torch.randn(4, 12, generator=torch.Generator().manual_seed(2))
    image = networks.G_ema(z, noise_mode="const")
    assert image.std() > 0.1
    torch.testing.assert_close(generate(checkpoint["g_ema"], z), image, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(discriminate(checkpoint["d"], image), networks.D(image), atol=1e-4, rtol=1e-4)
    assert torch.equal(checkpoint["latent_avg"], networks.G_ema.mapping.w_avg)


def test_round_trips_keep_every_tensor(tmp_path, networks):
    save_rosinality(tmp_path / "a.pt", networks)
    again = load_rosinality(tmp_path / "a.pt")
    for name in ("G", "D", "G_ema"):
        ours, original = getattr(again, name), getattr(networks, name)
        assert ours.config == original.config
        assert not ours.training
        for key, tensor in original.state_dict().items():
            assert torch.equal(ours.state_dict()[key], tensor), key
    save_rosinality(tmp_path / "b.pt", again)
    first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pt", "b.pt"))
    assert first.keys() == second.keys() == {"g", "d", "g_ema", "latent_avg"}
    for part in ("g", "d", "g_ema"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])


@pytest.mark.parametrize(("base", "largest"), [(4096, 16), (512, 64), (64, 64)])
def test_channel_rules_are_found(tmp_path, base, largest):
    config = GeneratorConfig(
        img_resolution=32, channel_base=base, channel_max=largest, z_dim=4, w_dim=4, mapping_layers=1, conv_clamp=None
    )
    save_rosinality(tmp_path / "a.pt", Snapshot(None, None, Generator(config)))
    found = load_rosinality(tmp_path / "a.pt").G_ema.config
    assert [found.channels(r) for r in (4, 8, 16, 32)] == [config.channels(r) for r in (4, 8, 16, 32)]


def test_training_checkpoints_with_optimizers_and_arguments(tmp_path, networks):
    save_rosinality(tmp_path / "a.pt", networks)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    content |= {"args": argparse.Namespace(size=16), "ada_aug_p": 0.0, "g_optim": {"state": {}, "param_groups": [{}]}}
    del content["latent_avg"], content["d"]
    torch.save(content, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    loaded = load_rosinality(tmp_path / "b.pt")
    assert loaded.D is None
    assert loaded.metadata["w_avg_of"] == 4096


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["g_ema"].pop("conv1.noise.weight"), "conv1.noise.weight is missing"),
        (lambda c: c["g_ema"].update(x=torch.zeros(1)), "x is unknown"),
        (lambda c: c["g_ema"]["to_rgbs.0.upsample.kernel"].mul_(2), r"another filter than \[1, 3, 3, 1\]"),
        (lambda c: c["g_ema"].update({"style.1.bias": torch.zeros(3)}), r"style.1.bias is \[3\] instead of \[\d+\]"),
        (lambda c: c["g_ema"].update({"convs.0.activate.bias": torch.zeros(17)}), "feature maps .* follow no rule"),
        (lambda c: c["g_ema"].pop("input.input"), "input.input is missing"),
        (lambda c: c["d"].pop("final_linear.1.bias"), "final_linear.1.bias is missing"),
        (lambda c: c.update(latent_avg="no"), "'latent_avg' that is no tensor"),
        (lambda c: (c.clear(), c.update(model={})), "has no states 'g', 'd' or 'g_ema'"),
    ],
)
def test_other_checkpoints_end_in_one_line(tmp_path, networks, change, message):
    save_rosinality(tmp_path / "a.pt", networks)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=message) as caught:
        load_rosinality(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_checkpoints_with_code_execute_nothing(tmp_path):
    canary = tmp_path / "canary"
    torch.save({"g_ema": {"x": Hostile(canary)}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="cannot be read as a file of tensors") as caught:
        load_rosinality(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GeneratorConfig(**SIZES, c_dim=2, z_dim=4, w_dim=4), "no conditional networks"),
        (GeneratorConfig(**SIZES, img_channels=1, z_dim=4, w_dim=4), "RGB networks only; this one has 1 channels"),
        (DiscriminatorConfig(**SIZES, architecture="orig"), "residual discriminators"),
    ],
)
def test_networks_that_the_layout_cannot_hold(tmp_path, config, message):
    is_D = isinstance(config, DiscriminatorConfig)
    snapshot = Snapshot(None, Discriminator(config), None) if is_D else Snapshot(None, None, Generator(config))
    with pytest.raises(UserError, match=message):
        save_rosinality(tmp_path / "a.pt", snapshot)
    assert not list(tmp_path.iterdir())


# -------- ONNX


def run_onnx(path, **inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["image"], {name: value.numpy() for name, value in inputs.items()})[0]


def test_onnx_equals_pytorch_for_any_batch(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    sizes = {**SIZES, "img_resolution": 8}
    config = GeneratorConfig(**sizes, c_dim=2, img_channels=4, z_dim=12, w_dim=20, mapping_layers=2)
    G = randomised(Generator(config))
    difference = export_onnx(G, tmp_path / "g.onnx", truncation_psi=0.5, truncation_cutoff=3)
    assert difference < 1e-3
    for batch in (1, 2, 5):
        z, c = torch.randn(batch, 12), torch.eye(2)[torch.arange(batch) % 2]
        expected = G(z, c, truncation_psi=0.5, truncation_cutoff=3, noise_mode="const")
        assert expected.std() > 0.1
        np.testing.assert_allclose(run_onnx(tmp_path / "g.onnx", z=z, c=c), expected, atol=1e-3)
    assert onnx.load(tmp_path / "g.onnx").opset_import[0].version == runtime_opset()


def test_onnx_that_differs_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    smallest = Generator(GeneratorConfig(img_resolution=4, channel_max=4, z_dim=4, w_dim=4, mapping_layers=1))
    monkeypatch.setattr(training.snapshot.export_onnx, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="was not written: ONNX differs from PyTorch by"):
        export_onnx(smallest.eval(), tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages(tmp_path, networks, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        export_onnx(networks.G_ema, tmp_path / "g.onnx")


# -------- Command line


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_command_line(tmp_path, networks):
    parts = {"G": networks.G, "D": networks.D, "G_ema": networks.G_ema}
    first = tmp_path / "a.safetensors"
    save_snapshot(first, **parts, metadata={"cur_nimg": 5})
    for source, destination in [
        ("a.safetensors", "b.safetensors"),
        ("a.safetensors", "c.pt"),
        ("c.pt", "d.safetensors"),
    ]:
        result = run(tmp_path / source, tmp_path / destination)
        assert result.exit_code == 0, result.output
        assert f"wrote {tmp_path / destination}" in result.output
    assert (tmp_path / "b.safetensors").read_bytes() == first.read_bytes()
    back = load_snapshot(tmp_path / "d.safetensors")
    assert back.metadata == {"class_names": None, "imported_from": "rosinality/stylegan2-pytorch"}
    assert torch.equal(back.G.synthesis.b16.conv0.weight, networks.G.synthesis.b16.conv0.weight)

    assert run("--ema-only", first, tmp_path / "e.safetensors").exit_code == 0
    only = load_snapshot(tmp_path / "e.safetensors")
    assert (only.G, only.D) == (None, None)


def test_command_line_on_official_pickles(tmp_path, fixtures_dir):
    result = run(fixtures_dir / "official_layout_res32_cond_gray.pkl", tmp_path / "a.safetensors")
    assert result.exit_code == 0, result.output
    assert load_snapshot(tmp_path / "a.safetensors").G_ema.c_dim == 3
    result = run(tmp_path / "a.safetensors", tmp_path / "a.pt")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: rosinality's layout has no conditional networks")


def test_command_line_errors(tmp_path, networks):
    (tmp_path / "text.pkl").write_text("hello")
    clamped = Generator(GeneratorConfig(**SIZES, z_dim=4, w_dim=4))
    save_snapshot(tmp_path / "a.safetensors", G=None, D=None, G_ema=clamped, metadata={})
    result = run(tmp_path / "a.safetensors", tmp_path / "a.pt")
    assert result.exit_code == 0
    assert "do not clamp activations" in result.stderr
    for source, destination, message in [
        ("a.safetensors", "a.tf", "must end in .safetensors, .pt, .onnx"),
        ("text.pkl", "b.safetensors", "neither a safetensors snapshot nor an official"),
        ("absent.pkl", "b.safetensors", "there is no network file"),
    ]:
        result = run(tmp_path / source, tmp_path / destination)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert not (tmp_path / destination).exists()


def test_a_checkpoint_without_a_mean_gets_one(tmp_path, networks):
    G = copy.deepcopy(networks.G_ema)
    G.mapping.fc2.bias.add_(50)  # far from 0, as a trained mapping's mean can be
    save_rosinality(tmp_path / "a.pt", Snapshot(None, None, G))
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    del content["latent_avg"]
    torch.save(content, tmp_path / "b.pt")
    found = load_rosinality(tmp_path / "b.pt").generator.mapping.w_avg
    z = torch.randn(4096, G.z_dim, generator=torch.Generator().manual_seed(3))
    mean = G.mapping(z)[:, 0].mean(dim=0)
    assert (found - mean).norm() < 0.1 * mean.norm()
    result = CliRunner().invoke(main, [str(tmp_path / "b.pt"), str(tmp_path / "b.safetensors")])
    assert "has no latent_avg; the mean w was computed" in result.stderr


@pytest.mark.parametrize("seed", range(6))
def test_damaged_archives_end_in_one_line(tmp_path, networks, seed):
    save_rosinality(tmp_path / "a.pt", networks)
    data = bytearray((tmp_path / "a.pt").read_bytes())
    random = np.random.RandomState(seed)
    directory = data.rfind(b"PK\x01\x02")  # the list of entries: its sizes, names and methods
    for position in random.randint(directory, len(data) - 22, size=8):
        data[position] = random.randint(256)
    (tmp_path / "b.pt").write_bytes(data[: len(data) - 5 * (seed % 2)])
    with contextlib.suppress(UserError):
        load_rosinality(tmp_path / "b.pt")
    done = CliRunner().invoke(main, [str(tmp_path / "b.pt"), str(tmp_path / "b.safetensors")])
    assert done.exit_code in (0, 2), done.exception


def test_the_command_s_module_has_the_functions():
    """Programs import them from there."""
    from training import convert

    assert convert.save_rosinality is save_rosinality
