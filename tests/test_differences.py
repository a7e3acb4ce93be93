"""Differences of functions, and sums that cancel: values and derivatives against many digits."""

import math

import pytest
import sympy as sp

from gradcompile import compile_grad

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
