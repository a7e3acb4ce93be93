"""SymPy's Derivative inside a loss: against what `doit` writes out, and against 60 digits."""

import numpy as np
import pytest
import sympy as sp
from sympy import Derivative

import gradcompile as gc
from gradcompile.errors import ExpressionError
from gradcompile.frontend.sympy.convert import read
from gradcompile.ir.graph import topological

a, b, x, y, t = sp.symbols("a b x y t")
POINT = {a: sp.Rational(7, 10), b: sp.Rational(-3, 10), x: sp.Rational(9, 10), y: sp.Rational(13, 10)}
cubed = gc.custom("cubed", lambda u: u * u * u, [lambda u: 3 * u**2])
u = sp.exp(-a * x) * sp.sin(b * y + x * y)
ENTRIES = sp.Matrix([[Derivative(u, x), y], [a, Derivative(u, y)]])
FORMULAS = {
    "first": Derivative(u, x),
    "by a parameter": Derivative(u, a),
    "mixed": Derivative(u, x, y),
    "third": Derivative(u, x, (y, 2)),
    "fifth": Derivative(u, (x, 3), y, a),
    "nested in a function": sp.log(Derivative(u, x) ** 2 + 1),
    "of one": Derivative(sp.cos(Derivative(u, x) * y), y),
    "a branch": Derivative(sp.Piecewise((sp.log(x - 1), x > 1), (x**2 * a, True)), x),
    "the other branch": Derivative(sp.Piecewise((sp.log(y - 1), y > 1), (y**2 * a, True)), (y, 2)),
    "the larger": Derivative(sp.Max(a * x**2, b * y), x),
    "the smaller": Derivative(sp.Min(a * x**2, b * y, y), y),
    "of the user": Derivative(cubed(a * x) * y, x),
    "of the user, again": Derivative(cubed(a * x) * y, (x, 2)),
    "a sum": Derivative(sp.Sum(sp.sin(sp.Symbol("k") * a * x), (sp.Symbol("k"), 0, 4)), x),
    "in a sum": sp.Sum(Derivative(sp.sin(sp.Symbol("k") * a * x), x), (sp.Symbol("k"), 0, 4)),
    "a determinant": ENTRIES.det(),
    "constant": Derivative(a * x + y, x),
}
COUNT = len(FORMULAS)


def test_values_and_gradients_agree_with_what_doit_writes_out_and_with_60_digits():
    written = [f.doit() for f in FORMULAS.values()]
    own = gc.compile_jacobian(list(FORMULAS.values()), [a, b], inputs=[x, y], allow_unused=True)
    other = gc.compile_jacobian(written, [a, b], inputs=[x, y], allow_unused=True)
    at = [float(v) for v in POINT.values()]
    exact = {k: sp.Rational(v) for k, v in zip(POINT, at, strict=True)}
    for found, formula, name in zip(zip(*own(*at), strict=True), written, FORMULAS, strict=True):
        right = [(f.doit().subs(exact)).evalf(60) for f in (formula, formula.diff(a), formula.diff(b))]
        np.testing.assert_allclose([found[0], *found[1]], np.array(right, float), rtol=1e-13, atol=1e-15, err_msg=name)
    np.testing.assert_allclose(own(*at)[1], other(*at)[1], rtol=1e-13, atol=1e-15)


def test_columns_have_each_sample_s_own_derivative():
    """By a column and by a parameter, of values a sample, with means of other things in them."""
    formulas = [Derivative(u, x, a), Derivative(sp.sin(gc.mean(b * y)) * u, b), gc.mean(Derivative(u, x)) * y * b]
    given = [0.7, -0.3, [0.9, 0.1, 2.0], [1.3, 0.2, -1.0]]
    columns = np.array(given[2:])
    f = gc.compile_jacobian(formulas, [a, b], data=[x, y])
    values, slopes = f(*given)
    plain = sp.lambdify([a, b, x, y], [u, u.diff(x), u.diff(x, a), u.diff(b), u.diff(x, a, b)])
    now, by_x, mixed, by_b, third = plain(0.7, -0.3, *columns)
    mean = np.mean(columns[1])
    product = np.cos(-0.3 * mean) * mean * now + np.sin(-0.3 * mean) * by_b
    np.testing.assert_allclose(values, [mixed, product, np.mean(by_x) * columns[1] * -0.3], rtol=1e-13)
    np.testing.assert_allclose(slopes[0][:, 1], third, rtol=1e-13)


def test_orders_of_what_is_shared_stay_small():
    """SymPy would write out paths: 16,000 of them here, and as many more for each order."""
    v = x
    for _ in range(14):
        v = sp.sin(v * y, evaluate=False) + v * a
    sizes = [len(topological([read(Derivative(v, (x, k)), [a], inputs=[x, y]).primal])) for k in (1, 2)]
    assert sizes[0] < 400 and sizes[1] < 2_000


def test_logarithms_stay_stable():
    """The derivative of log(1 + exp(x)) is the sigmoid, without overflow."""
    f = gc.compile_value(Derivative(sp.log(1 + sp.exp(a * x)), x), [a], data=[x])
    np.testing.assert_array_equal(f(1.0, [800.0, -800.0, 0.0]), [1.0, 0.0, 0.5])


def test_index_notation_and_functions_of_time_are_as_before():
    n, i = sp.symbols("n i", integer=True)
    w, q = sp.IndexedBase("w", shape=(n,)), sp.Function("q")(t)
    indexed = sp.Sum(Derivative(sp.sin(a * w[i]), a) * Derivative(w[i] ** 3, w[i]), (i, 0, n - 1))
    entries = np.array([0.5, 1.0, -2.0])
    expected = np.sum(np.cos(0.7 * entries) * entries * 3 * entries**2)
    assert gc.compile_value(indexed, [a], inputs=[w])(0.7, entries) == pytest.approx(expected, rel=1e-14)
    speed = gc.compile_value(Derivative(q**2 * a, t), [a], inputs=[q, q.diff(t)])
    assert speed(2.0, 3.0, 5.0) == 2 * 2 * 3 * 5


f = sp.Function("f")
k = sp.Symbol("k", integer=True)
WRONG = {
    "an undefined function": (Derivative(f(a * x), x), r"gradcompile\.custom\('f', value, partials\)"),
    "its derivative": (f(a * x).diff(x), r"gradcompile\.custom\('f', value, partials\)"),
    "an order": (Derivative(sp.sin(a * x), (x, k)), r"loss\.subs\(k, 2\)"),
    "a mean over samples": (Derivative(gc.mean(sp.sin(a * x)), x), r"mean\(Derivative\(f\(x\), x\)\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_has_no_derivative_is_refused(case):
    loss, message = WRONG[case]
    with pytest.raises(ExpressionError, match=message):
        gc.compile_grad(loss, [a], data=[x])


def test_cures_of_messages_work():
    """A function that is defined, an order that is a number, and a mean of derivatives."""
    square = gc.custom("f", lambda u: u * u, [lambda u: 2 * u])
    losses = [square(a * x).diff(x), Derivative(sp.sin(a * x), (x, k)).subs(k, 2), gc.mean(Derivative(a * x**2, x))]
    found = gc.compile_value(losses, [a], data=[x])(2.0, [1.0, 3.0])
    np.testing.assert_allclose(found[0], [8.0, 24.0], rtol=1e-15)
    np.testing.assert_allclose(found[1], -4 * np.sin([2.0, 6.0]), rtol=1e-15)
    assert found[2] == pytest.approx(8.0)
