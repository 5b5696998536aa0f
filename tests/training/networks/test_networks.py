"""The two networks on each device: shapes, labels, truncation, noise, minibatch std, frozen layers, derivatives."""

import copy
import json

import pytest
import torch

from dnnlib import UserError
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig, set_precision
from training.networks.config import nominal_resolution
from training.networks.discriminator import MinibatchStdLayer
from training.networks.layers import FullyConnectedLayer


def make_G(resolution=16, device=None, **options):
    """Drawn on the processor, so that every device has the same weights; None leaves them where torch puts them."""
    torch.manual_seed(0)
    sizes = {"z_dim": 16, "w_dim": 24, "mapping_layers": 2, "channel_base": 256, "channel_max": 8}
    return Generator(GeneratorConfig(img_resolution=resolution, **(sizes | options))).to(device)


def make_D(resolution=16, device=None, **options):
    torch.manual_seed(1)
    sizes = {"channel_base": 256, "channel_max": 8}
    return Discriminator(DiscriminatorConfig(img_resolution=resolution, **(sizes | options))).to(device)


def with_noise(G):
    """Noise starts with strength 0; make it visible."""
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
    return G


@torch.no_grad()
@pytest.mark.parametrize(
    ("resolution", "channels"),
    [
        (4, 3),
        (8, 3),
        *((r, c) for r in (16, 32) for c in (1, 2, 3, 4)),
        (64, 4),
        (128, 1),
        (256, 3),
        (512, 1),
        (1024, 3),
    ],
)
def test_every_size_and_number_of_channels(device, resolution, channels):
    G = make_G(resolution, device, img_channels=channels)
    img = G(torch.randn(2, 16).to(device), None)
    assert img.device == device
    assert img.shape == (2, channels, resolution, resolution)
    assert img.dtype == torch.float32
    assert img.isfinite().all()
    assert img.std() > 0
    if resolution >= 8:
        logits = make_D(resolution, device, img_channels=channels)(img, None)
        assert logits.shape == (2, 1)
        assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", ["resnet", "orig", "skip"])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_every_parameter_of_both_networks_takes_part(device, architecture, c_dim):
    G = with_noise(make_G(device=device, c_dim=c_dim))
    D = make_D(device=device, architecture=architecture, c_dim=c_dim)
    c = (torch.eye(3)[[0, 1, 2, 0]] if c_dim else torch.zeros(4, 0)).to(device)
    D(G(torch.randn(4, 16).to(device), c), c).square().sum().backward()
    for network in (G, D):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_layers_of_the_architectures():
    names = {a: set(dict(make_D(architecture=a).b8.named_children())) for a in ("resnet", "orig", "skip")}
    assert names == {
        "resnet": {"conv0", "conv1", "skip"},
        "orig": {"conv0", "conv1"},
        "skip": {"fromrgb", "conv0", "conv1"},
    }


@torch.no_grad()
def test_the_label_matters_to_both_networks(device):
    G, D = make_G(device=device, c_dim=3), make_D(device=device, c_dim=3)
    z, (first, second) = torch.randn(2, 16).to(device), torch.eye(3).to(device)[:2].unsqueeze(1).expand(2, 2, 3)
    img = G(z, first)
    assert not torch.allclose(img, G(z, second))
    assert not torch.allclose(D(img, first), D(img, second))


@torch.no_grad()
@pytest.mark.parametrize("c", [None, torch.zeros(2, 0), torch.zeros(2, 4)])
def test_a_missing_or_wrong_label_is_refused(c):
    with pytest.raises(ValueError, match=r"needs labels \[N, 3\]"):
        make_G(c_dim=3)(torch.randn(2, 16), c)
    with pytest.raises(ValueError, match=r"needs labels \[N, 3\]"):
        make_D(c_dim=3)(torch.randn(2, 3, 16, 16), c)


def test_wrong_shapes_and_modes_are_refused():
    G = make_G()
    with pytest.raises(ValueError, match=r"ws must be \[N, 6, 24\]"):
        G.synthesis(torch.randn(2, 5, 24))
    with pytest.raises(ValueError, match="noise_mode is 'fixed'"):
        G.synthesis(torch.randn(2, 6, 24), noise_mode="fixed")
    with pytest.raises(ValueError, match="images must be"):
        make_D()(torch.randn(2, 3, 32, 32))


@torch.no_grad()
def test_truncation_moves_the_first_latents_towards_the_mean(device):
    G = make_G(device=device)
    G.mapping.w_avg.normal_()
    z = torch.randn(3, 16).to(device)
    ws, mean = G.mapping(z), G.mapping.w_avg
    assert torch.equal(G.mapping(z, truncation_psi=1, truncation_cutoff=2), ws)
    torch.testing.assert_close(G.mapping(z, truncation_psi=0), mean.expand_as(ws))
    half = G.mapping(z, truncation_psi=0.5, truncation_cutoff=2)
    torch.testing.assert_close(half[:, :2], (ws[:, :2] + mean) / 2)
    torch.testing.assert_close(half[:, 2:], ws[:, 2:])


@torch.no_grad()
def test_the_mapping_ignores_the_length_of_z(device):
    mapping, z = make_G(device=device).mapping, torch.randn(3, 16).to(device)
    torch.testing.assert_close(mapping(z), mapping(z * 100))


@torch.no_grad()
def test_noise_modes(device, same):
    G = with_noise(make_G(device=device))
    ws = G.mapping(torch.randn(2, 16).to(device))
    images = {mode: [G.synthesis(ws, noise_mode=mode) for _ in range(2)] for mode in ("random", "const", "none")}
    assert same(*images["const"])
    assert same(*images["none"])
    assert not torch.allclose(*images["random"])
    assert not torch.allclose(images["const"][0], images["none"][0])
    torch.manual_seed(7)
    first = G.synthesis(ws, noise_mode="random")
    torch.manual_seed(7)
    assert same(first, G.synthesis(ws, noise_mode="random"))


@torch.no_grad()
def test_random_noise_differs_between_images(device):
    G = with_noise(make_G(device=device))
    one, other = G.synthesis(G.mapping(torch.randn(1, 16).to(device)).expand(2, -1, -1), noise_mode="random")
    assert not torch.allclose(one, other)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(device):
    G, D = make_G(device=device).eval(), make_D(device=device, mbstd_group_size=1).eval()
    z = torch.randn(3, 16).to(device)
    img = G(z, None, noise_mode="const")
    # On a GPU a single image is made with modulated weights, and convolved by another algorithm.
    tolerance = {} if device.type == "cpu" else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(G(z[1:2], None, noise_mode="const"), img[1:2], **tolerance)
    torch.testing.assert_close(D(img[1:2], None), D(img, None)[1:2], **tolerance)


@torch.no_grad()
@pytest.mark.parametrize(("batch", "group", "used"), [(8, 4, 4), (4, 8, 4), (6, 4, 3), (5, 4, 1), (1, 4, 1)])
@pytest.mark.parametrize("channels", [1, 2])
def test_minibatch_std_against_loops(device, batch, group, used, channels):
    x = torch.randn(batch, 6, 3, 3, dtype=torch.float64)
    found = MinibatchStdLayer(group, channels)(x.to(device)).cpu()
    assert found.shape == (batch, 6 + channels, 3, 3)
    assert torch.equal(found[:, :6], x)
    groups = batch // used
    for n in range(batch):
        members = [m for m in range(batch) if m % groups == n % groups]
        assert len(members) == used
        for f in range(channels):
            maps = range(f * 6 // channels, (f + 1) * 6 // channels)
            stds = [
                (x[members, c, i, j].var(unbiased=False) + 1e-8).sqrt()
                for c in maps
                for i in range(3)
                for j in range(3)
            ]
            expected = torch.stack(stds).mean().expand(3, 3)
            torch.testing.assert_close(found[n, 6 + f], expected)


@pytest.mark.parametrize("frozen", [0, 1, 4, 5, 7, 100])
def test_frozen_layers_are_constant_and_keep_their_names(device, frozen):
    order = ["b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0", "b8.conv1", "b8.skip"]
    free, D = make_D(device=device), make_D(device=device, freeze_layers=frozen)
    assert set(D.state_dict()) == set(free.state_dict())
    D.load_state_dict(free.state_dict())
    D.requires_grad_(True)
    expected = {n for n, _ in free.named_parameters() if n.rsplit(".", 1)[0] not in order[:frozen]}
    assert {n for n, _ in D.named_parameters()} == expected
    img = torch.randn(2, 3, 16, 16).to(device)
    torch.testing.assert_close(D(img, None), free(img, None))


def test_frozen_layers_of_the_skip_architecture():
    D = make_D(architecture="skip", freeze_layers=4)
    frozen = {n.rsplit(".", 1)[0] for n, _ in make_D(architecture="skip").named_parameters()} - {
        n.rsplit(".", 1)[0] for n, _ in D.named_parameters()
    }
    assert frozen == {"b16.fromrgb", "b16.conv0", "b16.conv1", "b8.fromrgb"}


def test_learning_rate_multiplier_leaves_the_function_alone(device):
    torch.manual_seed(0)
    plain = FullyConnectedLayer(8, 5, activation="lrelu").to(device)
    torch.manual_seed(0)
    slow = FullyConnectedLayer(8, 5, activation="lrelu", lr_multiplier=0.01).to(device)
    x = torch.randn(4, 8).to(device)
    torch.testing.assert_close(slow(x), plain(x))
    slow(x).sum().backward()
    plain(x).sum().backward()
    torch.testing.assert_close(slow.weight.grad, plain.weight.grad * 0.01)


@torch.no_grad()
def test_activations_keep_their_scale_at_initialisation(device):
    """Equalized learning rate: no layer of the initial networks blows up or dies (widths of the real ones)."""
    torch.manual_seed(0)
    G = Generator(GeneratorConfig(img_resolution=16, mapping_layers=8, channel_base=2048, channel_max=128))
    G.to(device)
    assert 0.3 < G.mapping(torch.randn(64, 512).to(device)).std() < 3
    deviations = []
    for module in G.synthesis.modules():
        if type(module).__name__ == "SynthesisLayer":
            module.register_forward_hook(lambda _, __, y: deviations.append(float(y.std())))
    G(torch.randn(8, 512).to(device))
    assert len(deviations) == 5
    assert all(0.3 < deviation < 3 for deviation in deviations)


@pytest.mark.parametrize("architecture", ["resnet", "orig", "skip"])
def test_r1_gradient_against_finite_differences(device, architecture):
    """In float64 and with small steps: the penalty jumps where a leaky ReLU changes its side."""
    D = make_D(8, device, architecture=architecture).double()
    set_precision(D, torch.float64, 2)
    img = torch.randn(4, 3, 8, 8).to(device, torch.float64)

    def penalty():
        real = img.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(D(real, None).sum(), real, create_graph=True)
        return gradient.square().sum()

    def penalty_at(parameter, step):
        parameter.data += step
        value = float(penalty().detach())
        parameter.data -= step
        return value

    penalty().backward()
    for parameter in (D.b8.conv0.weight, D.b4.conv.weight, D.b4.fc.weight, D.b4.out.weight):
        step = 1e-6 * torch.randn_like(parameter)
        slope = float((parameter.grad * step).sum())
        assert penalty_at(parameter, step) - penalty_at(parameter, -step) == pytest.approx(2 * slope, rel=1e-4)


def test_path_length_gradient_reaches_all_styles(device):
    G = make_G(device=device)
    ws = G.mapping(torch.randn(2, 16).to(device))
    img = G.synthesis(ws, noise_mode="const")
    (gradient,) = torch.autograd.grad((img * torch.randn_like(img)).sum(), ws, create_graph=True)
    assert gradient.abs().sum(dim=[0, 2]).all()
    gradient.square().sum(dim=2).mean(dim=1).sqrt().square().mean().backward()
    for name, parameter in G.named_parameters():
        if "affine.weight" in name or name.endswith("conv1.weight"):
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()


def test_copies_are_independent_and_equal(device, same):
    G = make_G(device=device)
    ema = copy.deepcopy(G)
    z = torch.randn(2, 16).to(device)
    assert same(G(z, None, noise_mode="const"), ema(z, None, noise_mode="const"))
    with torch.no_grad():
        G.mapping.fc0.weight.mul_(2)
    assert not torch.equal(G.mapping.fc0.weight, ema.mapping.fc0.weight)


def test_no_value_crosses_between_host_and_device(no_host_copies):
    """On the meta device every tensor is without values, so any read of one raises as well."""
    c = torch.zeros(4, 3, device="meta")
    for resolution in (16, 128):
        with torch.device("meta"):
            G, D = make_G(resolution, c_dim=3), make_D(resolution, c_dim=3)
            z = torch.randn(4, 16)
        with no_host_copies:
            ws = G.mapping(z, c, truncation_psi=0.5, truncation_cutoff=3)
            for fused in (False, True):
                img = G.synthesis(ws, noise_mode="random", fused_modconv=fused)
            logits = D(img, c)
            (gradient,) = torch.autograd.grad(logits.sum(), img, create_graph=True)
            gradient.square().sum().backward()
        assert D.b4.fc.weight.grad.is_meta


# Images that are not square


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (256, 256, (256, (4, 4))),
        (8, 8, (8, (4, 4))),
        (256, 384, (256, (4, 6))),
        (384, 256, (256, (6, 4))),
        (64, 48, (64, (4, 3))),
        (96, 96, (128, (3, 3))),
        (32, 48, (32, (4, 6))),
        (20, 28, (16, (5, 7))),
        (64, 256, None),
        (100, 64, None),
        (9, 9, None),
    ],
)
def test_sizes_that_networks_can_have(height, width, expected):
    assert nominal_resolution(height, width) == expected
    if expected is not None:
        resolution, base_size = expected
        assert GeneratorConfig(img_resolution=resolution, base_size=base_size).img_size == (height, width)


@pytest.mark.parametrize("base_size", [(4, 6), (3, 2), (7, 5)])
@pytest.mark.parametrize("architecture", ["resnet", "skip"])
def test_oblong_networks(device, base_size, architecture):
    G = make_G(16, device, base_size=base_size)
    D = make_D(16, device, base_size=base_size, architecture=architecture)
    image = G(torch.randn(2, 16).to(device), None)
    assert image.shape == (2, 3, base_size[0] * 4, base_size[1] * 4)
    logits = D(image, None)
    assert logits.shape == (2, 1)
    (gradient,) = torch.autograd.grad(logits.sum(), [image], create_graph=True)
    gradient.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in D.parameters())
    for config in (G.config, D.config):
        assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="images must be"):
        D(image.transpose(2, 3), None)


def test_a_square_network_says_nothing_of_its_shape():
    assert "base_size" not in GeneratorConfig(img_resolution=16).to_dict()


@pytest.mark.parametrize("base_size", [(1, 4), (4, 8), (4,), "44", (4.0, 4), [4, 4, 4]])
def test_impossible_shapes_are_refused(base_size):
    with pytest.raises(UserError, match="base_size"):
        GeneratorConfig.from_dict({"img_resolution": 16, "base_size": base_size})
