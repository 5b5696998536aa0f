"""The phases against naive formulas, and the independence of the gradient from how a batch is split."""

import pytest
import torch

import rooted
from training.config.schema import RegularizationOptions
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.objective import Objective, gradient_penalty, mix_styles, path_lengths


def _networks() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    shared = {"img_resolution": 16, "img_channels": 1, "channel_base": 128, "channel_max": 8}
    G = Generator(GeneratorConfig(**shared, z_dim=8, w_dim=8, mapping_layers=2))
    D = Discriminator(DiscriminatorConfig(**shared, mbstd_group_size=2))
    return G, D


def _objective(G, D, reports, **options) -> Objective:
    return Objective(
        G=G,
        D=D,
        augment=lambda images: images,
        adversarial=rooted.adversarial_loss("ce"),
        options=RegularizationOptions(**{"r1_gamma": 10.0, "style_mixing_prob": 0.0, **options}),
        report=lambda name, value: reports.setdefault(name, []).append(value.detach()),
        observe_signs=lambda signs: None,
    )


def test_r1_of_a_linear_critic_is_known():
    weight = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(images, (images * weight).sum(dim=[1, 2, 3]))
    torch.testing.assert_close(penalty, weight.square().sum().expand(5))


def test_path_length_of_a_linear_generator_is_its_expected_value():
    """For images = s * w (one pixel per entry of w), |J^T y| = s |y|, and E|y|^2 = 1 as y ~ N(0, 1/(HW))."""
    torch.manual_seed(1)
    ws = torch.randn(4000, 1, 16, dtype=torch.float64, requires_grad=True)
    lengths = path_lengths(3.0 * ws.reshape(-1, 1, 4, 4), ws)
    assert lengths.square().mean().item() == pytest.approx(9.0, rel=0.03)


def test_style_mixing_takes_the_tail_from_the_other_latent():
    ws, other = torch.zeros(2, 6, 3), torch.ones(2, 6, 3)
    cutoffs = set()
    for seed in range(60):
        torch.manual_seed(seed)
        mixed = mix_styles(ws, other, 1.0)
        profile = mixed[0, :, 0].tolist()
        assert profile == sorted(profile)
        assert torch.equal(mixed[0], mixed[1])
        cutoffs.add(profile.index(1.0))
    assert cutoffs == {1, 2, 3, 4, 5}
    assert torch.equal(mix_styles(ws, other, 0.0), ws)


def test_gradients_of_Gmain_are_those_of_the_formula():
    G, D = _networks()
    reports: dict = {}
    z = torch.randn(4, 8)
    torch.manual_seed(5)
    G.requires_grad_(True)
    _objective(G, D, reports).Gmain(1.0, z=z, c=torch.zeros(4, 0))
    got = {name: p.grad.clone() for name, p in G.named_parameters() if p.grad is not None}
    G.zero_grad()
    torch.manual_seed(5)
    logits = D(G(z, None, noise_mode="random"), None)
    torch.nn.functional.softplus(-logits).mean().backward()
    for name, p in G.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(got[name], p.grad, rtol=1e-4, atol=1e-7)
    assert reports["Loss/G/loss"][0].numel() == 4


def test_path_length_mean_moves_once_per_phase_by_the_mean_over_micro_batches():
    G, D = _networks()
    objective = _objective(G, D, {}, pl_batch_shrink=1)
    G.requires_grad_(True)
    lengths = []
    for seed in range(3):
        torch.manual_seed(seed)
        z = torch.randn(4, 8)
        torch.manual_seed(seed)
        objective.Greg(1.0, z=z, c=torch.zeros(4, 0))
        torch.manual_seed(seed)
        ws = G.mapping(z, None)
        lengths.append(path_lengths(G.synthesis(ws, noise_mode="random"), ws).detach())
    assert objective.pl_mean == 0
    objective.finish_path_lengths(lambda tensor: tensor)
    torch.testing.assert_close(objective.pl_mean, torch.cat(lengths).mean() * 0.01, rtol=1e-5, atol=0)


def test_running_means_ignore_values_that_are_not_finite():
    G, D = _networks()
    objective = _objective(G, D, {})
    before = G.mapping.w_avg.clone()
    for sums in objective.tensors():
        sums.fill_(float("nan"))
    objective.finish_w_avg(lambda tensor: tensor)
    assert torch.equal(G.mapping.w_avg, before)
    objective.finish_path_lengths(lambda tensor: tensor)
    assert objective.pl_mean == 0
