"""Losses whose parts overflow, underflow or cancel: value and gradient, compiled, against many digits."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad

x, y, a, b, m, s, n = sp.symbols("x y a b m s n")
p = gc.sigmoid(x)

FORMULAS = [
    (sp.log(1 + a * sp.exp(y)), [a, y], [(1e-18, 40), (1e-13, 30), (0, 40), (2, 800)]),
    (sp.sech(x) ** 2, [x], [(720,), (-720,), (1e-9,), (3,), (-300,), (250,)]),
    (sp.tanh(x) / sp.cosh(x) ** 3, [x], [(200,), (-176,), (0.3,)]),
    (1 / (sp.sinh(x) * sp.cosh(x)), [x], [(250,), (-250,), (1,)]),
    (sp.csch(x) ** 2, [x], [(250,), (-300,), (1,)]),
    ((sp.exp(x) - 1) ** -2, [x], [(250,), (1,), (-50,)]),
    (sp.log(1 - sp.erfc(x / sp.sqrt(2)) / 2), [x], [(-10,), (0.1,), (8,)]),
    (sp.log(sp.cosh(x)), [x], [(720,), (-720,), (1e-9,), (3,)]),
    (sp.log(sp.sech(x)), [x], [(800,), (1,)]),
    (sp.log(sp.sinh(x)), [x], [(800,), (1,)]),
    (sp.log(sp.exp(x) - 1), [x], [(720,), (1e-9,), (3,)]),
    (sp.log(sp.log(1 + sp.exp(x))), [x], [(-800,), (1,), (800,)]),
    (1 / (sp.exp(x) - 1), [x], [(720,), (-720,), (1e-9,)]),
    (sp.cosh(x) / sp.sinh(x), [x], [(720,), (-720,), (3,)]),
    (sp.coth(x) - 1 / x, [x], [(720,)]),
    (1 / (1 + sp.cosh(x)), [x], [(800,), (1,)]),
    (x / (x + sp.exp(x)), [x], [(400,), (2,)]),
    (x / sp.sinh(x), [x], [(720,), (1,)]),
    (sp.exp(-x) * sp.cosh(x), [x], [(800,), (1,)]),
    (sp.exp(x) * sp.exp(-(x**2)), [x], [(720,), (0.3,), (-5,)]),
    (sp.exp(x) / (1 + sp.exp(x)) ** 2, [x], [(800,), (-800,), (300,)]),
    (sp.exp(-sp.exp(x)), [x], [(720,), (-720,), (1,)]),
    (sp.exp(x) * sp.exp(-sp.exp(x)), [x], [(720,), (-720,), (1,)]),
    (1 - sp.exp(-sp.exp(x)), [x], [(720,), (-50,), (1,)]),
    (sp.tanh(sp.exp(x)), [x], [(720,), (1,)]),
    (sp.exp(x**2) * sp.erfc(x), [x], [(30,), (1e5,), (-3,)]),
    (sp.exp(-(x**2) / 2) / sp.erfc(x / sp.sqrt(2)), [x], [(40,), (1,), (-3,)]),
    (-sp.log((1 + sp.erf(x / sp.sqrt(2))) / 2), [x], [(-8,), (-10,), (-40,), (8,), (0.1,)]),
    (1 - sp.erf(x), [x], [(8,), (-8,), (0.1,)]),
    (-sp.log(sp.erfc(x)), [x], [(30,), (-3,), (0.1,), (1e-20,)]),
    (sp.log(1 - sp.tanh(x) ** 2), [x], [(20,), (-20,), (1e-9,), (400,)]),
    (sp.atanh(sp.tanh(x)), [x], [(20,), (1e-9,)]),
    (sp.loggamma(sp.exp(x)), [x], [(-800,), (-41,), (-39,), (1,)]),
    (sp.sqrt(sp.exp(x)), [x], [(720,), (-800,)]),
    (sp.sqrt(1 + sp.exp(x)), [x], [(720,), (1400,), (-800,)]),
    (1 / sp.sqrt(1 + sp.exp(x)), [x], [(800,), (1,)]),
    ((1 + sp.exp(x)) ** 0.3, [x], [(720,), (2000,), (1,)]),
    (-sp.sqrt(1 - p) * sp.log(p), [x], [(800,), (100,), (-800,)]),
    (p * (1 - p), [x], [(800,), (-800,)]),
    (p / (2 * p - 1) + 1 / (2 * sp.atanh(1 - 2 * p)), [x], [(-100,), (-3,)]),
    (1 / (1 + sp.exp(-x)) - sp.Rational(1, 2), [x], [(1e-10,), (30,)]),
    (sp.log(1 + sp.exp(x)) - x, [x], [(40,), (1,)]),
    (sp.cosh(x) - 1, [x], [(1e-9,), (3,)]),
    (sp.sqrt(1 + x) - 1, [x], [(1e-18,), (-0.5,), (3,), (1e300,)]),
    (sp.sqrt(1 + x**2) - 1, [x], [(1e-18,), (0.5,), (3,), (1e200,)]),
    (2**x - 1, [x], [(1e-18,), (3,)]),
    (a**x - 1, [a, x], [(3, 1e-18), (2, 5)]),
    (sp.log(3 - 2 * sp.exp(-x)), [x], [(1e-18,), (3,), (800,)]),
    (sp.log(sp.exp(x) + sp.exp(-x)), [x], [(1e-20,), (800,), (-800,)]),
    (sp.log(sp.exp(x) + sp.exp(y)), [x, y], [(800, -800), (-800, -900), (1, 2)]),
    (sp.log(a * sp.exp(x) + b * sp.exp(y)), [a, b, x, y], [(2, 3, 800, 799), (1e-5, 3, -900, -905)]),
    (sp.log(sp.exp(2 * x) + sp.exp(x) + 1), [x], [(800,), (-800,), (0.1,)]),
    (sp.log(x**30 / y**5), [x, y], [(1e15, 2), (-1e-15, 2e80), (1.5, 2)]),
    (sp.log(sp.rf(x, 60) * x**3), [x], [(1e9,), (10.5,), (0.1,)]),
    (sp.log(x**30 * sp.exp(y) * sp.gamma(a)), [a, x, y], [(3, 1e15, 3), (200, -1e-15, 3)]),
    (sp.log(x * sp.exp(y)), [x, y], [(1e-300, 690.7), (1e-20, 46.05), (1e300, -800)]),
    (sp.atan(x) / x, [x], [(1e-9,), (3,), (0.2,)]),
    (sp.sin(x) / x, [x], [(1e-9,), (3,)]),
    (sp.asinh(2 * x) / x, [x], [(1e-9,), (0.1,), (3,)]),
    (sp.erf(x) / x, [x], [(1e-9,), (0.4,), (3,)]),
    (sp.tanh(x) / x, [x], [(1e-9,), (0.2,)]),
    ((1 - sp.exp(-x)) / x, [x], [(1e-9,), (0.2,), (3,)]),
    (sp.log(1 + x) / x, [x], [(1e-9,), (0.06,), (3,)]),
    (sp.log(0.001 + b**2) * sp.exp(b**2) * sp.erfc(b), [b], [(13.7,), (5,), (-2,)]),
    (sp.exp(-(x**2)) / sp.erfc(x), [x], [(13,), (1e4,)]),
    ((sp.exp(x) - 1) / (sp.exp(x) + 1), [x], [(13,), (-30,), (1e-9,), (0.7,)]),
    (b * (3 - 3 * sp.exp(-x)) / (2 + 2 * sp.exp(-x)) ** 2, [b, x], [(2, 13), (0.5, -13)]),
    (b * sp.sinh(x) / sp.cosh(x), [b, x], [(2, 13), (1, -40)]),
    (sp.sqrt(2) * a / (4 * sp.sqrt(b) * (sp.exp(a) - 1)), [a, b], [(1e-9, 2), (0.3, 1e-3), (-720, 2)]),
    (a / (b * (sp.exp(a * x) - 1)), [a, b, x], [(1e-9, 2, 1e-3), (3, 2, 0.1), (3, 2, 1)]),
    (x * sp.sinh(a) / (a * b), [a, b, x], [(1e-9, 2, 3), (0.2, 1, 3), (4, 1, 3)]),
    (sp.sin(a) / (sp.sqrt(b) * a), [a, b], [(1e-9, 2), (3, 2)]),
    (b * sp.tan(x) / x, [b, x], [(2, 1e-9), (2, 0.2)]),
    (x / sp.sin(x), [x], [(1e-9,), (0.3,)]),
    (x / sp.tanh(x), [x], [(1e-9,), (0.3,), (2,)]),
    (x / sp.log(1 + x), [x], [(1e-9,)]),
    ((1 - sp.cos(x)) / x**2, [x], [(1e-9,), (0.1,), (2,)]),
    ((x - sp.sin(x)) / x**3, [x], [(1e-9,), (0.4,)]),
    ((sp.exp(x) - 1 - x) / x**2, [x], [(1e-9,), (0.4,)]),
    ((sp.sqrt(1 + x) - 1) / x, [x], [(1e-9,), (0.01,), (3,)]),
    ((2**x - 1) / x, [x], [(1e-9,)]),
    (1 - 1 / sp.cosh(x), [x], [(1e-9,), (0.2,), (3,), (720,)]),
    (sp.log(1 + sp.exp(x)) - sp.log(2), [x], [(1e-18,), (-0.1,), (3,)]),
    (1 / (sp.exp(x) - 1) - 1 / x, [x], [(1e-9,), (0.3,), (720,)]),
    (sp.log(sp.tan(x) / x), [x], [(1e-9,), (0.1,)]),
    (sp.log(sp.sqrt(1 + x)), [x], [(1e-18,), (0.3,)]),
    (sp.log((1 + x) ** 0.3), [x], [(1e-18,), (0.3,)]),
    (sp.log((1 + x) / (1 - x)), [x], [(1e-18,), (0.3,), (-0.9,)]),
    (sp.log(x) - sp.log(x + 1), [x], [(1e18,), (0.3,)]),
    (sp.log(1 + sp.sinh(x) ** 2), [x], [(400,), (1e-9,)]),
    (sp.log(sp.sech(x) ** 2), [x], [(800,), (20,)]),
    (sp.exp(-x) * sp.log(1 + sp.exp(x)), [x], [(720,), (1,)]),
    ((1 - sp.tanh(x)) * sp.exp(2 * x), [x], [(100,), (10,)]),
    (sp.atanh(1 - sp.exp(-x)), [x], [(60,), (0.1,)]),
    (sp.atanh(1 - x), [x], [(1e-18,), (1.5,)]),
]


def truth(formula, symbols, point):
    """Value and gradient by mpmath."""
    with mpmath.workdps(420):
        numbers = [mpmath.mpf(v) for v in point]
        roots = [formula, *(sp.diff(formula, q) for q in symbols)]
        return [float(sp.lambdify(symbols, r, "mpmath")(*numbers)) for r in roots]


@pytest.mark.parametrize("k", range(len(FORMULAS)))
def test_value_and_gradient(k):
    formula, symbols, points = FORMULAS[k]
    f = compile_grad(formula, symbols)
    plain = formula.rewrite(sp.exp) if formula.has(gc.sigmoid) else formula
    for point in points:
        loss, grads = f(*map(float, point))
        for got, want in zip([loss, *grads], truth(plain, symbols, point), strict=True):
            assert got == pytest.approx(want, rel=2e-13, abs=1e-305), (formula, point)


CLOSED = [
    (sp.log(sp.exp(x) + sp.exp(y)), {x: -math.inf, y: -math.inf}, -math.inf, None),
    (sp.log(sp.exp(x) + sp.exp(-x)), {x: math.inf}, math.inf, None),
    (sp.log(sp.exp(2 * x) + sp.exp(x) + 1), {x: math.inf}, math.inf, None),
    (sp.log(0.5 * sp.erfc(-(y - m) / (s * sp.sqrt(2)))), {s: 1.5, m: 0.5, y: math.inf}, 0.0, 0.0),
    (-sp.log(a**n * sp.exp(-a) / sp.gamma(n + 1)), {a: 150.0, n: 165.0}, 4.198595987755, -0.1),
    (-sp.log(a**n * sp.exp(-a) / sp.gamma(n + 1)), {a: 1000.0, n: 990.0}, None, 0.01),
    (sp.sinh(x) / sp.cosh(x), {x: 800.0}, 1.0, 0.0),
    (sp.atan(x) / x, {x: 0.0}, 1.0, 0.0),
    ((1 - sp.cos(x)) / x**2, {x: 0.0}, 0.5, 0.0),
    (a * x / sp.log(1 + x), {x: 0.0, a: 2.0}, 2.0, 1.0),
    (sp.exp(-x) * sp.log(1 + sp.exp(x)), {x: -720.0}, 1.0, 0.0),
    (x * sp.log(x) ** 2, {x: 0.0}, 0.0, math.inf),
    (a * x * sp.log(2 * x) ** 3, {x: 0.0, a: 2.0}, 0.0, -math.inf),
    (x**2 * sp.log(x) ** 3, {x: 0.0}, 0.0, 0.0),
    (sp.sqrt(x) * sp.log(x) ** 2, {x: 0.0}, 0.0, math.inf),
    ((1 + x) * sp.log(1 + x) ** 2, {x: -1.0}, 0.0, math.inf),
    (a * sp.tan(x) / (x * sp.sqrt(b)), {x: 1e-9, a: 2.0, b: 4.0}, 1.0, None),
    (sp.sqrt(2) * x / (4 * sp.sqrt(b) * (sp.exp(x) - 1)), {x: 0.0, b: 2.0}, 0.25, -0.125),
]


@pytest.mark.parametrize("k", range(len(CLOSED)))
def test_closed_forms(k):
    formula, env, value, slope = CLOSED[k]
    first, *others = env
    loss, grad = compile_grad(formula, first, inputs=others)(*env.values())
    assert value is None or loss == pytest.approx(value, rel=1e-12, abs=1e-15)
    assert slope is None or grad == pytest.approx(slope, rel=1e-12, abs=1e-15)


def test_a_quotient_by_cosh_is_in_range_where_it_is_as_written():
    f = compile_grad(a / (b * sp.cosh(x)), [a, x], inputs=[b])
    for at, cosh, other in ((1e200, 500.0, 1e-150), (1.0, 500.0, 1e-310), (3.0, -800.0, 2.0), (1e-3, 0.2, 7.0)):
        loss, (by_a, by_x) = f(at, cosh, other)
        with mpmath.workdps(40):
            want = mpmath.mpf(at) / (mpmath.mpf(other) * mpmath.cosh(cosh))
            assert loss == pytest.approx(float(want), rel=1e-12)
            assert by_a == pytest.approx(float(want / at), rel=1e-12)
            assert by_x == pytest.approx(float(-want * mpmath.tanh(cosh)), rel=1e-12)
    single = compile_grad(a / (b * sp.cosh(x)), a, inputs=[b, x], dtype="float32")
    assert single(1e20, 1e-20, 50.0)[0] == pytest.approx(3.857500e18, rel=1e-5)


QUOTIENTS = [sp.sinh(x) ** -2, 1 / (sp.exp(x) - 1), (sp.exp(x) - 1) ** -2, 1 / (2 + sp.sinh(x))]


@pytest.mark.parametrize("formula", QUOTIENTS)
def test_second_derivatives_of_quotients_have_their_value_in_single_precision(formula):
    h = gc.compile_hessian(formula, [x], dtype="float32")
    for at in (1.0, 15.0, 27.0, 30.0, 35.0, 38.0):
        with mpmath.workdps(120):
            want = [float(mpmath.diff(sp.lambdify(x, formula, "mpmath"), mpmath.mpf(at), k)) for k in (0, 1, 2)]
        value, (slope,), ((second,),) = h(at)
        np.testing.assert_allclose([value, slope, second], want, rtol=1e-4)


def test_second_derivatives_near_a_pole():
    h = gc.compile_hessian(sp.sqrt(2) * a / (4 * sp.sqrt(b) * (sp.exp(a) - 1)), [a, b])
    np.testing.assert_allclose(h(1e-9, 2.0)[2], [[1 / 24, 1 / 32], [1 / 32, 3 / 64]], rtol=1e-8)


def test_likelihoods_of_large_counts():
    k = sp.Symbol("k")
    mises = compile_grad(sp.log(sp.exp(k * sp.cos(x)) / (2 * sp.pi * sp.besseli(0, k))), k, inputs=[x])
    for at in (1000.0, 10.0):
        with mpmath.workdps(40):
            want = at * mpmath.cos(0.1) - mpmath.log(2 * mpmath.pi * mpmath.besseli(0, at))
        assert mises(at, 0.1)[0] == pytest.approx(float(want), rel=1e-11)
    density = sp.gamma(a + b) / (sp.gamma(a) * sp.gamma(b)) * x ** (a - 1) * (1 - x) ** (b - 1)
    f = compile_grad(sp.log(density), [a, b], inputs=[x])
    want = math.lgamma(3000) - math.lgamma(1000) - math.lgamma(2000) + 999 * math.log(0.34) + 1999 * math.log(0.66)
    assert f(1000.0, 2000.0, 0.34)[0] == pytest.approx(want, rel=1e-10)


def test_student_with_many_degrees_of_freedom():
    f = compile_grad(sp.loggamma((b + 1) / 2) - sp.loggamma(b / 2) - sp.log(b) / 2, b)
    loss, grad = f(1e8)
    assert loss == pytest.approx(-0.5 * math.log(2) - 0.25e-8, rel=1e-13) and grad == pytest.approx(2.5e-17, rel=1e-6)


X = gc.array("X", (4,))
FAR = np.array([900.0, -900.0, 0.0, 3.0])
ARRAYS = [
    np.log(gc.softmax(X.reshape(2, 2), axis=1).reshape(4)),
    np.log(gc.softmax(X.reshape(2, 2), axis=1).T).reshape(4),
    np.log(gc.softmax(X.reshape(2, 2), axis=1)[np.arange(2), np.array([1, 0])]),
    np.log(1 - gc.sigmoid(X.reshape(2, 2))).reshape(4),
    np.log1p(np.exp(X)),
    np.log(np.where(X > 0, gc.sigmoid(X), gc.sigmoid(X) / 2)),
    np.log(np.cosh(X)),
    np.log(np.sum(np.exp(X))).reshape(1),
    np.sqrt(np.exp(X)),
    np.log10(gc.softmax(X)),
    np.log(np.prod(gc.sigmoid(X))).reshape(1),
    np.log(gc.softmax(X) @ np.array([0.0, 1.0, 1.0, 0.0])).reshape(1),
    np.log(np.sum(np.exp(X).reshape(2, 2), axis=0)),
    np.log(1 - gc.sigmoid(X)[0]).reshape(1),
]
WANT = [
    [0, -1800, -math.log1p(math.exp(3)), -math.log1p(math.exp(-3))],
    [0, -math.log1p(math.exp(3)), -1800, -math.log1p(math.exp(-3))],
    [-1800, -math.log1p(math.exp(3))],
    [-900, 0, -math.log(2), -math.log1p(math.exp(3))],
    [900, 0, math.log(2), math.log1p(math.exp(3))],
    [0, -900 - math.log(2), -math.log(4), -math.log1p(math.exp(-3))],
    [900 - math.log(2), 900 - math.log(2), 0, math.log(math.cosh(3))],
    [900],
    [math.exp(450), math.exp(-450), 1, math.exp(1.5)],
    [0, *(v / math.log(10) for v in (-1800, -900, -897))],
    [-900 - math.log(2) - math.log1p(math.exp(-3))],
    [-900],
    [900, math.log1p(math.exp(-903)) + 3],
    [-900],
]


@pytest.mark.parametrize("k", range(len(ARRAYS)))
def test_through_views_of_arrays(k):
    weights = np.arange(1.0, len(WANT[k]) + 1)
    loss, grad = compile_grad(np.sum(ARRAYS[k] * weights), X)(FAR)
    assert loss == pytest.approx(float(np.dot(WANT[k], weights)), rel=1e-13) and np.all(np.isfinite(grad))


def test_sums_of_nothing_but_minus_infinity():
    f = compile_grad(np.log(np.sum(np.exp(X))), X)
    assert f(np.full(4, -math.inf))[0] == -math.inf and f(np.full(4, math.inf))[0] == math.inf


@pytest.mark.parametrize("k", [0, 1, 2, 7, 20, 21, 28, 29, 43])
def test_single_precision(k):
    formula, symbols, _ = FORMULAS[k]
    f = compile_grad(formula, symbols, dtype="float32")
    point = [0.5, 95.0] if len(symbols) == 2 else [-9.0 if k == 21 else 95.0 if k != 20 else 4.0]
    loss, grads = f(*point)
    for got, want in zip([loss, *grads], truth(formula, symbols, [float(np.float32(v)) for v in point]), strict=True):
        assert float(got) == pytest.approx(want, rel=1e-5, abs=1e-37)
