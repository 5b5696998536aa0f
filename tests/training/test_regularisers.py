"""Pairs, R2, LeCam and APA against naive formulas; DiffAugment has a file of its own."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import rooted
from training.augment import PseudoReals
from training.config.schema import RegularizationOptions
from training.lecam import LeCam
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.objective import Objective, gradient_penalty

N = 4


class Case:
    """Tiny networks, a batch, and an objective over them."""

    def __init__(self, words: str = "ce", replace=None, lecam: LeCam | None = None, c_dim: int = 2, **options) -> None:
        torch.manual_seed(0)
        shared = {"img_resolution": 16, "img_channels": 1, "channel_base": 128, "channel_max": 8, "c_dim": c_dim}
        self.G = Generator(GeneratorConfig(**shared, z_dim=8, w_dim=8, mapping_layers=2))
        self.D = Discriminator(DiscriminatorConfig(**shared, mbstd_group_size=2))
        self.G.requires_grad_(False)
        self.D.requires_grad_(False)
        self.z, self.real = torch.randn(N, 8), torch.randn(N, 1, 16, 16)
        self.c, self.real_c = torch.eye(2)[torch.arange(N) % 2], torch.eye(2)[torch.arange(N) // 2]
        self.reports: dict[str, list[torch.Tensor]] = {}
        self.objective = Objective(
            G=self.G,
            D=self.D,
            augment=lambda images: images,
            adversarial=rooted.parse_adversarial_loss(words),
            options=RegularizationOptions(**{"r1_gamma": 0.0, **options}, style_mixing_prob=0.0),
            report=lambda name, value: self.reports.setdefault(name, []).append(value.detach()),
            observe_signs=lambda signs: None,
            lecam=lecam,
            replace_reals=replace,
        )

    def fakes(self, seed: int = 5) -> torch.Tensor:
        torch.manual_seed(seed)
        return self.G(self.z, self.c, noise_mode="random")

    def gradient(self, phase: str, weight: float = 1.0, seed: int = 5) -> torch.Tensor:
        network = self.G if phase.startswith("G") else self.D
        torch.manual_seed(seed)
        network.requires_grad_(True)
        getattr(self.objective, phase)(weight, z=self.z, c=self.c, real=self.real, real_c=self.real_c)
        return self.flat(network)

    def expected(self, network: torch.nn.Module, loss) -> torch.Tensor:
        network.requires_grad_(True)
        loss().backward()
        return self.flat(network)

    @staticmethod
    def flat(network: torch.nn.Module) -> torch.Tensor:
        parts = [p.grad.flatten().clone() for p in network.parameters() if p.grad is not None]
        network.zero_grad()
        network.requires_grad_(False)
        return torch.cat(parts)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.norm() > 0
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-6)


def test_pairs_in_both_main_phases():
    case = Case("ce:pair")

    def discriminators():
        fakes = case.fakes()
        return F.softplus(-(case.D(case.real, case.real_c) - case.D(fakes, case.c))).mean()

    def generators():
        return F.softplus(-(case.D(case.fakes(), case.c) - case.D(case.real, case.real_c))).mean()

    assert_same(case.gradient("Dmain"), case.expected(case.D, discriminators))
    assert_same(case.gradient("Gmain"), case.expected(case.G, generators))
    assert case.reports["Loss/D/loss"][0].numel() == N


def test_each_player_has_its_own_loss():
    case = Case("rlo:k=2:form=convex:g=ce")

    def convex(nll):
        return 2 * torch.expm1(nll / 2)

    def discriminators():
        fakes = case.fakes()
        return (convex(F.softplus(-case.D(case.real, case.real_c))) + convex(F.softplus(case.D(fakes, case.c)))).mean()

    assert_same(case.gradient("Dmain"), case.expected(case.D, discriminators))
    expected = case.expected(case.G, lambda: F.softplus(-case.D(case.fakes(), case.c)).mean())
    assert_same(case.gradient("Gmain"), expected)


def naive_penalty(D, images, c, gamma):
    """gamma / 2 times the mean squared gradient norm, image by image in groups as the network sees them."""
    images = images.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(D(images, c).sum(), images, create_graph=True)
    return gamma / 2 * sum((gradient[i] ** 2).sum() for i in range(N)) / N


def test_r2_is_r1_on_generated_images():
    case = Case(r2_gamma=3.0)
    fakes = case.fakes().detach()
    expected = case.expected(case.D, lambda: naive_penalty(case.D, fakes, case.c, 3.0))
    assert_same(case.gradient("Dreg"), expected)
    assert "Loss/r1_penalty" not in case.reports
    assert case.reports["Loss/r2_penalty"][0].shape == (N,)

    both = Case(r1_gamma=2.0, r2_gamma=3.0)
    fakes = both.fakes().detach()
    expected = both.expected(
        both.D,
        lambda: naive_penalty(both.D, both.real, both.real_c, 2.0) + naive_penalty(both.D, fakes, both.c, 3.0),
    )
    assert_same(both.gradient("Dreg"), expected)
    total = both.reports["Loss/D/reg"][0]
    torch.testing.assert_close(total, both.reports["Loss/r1_penalty"][0] + 1.5 * both.reports["Loss/r2_penalty"][0])


def test_the_penalty_can_be_differentiated_again():
    case = Case()
    images = torch.randn(2, 1, 16, 16, requires_grad=True)
    penalty = gradient_penalty(images, case.D(images, case.c[:2]))
    assert torch.autograd.grad(penalty.sum(), images)[0].norm() > 0


@pytest.mark.parametrize("words", ["ce", "rlo:k=3", "ce:pair"])
def test_lecam_follows_the_naive_simulation(words):
    weight = 0.05
    lecam = LeCam(weight)
    case, plain = Case(words, lecam=lecam), Case(words)
    anchors = None
    for step in range(3):
        parts = {"real": [], "fake": []}
        for seed in (10 * step, 10 * step + 1):  # two micro-batches see the same anchors

            def penalty(seed=seed, anchors=anchors):
                fakes = case.D(case.fakes(seed), case.c)
                real = case.D(case.real, case.real_c)
                parts["fake"] += fakes.flatten().tolist()
                parts["real"] += real.flatten().tolist()
                if anchors is None:
                    return 0.0 * real.sum()
                above, below = real - anchors["fake"], anchors["real"] - fakes
                return weight * ((above.clamp(min=0) ** 2).mean() + (below.clamp(min=0) ** 2).mean())

            regularisation = case.expected(case.D, penalty)
            found = case.gradient("Dmain", seed=seed) - plain.gradient("Dmain", seed=seed)
            assert (regularisation.norm() > 0) == (anchors is not None)
            torch.testing.assert_close(found, regularisation, rtol=2e-3, atol=1e-6)
        means = {kind: sum(values) / len(values) for kind, values in parts.items()}
        anchors = means if anchors is None else {k: 0.99 * anchors[k] + 0.01 * means[k] for k in means}
        lecam.finish(lambda total: total)
        state = lecam.state_dict()
        assert state["anchors"].tolist() == pytest.approx([anchors["real"], anchors["fake"]], rel=1e-4, abs=1e-6)
        if step == 0:  # an untrained D does not tell the two apart: from here on both penalties are at work
            anchors = {"real": anchors["real"] + 0.3, "fake": anchors["fake"] - 0.3}
            lecam.load_state_dict({"anchors": torch.tensor(list(anchors.values())), "known": state["known"]})


def test_lecams_anchors_ignore_a_step_that_is_not_finite_and_are_those_of_all_processes():
    lecam = LeCam(1.0)
    lecam.real(torch.tensor([1.0, 3.0]))
    lecam.fake(torch.tensor([float("nan")]))
    lecam.finish(lambda total: total)
    assert lecam.state_dict()["known"] == 0

    halves = [LeCam(1.0), LeCam(1.0)]
    for half, values in zip(halves, ([1.0, 2.0], [6.0]), strict=True):
        half.real(torch.tensor(values))
        half.fake(-torch.tensor(values))
    total = sum(half.tensors()[0] for half in halves)
    for half in halves:
        half.finish(lambda _: total.clone())
        assert half.state_dict()["anchors"].tolist() == [3.0, -3.0]
    again = LeCam(1.0)
    again.load_state_dict(halves[0].state_dict())
    torch.testing.assert_close(again.real(torch.tensor([0.0])), torch.tensor([9.0]))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_apa_replaces_a_share_of_the_images_with_their_labels(p):
    pseudo = PseudoReals()
    pseudo.p.fill_(p)
    torch.manual_seed(0)
    n = 4000
    real, fake = torch.zeros(n, 3, 2, 2), torch.ones(n, 3, 2, 2)
    images, labels = pseudo.replace(real, torch.zeros(n, 2), fake, torch.ones(n, 2))
    replaced = images.flatten(1)
    assert torch.equal(replaced[:, 0], labels[:, 0])
    assert bool((replaced == replaced[:, :1]).all())
    assert replaced.mean().item() == pytest.approx(p, abs=0.03)
    assert pseudo(real) is real


def test_apa_in_dmain_and_dreg():
    """With p = 1 every image that is shown as real is a generated one: the next of the micro-batch, or a fresh one."""
    pseudo = PseudoReals()
    pseudo.p.fill_(1.0)
    case = Case(replace=pseudo.replace, r1_gamma=2.0)

    def main():
        fakes = case.fakes()
        as_fake = F.softplus(case.D(fakes, case.c)).mean()
        order = [(i - 1) % N for i in range(N)]
        return as_fake + F.softplus(-case.D(fakes[order], case.c[order])).mean()

    assert_same(case.gradient("Dmain"), case.expected(case.D, main))
    fakes = case.fakes().detach()
    assert_same(case.gradient("Dreg"), case.expected(case.D, lambda: naive_penalty(case.D, fakes, case.c, 2.0)))

    pseudo.p.fill_(0.0)
    plain = Case(r1_gamma=2.0)
    for phase in ("Dmain", "Dreg", "Gmain"):
        assert_same(case.gradient(phase), plain.gradient(phase))


def test_apa_moves_p_in_a_run(tiny):
    session = tiny.train(aug="apa", apa_target=0.0)
    assert session.config.augment_kwargs.mode == "apa"
    assert 0 < float(session.augment.p) < 1


def test_gamma_scale_divides_by_the_square_of_alpha(tiny):
    given = {"loss": "rlo", "k": 2.0, "gamma": 8.0, "r2_gamma": 4.0, "lecam": 1e-3}
    plain, scaled = tiny.config(**given), tiny.config(**given, gamma_scale="alpha")
    assert plain.regularization == plain.loss_kwargs
    used = scaled.regularization
    assert (used.r1_gamma, used.r2_gamma, used.lecam) == pytest.approx((2.0, 1.0, 2.5e-4))
    assert (scaled.loss_kwargs.r1_gamma, scaled.loss_kwargs.gamma_scale) == (8.0, "alpha")
    convex = tiny.config(**{**given, "rlo_form": "convex"}, gamma_scale="alpha").regularization
    assert convex.r1_gamma == pytest.approx(8.0 / (2 / 3) ** 2)
    assert tiny.config(gamma_scale="alpha").regularization == dataclasses.replace(tiny.config().loss_kwargs)


def test_a_run_without_r1_but_with_r2_has_its_phase(tiny):
    session = tiny.open(gamma=0.0, r2_gamma=1.0)
    assert [phase.name for phase in session.phases] == ["Gmain", "Greg", "Dmain", "Dreg"]


@pytest.mark.parametrize(
    ("given", "mode", "p"),
    [
        ({"augpipe": "diffaug"}, "fixed", 1.0),
        ({"augpipe": "diffaug", "aug": "fixed"}, "fixed", 1.0),
        ({"augpipe": "diffaug", "aug": "fixed", "p": 0.4}, "fixed", 0.4),
        ({"augpipe": "diffaug", "aug": "ada"}, "ada", 0.0),
        ({"augpipe": "diffaug", "target": 0.5}, "ada", 0.0),
        ({"aug": "apa"}, "apa", 0.0),
    ],
)
def test_how_augmentation_is_said(tiny, given, mode, p):
    options = tiny.config(**given).augment_kwargs
    assert (options.mode, options.p) == (mode, p)
