"""Derivatives at zeros, kinks and extremes: where a slope is infinite and the derivative is not."""

import math
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Abs, Max, Rational, cbrt, exp, log, sqrt, symbols

import gradcompile as gc
from gradcompile import compile_grad

x, y, a, b, u, v = symbols("x y a b u v")
ZEROS = [0.0, 0.0, 0.0]
X, W, S = gc.array("X", 3), gc.array("W", 3), gc.array("S", (3, 3))
POINTS = gc.array("P", (3, 2))
HALF, THREE_HALVES = Rational(1, 2), Rational(3, 2)


def flat(result: Any) -> list[float]:
    """Loss and gradient as one list."""
    value, grads = result
    parts = grads if isinstance(grads, tuple) else (grads,)
    return [float(value), *np.concatenate([np.ravel(g) for g in parts]).tolist()]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("power", [THREE_HALVES, Rational(5, 2), Rational(9, 2)])
def test_half_integer_powers_are_flat_at_zero(power: Any, dtype: str) -> None:
    f = compile_grad(x**power + Abs(y) ** power + (a - b) ** power, [x, y, a, b], dtype=dtype)
    assert flat(f(0.0, 0.0, 1.0, 1.0)) == [0.0] * 5
    k = float(power)
    assert flat(f(4.0, -1.0, 2.0, 1.0)) == [4**k + 2, k * 4 ** (k - 1), -k, k, -k]
    below = compile_grad(x**-power, [x], dtype=dtype)
    assert flat(below(4.0)) == [4**-k, -k * 4 ** (-k - 1)]


def test_half_integer_powers_of_arrays_and_of_ties_are_flat_at_zero() -> None:
    f = compile_grad(np.sum(X**1.5 + np.maximum(X, 0) ** 2.5), [X])
    assert flat(f([0.0, 1.0, 4.0])) == [42.0, 0.0, 4.0, 23.0]
    f = compile_grad(Max(u - a, 0) ** THREE_HALVES, [a], data=[u])
    assert flat(f(2.0, u=[1.0, 2.0, 3.0])) == [pytest.approx(1 / 3), -0.5]


def test_what_no_parameter_changes_by_little_is_a_still_factor() -> None:
    f = compile_grad(np.sum((np.floor(X) * X) ** 0.3 + np.sqrt(gc.stop_gradient(X) * X)), [X])
    assert flat(f([0.5, 0.0, 4.0]))[1:] == [0.5, 0.0, pytest.approx(0.3 * 16**-0.7 * 4 + 0.5)]


MINIMA = {
    "power": ((x**2 + y**2) ** Rational(3, 4), 0.0),
    "low power": ((x**2 + y**4) ** Rational(1, 5), 0.0),
    "absolute": (sqrt(Abs(x) + Abs(y)), 0.0),
    "cube root": (cbrt(Abs(x)) + cbrt(y**2), 0.0),
    "weighted": (sqrt(a * x**2 + b * y**2), 0.0),
    "form": (sqrt(x**2 + x * y + y**2), 0.0),
    "thin plate": ((x**2 + y**2) * log(x**2 + y**2), 0.0),
    "thin plate of the distance": ((x**2 + y**2) * log(sqrt(x**2 + y**2)), 0.0),
    "logarithm": (x**2 * log(x) + y**3 * log(y), 0.0),
    "branch point": (sp.acos(sp.cos(x)) + sp.asin(1 - y**2), math.pi / 2),
}


@pytest.mark.parametrize("stabilize", [True, False])
@pytest.mark.parametrize("name", MINIMA)
def test_a_minimum_has_no_slope(name: str, stabilize: bool) -> None:
    loss, value = MINIMA[name]
    f = compile_grad(loss, [x, y], stabilize=stabilize or loss.has(log))  # 0*log(0) is NaN as written
    given = {"x": 0.0, "y": 0.0} | {str(s): 2.0 for s in loss.free_symbols if s in (a, b)}
    assert flat(f(**given)) == [pytest.approx(value), 0.0, 0.0]


NORMS = {
    "weights": np.sqrt(np.sum(W * X**2)),
    "form": np.sqrt(X @ S @ X),
    "einsum": np.sqrt(np.einsum("i,ij,j->", X, S, X)),
    "deviation": np.sqrt(np.mean(X**2) - np.mean(X) ** 2),
    "plain": np.sqrt(np.sum(X**2)),
    "power": np.sum(X**2) ** 0.75,
}


@pytest.mark.parametrize("name", NORMS)
def test_the_norm_of_zeros_has_no_slope(name: str) -> None:
    f = compile_grad(NORMS[name], [X])
    if name == "deviation":
        assert flat(f([2.0, 2.0, 2.0])) == [0.0] * 4
    given = {"W": [1.0, 2.0, 3.0], "S": np.eye(3) + 1}
    inputs = {k: given[k] for k in f.signature.parameters if k in given}
    assert flat(f(ZEROS, **inputs)) == [0.0] * 4
    at = np.array([1.0, -2.0, 0.5])
    assert f.check(at, **inputs).error < 1e-12


def test_a_form_that_is_zero_elsewhere_keeps_its_infinite_slope() -> None:
    f = compile_grad(sqrt(x**2 - y**2), [x, y])
    assert flat(f(1.0, 1.0)) == [0.0, math.inf, -math.inf]
    assert flat(compile_grad(sqrt(x), [x])(0.0)) == [0.0, math.inf]
    assert flat(compile_grad(x * log(x), [x])(0.0)) == [0.0, -math.inf]
    assert flat(compile_grad(cbrt(x), [x])(0.0)) == [0.0, math.inf]


def test_distances_of_equal_points_have_no_slope() -> None:
    squares = np.sum(POINTS**2, axis=1)
    f = compile_grad(np.sum(np.sqrt(np.maximum(squares[:, None] + squares - 2 * POINTS @ POINTS.T, 0))), [POINTS])
    got = flat(f([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]))
    assert got == pytest.approx([20.0, -1.2, -1.6, 2.4, 3.2, -1.2, -1.6])


STILL = {
    "root": sqrt(4 * a * u),
    "stretched": exp(-((u / a) ** b)),
    "Hill": (u / a) ** b / (1 + (u / a) ** b),
    "Weibull": 1 - exp(-((u / a) ** b)),
    "inverse power": (a * u) ** (1 / b),
    "logarithm": log(1 + (u / a) ** b),
    "cube root": cbrt(a * u) + sqrt(1 - exp(-b * u)),
    "two terms": (a * u + b * u**2) ** Rational(3, 10),
    "quotient": (a * u / (b + u)) ** b,
    "nested": sqrt(sqrt(a) * u) * (1 + b),
    "Hill, inverse": 1 / (1 + (a / u) ** b),
    "Langmuir": b / (1 + a / u),
    "Arrhenius": exp(-a / u) + exp(-b / u**2),
    "weighted root": u * sqrt(a - 2) + u * cbrt(b - Rational(7, 10)),
}


@pytest.mark.parametrize("name", STILL)
def test_a_sample_that_no_parameter_changes_sends_nothing(name: str) -> None:
    loss = STILL[name]
    params = [s for s in (a, b) if s in loss.free_symbols]
    f = compile_grad(loss, params, data=[u], reduce="sum")
    at = {"a": 2.0, "b": 0.7}
    given = {str(s): at[str(s)] for s in params}
    if name == "weighted root":  # whose slope is infinite wherever its weight is not 0
        assert flat(f(**given, u=[0.0, 0.0])) == [0.0, 0.0, 0.0]
        return
    with_zero, without = (flat(f(**given, u=rows)) for rows in ([0.0, 1.0, 3.0], [1.0, 3.0]))
    without[0] += 1.0 if name == "stretched" else 0.0
    assert with_zero == pytest.approx(without, rel=1e-13) and f.check(**given, u=[1.0, 3.0]).error < 1e-12


def test_a_sum_that_a_parameter_alone_makes_zero_is_infinite_in_that_one_only() -> None:
    f = compile_grad(sqrt(a * u + b), [a, b], data=[u])
    assert flat(f(2.0, 0.0, u=[0.0, 2.0])) == [1.0, 0.25, math.inf]
    rows = compile_grad(np.sum(np.sqrt(gc.array("R", ("n", 3)) @ W)), [W])
    assert flat(rows([1.0, 2.0, 3.0], R=[[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])) == [2.0, 0.25, 0.0, 0.25]


@pytest.mark.parametrize(
    ("loss", "at", "value", "slope"),
    [
        (a / x**13, (1e-12, 1e-22), 1e274, -1.3e297),
        (a / x**3, (1.0, 1e60), 1e-180, -3e-240),
        (a / x**2, (1e-200, 1e-150), 1e100, -2e250),
        (a / sqrt(x), (1.0, 1e300), 1e-150, -5e-451),
        (a / x ** Rational(5, 2), (1e-100, 1e-120), 1e200, -2.5e320),
        (a / (x**7 * (1 + x**2)), (1e-20, 1e-40), 1e260, -7e300),
    ],
)
def test_a_quotient_by_a_power_has_the_range_of_its_derivative(loss: Any, at: Any, value: float, slope: float) -> None:
    f = compile_grad(loss, [x], inputs=[a])
    assert flat(f(at[1], at[0])) == pytest.approx([value, slope], rel=1e-12)


def test_single_precision_takes_special_functions() -> None:
    f = compile_grad(exp(sp.loggamma(x)) + sp.beta(x, 2), [x], dtype="float32")
    value, (slope,) = f(1.5)
    assert value == pytest.approx(math.gamma(1.5) + 1 / (1.5 * 2.5), rel=1e-5)
    assert slope == pytest.approx(f.check(1.5).expected, rel=1e-4)


def test_an_exponential_of_a_pole_is_flat() -> None:
    f = compile_grad(exp(-1 / x**2) + y * exp(-1 / Abs(y)) + exp(-a / b**4), [x, y, a, b])
    assert flat(f(0.0, 0.0, 1.0, 0.0)) == [0.0] * 5
    assert flat(compile_grad(exp(1 / x), [x])(0.0))[0] == math.inf
    assert math.isnan(flat(compile_grad(sp.atan(1 / x), [x])(0.0))[1])  # -1, which it does not see, and not 0


SETTLED: dict[str, tuple[Any, float, float]] = {  # of s = a*u: the function, and its values at inf and -inf
    "exp(-s**2)": (lambda s: np.exp(-s * s), 0.0, 0.0),
    "1/(1 + exp(s))": (lambda s: 1 / (1 + np.exp(s)), 0.0, 1.0),
    "tanh(s)": (np.tanh, 1.0, -1.0),
    "arctan(s)": (np.arctan, math.pi / 2, -math.pi / 2),
    "1/cosh(s)": (lambda s: 1 / np.cosh(s), 0.0, 0.0),
    "1/sqrt(1 + s**2)": (lambda s: 1 / np.sqrt(1 + s * s), 0.0, 0.0),
    "(1 + s**2)**-0.7": (lambda s: (1 + s * s) ** -0.7, 0.0, 0.0),
    "exp(-exp(s))": (lambda s: np.exp(-np.exp(s)), 0.0, 1.0),
}


def test_an_infinite_input_adds_nothing_where_the_value_has_settled() -> None:
    p, m = gc.array("p", ()), gc.array("m", ())
    f = compile_grad(sum(g(p * m) for g, *_ in SETTLED.values()), [p])
    for m_, place in ((math.inf, 0), (-math.inf, 1)):
        assert flat(f(1.5, m=m_)) == pytest.approx([sum(ends[place] for _, *ends in SETTLED.values()), 0.0])
    near = (flat(f(1.5 + 1e-6, m=0.3))[0] - flat(f(1.5 - 1e-6, m=0.3))[0]) / 2e-6
    assert flat(f(1.5, m=0.3))[1] == pytest.approx(near, rel=1e-8)
    rows = compile_grad(np.sum(np.tanh(X * p) + np.exp(-np.abs(X / W))), [p, W], inputs=[X])
    slopes = [0.3 / math.cosh(0.45) ** 2, 0.3 / 4 * math.exp(-0.15), 0.0, 0.0]
    assert flat(rows(1.5, [2.0, 2.0, 3.0], [0.3, math.inf, -math.inf]))[1:] == pytest.approx(slopes)


def test_a_mask_of_minus_infinity_may_be_scaled() -> None:
    f = compile_grad(np.sum(gc.softmax((X + S[0]) * W) * S[1]), [X, W])
    mask = np.array([[0.0, 0.0, -math.inf], [1.0, 2.0, 3.0], ZEROS])
    masked, left = f([0.1, 0.2, 0.3], [1.0, 2.0, 3.0], mask), np.exp([0.1, 0.4]) / np.exp([0.1, 0.4]).sum()
    pull = left * (np.array([1.0, 2.0]) - left @ [1.0, 2.0])
    assert flat(masked) == pytest.approx([left @ [1.0, 2.0], pull[0], 2 * pull[1], 0, 0.1 * pull[0], 0.2 * pull[1], 0])


def test_entries_that_a_mask_takes_out_send_nothing() -> None:
    for loss in (np.sum(np.sqrt(X) * W), np.sqrt(X) @ W, np.sum(np.sqrt(X) * np.array([0.0, 1.0, 1.0]))):
        f = compile_grad(loss, [X], inputs=[W], allow_unused=True)
        assert flat(f([0.0, 1.0, 4.0], [0.0, 1.0, 1.0])) == [3.0, 0.0, 0.5, 0.25]


def test_the_logarithm_of_a_norm_of_zeros_vanishes_beside_its_square() -> None:
    for loss in (np.sum(X**2) * np.log(np.sqrt(np.sum(X**2))), np.linalg.norm(X) ** 2 * np.log(np.linalg.norm(X))):
        assert flat(compile_grad(loss, [X])(ZEROS)) == [0.0] * 4


def test_the_square_of_a_bound_beyond_the_range_of_floats_is_infinite() -> None:
    assert flat(compile_grad((x**2 + 1e200) ** 2, [x])(1.0)) == [math.inf, 4e200]
