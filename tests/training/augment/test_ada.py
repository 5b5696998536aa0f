"""The controller of the augmentation probability: direction, speed, bounds, several processes, exact continuation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment.ada import AdaController


def run(controller, p, shares, batch_size=10):
    """One step for each share of positive logits."""
    for share in shares:
        positive = round(share * batch_size)
        logits = torch.ones(batch_size, 1)
        logits[positive:] = -1
        controller.observe(logits * 3.7)
        controller.step(p, batch_size)
    return p


@pytest.mark.parametrize(("share", "direction"), [(1.0, 1), (0.9, 1), (0.7, -1), (0.0, -1)])
def test_p_moves_towards_the_target(share, direction):
    controller, p = AdaController(target=0.6, kimg=1, interval=4), torch.tensor(0.5)
    run(controller, p, [share] * 3)
    assert float(p) == 0.5
    run(controller, p, [share])
    assert float(p) == pytest.approx(0.5 + direction * 40 / 1000)
    assert float(controller.r_t) == pytest.approx(2 * share - 1)


def test_p_rests_exactly_at_the_target():
    controller, p = AdaController(target=0.5, kimg=1, interval=1), torch.tensor(0.25)
    controller.observe(torch.tensor([1.0, 1.0, 1.0, -1.0]))
    assert controller.step(p, 4)
    assert float(p) == 0.25


def test_it_takes_kimg_thousand_images_from_0_to_1():
    controller, p = AdaController(target=0.6, kimg=0.4, interval=4), torch.tensor(0.0)
    run(controller, p, [1.0] * 39)
    assert float(p) < 1
    run(controller, p, [1.0])
    assert float(p) == pytest.approx(1)


def test_no_wind_up_at_the_bound():
    controller, p = AdaController(target=0.6, p_max=0.8, kimg=1, interval=1), torch.tensor(0.79)
    run(controller, p, [1.0] * 200)
    assert float(p) == pytest.approx(0.8)
    run(controller, p, [0.0])
    assert float(p) == pytest.approx(0.79)
    run(controller, p, [0.0] * 200)
    assert float(p) == 0
    run(controller, p, [1.0])
    assert float(p) == pytest.approx(0.01)


@settings(max_examples=50)
@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    target=st.floats(0, 1),
    p_max=st.floats(0, 1),
    interval=st.integers(1, 5),
)
def test_p_never_leaves_its_range(shares, target, p_max, interval):
    controller, p = AdaController(target, p_max=p_max, kimg=0.05, interval=interval), torch.tensor(0.0)
    for share in shares:
        run(controller, p, [share])
        assert 0 <= float(p) <= p_max + 1e-6
    assert p.dtype == torch.float32


def test_all_logits_since_the_last_change_count():
    controller, p = AdaController(target=0.6, interval=2), torch.tensor(0.5)
    controller.observe(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    controller.observe(torch.tensor([-1.0]))
    controller.step(p, 5)
    controller.observe(torch.tensor([[1.0], [0.0], [-2.0]]))
    controller.step(p, 3)
    assert float(controller.r_t) == pytest.approx(3 / 8)


def test_without_observation_nothing_moves():
    controller, p = AdaController(target=0.6, interval=1), torch.tensor(0.5)
    assert math.isnan(controller.r_t)
    controller.step(p, 8)
    assert float(p) == 0.5
    assert math.isnan(controller.r_t)


def test_several_processes_agree_with_one():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 2, 8, generator=generator)  # [step, process, image]
    single, p_single = AdaController(target=0.1, kimg=1, interval=3), torch.tensor(0.5)
    processes = [AdaController(target=0.1, kimg=1, interval=3) for _ in range(2)]
    p_each = [torch.tensor(0.5) for _ in range(2)]
    for step in logits:
        single.observe(step)
        single.step(p_single, 16)
        totals = sum(share.sign().sum() for share in step), step.numel()
        for controller, p, share in zip(processes, p_each, step, strict=True):
            controller.observe(share)
            controller.step(p, 16, all_reduce=lambda t: t.copy_(torch.tensor([float(totals[0]), float(totals[1])])))
        assert float(p_single) == float(p_each[0]) == float(p_each[1])
        assert [float(c.r_t) for c in processes] == pytest.approx([float(single.r_t)] * 2, nan_ok=True)


@pytest.mark.parametrize("stop", [1, 2, 5, 7])
def test_continues_exactly(stop):
    shares = [0.9, 0.7, 0.85, 1.0, 0.2, 0.9, 0.8, 0.8, 0.9, 0.1, 1.0, 0.8]
    whole, p_whole = AdaController(target=0.6, kimg=1, interval=3), torch.tensor(0.3)
    run(whole, p_whole, shares)
    first, p = AdaController(target=0.6, kimg=1, interval=3), torch.tensor(0.3)
    run(first, p, shares[:stop])
    second = AdaController(target=0.6, kimg=1, interval=3)
    state = first.state_dict()
    run(first, torch.tensor(0.3), [0.5])  # the state is a copy
    second.load_state_dict(state)
    run(second, p, shares[stop:])
    assert torch.equal(p, p_whole)
    assert torch.equal(second.r_t, whole.r_t)


def test_no_value_crosses_between_host_and_device(no_host_copies):
    controller, p = AdaController(target=0.6, interval=1, device="meta"), torch.zeros([], device="meta")
    with no_host_copies:
        controller.observe(torch.zeros(4, 1, device="meta"))
        assert controller.step(p, 4)


@pytest.mark.parametrize("options", [{"kimg": 0}, {"interval": 0}])
def test_impossible_speeds_are_refused(options):
    with pytest.raises(ValueError, match="kimg must be positive and interval at least 1"):
        AdaController(target=0.6, **options)
