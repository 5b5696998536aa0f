"""The scikit-learn estimator: scikit-learn's own checks, and the limit of large k."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from rooted.sklearn import RootedLogisticRegression


@parametrize_with_checks(
    [
        RootedLogisticRegression(),
        RootedLogisticRegression(k=1e6),
        RootedLogisticRegression(form="bounded", k=2),
        RootedLogisticRegression(fit_intercept=False),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("form", ["convex", "bounded"])
def test_large_k_equals_logistic_regression(load, strength, form):
    x, y = load(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=strength, tol=1e-9, max_iter=5000).fit(x, y)
    ours = RootedLogisticRegression(k=1e6, form=form, C=strength, tol=1e-9, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_sample_weights_count_as_repetitions(classes):
    x, y = load_wine(return_X_y=True)
    x, y = StandardScaler().fit_transform(x)[y < classes], y[y < classes]
    weights = np.random.default_rng(0).integers(0, 3, len(y))
    weighted = RootedLogisticRegression(k=3).fit(x, y, sample_weight=weights)
    repeated = RootedLogisticRegression(k=3).fit(np.repeat(x, weights, 0), np.repeat(y, weights))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-4)


def test_the_rooted_optimum_is_another_one():
    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    rooted, logistic = (RootedLogisticRegression(k=k).fit(x, y) for k in (1, 1e6))
    assert np.abs(rooted.coef_ - logistic.coef_).max() > 0.05
    assert rooted.score(x, y) > 0.98


@pytest.mark.parametrize("options", [{"k": 0}, {"k": -2.0}, {"form": "flat"}, {"C": 0}, {"max_iter": 0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RootedLogisticRegression(**options).fit(np.eye(4), [0, 1, 0, 1])
