import itertools

import numpy as np
import pytest
import scipy.stats

from comparison.findings.statistics import bootstrap_interval, holm, sign_flip_test, smallest_p


@pytest.mark.parametrize("n", [3, 5, 8])
def test_intervals_cover_95_percent(n):
    rng = np.random.default_rng(n)
    trials = 1500 if n < 8 else 500
    samples = rng.normal(2.0, 1.5, size=(trials, n))
    covered = np.mean([low <= 2.0 <= high for low, high in map(bootstrap_interval, samples)])
    # Four standard errors of the simulation, and one percent for the method itself.
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / trials) + 0.01


def test_intervals_of_skewed_values_stay_near_their_level():
    rng = np.random.default_rng(0)
    samples = rng.exponential(1.0, size=(1000, 5))
    covered = np.mean([low <= 1.0 <= high for low, high in map(bootstrap_interval, samples)])
    assert 0.85 < covered < 0.97


def test_intervals_shrink_with_more_seeds_and_match_students_t():
    values = np.random.default_rng(1).normal(size=9)
    low, high = bootstrap_interval(values)
    half = scipy.stats.t.ppf(0.975, 8) * values.std(ddof=1) / 3
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    more = np.tile(values, 10)
    assert np.diff(bootstrap_interval(more)) < (high - low) / 2


def test_interval_needs_two_values_and_is_the_same_every_time():
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([1.0]) is None
    many = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(many) == bootstrap_interval(many)
    assert bootstrap_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


@pytest.mark.parametrize(("n", "level"), [(6, 0.05), (8, 0.05), (20, 0.05), (5, 0.0625)])
def test_permutation_test_keeps_its_level_without_a_difference(n, level):
    rng = np.random.default_rng(n)
    trials = 2000 if n <= 16 else 200
    # A symmetric distribution with heavy tails: what the test assumes, and no more.
    differences = rng.standard_t(2, size=(trials, n))
    rejected = np.mean([sign_flip_test(d) <= level for d in differences])
    assert rejected <= level + 4 * np.sqrt(level * (1 - level) / trials)


def test_permutation_test_finds_a_known_difference():
    rng = np.random.default_rng(4)
    differences = rng.normal(-2.0, 1.0, size=(300, 8))
    assert np.mean([sign_flip_test(d) <= 0.05 for d in differences]) > 0.95


def test_permutation_test_is_exact():
    differences = [3.0, 1.0, -0.5, 2.0]
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=4)]
    assert sign_flip_test(differences) == np.mean(np.array(sums) >= 5.5)
    assert sign_flip_test([]) is None
    assert sign_flip_test([0.0, 0.0]) == 1.0


@pytest.mark.parametrize("n", [1, 3, 5, 10])
def test_smallest_p_is_what_the_clearest_difference_gets(n):
    assert sign_flip_test(np.arange(1, n + 1)) == pytest.approx(smallest_p(n))


def test_sampled_permutations_agree_with_exact_ones():
    differences = np.random.default_rng(5).normal(0.4, 1, size=16)
    exact = sign_flip_test(differences)
    doubled = sign_flip_test(np.append(differences, 1e-9))  # 17 values: sampled
    assert doubled == pytest.approx(exact, abs=0.015)


def test_non_finite_values_are_refused():
    with pytest.raises(ValueError, match="non-finite"):
        bootstrap_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="non-finite"):
        sign_flip_test([float("inf"), 1.0])


def test_holm_against_a_worked_example():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, None, 0.01]) == [pytest.approx(0.02), None, pytest.approx(0.02)]


def test_holm_keeps_the_family_level():
    rng = np.random.default_rng(6)
    wrong = sum(min(holm(list(p))) <= 0.05 for p in rng.random((4000, 5)))
    assert wrong / 4000 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)
