"""Rooted logistic regression as a scikit-learn estimator.

from rooted.sklearn import RootedLogisticRegression
RootedLogisticRegression(k=3).fit(x, y).predict_proba(x)
"""

import warnings
from numbers import Integral, Real

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from rooted.functional import MULTIPLIER_CAP, rooted_nll

__all__ = ["RootedLogisticRegression"]


class RootedLogisticRegression(ClassifierMixin, BaseEstimator):
    """Linear classifier that minimises the rooted logistic loss (arXiv 2310.03890, eq. 4 or 9) by L-BFGS.

    The objective is `C * sum_i weight_i loss_i + 1/2 |coef|^2`, as in scikit-learn's `LogisticRegression`,
    whose coefficients it approaches as k grows. The intercept is not penalised. Two classes have one
    logit, more have one each (multinomial).

    Parameters:
        k: root of the loss, > 0.
        form: "convex" (one optimum, every k) or "bounded" (not convex: L-BFGS finds a local optimum from zero).
        C: inverse strength of the penalty, > 0; inf for none.
        fit_intercept: whether a constant is added to the logits.
        tol: L-BFGS stops when the largest entry of the gradient of the mean objective is below it.
        max_iter: most iterations of L-BFGS.

    Attributes:
        classes_: the labels, (n_classes,).
        coef_: (1, n_features) for two classes, else (n_classes, n_features).
        intercept_: (1,) or (n_classes,).
        n_iter_: iterations taken, (1,).
        n_features_in_, feature_names_in_: as in scikit-learn.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> bool(RootedLogisticRegression(k=5).fit(x, y).score(x, y) > 0.95)
        True
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's protocol)
        "k": [Interval(Real, 0, None, closed="neither")],
        "form": [StrOptions({"convex", "bounded"})],
        "C": [Interval(Real, 0, None, closed="right")],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        k: float = 3.0,
        *,
        form: str = "convex",
        C: float = 1.0,
        fit_intercept: bool = True,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        self.k = k
        self.form = form
        self.C = C
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X, y, sample_weight=None) -> "RootedLogisticRegression":
        """Fit to features `X` (n, d) and labels `y` (n) with optional sample weights (n); returns self."""
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"the data has one class ({self.classes_[0]!r}); at least two are needed")
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        result = minimize(
            self._objective(X, targets, weights, outputs),
            np.zeros(outputs * (X.shape[1] + 1)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "gtol": self.tol, "ftol": 64 * np.finfo(float).eps, "maxls": 50},
        )
        if result.nit >= self.max_iter:
            warnings.warn(
                f"L-BFGS did not converge in {self.max_iter} iterations; scale the features or raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        solution = result.x.reshape(outputs, -1)
        self.coef_, self.intercept_ = solution[:, :-1].copy(), solution[:, -1].copy()
        self.n_iter_ = np.array([result.nit], dtype=np.int32)
        return self

    def _objective(self, X, targets, weights, outputs):
        """The function of the flat weights that L-BFGS minimises: value and gradient, per unit of sample weight."""
        x, t, sample_weight = torch.tensor(X), torch.tensor(targets), torch.tensor(weights)
        scale = 1 / max(weights.sum(), np.finfo(float).tiny)
        sign = (2 * t - 1).to(torch.float64)

        def value_and_gradient(flat):
            w = torch.tensor(flat).view(outputs, -1).requires_grad_(True)
            logits = x @ w[:, :-1].T
            if self.fit_intercept:
                logits = logits + w[:, -1]
            if outputs == 1:
                nll = -torch.nn.functional.logsigmoid(sign * logits[:, 0])
            else:
                nll = torch.nn.functional.cross_entropy(logits, t, reduction="none")
            losses = rooted_nll(nll, k=self.k, form=self.form, multiplier_cap=MULTIPLIER_CAP)
            value = (sample_weight * losses).sum() + w[:, :-1].square().sum() / (2 * self.C)
            value = scale * value
            (gradient,) = torch.autograd.grad(value, w)
            return value.item(), gradient.reshape(-1).numpy()

        return value_and_gradient

    def decision_function(self, X):
        """Logits: (n) for two classes, else (n, n_classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        logits = X @ self.coef_.T + self.intercept_
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X):
        """Class probabilities (n, n_classes), in the order of `classes_`."""
        logits = torch.from_numpy(self.decision_function(X))
        if logits.dim() == 1:
            logits = torch.stack([torch.zeros_like(logits), logits], 1)
        return logits.softmax(1).numpy()

    def predict_log_proba(self, X):
        """Logarithms of the class probabilities (n, n_classes)."""
        logits = torch.from_numpy(self.decision_function(X))
        if logits.dim() == 1:
            logits = torch.stack([torch.zeros_like(logits), logits], 1)
        return logits.log_softmax(1).numpy()

    def predict(self, X):
        """The most probable label of each sample (n)."""
        logits = self.decision_function(X)
        indices = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(1)
        return self.classes_[indices]
