"""Value and gradient keep their digits from easy samples to hopeless ones, against 60 decimal places."""

from decimal import Decimal, getcontext

import pytest
import torch

from rooted.functional import rooted_nll

RATIOS = ["1e-8", "1e-5", "1e-3", "0.1", "0.6931", "1", "2.5", "7", "15", "17.5", "20", "36", "38", "60", "80"]
TOLERANCES = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


@pytest.fixture(autouse=True)
def _many_places():
    before = getcontext().prec
    getcontext().prec = 60
    yield
    getcontext().prec = before


def relative_error(result: torch.Tensor, exact: Decimal) -> float:
    return float(abs((Decimal(result.item()) - exact) / exact))


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("k", [0.5, 1.2, 2.0, 11.0])
@pytest.mark.parametrize("form", ["bounded", "convex"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_value_gradient_and_curvature(ratio, form, k, dtype, tolerance):
    nll = torch.tensor(float(ratio) * k, dtype=dtype, requires_grad=True)
    sign = -1 if form == "bounded" else 1
    root = Decimal(k)
    power = (sign * Decimal(nll.item()) / root).exp()

    centred = rooted_nll(nll, k=k, form=form, multiplier_cap=None)
    (slope,) = torch.autograd.grad(centred, nll, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, nll)
    printed = rooted_nll(nll, k=k, form=form, multiplier_cap=None, centered=False)

    assert relative_error(centred, sign * root * (power - 1)) < tolerance
    assert relative_error(printed, sign * root * power) < tolerance
    assert relative_error(slope, power) < tolerance
    assert relative_error(curvature, sign * power / root) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("ratio", ["1e-8", "1", "11.5", "11.6", "80"])
def test_the_convex_form_beyond_its_cap(ratio, dtype, tolerance):
    nll, cap = torch.tensor(float(ratio) * 3, dtype=dtype, requires_grad=True), Decimal(10) ** 5
    value = rooted_nll(nll, k=3.0, form="convex", multiplier_cap=1e5)
    (slope,) = torch.autograd.grad(value, nll)
    x = Decimal(nll.item()) / 3
    beyond = x > cap.ln()
    exact = 3 * (cap - 1 + cap * (x - cap.ln()) if beyond else x.exp() - 1)
    assert relative_error(value, exact) < tolerance
    assert relative_error(slope, cap if beyond else x.exp()) < tolerance
