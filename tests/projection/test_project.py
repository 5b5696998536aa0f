import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from projection.noise import regularization, standardize
from projection.optimization import latent_statistics, project, psnr, render
from projection.schedule import Schedule
from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig
from training.snapshot import load_snapshot


def tiny(**options):
    torch.manual_seed(1)
    values = {"img_resolution": 16, "channel_base": 128, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 1}
    return Generator(GeneratorConfig(**{**values, **options})).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def own_images(trained):
    """Typical images of the network itself (psi 0.7), with its constant noise."""
    mean, _ = latent_statistics(trained, torch.zeros(1, 0))
    z = torch.randn(4, trained.z_dim, generator=torch.Generator().manual_seed(5))
    ws = mean[:, None].lerp(trained.mapping(z), 0.7)
    return trained.synthesis(ws, noise_mode="const")


def test_the_networks_own_images_are_found_again_in_w(trained, own_images):
    result = project(trained, own_images, num_steps=300, distance="pixel")
    assert result.psnr.mean() > 30
    assert result.psnr.min() > 27
    assert (result.ws == result.ws[:, :1]).all()  # one w for all layers


def test_w_plus_and_pivotal_tuning_come_closer_to_photographs(trained, photographs):
    targets = photographs[80:84]  # not among the images that the network was fitted to
    w = project(trained, targets, num_steps=200, distance="pixel", pti_steps=60)
    w_plus = project(trained, targets, num_steps=200, distance="pixel", space="w+")
    assert (w_plus.distance < w.pivot_distance).all()
    assert (w.distance < w.pivot_distance).all()
    assert (w_plus.psnr > w.pivot_psnr).all()
    assert (w.psnr > w.pivot_psnr).all()
    assert len(w.tuned) == 4
    for i, G in enumerate(w.tuned):
        again = G.synthesis(w.ws[i : i + 1], noise_mode="const")
        torch.testing.assert_close(again[0], w.images[i], atol=1e-4, rtol=0)
    assert not torch.equal(w.tuned[0].synthesis.b16.torgb.weight, w.tuned[1].synthesis.b16.torgb.weight)


def test_several_targets_give_what_each_gives_alone(trained, photographs):
    # Twenty steps: rounding depends on the batch size, and Adam enlarges it from step to step.
    together = project(trained, photographs[70:73], num_steps=20, distance="pixel", space="w+", pti_steps=5)
    alone = project(trained, photographs[71:72], num_steps=20, distance="pixel", space="w+", pti_steps=5)
    torch.testing.assert_close(together.ws[1:2], alone.ws, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together.images[1:2], alone.images, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together.distance[1:2], alone.distance, atol=1e-4, rtol=1e-3)


def test_the_same_twice_and_the_network_unchanged(trained, photographs):
    before = copy.deepcopy(trained.state_dict())
    first = project(trained, photographs[70:72], num_steps=15, distance="pixel", pti_steps=3)
    torch.manual_seed(99)  # other random numbers in between change nothing
    second = project(trained, photographs[70:72], num_steps=15, distance="pixel", pti_steps=3)
    assert torch.equal(first.ws, second.ws)
    assert torch.equal(first.images, second.images)
    assert all(torch.equal(first.noise[name], second.noise[name]) for name in first.noise)
    other = project(trained, photographs[70:72], num_steps=15, distance="pixel", seed=1)
    assert not torch.equal(first.ws, other.ws)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_random_noise_maps_are_drawn_with_the_seed(trained, photographs):
    def noise(**options):
        return project(trained, photographs[70:72], num_steps=1, distance="pixel", **options).noise

    own = dict(trained.synthesis.named_buffers())
    for name, maps in noise().items():
        assert torch.equal(maps, own[name].expand_as(maps))
    random = noise(noise_init="random")
    for name, maps in random.items():
        assert not torch.equal(maps[0], own[name])
        assert torch.equal(maps[0], maps[1])  # so that a target's result does not depend on the others
        assert torch.equal(maps, noise(noise_init="random")[name])
        assert not torch.equal(maps, noise(noise_init="random", seed=1)[name])


def test_the_best_step_is_kept_and_reproduces_its_image(trained, photographs):
    steps = []
    result = project(trained, photographs[70:72], num_steps=30, distance="pixel", progress=steps.append)
    curve = result.curve["distance"]
    assert curve.shape == (30, 2)
    assert np.array_equal(result.best_step.numpy(), curve.argmin(axis=0))
    assert np.array_equal(result.distance.numpy(), curve.min(axis=0))
    images = render(trained, result.ws, {name: noise[:, None] for name, noise in result.noise.items()})
    torch.testing.assert_close(images, result.images, atol=1e-5, rtol=0)
    assert [step.step for step in steps] == list(range(30))
    torch.testing.assert_close(psnr(result.images, photographs[70:72] / 127.5 - 1), result.psnr)


def test_it_can_be_ended_with_the_best_so_far(trained, photographs):
    seen = []

    def progress(step):
        seen.append(step.distance.min().item())
        return step.step == 11

    target = photographs[80:81]
    ended = project(trained, target, num_steps=300, distance="pixel", pti_steps=5, progress=progress)
    assert len(seen) == len(ended.curve["distance"]) == 12
    assert ended.distance.item() == min(seen)
    assert ended.tuned == []


def test_conditional_networks_start_from_the_class():
    G = tiny(c_dim=3)
    labels = torch.eye(3)[[0, 2, 0]]
    means, deviations = latent_statistics(G, labels)
    assert torch.equal(means[0], means[2])
    assert not torch.equal(means[0], means[1])
    assert deviations.shape == (3,)
    targets = torch.zeros(3, 3, 16, 16)
    result = project(G, targets, c=labels, num_steps=2, distance="pixel")
    assert result.ws.shape == (3, G.num_ws, G.w_dim)
    same = project(G, targets[:1], c=labels[0], num_steps=2, distance="pixel")
    torch.testing.assert_close(same.ws, result.ws[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels(channels):
    G = tiny(img_channels=channels)
    result = project(G, torch.full((2, channels, 16, 16), 200, dtype=torch.uint8), num_steps=3, distance="pixel")
    assert result.images.shape == (2, channels, 16, 16)


def test_statistics_of_w():
    G = tiny()
    mean, deviation = latent_statistics(G, torch.zeros(1, 0))
    z = torch.from_numpy(np.random.RandomState(123).randn(10_000, G.z_dim)).float()
    w = G.mapping(z)[:, 0]
    torch.testing.assert_close(mean[0], w.mean(dim=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation[0], (w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt(), atol=1e-4, rtol=0)


def test_schedule_has_the_references_constants():
    schedule = Schedule()
    assert schedule.rate(0.0) == 0
    assert schedule.rate(0.025) == pytest.approx(0.05)
    assert schedule.rate(0.05) == schedule.rate(0.75) == pytest.approx(0.1)
    assert schedule.rate(0.875) == pytest.approx(0.05)
    assert schedule.rate(1.0) == pytest.approx(0.0)
    assert schedule.latent_noise(0.0, 10.0) == pytest.approx(0.5)
    assert schedule.latent_noise(0.375, 10.0) == pytest.approx(0.125)
    assert schedule.latent_noise(0.75, 10.0) == schedule.latent_noise(0.9, 10.0) == 0


def test_noise_regularisation_against_its_definition():
    noise = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    expected = torch.zeros(2, dtype=torch.float64)
    for level in (noise, noise.reshape(2, 1, 8, 2, 8, 2).mean(dim=(3, 5))):
        for i in range(2):
            n = level[i, 0]
            expected[i] += (n * torch.cat([n[:, -1:], n[:, :-1]], dim=1)).mean() ** 2
            expected[i] += (n * torch.cat([n[-1:], n[:-1]], dim=0)).mean() ** 2
    torch.testing.assert_close(regularization([noise]), expected)
    stripes = torch.ones(1, 1, 8, 8).cumsum(3).remainder(2) * 2 - 1
    assert regularization([stripes]) == pytest.approx(2.0)


def test_standardised_noise():
    noise = torch.randn(3, 1, 8, 8) * 5 + 2
    standardize([noise])
    torch.testing.assert_close(noise.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(3))


def test_mistakes_are_named():
    G = tiny(c_dim=2)
    good = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"targets must be \[N, 3, 16, 16\]"):
        project(G, torch.zeros(1, 3, 8, 8), distance="pixel")
    with pytest.raises(ValueError, match="the generator is conditional"):
        project(G, good, distance="pixel")
    with pytest.raises(ValueError, match="space is 'z'"):
        project(G, good, c=torch.eye(2)[0], space="z", distance="pixel")
    with pytest.raises(ValueError, match="noise_init is 'zero'"):
        project(G, good, c=torch.eye(2)[0], noise_init="zero", distance="pixel")


@pytest.mark.slow
def test_the_same_on_the_network_of_the_demo_preset(tmp_path):
    """What the default tests measure on a network fitted in seconds, on one trained as users do (five minutes)."""
    pytest.importorskip("skimage", reason="the built-in faces need scikit-image")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "train.py", "--preset=demo", "--metrics=none", f"--run-dir={tmp_path / 'run'}"]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    G = load_snapshot(sorted((tmp_path / "run").glob("network-snapshot-*.safetensors"))[-1]).generator

    z = torch.randn(4, G.z_dim, generator=torch.Generator().manual_seed(5))
    own = G(z, truncation_psi=0.7, noise_mode="const")
    found = project(G, own, num_steps=300, distance="pixel")
    assert found.psnr.mean() > 30

    photographs = ImageDataset(None).images([80, 81, 82, 83])
    w = project(G, photographs, num_steps=300, distance="pixel", pti_steps=100)
    w_plus = project(G, photographs, num_steps=300, distance="pixel", space="w+")
    print(f"own {found.psnr}, W {w.pivot_psnr}, W+ {w_plus.psnr}, tuned {w.psnr}")
    assert (w_plus.distance < w.pivot_distance).all()
    assert (w.distance < w.pivot_distance).all()


def test_oblong_targets():
    G = tiny(base_size=(4, 6))
    targets = torch.randint(0, 256, (1, 3, 16, 24), dtype=torch.uint8)
    result = project(G, targets, num_steps=2, pti_steps=1, distance="pixel")
    assert result.images.shape == (1, 3, 16, 24)
    with pytest.raises(ValueError, match="targets must be"):
        project(G, targets.transpose(2, 3), num_steps=1, distance="pixel")


def test_the_names_of_the_package_are_those_of_its_modules():
    import projection
    from projection import distance, optimization

    assert projection.project is optimization.project
    assert projection.load_distance is distance.load_distance
    assert projection.ProjectionResult is optimization.ProjectionResult
    with pytest.raises(AttributeError, match="nothing"):
        _ = projection.nothing
