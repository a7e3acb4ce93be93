"""Differences of functions, sums that cancel and products that vanish: values and derivatives against many digits."""

import math

import numpy as np
import pytest
import sympy as sp

from gradcompile import array, compile_grad

x, y = sp.symbols("x y", real=True)

CASES = [
    (sp.sqrt(x + 1) - sp.sqrt(x), (1e14,)),
    (1 / (x - 1) - 1 / x, (1e10,)),
    (sp.sqrt(x**2 + 1) - x, (1e8,)),
    (-x + sp.sqrt(x**2 - 4 * y), (1.0, 1e-16)),
    (sp.log(sp.sqrt(1 + x**2) - x), (1e9,)),
    (sp.exp(x) - sp.exp(y), (1.0, 1 + 1e-12)),
    (sp.log(x) - sp.log(y), (7.0, 7 + 1e-12)),
    (x**2 - y**2, (1e8 + 1, 1e8)),
    (1 / sp.sqrt(1 + x) - 1, (1e-12,)),
    ((x - 1) * sp.exp(x) / x**2 + x**-2, (1e-8,)),
    (2 * (sp.cos(x) - 1) / x**3 + sp.sin(x) * (x + 2) / (x**2 * (x + 2)), (1e-3,)),
    (sp.log(1 + sp.tanh(x)), (-20.0,)),
    (sp.log(1 - 1 / (1 + sp.exp(-x)) ** 2), (40.0,)),
    (sp.log(sp.erf(x) - sp.erf(y)), (9.0, 8.0)),
    (sp.acosh(1 + x), (1e-20,)),
    (sp.acos(1 - x), (1e-20,)),
    (x - sp.sin(x), (1e-5,)),
    (sp.exp(x) - 1 - x, (1e-5,)),
    (1 / x - 1 / sp.tanh(x), (1e-4,)),
    (sp.log(sp.sin(x) / x), (1e-5,)),
    (x / (x + sp.exp(x)), (600.0,)),
    (sp.log(1 - sp.exp(-sp.exp(x))), (-30.0,)),
]


@pytest.fixture(scope="module")
def found() -> list[tuple[float, ...]]:
    """Value and gradient of each."""
    values = []
    for f, at in CASES:
        g = compile_grad(f, [x, y][: len(at)])
        loss, grads = g(*at)
        values.append((float(loss), *map(float, grads)))
    return values


@pytest.mark.parametrize("k", range(len(CASES)))
def test_against_many_digits(found: list[tuple[float, ...]], k: int) -> None:
    f, at = CASES[k]
    exact = {s: sp.Float(v, 80) for s, v in zip((x, y), at, strict=False)}
    wanted = [float(sp.N(g.subs(exact), 30)) for g in (f, *(sp.diff(f, s) for s in (x, y)[: len(at)]))]
    for got, want in zip(found[k], wanted, strict=True):
        assert math.isclose(got, want, rel_tol=2e-14), (f, got, want)


@pytest.mark.parametrize("f", [x ** sp.Rational(3, 2) * sp.log(x), x**3 * sp.log(x) ** 2, x**2 * sp.log(sp.Abs(x))])
def test_products_with_logarithms_vanish_at_zero(f: sp.Expr) -> None:
    g = compile_grad(f, [x])
    (loss, grads), (value, slope) = g(0.0), g(2.0)
    assert (loss, *grads) == (0.0, 0.0)
    assert math.isclose(value, f.subs(x, 2.0)) and math.isclose(slope[0], sp.diff(f, x).subs(x, 2.0))


def test_powers_of_roots_have_a_slope_at_zero() -> None:
    v = array("v", 2)
    for f, slope in ((v * np.sqrt(v), 3.0), (np.sqrt(v) ** 3, 3.0), (v * v * np.sqrt(v), 20.0)):
        assert compile_grad(np.sum(f), v)(np.array([0.0, 4.0]))[1].tolist() == [0.0, slope]
