"""SymPy losses whose meaning is easily missed: entries as parameters, indices bound twice, exchanged bounds."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from sympy import IndexedBase, MatrixSymbol, Product, Subs, Sum, sin
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction

import gradcompile as gc
from gradcompile.compile import compile_grad, compile_value
from gradcompile.errors import ArgumentError, ExpressionError
from tests.fuzz import indices
from tests.fuzz.run import case_of

i, j, k, n = sp.symbols("i j k n", integer=True)
a, b, t, x = sp.symbols("a b t x")
X, W = IndexedBase("X"), IndexedBase("W")
M, N = MatrixSymbol("M", 2, 2), MatrixSymbol("N", n, n)
FOUR = np.arange(4.0).reshape(2, 2)


@pytest.mark.parametrize(
    ("loss", "entry", "at", "array", "expected"),
    [
        (X[0] * X[1], X[0], 2.0, [5.0, 7.0], (14.0, 7.0)),
        (M[0, 0] * M[0, 1], M[0, 0], 2.0, [[5.0, 7.0], [0.0, 0.0]], (14.0, 7.0)),
        (Sum(X[j], (j, 1, 4)), X[1], 1.0, np.arange(5.0), (10.0, 1.0)),
        (Sum(X[j] ** 2, (j, 0, n - 1)), X[1], 10.0, np.arange(5.0), (129.0, 20.0)),
        (Sum(X[j] * X[n - 1 - j], (j, 0, n - 1)), X[1], 10.0, np.arange(4.0), (40.0, 4.0)),
        (sp.Trace(M * M), M[0, 1], 10.0, FOUR, (49.0, 4.0)),
        (sp.Trace(N * N), N[0, 1], 10.0, FOUR, (49.0, 4.0)),
        (sp.Trace(M) * M[0, 0], M[0, 0], 10.0, FOUR, (130.0, 23.0)),
    ],
    ids=str,
)
def test_an_entry_that_is_a_parameter_is_read_everywhere(
    loss: Any, entry: Any, at: float, array: Any, expected: tuple[float, float]
) -> None:
    """Whatever the array, which stays an input, holds there."""
    value, (slope,) = compile_grad(loss, [entry])(at, array)
    assert (value, slope) == expected


def test_an_array_and_an_entry_of_it_are_not_both_parameters() -> None:
    with pytest.raises(ArgumentError, match=r"X\[1\] is an entry of X, and both are arguments; name X whole"):
        compile_grad(X[0] * X[1], [X, X[1]])
    assert compile_value(X[0] * X[1], [X[1]], inputs=[X])(3.0, [2.0, np.nan]) == 6.0


Z = IndexedBase("Z", shape=(4,))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Sum(Subs(sin(j * x), j, 1), (j, 0, 4)), 5 * np.sin(1.5)),
        (Sum(Subs(sin(j * x), j, j + 1), (j, 0, 4)), sum(np.sin(1.5 * p) for p in range(1, 6))),
        (Sum(j * Sum(x * j, (j, 0, j)), (j, 0, 4)), sum(p * 1.5 * q for p in range(5) for q in range(p + 1))),
        (Sum(j * Product(x + j, (j, 0, 1)), (j, 0, 2)), 3 * 1.5 * 2.5),
        (Sum(sp.Derivative(sin(j * x), j), (j, 0, 4)), sum(1.5 * np.cos(1.5 * p) for p in range(5))),
        (Sum(x * k, (k, 2, 2), (k, 1, 3)), 9.0),
        (Sum(x * k, (k, 0, 2), (k, 0, 2)), 13.5),
    ],
    ids=str,
)
def test_an_index_that_is_bound_again_inside(loss: Any, expected: float) -> None:
    assert compile_value(loss, [x])(1.5) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("last", [3, n - 1], ids=str)
def test_a_mean_over_the_index_that_the_sum_has(last: Any) -> None:
    data = IndexedBase("Z", shape=(last + 1,))
    loss = Sum((data[j] - Sum(data[j], (j, 0, last)) / (last + 1)) ** 2, (j, 0, last))
    assert compile_value(loss, [], inputs=[data])([1.0, 2.0, 3.0, 5.0]) == 8.75


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Sum(x * i, (i, 3, 1)), -2 * 1.5),
        (Product(x + i, (i, 3, 1)), 1 / 3.5),
        (Sum(x * i * j, (i, 3, 1), (j, 4, 1)), 2 * 1.5 * 5),
        (Sum(x * i, (i, 3, 2)) + x, 1.5),
        (Sum(x * i, (j, i, 1), (i, 0, 2)), 1.5),
        (Sum(x * i, (j, i, sp.Max(0, i - 1)), (i, 0, 2)) + x, 1.5),
    ],
    ids=str,
)
def test_exchanged_bounds_mean_what_sympy_means(loss: Any, expected: float) -> None:
    assert compile_value(loss, [x])(1.5) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(Sum(X[i], (i, 3, 1)), -2.0), (Product(X[i], (i, 3, 1)), 0.5), (sp.log(Product(X[i], (i, 4, 1))), -np.log(6))],
    ids=str,
)
def test_exchanged_bounds_over_arrays(loss: Any, expected: float) -> None:
    value = compile_value(loss * Sum(X[i], (i, 0, n - 1)), [], inputs=[X])(np.arange(5.0))
    assert value == pytest.approx(10 * expected, rel=1e-15)


def test_bounds_that_an_outer_index_exchanges_are_refused() -> None:
    with pytest.raises(ExpressionError, match=r"bounds of j are 2 and 0.*write Max\(0, i - 1\)"):
        compile_value(Sum(x * i, (j, i, 0), (i, 0, 2)), [x])


def test_memory_addresses_of_an_array_are_refused() -> None:
    with pytest.raises(ExpressionError, match=r"A has offset=1.*write the places as A\[i \+ 1\]"):
        compile_grad(IndexedBase("A", shape=(5,), offset=1)[1] * x, [x])
    with pytest.raises(ExpressionError, match=r"A has strides=\(1, 2\)"):
        compile_grad(Sum(IndexedBase("A", shape=(5, 3), strides=(1, 2))[i, 0] * x, (i, 0, 4)), [x])
    assert compile_value(IndexedBase("A", shape=(2, 2), strides="F")[1, 0] * x, [x])(2.0, FOUR) == 4.0


def test_a_branch_that_reads_outside_is_nan_where_it_is_taken() -> None:
    """A condition that does not keep the place inside must not find a neighbour there."""
    guarded = Sum(sp.Piecewise((X[i - 1], i > 0), (0, True)), (i, 0, n - 1))
    loose = Sum(sp.Piecewise((X[i - 1], i >= 0), (0, True)), (i, 0, n - 1))
    assert compile_value(guarded, [], inputs=[X])([1.0, 2.0, 4.0]) == 7.0  # n is 4
    assert np.isnan(compile_value(loose, [], inputs=[X])([1.0, 2.0, 4.0]))


# Matrices of symbols

G = sp.Matrix([[a, b], [x, 1 + a]])
C = sp.ImmutableMatrix([[1, 2], [3, 5]])
AT = {"a": 1.3, "b": 0.7, "x": -0.4}
EXPLICIT = [
    (sp.MatMul(sp.Matrix([[a]]), sp.Matrix([[b]])), a * b),
    (sp.Matrix([[a * b + x]]), a * b + x),
    (sp.Inverse(sp.ImmutableMatrix([[a]])), 1 / a),
    (sp.Trace(sp.MatMul(G, C)), (G * C).trace()),
    (sp.Trace(sp.MatAdd(G, C)), (G + C).trace()),
    (sp.Trace(sp.MatPow(G, 3)), (G**3).trace()),
    (sp.Trace(sp.Inverse(G.as_immutable())), (G**-1).trace()),
    (sp.Trace(sp.MatMul(sp.Transpose(G.as_immutable()), C)), (G.T * C).trace()),
    (sp.Trace(sp.HadamardProduct(G, C)), a + 5 * (1 + a)),
    (sp.Trace(sp.KroneckerProduct(G, C)), G.trace() * 6),
    (sp.Trace(sp.BlockMatrix([[G, C], [C, G]])), 2 * G.trace()),
    (sp.Determinant(sp.MatMul(G, C)), -G.det()),
    (sp.Trace(2 * sp.MatMul(G, C)), 2 * (G * C).trace()),
    (sp.MatMul(G, C)[0, 1], 2 * a + 5 * b),
    (sp.Trace(ElementwiseApplyFunction(sin, G)), sin(a) + sin(1 + a)),
    (sp.Trace(sp.MatMul(sp.OneMatrix(2, 2), G)), a + b + x + 1 + a),
    (sp.Trace(sp.MatMul(sp.DiagMatrix(sp.Matrix([a, b])), G)), a * a + b * (1 + a)),
]


@pytest.mark.parametrize(("loss", "formula"), EXPLICIT, ids=[str(k) for k in range(len(EXPLICIT))])
def test_matrix_expressions_of_explicit_matrices(loss: Any, formula: Any) -> None:
    value, grads = compile_grad(loss, [a, b, x], allow_unused=True)(*AT.values())
    assert value == pytest.approx(float(formula.subs(AT)), rel=1e-13)
    slopes = [float(sp.diff(formula, s).subs(AT)) for s in (a, b, x)]
    np.testing.assert_allclose(list(grads), slopes, rtol=1e-12, atol=1e-13)


# Orthogonal polynomials

FAMILIES: list[tuple[Any, tuple[Any, ...], tuple[float, ...], Any]] = [
    (sp.legendre, (), (), mpmath.legendre),
    (sp.chebyshevt, (), (), mpmath.chebyt),
    (sp.chebyshevu, (), (), mpmath.chebyu),
    (sp.hermite, (), (), mpmath.hermite),
    (sp.hermite_prob, (), (), lambda p, x: mpmath.hermite(p, x / mpmath.sqrt(2)) / mpmath.sqrt(2) ** p),
    (sp.laguerre, (), (), lambda p, x: mpmath.laguerre(p, 0, x)),
    (sp.assoc_laguerre, (a,), (0.7,), lambda p, x, a: mpmath.laguerre(p, a, x)),
    (sp.gegenbauer, (a,), (0.7,), lambda p, x, a: mpmath.gegenbauer(p, a, x)),
    (sp.jacobi, (a, b), (0.4, -0.3), lambda p, x, a, b: mpmath.jacobi(p, a, b, x)),
    (sp.jacobi, (a, b), (0.25, -0.25), lambda p, x, a, b: mpmath.jacobi(p, a, b, x)),
    (sp.assoc_legendre, (3,), (), lambda p, x: mpmath.legenp(p, 3, x) if p > 2 else mpmath.mpf(0)),
]


@pytest.mark.parametrize(("kind", "orders", "values", "exact"), FAMILIES, ids=[f[0].__name__ for f in FAMILIES])
def test_orthogonal_polynomials(
    kind: Any, orders: tuple[Any, ...], values: tuple[float, ...], exact: Callable[..., Any]
) -> None:
    """Sums over the degree, of numbers and over an axis, against mpmath."""
    params = [x, *(o for o in orders if isinstance(o, sp.Symbol))]
    written = compile_grad(Sum(kind(k, *orders, x) / (k + 1), (k, 0, 6)), params)
    over_axis = compile_grad(Sum(W[k] * kind(k, *orders, x), (k, 0, n - 1)), params, inputs=[W])
    start = [0.83, *values]
    with mpmath.workdps(40):

        def total(*at: Any) -> Any:
            return sum(exact(p, *at) / (p + 1) for p in range(7))

        at = [mpmath.mpf(v) for v in start]
        orders_of = [tuple(int(q == r) for q in range(len(at))) for r in range(len(at))]
        slopes = [float(mpmath.diff(total, tuple(at), order)) for order in orders_of]
        expected = float(total(*at))
    for value, grads in (written(*start), over_axis(*start, 1 / np.arange(1.0, 8.0))):
        assert value == pytest.approx(expected, rel=1e-13)
        np.testing.assert_allclose(list(grads), slopes, rtol=1e-12)


def test_a_high_degree_keeps_its_digits() -> None:
    value, (slope,) = compile_grad(Sum(sp.legendre(k, x) / (k + 1), (k, 0, 60)), [x])(0.83)
    with mpmath.workdps(50):
        terms = [lambda z, p=p: mpmath.legendre(p, z) / (p + 1) for p in range(61)]
        expected = sum(f(mpmath.mpf(0.83)) for f in terms)
        expected_slope = mpmath.diff(lambda z: sum(f(z) for f in terms), mpmath.mpf(0.83))
    assert value == pytest.approx(float(expected), rel=1e-13)
    assert slope == pytest.approx(float(expected_slope), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (sp.legendre(5, x, evaluate=False) - sp.legendre(5, x), 0.0),
        (sp.legendre(-3, x, evaluate=False) - sp.legendre(2, x), 0.0),
        (sp.chebyshevu(-3, x, evaluate=False) + sp.chebyshevu(1, x), 0.0),
        (sp.assoc_legendre(5, -2, x, evaluate=False) - sp.assoc_legendre(5, -2, x), 0.0),
        (sp.jacobi(5, 0, 0, x, evaluate=False) - sp.legendre(5, x), 0.0),
        (sp.hermite(0, x, evaluate=False) + x, 1.4),
    ],
    ids=str,
)
def test_polynomials_of_one_degree(loss: Any, expected: float) -> None:
    assert compile_value(loss, [x])(0.4) == pytest.approx(expected, abs=2e-16)


def test_degrees_that_are_no_numbers() -> None:
    with pytest.raises(ExpressionError, match=r"degree n of legendre.*legendre\(5, \.\.\., evaluate=False\)"):
        compile_grad(sp.legendre(n, x), [x, n])
    with pytest.raises(ExpressionError, match="let an index run over the degree, from 0 on"):
        compile_grad(Sum(sp.legendre(X[k], x), (k, 0, n - 1)), [x])


# Determinants, double sums, constants


def test_the_determinant_of_an_explicit_matrix_does_not_explode() -> None:
    """By minors: right where it is singular; above six rows an op."""
    r = sum(sp.symbols("s0:6"))
    f = compile_grad(sp.Determinant(sp.ImmutableMatrix([[r**6, 1], [2, (1 + r) ** 6]])), sp.symbols("s0:6"))
    assert f.cost.loss < 30
    entries = sp.symbols("a b c d")
    value, grads = compile_grad(sp.Determinant(sp.ImmutableMatrix(2, 2, entries)), entries)(1.0, 2.0, 2.0, 4.0)
    assert (value, *grads) == (0.0, 4.0, -2.0, -2.0, 1.0)
    for size in (4, 7):
        numbers = np.random.default_rng(size).normal(size=(size, size))
        symbols = sp.symbols(f"m0:{size * size}")
        value, grads = compile_grad(sp.Determinant(sp.ImmutableMatrix(size, size, symbols)), symbols)(*numbers.ravel())
        det = np.linalg.det(numbers)
        assert value == pytest.approx(det, rel=1e-12)
        np.testing.assert_allclose(np.reshape(grads, (size, size)), det * np.linalg.inv(numbers).T, rtol=1e-10)


def test_double_sums_are_counted_and_rolled() -> None:
    f = compile_grad(Sum(x * i * j, (i, 1, 300), (j, 1, 300)), [x])
    assert f(2.0) == (2 * (300 * 301 / 2) ** 2, ((300 * 301 / 2) ** 2,))
    assert f.source.count("\n") < 60
    for big in (Sum(x * i * j, (i, 1, 30000), (j, 1, 30000)), Sum(x * i, (j, 1, i), (i, 1, 30000))):
        with pytest.raises(ExpressionError, match=r"terms; at most 10000000 are added up: work it out by doit\(\)"):
            compile_grad(big, [x])
        assert compile_value(big.doit(), [x])(0.0) == 0.0


CONSTANTS = [sp.zeta(3), sp.erfinv(sp.Rational(1, 2)), sp.Si(1), Sum(1 / k**2, (k, 1, sp.oo)),
             sp.Integral(sp.exp(-(t**2)), (t, 0, 1)), sp.elliptic_k(sp.Rational(1, 3))]  # fmt: skip


@pytest.mark.parametrize("constant", CONSTANTS, ids=str)
def test_what_sympy_evaluates_is_a_number(constant: Any) -> None:
    assert compile_value(constant * x, [x])(2.0) == 2 * float(constant.evalf(30))


REAL_FORMS = [
    (sp.re(sp.exp(sp.I * x)), np.cos(1.3)),
    (sp.im(sp.exp(sp.I * x)), np.sin(1.3)),
    (sp.conjugate(x) * x, 1.69),
    (sp.arg(-x), np.pi),
    ((1 + sp.I * x) * (1 - sp.I * x), 2.69),
    (sp.Abs(sp.exp(sp.I * x) + 1) ** 2, 2 + 2 * np.cos(1.3)),
    (sp.Piecewise((x**2, sp.Contains(x, sp.Interval(0, 2))), (x, True)), 1.69),
    (sp.SingularityFunction(x, 1, 2), 0.09),
    (sp.Poly(x**2 + 3 * x, x), 1.69 + 3.9),
    (sp.besselj(sp.Rational(1, 2), x), np.sqrt(2 / np.pi / 1.3) * np.sin(1.3)),
    (sp.besselk(sp.Rational(1, 2), x), np.sqrt(np.pi / 2 / 1.3) * np.exp(-1.3)),
    (sp.real_root(x - 9.3, 3), -2.0),
    (x**200 / sp.factorial(200), 0.0),
    ((100 * x) ** 200 / sp.factorial(200), float(mpmath.mpf(130) ** 200 / mpmath.factorial(200))),
    (sp.factorial(200) / (99 * x) ** 200 - x, float(mpmath.factorial(200) / (99 * mpmath.mpf(1.3)) ** 200) - 1.3),
    (sp.log(x**200 / sp.factorial(200)), 200 * np.log(1.3) - float(mpmath.loggamma(201))),
    (sp.log(sp.factorial(200) * x), np.log(1.3) + float(mpmath.loggamma(201))),
]


@pytest.mark.parametrize(("loss", "expected"), REAL_FORMS, ids=[str(e)[:30] for e, _ in REAL_FORMS])
def test_what_sympy_writes_in_other_functions(loss: Any, expected: float) -> None:
    assert compile_value(loss, [x])(1.3) == pytest.approx(expected, rel=1e-13)


def test_refusals_have_a_cure_that_works() -> None:
    with pytest.raises(ExpressionError, match="contains I, which is no real number"):
        compile_grad(sp.I * x, [x])
    with pytest.raises(ExpressionError, match=r"put numbers in, as by loss.subs\(n, 10\), or work the sum out by doit"):
        compile_grad(Sum(a**k, (k, 0, n)), [a])
    assert compile_value(Sum(a**k, (k, 0, n)).subs(n, 3), [a])(2.0) == 15.0
    assert compile_value(Sum(a**k, (k, 0, n)).doit(), [a, n])(2.0, 3.0) == 15.0


# Quotients of gamma functions


@pytest.mark.parametrize(
    ("loss", "at", "expected"),
    [
        (sp.binomial(a, b), (5.5, 2.2), mpmath.binomial(5.5, 2.2)),
        (sp.binomial(a, b), (10.0, 12.0), 0.0),
        (sp.binomial(a, b), (-2.5, 300.0), mpmath.binomial(-2.5, 300)),
        (sp.binomial(a, 3) + 0 * b, (-2.5, 0.0), -6.5625),
        (sp.rf(a, b), (2.5, 3.3), mpmath.rf(2.5, 3.3)),
        (sp.ff(a, b), (7.5, 3.3), mpmath.ff(7.5, 3.3)),
        (sp.beta(a, b), (200.0, -50.5), mpmath.beta(200, -50.5)),
        (sp.log(a**b * sp.exp(-a) / sp.factorial(b)), (1500.0, 1650.0),
         1650 * mpmath.log(1500) - 1500 - mpmath.loggamma(1651)),
        (sp.log(sp.binomial(a, 690) * b**690), (1000.0, 0.3),
         mpmath.log(mpmath.binomial(1000, 690)) + 690 * mpmath.log(0.3)),
    ],
    ids=str,
)  # fmt: skip
def test_quotients_of_gamma_functions(loss: Any, at: tuple[float, float], expected: Any) -> None:
    value, grads = compile_grad(loss, [a, b], allow_unused=True)(*at)
    assert value == pytest.approx(float(expected), rel=1e-11, abs=0)
    assert np.all(np.isfinite(list(grads)))


# Branches at a point

AT_POINTS = [
    (sp.Piecewise(((sp.exp(x) - 1) / x, sp.Ne(x, 0)), (1, True)), (0.0,), (1.0, 0.5)),
    (sp.Piecewise((sp.log(1 + x) / x, sp.Ne(x, 0)), (1, True)), (0.0,), (1.0, -0.5)),
    (sp.Piecewise((0, sp.Eq(x, 0)), (x**2 + x, True)), (0.0,), (0.0, 1.0)),
    (sp.Integral(sp.exp(x * t), (t, 0, 1)), (0.0,), (1.0, 0.5)),
    (sp.Integral(sp.exp(x * t), (t, 0, 1)), (1e-10,), (1.0, 0.5)),
    (sp.Integral(t * sp.exp(x * t), (t, 0, 1)), (0.0,), (0.5, 1 / 3)),
    (sp.Piecewise((x / (sp.exp(x) - 1), sp.Ne(x, 0)), (1, True)), (0.0,), (1.0, -0.5)),
    (sp.Piecewise((1 / x - 1 / (sp.exp(x) - 1), sp.Ne(x, 0)), (sp.Rational(1, 2), True)), (0.0,), (0.5, -1 / 12)),
    (sp.Piecewise(((sp.exp(x) - 1 - x) / x**2, sp.Ne(x, 0)), (sp.Rational(1, 2), True)), (0.0,), (0.5, 1 / 6)),
    (sp.Piecewise((sp.log(x) / (x - 1), sp.Ne(x, 1)), (1, True)), (1.0,), (1.0, -0.5)),
    (sp.Piecewise(((a**x - 1) / x, sp.Ne(x, 0)), (sp.log(a), True)), (0.0, 2.0), (np.log(2), np.log(2) ** 2 / 2, 0.5)),
    (sp.Piecewise((x, sp.Eq(x, a)), ((x - a) / sp.log(x / a), True)), (2.0, 2.0), (2.0, 0.5, 0.5)),
    (sp.Piecewise((sp.sin(x) / x, sp.Ne(x, 0)), (1, True)), (0.0,), (1.0, 0.0)),
    (sp.Piecewise((sp.sqrt(x), sp.Ne(x, 0)), (0, True)), (0.0,), (0.0, 0.0)),
    (sp.Piecewise((2, sp.Eq(x, 0)), (x**2 + x, True)), (0.0,), (2.0, 0.0)),
]


@pytest.mark.parametrize(("loss", "at", "expected"), AT_POINTS, ids=[str(e)[:40] for e, _, _ in AT_POINTS])
def test_a_branch_at_a_point_has_the_slope_of_the_other(
    loss: Any, at: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    """Where the value is the limit and the slope is finite; else the branch is what was written."""
    value, grads = compile_grad(loss.doit(), [x, a][: len(at)])(*at)
    np.testing.assert_allclose([value, *grads], expected, rtol=1e-9)


def test_branches_at_a_point_of_arrays() -> None:
    v = gc.array("v", 3)
    quotient = np.expm1(v) / np.where(v == 0, 1, v)
    for loss in (np.sum(np.where(v == 0, 1, np.expm1(v) / v)), np.sum(np.where(v == 0, 1, quotient))):
        value, grads = compile_grad(loss, v)([0.0, 1e-9, 1.0])
        np.testing.assert_allclose(grads, [0.5, 0.5 + 1e-9 / 3, 1.0], rtol=1e-14)
        assert value == pytest.approx(np.e + 1, rel=1e-9)


# The fuzzer of index notation finds what is planted


@pytest.mark.parametrize("fault", ["value", "gradient", "shift"])
def test_planted_faults_are_found(fault: str) -> None:
    """A term more, a gradient that is too long, an entry beside the right one: found in the first few cases."""
    found = 0
    for number in range(40):
        case = case_of("indices", 5, number)
        if not case["params"]:
            continue

        def planted(loss: Any, params: Any) -> Any:
            f = indices.compiled(loss, params)

            def wrong(*args: Any, **inputs: Any) -> Any:
                value, grads = f(*(np.roll(p, 1) if fault == "shift" else p for p in args), **inputs)
                return value + (1e-6 if fault == "value" else 0), [
                    g * (1.001 if fault == "gradient" else 1) for g in grads
                ]

            wrong.problem = f.problem  # type: ignore[attr-defined]
            return wrong

        found += indices.judged(case, planted)[1] is not None
        if found:
            break
    assert found
