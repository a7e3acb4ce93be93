"""float32: functions of SciPy and Numba, which give doubles, inside those of the package."""

import numpy as np
import pytest
import scipy.special
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad

p, q, x = sp.symbols("p q x")
LOSSES = [
    sp.exp(sp.gamma(p)) + sp.log(sp.digamma(p + 2)), sp.sin(sp.loggamma(p)) * sp.cbrt(sp.besselj(1, p)),
    sp.exp(-sp.loggamma(p)) + sp.erf(sp.LambertW(p)), sp.tanh(sp.polygamma(1, p + 1)) + sp.factorial(p) ** p,
    sp.beta(p, p + 1), sp.Max(sp.besselk(0, p), sp.bessely(1, p)) ** p, sp.exp(sp.gamma(p) + p) * sp.cos(sp.gamma(p)),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_against_double_precision(loss) -> None:
    with np.errstate(all="ignore"):
        single, double = (compile_grad(loss, [p], dtype=dtype) for dtype in ("float32", "float64"))
        (value, (slope,)), (value0, (slope0,)) = single(0.75), double(0.75)
    assert (value, slope) == pytest.approx((value0, slope0), rel=2e-5)


def test_columns_and_arrays() -> None:
    points = np.linspace(1.0, 2.0, 37).astype(np.float32)
    f, g = (compile_grad(sp.exp(sp.gamma(p * x)), [p], data=[x], dtype=t) for t in ("float32", "float64"))
    assert f(0.5, points)[0] == pytest.approx(g(0.5, points.astype(float))[0], rel=1e-5)
    v = gc.array("v", 3, dtype="float32")
    h = compile_grad(np.sum(np.exp(scipy.special.gammaln(v))), v)
    assert h(points[:3])[0] == pytest.approx(scipy.special.gamma(points[:3].astype(float)).sum(), rel=1e-5)


def test_whole_numbers_in_single_precision() -> None:
    x = gc.array("x", (5,), "float32")
    f = compile_grad(np.sum(np.log(np.argsort(x) + 1.0) * x), x)
    values = np.array([0.3, -0.2, 1.5, 0.9, 0.1], np.float32)
    expected = np.log(np.argsort(values) + 1.0)
    np.testing.assert_allclose(f(values)[1], expected, rtol=1e-6)
