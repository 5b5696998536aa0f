"""Reduced precision on each device: where it applies, how close it stays, and what it leaves in float32."""

import copy

import pytest
import torch

from dnnlib import UserError
from torch_utils.ops.layout import dense_layout
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig, set_precision
from training.networks.precision import Precision, ResolutionBlock, lay_out_narrow_blocks
from training.setup import build_networks

RESOLUTIONS = (4, 8, 16, 32)


@pytest.fixture
def networks(device):
    torch.manual_seed(0)
    sizes = {"img_resolution": 32, "channel_base": 1024, "channel_max": 32, "c_dim": 2}
    G = Generator(GeneratorConfig(z_dim=16, w_dim=32, mapping_layers=2, **sizes))
    D = Discriminator(DiscriminatorConfig(**sizes))
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.2)
    return G.to(device), D.to(device)


def inputs(device):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 16, generator=generator).to(device), torch.eye(2)[[0, 1, 1, 0]].to(device)


def dtypes_of_convolutions(network, call):
    """{resolution: dtype of the feature maps} of all 3x3 layers while `call` runs."""
    seen, handles = {}, []
    for name, module in network.named_modules():
        if name.rsplit(".", 1)[-1] in ("conv", "conv0", "conv1"):
            resolution = int(next(part[1:] for part in name.split(".") if part[0] == "b" and part[1:].isdigit()))
            hook = lambda _, __, y, r=resolution: seen.setdefault(r, set()).add(y.dtype)  # noqa: E731
            handles.append(module.register_forward_hook(hook))
    call()
    for handle in handles:
        handle.remove()
    return {resolution: only(dtypes) for resolution, dtypes in seen.items()}


def only(values):
    (value,) = values
    return value


@torch.no_grad()
@pytest.mark.parametrize("reduced", [0, 1, 2, 4, 10])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_exactly_the_highest_resolutions_are_reduced(networks, device, reduced, dtype):
    G, D = networks
    z, c = inputs(device)
    for network in networks:
        set_precision(network, dtype, reduced, channels_last=True)
    expected = {r: dtype if i < reduced else torch.float32 for i, r in enumerate(reversed(RESOLUTIONS))}
    assert dtypes_of_convolutions(G, lambda: G(z, c)) == expected
    img = G(z, c)
    assert dtypes_of_convolutions(D, lambda: D(img, c)) == expected
    assert img.dtype == D(img, c).dtype == torch.float32
    assert img.is_contiguous()
    assert all(tensor.dtype == torch.float32 for network in networks for tensor in network.state_dict().values())


@torch.no_grad()
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.04), (torch.float16, 0.01)])
def test_outputs_stay_close_to_float32(networks, device, dtype, tolerance, channels_last, fused):
    G, D = networks
    z, c = inputs(device)
    if device.type == "cuda" and dtype == torch.float32:
        tolerance = 1e-4  # another layout means another algorithm, such as Winograd's
    img = G(z, c, noise_mode="const")
    logits = D(img, c)
    for network in networks:
        set_precision(network, dtype, 4, channels_last)
    reduced = G(z, c, noise_mode="const", fused_modconv=fused)
    assert float((reduced - img).square().mean().sqrt()) < tolerance * float(img.std())
    assert float((D(img, c) - logits).abs().max()) < tolerance * float(logits.abs().max())


@pytest.mark.parametrize("reduced", [2, 4])
def test_gradients_of_all_losses_stay_close_to_float32(networks, device, reduced):
    z, c = inputs(device)

    def gradients(G, D):
        ws = G.mapping(z, c)
        img = G.synthesis(ws, noise_mode="const")
        torch.nn.functional.softplus(-D(img, c)).mean().backward(retain_graph=True)
        (slope,) = torch.autograd.grad(img.mean(), ws, create_graph=True)
        slope.square().sum().mul(1e4).backward()
        real = img.detach().requires_grad_()
        (slope,) = torch.autograd.grad(D(real, c).sum(), real, create_graph=True)
        slope.square().sum([1, 2, 3]).mean().backward()
        return [torch.cat([p.grad.flatten() for p in n.parameters()]) for n in (G, D)]

    full = gradients(*copy.deepcopy(networks))
    for network in networks:
        set_precision(network, torch.bfloat16, reduced, channels_last=True)
    for found, expected in zip(gradients(*networks), full, strict=True):
        assert found.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.99


@pytest.mark.parametrize("img_channels", [1, 3])
def test_narrow_blocks_are_channels_last_and_compute_the_same(device, img_channels):
    torch.manual_seed(0)
    sizes = {"img_resolution": 32, "img_channels": img_channels, "channel_base": 1024, "channel_max": 80}
    G = Generator(GeneratorConfig(z_dim=16, w_dim=32, mapping_layers=2, **sizes)).to(device)
    D = Discriminator(DiscriminatorConfig(**sizes)).to(device)
    z, _ = inputs(device)

    def logits_and_gradients():
        logits = D(G(z, noise_mode="none"))
        return logits, *torch.autograd.grad(logits.sum(), [G.synthesis.b32.conv0.weight, D.b32.fromrgb.weight])

    expected = logits_and_gradients()
    wide, narrow = (G.synthesis.b8, D.b8), (G.synthesis.b16, G.synthesis.b32, D.b16, D.b32)
    for network in (G, D):
        lay_out_narrow_blocks(network)
    layouts = {}
    for block in wide + narrow:
        block.conv0.register_forward_hook(lambda _, __, y, block=block: layouts.update({block: dense_layout(y)}))
    for found, value in zip(logits_and_gradients(), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-4)
    assert {block for block in layouts if layouts[block] == torch.channels_last} == set(narrow)


@pytest.mark.parametrize(("nhwc", "expected"), [(None, True), (False, False)])
def test_nhwc_0_leaves_narrow_blocks_contiguous_on_a_cpu(tiny, nhwc, expected):
    G, _, _ = build_networks(tiny.config(precision="fp32", nhwc=nhwc), torch.device("cpu"))
    blocks = [block for block in G.modules() if isinstance(block, ResolutionBlock) and block.resolution >= 8]
    assert {block.precision.memory_format == torch.channels_last for block in blocks} == {expected}


@torch.no_grad()
def test_precision_can_be_set_back(networks, device, same):
    G, _ = networks
    z, c = inputs(device)
    img = G(z, c, noise_mode="const")
    set_precision(G, torch.bfloat16, 4, channels_last=True)
    assert not same(G(z, c, noise_mode="const"), img)
    set_precision(G, torch.float32, 0)
    assert same(G(z, c, noise_mode="const"), img)
    assert {block.precision for block in G.modules() if isinstance(block, ResolutionBlock)} == {Precision()}


@torch.no_grad()
def test_clamping_keeps_float16_finite(device):
    torch.manual_seed(0)
    config = DiscriminatorConfig(img_resolution=16, channel_base=256, channel_max=16, conv_clamp=256.0)
    D = Discriminator(config).to(device)
    for name in ("conv0", "conv1"):
        getattr(D.b16, name).weight.mul_(3e2)
    set_precision(D, torch.float16, 2, channels_last=False)
    largest = []
    for module in (D.b16.conv0, D.b8.conv0):
        module.register_forward_hook(lambda _, __, y: largest.append(float(y.abs().max())))
    assert D(torch.randn(4, 3, 16, 16).to(device), None).isfinite().all()
    assert largest[0] == 256
    assert max(largest) <= 256


@pytest.mark.parametrize(("dtype", "count", "message"), [(torch.int8, 1, "int8"), (torch.bfloat16, -1, "is -1")])
def test_impossible_settings_are_refused(dtype, count, message):
    G = Generator(GeneratorConfig(img_resolution=8, channel_base=64))
    with pytest.raises(UserError, match=message):
        set_precision(G, dtype, count)
