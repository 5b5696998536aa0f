"""The grammar of metric names."""

import pytest

import metrics
from dnnlib import UserError
from metrics.measures.metric import format_count, parse_count
from metrics.names import parse_metric


@pytest.mark.parametrize("name", metrics.list_names())
def test_every_listed_name_is_valid(name):
    assert parse_metric(name).name == name


@pytest.mark.parametrize(
    ("name", "kind", "detector", "num_gen", "real_set", "max_real", "k"),
    [
        ("fid50k_full", "fd", "inception", 50_000, "full", None, 0),
        ("fid50k", "fd", "inception", 50_000, "first", 50_000, 0),
        ("fid5k_train", "fd", "inception", 5_000, "train", None, 0),
        ("fid300_train", "fd", "inception", 300, "train", None, 0),
        ("kid50k_full", "kd", "inception", 50_000, "full", 1_000_000, 0),
        ("kid50k", "kd", "inception", 50_000, "first", 50_000, 0),
        ("fid_inf20k_full", "fd_inf", "inception", 20_000, "full", None, 0),
        ("pr50k3_full", "pr", "vgg16", 50_000, "full", 200_000, 3),
        ("pr50k3", "pr", "vgg16", 50_000, "first", 50_000, 3),
        ("pr800_5_train", "pr", "vgg16", 800, "train", 200_000, 5),
        ("dc", "dc", "vgg16", 10_000, "full", 200_000, 5),
        ("dc2k10", "dc", "vgg16", 2_000, "first", 50_000, 10),
        ("is50k", "is", "inception", 50_000, None, None, 0),
        ("fd_dinov2", "fd", "dinov2", 50_000, "full", None, 0),
        ("fd_dinov2_10k_train", "fd", "dinov2", 10_000, "train", None, 0),
        ("fd_inf_dinov2", "fd_inf", "dinov2", 50_000, "full", None, 0),
        ("pr_dinov2", "pr", "dinov2", 50_000, "full", 200_000, 3),
        ("dc_dinov2_2k10_train", "dc", "dinov2", 2_000, "train", 200_000, 10),
        ("swd", "swd", None, 16_384, "first", 50_000, 0),
        ("swd2k", "swd", None, 2_000, "first", 50_000, 0),
        ("swd2k_full", "swd", None, 2_000, "full", None, 0),
    ],
)
def test_parts(name, kind, detector, num_gen, real_set, max_real, k):
    metric = parse_metric(name)
    assert (metric.kind, metric.detector, metric.num_gen) == (kind, detector, num_gen)
    assert (metric.real_set, metric.max_real, getattr(metric, "k", 0)) == (real_set, max_real, k)


@pytest.mark.parametrize(
    ("name", "space", "whole_path", "crop", "num_gen"),
    [
        ("ppl2_wend", "w", False, False, 50_000),
        ("ppl_zfull", "z", True, True, 50_000),
        ("ppl_wfull", "w", True, True, 50_000),
        ("ppl_zend", "z", False, True, 50_000),
        ("ppl_wend", "w", False, True, 50_000),
        ("ppl2_wend_2k", "w", False, False, 2_000),
    ],
)
def test_path_lengths(name, space, whole_path, crop, num_gen):
    spec = parse_metric(name)
    assert (spec.kind, spec.space, spec.whole_path, spec.crop, spec.num_gen) == (
        *("ppl", space, whole_path, crop),
        num_gen,
    )


@pytest.mark.parametrize(
    "name",
    [
        *("", "fid", "fid50k_ful", "fid0k", "FID50k_full", "pr50k", "ppl_w", "swd_2k", "is50k_full", "fid50k_full "),
        *("fd_inception", "fd_inf", "kd_vgg16_5k", "is_dinov2", "fd_nothing_5k"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name):
    with pytest.raises(UserError, match=r"no metric is called .*`metrics`"):
        metrics.check_names([name])


def test_nearest_name_is_the_one_meant():
    with pytest.raises(UserError, match="nearest are fid50k_full"):
        parse_metric("fid50k_ful")


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("fid5k_train", "fd_1a2b3c4d_5k_train"),
        ("fid50k", "fd_1a2b3c4d_50k"),
        ("fid_inf50k_full", "fd_inf_1a2b3c4d_50k_full"),
        ("kid50k_full", "kd_1a2b3c4d_50k_full"),
        ("pr50k3_full", "pr_1a2b3c4d_50k3_full"),
        ("is50k", "is_1a2b3c4d_50k"),
        ("ppl2_wend", "ppl2_wend_50k_1a2b3c4d"),
        ("fd_dinov2", "fd_1a2b3c4d_50k_full"),
    ],
)
def test_a_users_detector_is_in_the_name_and_the_name_is_never_fid(name, renamed):
    spec = parse_metric(name).with_file("1a2b3c4d" + "0" * 56)
    assert spec.name == renamed
    assert "fid" not in spec.name
    assert "kid" not in spec.name


@pytest.mark.parametrize(
    ("name", "count", "renamed"),
    [
        ("fid50k_full", 2_000, "fid2k_full"),
        ("fid50k_full", 2_345, "fid2345_full"),
        ("pr50k3_full", 800, "pr800_3_full"),
        ("fd_dinov2", 2_000, "fd_dinov2_2k_full"),
        ("dc", 900, "dc900_5_full"),
        ("is50k", 300, "is300"),
        ("swd2k", 300, "swd2k"),
        ("copies", 300, "copies300"),
        ("auth_lite2", 1_000, "auth_lite2_1k"),
    ],
)
def test_another_count_is_in_the_name(name, count, renamed):
    spec = parse_metric(name).with_num_gen(count)
    assert spec.name == renamed
    assert parse_metric(renamed).num_gen == spec.num_gen
    assert getattr(parse_metric(renamed), "k", 0) == getattr(spec, "k", 0)


def test_counts_round_trip():
    for count in (1, 300, 1_000, 2_345, 50_000):
        assert parse_count(format_count(count)) == count


def test_direction():
    assert all(metrics.higher_is_better(name) for name in ("pr50k3_full", "is50k", "dc", "pr_1a2b3c4d_1k3"))
    assert all(metrics.higher_is_better(name) for name in ("pr_dinov2", "dc900_5_full_coverage", "is300_mean"))
    assert not any(
        metrics.higher_is_better(n) for n in metrics.list_names() if not n.startswith(("pr", "dc", "is", "auth", "ct"))
    )
