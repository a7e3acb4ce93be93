"""`derivative`: a derivative inside a loss of arrays, against what it is by hand."""

import numpy as np
import pytest

import gradcompile
from gradcompile import array, compile_grad, compile_value, derivative, scan
from gradcompile.errors import ArgumentTypeError, ExpressionError
from gradcompile.ir.graph import topological

X = np.linspace(0.2, 1.7, 5)
x, a, b = array("x", "n"), array("a"), array("b", 3)


def through(u, v):
    """The n-th derivative of a value a sample by v."""
    return derivative(np.sum(u), v)


def repeated(value, by, count):
    """A derivative of some order, by summing between."""
    for _ in range(count):
        value = derivative(np.sum(value), by)
    return value


def orbit(v):
    """Ten steps of a map that starts from v and has `a` in each."""
    return scan(lambda s, _: (s + 0.1 * np.sin(a * s), None), v, length=10)[0]


def slopes_inside(v):
    """A descent whose every step takes a gradient of its own."""

    def step(s, _):
        energy = np.sum((s**2 - a) ** 2)
        return s - 0.05 * derivative(energy, s), None

    return scan(step, v, length=3)[0]


def numbers(v, at):
    """The map of `orbit` and its derivative by the start, in NumPy."""
    d = np.ones_like(v)
    for _ in range(10):
        v, d = v + 0.1 * np.sin(at * v), d * (1 + 0.1 * at * np.cos(at * v))
    return v, d


def descent(v, at):
    """The steps of `slopes_inside`, in NumPy."""
    for _ in range(3):
        v = v - 0.05 * 4 * v * (v**2 - at)
    return v


INTERMEDIATE = np.tanh(a * x)
CASES = {
    "first": (through(np.sin(a * x), x), lambda x, a: a * np.cos(a * x)),
    "by a parameter": (derivative(np.sum(np.sin(a * x)), a), lambda x, a: np.sum(x * np.cos(a * x))),
    "mixed": (through(through(np.exp(a * x), x) * x, x), lambda x, a: a * np.exp(a * x) * (1 + a * x)),
    "third": (repeated(np.sin(a * x), x, 3), lambda x, a: -(a**3) * np.cos(a * x)),
    "fifth": (repeated(x**5 * a, x, 5), lambda x, a: 120 * a * np.ones_like(x)),
    "an intermediate": (through(INTERMEDIATE**3 * x, INTERMEDIATE), lambda x, a: 3 * np.tanh(a * x) ** 2 * x),
    "itself": (derivative(np.sum(x), x), lambda x, a: np.ones_like(x)),
    "nothing": (derivative(a**2, x) + a * x, lambda x, a: a * x),
    "a branch": (through(np.where(x > a, np.log(x - a), 0.0), x), lambda x, a: np.where(x > a, 1 / np.abs(x - a), 0)),
    "a scan": (through(orbit(x), x), lambda x, a: numbers(x, a)[1]),
    "inside a scan": (slopes_inside(x), descent),
    "rows": (derivative(np.sum((x[:, None] * b) ** 3), b) + 0 * a, lambda x, a, b: 3 * b**2 * np.sum(x**3)),
}


@pytest.mark.parametrize("case", CASES)
def test_derivatives_by_hand(case):
    expression, exact = CASES[case]
    shape, given = expression.shape, [X, 0.7]
    rows = "b" in exact.__code__.co_varnames
    inputs = [x, a, b] if rows else [x, a]
    more = [np.array([0.3, -0.5, 2.0])] if rows else []
    found = compile_value(expression, inputs=inputs)(*given, *more)
    np.testing.assert_allclose(found, exact(*given, *more), rtol=4e-15, atol=1e-14)
    assert shape == (() if case == "by a parameter" else (3,) if rows else ("n",))


def test_gradients_of_derivatives_agree_with_differences():
    """Of losses that hold derivatives, through a scan and of second order too."""
    u = np.sin(a * x) + orbit(x)
    loss = np.mean(repeated(u, x, 2) ** 2) + np.mean(slopes_inside(x * a)) + derivative(np.sum(u), a)
    f = compile_grad(loss, [a], inputs=[x])
    for at in (0.3, 1.1):
        step = 1e-3
        values = [f(at + k * step, X)[0] for k in (-2, -1, 1, 2)]
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        assert f(at, X)[1].a == pytest.approx(slope, rel=1e-8)


def test_gradient_penalty_in_single_precision():
    y, w = array("y", ("n", 2), "float32"), array("w", 2, "float32")
    slope = derivative(np.sum(np.tanh(y @ w)), y)
    penalty = np.mean((np.sum(slope**2, axis=1) - 1) ** 2)
    rows, weights = np.array([[0.1, 0.2], [0.5, -1.0]], np.float32), np.array([0.4, 1.5], np.float32)
    squares = (1 - np.tanh(rows @ weights) ** 2)[:, None] * weights
    assert slope.shape == ("n", 2) and slope.dtype == np.float32
    found = compile_value(penalty, inputs=[y, w])(rows, weights)
    assert found == pytest.approx(np.mean((np.sum(squares**2, axis=1) - 1) ** 2), rel=1e-6)


def test_deep_chains_and_many_orders_stay_small():
    """A derivative shares what the value has: it has a few nodes for each of the value's."""
    v = x
    for _ in range(2_000):
        v = np.sin(v + a)
    first = derivative(np.sum(v), x)
    assert len(topological([first.node])) < 10 * 2_000
    assert len(topological([derivative(np.sum(first), x).node])) < 50 * 2_000


k, flag = array("k", "n", "int64"), array("flag", "n", "bool")
WRONG = {
    "a value a sample": (lambda: derivative(np.sin(x), x), r"take derivative\(np\.sum\(u\), x\)"),
    "a whole number": (lambda: derivative(np.sum(k), x), "dtype int64"),
    "by whole numbers": (lambda: derivative(np.sum(k * x), k), "dtype int64.*floats"),
    "by truth": (lambda: derivative(np.sum(np.where(flag, x, 0)), flag), "dtype bool"),
    "by a part that is none": (lambda: derivative(np.sum(x * b[0]), x[1:]), r"of that the entries"),
    "by numbers": (lambda: derivative(np.sum(x), np.ones_like(b)), "made of numbers alone"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_has_no_derivative_is_refused(case):
    wrong, message = WRONG[case]
    with pytest.raises(ExpressionError, match=message) as error:
        wrong()
    assert "shape (" in str(error.value) and "test_derivative.py" in str(error.value)


def test_what_is_no_array_is_refused():
    import sympy as sp

    s = sp.Symbol("s")
    with pytest.raises(ArgumentTypeError, match=r"sympy\.Derivative\(value, x\)"):
        derivative(s**2, x)
    with pytest.raises(ArgumentTypeError, match="once for each"):
        derivative(np.sum(x), [x, a])
    with pytest.raises(ArgumentTypeError, match="wrt is a str"):
        derivative(np.sum(x), "x")


def test_cures_of_messages_work():
    """The entries of a derivative in place of that by entries, and a float in place of a whole number."""
    float_k = k.astype("float64")
    both = derivative(np.sum(x * x[0]), x)[1:].sum() + np.sum(derivative(np.sum(float_k**2 * x), float_k))
    found = compile_value(both, inputs=[x, k])([2.0, 3.0, 5.0], [1, 2, 3])
    assert found == 2 * 2.0 + 2 * (2 + 6 + 15)
    assert gradcompile.derivative is derivative
