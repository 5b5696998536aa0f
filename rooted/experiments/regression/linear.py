"""Many linear classifiers at once: P problems that share the data and differ in k, L2 strength and learning rate.

Weights are (P, D, O): O = 1 logit for two classes, else one per class. The objective of a problem is the mean
convex rooted loss (eq. 4; k = inf is the logistic loss) plus l2/2 |w|^2; the last feature is the intercept,
which is not penalised.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rooted.functional import MULTIPLIER_CAP, rooted_nll


@dataclass(frozen=True)
class Problems:
    """The settings of P problems, each tensor (P): root k (inf: logistic), L2 strength, learning rate."""

    k: Tensor
    l2: Tensor
    lr: Tensor

    @staticmethod
    def grid(ks: list[float], l2s: list[float], lrs: list[float], dtype: torch.dtype) -> "Problems":
        """Every combination, in the order of `itertools.product(ks, l2s, lrs)`."""
        k, l2, lr = torch.meshgrid(*(torch.tensor(v, dtype=dtype) for v in (ks, l2s, lrs)), indexing="ij")
        return Problems(k.reshape(-1), l2.reshape(-1), lr.reshape(-1))

    def __len__(self) -> int:
        return len(self.k)


def with_intercept(x: Tensor) -> Tensor:
    """Append a column of ones: (N, D) to (N, D + 1)."""
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def logits_of(w: Tensor, x: Tensor) -> Tensor:
    """Logits (N, P, O) of all problems."""
    p, d, o = w.shape
    return (x @ w.permute(1, 0, 2).reshape(d, p * o)).view(len(x), p, o)


def nll_of(logits: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihoods (N, P) of labels `y` (N)."""
    if logits.shape[2] == 1:
        sign = (2 * y - 1).to(logits.dtype)[:, None]
        return -F.logsigmoid(sign * logits[:, :, 0])
    return -logits.log_softmax(2).gather(2, y[:, None, None].expand(-1, logits.shape[1], 1))[:, :, 0]


def rooted_losses(nll: Tensor, k: Tensor) -> Tensor:
    """Convex rooted losses (N, P) of roots k (P), where inf stands for the logistic loss."""
    logistic = torch.isinf(k)
    return torch.where(logistic, nll, rooted_nll(nll, k=torch.where(logistic, 1.0, k)))


def gradient_of(w: Tensor, x: Tensor, y: Tensor, problems: Problems) -> tuple[Tensor, Tensor]:
    """Gradient (P, D, O) of every objective, and the nll (N, P) it goes through.

    In closed form: exp(nll/k) times the logistic gradient, with 1/k = 0 for the logistic loss itself.
    """
    logits = logits_of(w, x)
    nll = nll_of(logits, y)
    if w.shape[2] == 1:
        slope = torch.sigmoid(logits) - y.to(x.dtype)[:, None, None]
    else:
        slope = logits.softmax(2) - F.one_hot(y, w.shape[2]).to(x.dtype)[:, None]
    slope = slope * (nll / problems.k).clamp(max=math.log(MULTIPLIER_CAP)).exp()[:, :, None]
    n, p, o = slope.shape
    gradient = (x.T @ slope.view(n, p * o)).view(-1, p, o).permute(1, 0, 2) / n
    return gradient + problems.l2[:, None, None] * _penalised(w), nll


def objective(w: Tensor, x: Tensor, y: Tensor, problems: Problems) -> tuple[Tensor, Tensor]:
    """Value (P) and gradient (P, D, O) of every problem."""
    gradient, nll = gradient_of(w, x, y, problems)
    penalty = problems.l2 / 2 * _penalised(w).square().sum((1, 2))
    return rooted_losses(nll, problems.k).mean(0) + penalty, gradient


def _penalised(w: Tensor) -> Tensor:
    return torch.cat([w[:, :-1], torch.zeros_like(w[:, :1])], 1)


def gradient_descent(
    x: Tensor,
    y: Tensor,
    problems: Problems,
    outputs: int,
    iterations: int,
    start: Tensor | None = None,
    watch: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Full-batch gradient descent from zero (or `start`), as the paper runs it; the weights (P, D, O).

    `watch(iteration, weights, values, gradients)` is called before every step and after the last one.
    """
    w = x.new_zeros(len(problems), x.shape[1], outputs) if start is None else start.clone()
    for iteration in range(iterations):
        if watch:
            value, gradient = objective(w, x, y, problems)
            watch(iteration, w, value, gradient)
        else:
            gradient, _ = gradient_of(w, x, y, problems)
        w = w - problems.lr[:, None, None] * gradient
    if watch:
        watch(iterations, w, *objective(w, x, y, problems))
    return w


def lbfgs(
    x: Tensor, y: Tensor, problems: Problems, outputs: int, iterations: int = 300, tolerance: float = 1e-6
) -> Tensor:
    """The optimum of every problem by L-BFGS with Armijo backtracking, all in step; the weights (P, D, O).

    A problem is finished when the largest entry of its gradient is below `tolerance`; finished ones rest.
    """
    w = x.new_zeros(len(problems), x.shape[1], outputs)
    value, gradient = objective(w, x, y, problems)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    active = torch.ones(len(problems), dtype=torch.bool)
    for _ in range(iterations):
        active = active & (gradient.abs().amax((1, 2)) > tolerance)
        if not active.any():
            break
        direction = -_inverse_hessian_times(gradient, history)
        slope = _dot(direction, gradient)
        # Where the memory gave no descent direction (rounding near the optimum), steepest descent does.
        uphill = slope >= 0
        direction = torch.where(uphill[:, None, None], -gradient, direction)
        slope = torch.where(uphill, -_dot(gradient, gradient), slope)
        step = active.to(x.dtype) * (1.0 if history else (1 / (1 + gradient.abs().sum((1, 2)))))
        for _ in range(25):
            new_w = w + step[:, None, None] * direction
            new_value, new_gradient = objective(new_w, x, y, problems)
            failed = ~(new_value <= value + 1e-4 * step * slope + 1e-12 * value.abs()) & (step > 0)
            if not failed.any():
                break
            step = torch.where(failed, step / 2, step)
        else:
            active = active & ~failed
            keep = failed[:, None, None]
            new_w, new_gradient = torch.where(keep, w, new_w), torch.where(keep, gradient, new_gradient)
            new_value = torch.where(failed, value, new_value)
        s, z = new_w - w, new_gradient - gradient
        curvature = _dot(s, z)
        rho = torch.where(curvature > 1e-20, 1 / curvature.clamp(min=1e-20), 0.0)
        history = [*history[-9:], (s, z, rho)]
        w, value, gradient = new_w, new_value, new_gradient
    return w


def _inverse_hessian_times(gradient: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The two-loop recursion (Nocedal 1980), row by row; pairs with rho = 0 have no effect."""
    q, alphas = gradient, []
    for s, z, rho in reversed(history):
        alpha = rho * _dot(s, q)
        q = q - alpha[:, None, None] * z
        alphas.append(alpha)
    if history:
        s, z, rho = history[-1]
        scale = torch.where(rho > 0, _dot(s, z) / _dot(z, z).clamp(min=1e-30), 1.0)
        q = q * scale[:, None, None]
    for (s, z, rho), alpha in zip(history, reversed(alphas), strict=True):
        q = q + (alpha - rho * _dot(z, q))[:, None, None] * s
    return q


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2))


def accuracy(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Share of right predictions (P); a prediction from non-finite logits is wrong."""
    logits = logits_of(w, x)
    predicted = (logits[:, :, 0] > 0).long() if logits.shape[2] == 1 else logits.argmax(2)
    right = (predicted == y[:, None]) & torch.isfinite(logits).all(2)
    return right.double().mean(0)


def hessian(w: Tensor, x: Tensor, y: Tensor, k: float) -> Tensor:
    """Hessian (D O, D O) of the data term of one problem, weights (D, O): eq. 8 for two classes."""
    if w.shape[1] == 1:
        z = (2 * y - 1).to(x.dtype) * (x @ w[:, 0])
        s = torch.sigmoid(-z)
        root = torch.exp(F.softplus(-z) / k)
        return x.T @ ((root * s * (1 - s * (1 - 1 / k)))[:, None] * x) / len(x)
    one = Problems(*(torch.tensor([v], dtype=x.dtype) for v in (k, 0.0, 0.0)))

    def value(flat: Tensor) -> Tensor:
        logits = logits_of(flat.view(1, *w.shape), x)
        return rooted_losses(nll_of(logits, y), one.k).mean()

    return torch.autograd.functional.hessian(value, w.reshape(-1).clone())


def condition_number(w: Tensor, x: Tensor, y: Tensor, k: float) -> float:
    """Largest over smallest eigenvalue of the Hessian, without the directions that no data can bend.

    Those are features that are zero throughout (constant ones, standardised), and D directions of a multinomial model.
    """
    used = x.abs().amax(0) > 0
    w, x = w[used], x[:, used]
    eigenvalues = torch.linalg.eigvalsh(hessian(w, x, y, k))
    if w.shape[1] > 1:
        eigenvalues = eigenvalues[x.shape[1] :]
    smallest = eigenvalues[0].clamp(min=torch.finfo(x.dtype).tiny)
    return (eigenvalues[-1] / smallest).item()
