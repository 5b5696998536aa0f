"""The networks on each device against numbers of the published ones: outputs, first and second derivatives.

The numbers were computed in float32. Ours are, too, and in float64, where no rounding of ours adds to theirs.
"""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.config.number_format import ALL_RESOLUTIONS
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig, set_precision

TAGS = ["res16_rgb", "res32_cond_gray"]


class Reference:
    """One file of numbers and the networks that its weights are loaded into."""

    def __init__(self, path, device, dtype):
        self.numbers, self.device, self.dtype = np.load(path), device, dtype
        meta = json.loads(bytes(self.numbers["meta_json"]))
        shared = {
            "img_resolution": meta["res"],
            "img_channels": meta["img_channels"],
            "c_dim": meta["c_dim"],
            "channel_base": meta["channel_base"],
            "channel_max": meta["channel_max"],
            "conv_clamp": None,
        }
        self.G = Generator(
            GeneratorConfig(z_dim=meta["z_dim"], w_dim=meta["w_dim"], mapping_layers=meta["mapping_layers"], **shared)
        ).eval()
        self.D = Discriminator(
            DiscriminatorConfig(architecture=meta["architecture"], mbstd_group_size=meta["mbstd_group_size"], **shared)
        ).eval()
        for prefix, network in (("G.", self.G), ("D.", self.D)):
            names = [n for n in self.numbers.files if n.startswith(prefix) and "_grad." not in n]
            network.to(device, dtype).load_state_dict({n.removeprefix(prefix): self[n] for n in names}, strict=True)
            if dtype == torch.float64:
                set_precision(network, dtype, ALL_RESOLUTIONS)
        self.z, self.c = self["z"], self["c"]

    def __getitem__(self, name):
        return torch.from_numpy(self.numbers[name]).to(self.device, self.dtype)

    def assert_gradients(self, prefix, network):
        """Gradients of all parameters against those of the file; one that is absent on either side counts as zero."""
        expected = {n.removeprefix(prefix): self[n] for n in self.numbers.files if n.startswith(prefix)}
        assert expected
        # A gradient that is small for a network is often a difference of large terms, in which both sides round.
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        for name, parameter in network.named_parameters():
            zero = torch.zeros_like(parameter)
            found = zero if parameter.grad is None else parameter.grad
            assert_close(found, expected.get(name, zero), name, largest)


def assert_close(found, expected, name="", largest=0.0):
    """Within 1e-4 relative to the element, with a floor of 1 % of the largest magnitude (or of `largest`).

    Three times that on a GPU, where sums are taken in other orders and convolutions by other algorithms.
    """
    assert found.shape == expected.shape, name
    scale = expected.abs().clamp(min=max(float(expected.detach().abs().max()), largest) * 1e-2) + 1e-12
    assert float(((found - expected).detach().abs() / scale).max()) < (1e-4 if found.device.type == "cpu" else 3e-4), (
        name
    )


@pytest.fixture(params=TAGS)
def tag(request):
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def reference(request, fixtures_dir, device, tag):
    return Reference(fixtures_dir / f"networks_{tag}.npz", device, request.param)


def test_state_dict_has_exactly_the_official_names(reference):
    for prefix, network in (("G.", reference.G), ("D.", reference.D)):
        names = {n.removeprefix(prefix) for n in reference.numbers.files if n.startswith(prefix) and "_grad." not in n}
        assert set(network.state_dict()) == names


@torch.no_grad()
def test_mapping(reference):
    G = reference.G
    assert_close(G.mapping(reference.z, reference.c), reference["ws"])
    truncated = G.mapping(reference.z, reference.c, truncation_psi=0.7, truncation_cutoff=4)
    assert_close(truncated, reference["ws_psi0.7_cutoff4"])


@torch.no_grad()
@pytest.mark.parametrize("fused", [False, True])
def test_synthesis(reference, fused):
    ws = reference["ws"]
    assert_close(reference.G.synthesis(ws, noise_mode="const", fused_modconv=fused), reference["img_const"])
    assert_close(reference.G.synthesis(ws, noise_mode="const", fused_modconv=fused), reference["img_const_nonfused"])
    assert_close(reference.G.synthesis(ws, noise_mode="none", fused_modconv=fused), reference["img_none"])


@torch.no_grad()
def test_generator_in_one_call(reference):
    assert_close(reference.G(reference.z, reference.c, noise_mode="const"), reference["img_const"])


@torch.no_grad()
def test_logits(reference):
    assert_close(reference.D(reference["img_const"], reference.c), reference["logits"])


def test_r1_and_its_parameter_gradients(reference):
    img = reference["img_const"].requires_grad_()
    logits = reference.D(img, reference.c)
    (gradient,) = torch.autograd.grad(logits.sum(), img, create_graph=True)
    penalty = gradient.square().sum(dim=[1, 2, 3])
    assert_close(penalty.detach(), reference["r1_penalty"])
    (penalty / 2).mean().backward()
    reference.assert_gradients("D.r1_grad.", reference.D)


def test_path_lengths_and_their_parameter_gradients(reference):
    ws = reference.G.mapping(reference.z, reference.c)
    img = reference.G.synthesis(ws, noise_mode="const")
    (gradient,) = torch.autograd.grad((img * reference["pl_noise"]).sum(), ws, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    assert_close(lengths.detach(), reference["pl_lengths"])
    lengths.square().mean().backward()
    reference.assert_gradients("G.pl_grad.", reference.G)


def test_generator_loss_gradients(reference):
    img = reference.G(reference.z, reference.c, noise_mode="const")
    F.softplus(-reference.D(img, reference.c)).mean().backward()
    reference.assert_gradients("G.main_grad.", reference.G)
