"""Bad input through the front door: each is an error of the package's own, with the symbol and the cure in it."""

from typing import Any

import numpy as np
import pytest
import sympy as sp

import gradcompile
from gradcompile import compile_grad, compile_value, mean
from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError, GradcompileError
from gradcompile.gradient import CompiledGrad

w, b, x, y = sp.symbols("w b x y")
X, Y = np.linspace(0.1, 1.0, 10), np.linspace(1.0, 2.0, 10)

COMPILATIONS: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (x**2, [x, w], {}, ArgumentError, "does not contain the parameter w.*allow_unused=True"),
    (x**2, [x], {"data": [y]}, ArgumentError, "does not contain the data symbol y.*allow_unused=True"),
    (w * x, [w, w], {}, ArgumentError, "w is given twice"),
    (w * x, [w], {"data": [w]}, ArgumentError, "w is given in params and in data"),
    (w * x, [w], {"inputs": [x, x]}, ArgumentError, "x is given twice"),
    (w * x * y, [w], {"inputs": [x]}, ArgumentError, "contains y, which is in neither.*inputs="),
    (sp.I * w, [w], {}, ExpressionError, "I, which is no real number"),
    (sp.Matrix([w, x]), [w], {}, ExpressionError, "a loss is a scalar"),
    (w > x, [w], {}, ExpressionError, "where"),
    (None, [w], {}, ArgumentTypeError, "NoneType"),
    (w * sp.Symbol("w", positive=True), [w], {}, ArgumentError, "two different symbols are called 'w'.*positive"),
    (w * x, "w", {}, ArgumentTypeError, "name the symbols in a list"),
    (w * x, {w}, {}, ArgumentTypeError, "no order"),
    (w * x, [w], {"reduce": "max"}, ArgumentError, "reduce='max'.*'mean' or 'sum'"),
    (w * x, [w], {"reduce": None}, ArgumentError, "reduce=None.*'mean' or 'sum'"),
    (w * x, [w], {"dtype": "float16"}, ArgumentError, "dtype='float16'.*'float64' or 'float32'"),
    (w * x, [w], {"threads": 0}, ArgumentError, "threads=0: give a whole number from 1"),
    (w * x, [], {}, ArgumentError, "params is empty.*compile_value"),
    (sp.Function("f")(w), [w], {}, ExpressionError, "undefined function.*custom"),
    (mean(w), [w], {}, ExpressionError, "no value a sample.*data="),
    (sp.Integral(sp.exp(-(w**2)), w), [w], {}, ExpressionError, "Integral"),
    (w * 10**400, [w], {}, ExpressionError, "outside the range of float64"),
]


@pytest.mark.parametrize(("loss", "params", "options", "kind", "message"), COMPILATIONS)
def test_what_cannot_be_compiled(
    loss: Any, params: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        compile_grad(loss, params, **options)
    assert isinstance(caught.value, GradcompileError)


def test_values_refuse_the_same() -> None:
    with pytest.raises(ArgumentError, match="does not contain the parameter b"):
        compile_value(w * x, [w, b])
    with pytest.raises(ArgumentError, match="dtype='int64'"):
        compile_value(w * x, [w], dtype="int64")


def test_every_error_is_caught_by_one_class() -> None:
    for name in gradcompile.__all__:
        found = getattr(gradcompile, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert issubclass(found, GradcompileError)
            assert name == "GradcompileError" or issubclass(found, ValueError | TypeError)


@pytest.fixture(scope="module")
def f() -> CompiledGrad:
    return compile_grad((w * x + b - y) ** 2, [w, b], data=[x, y], cache=False)


READ_ONLY = np.empty(2)
READ_ONLY.flags.writeable = False
CALLS: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((1.0, 2.0, X), {}, ArgumentTypeError, "no value for y"),
    ((1.0, 2.0, X, Y, X), {}, ArgumentTypeError, "5 arguments given, 4 taken"),
    ((1.0, 2.0, X, Y), {"z": 1.0}, ArgumentTypeError, "no argument 'z'; it takes"),
    ((1.0, 2.0, X, Y), {"w": 1.0}, ArgumentTypeError, "'w' is given twice"),
    ((1.0, 2.0, X, Y[:3]), {}, ArgumentError, "x has 10 samples and y has 3"),
    ((1.0, 2.0, X[:0], Y[:0]), {}, ArgumentError, "zero samples"),
    ((1.0, 2.0, X, ["a"] * 10), {}, ArgumentTypeError, "y holds text"),
    ((1.0, 2.0, X, Y.astype(object)), {}, ArgumentTypeError, "y holds objects"),
    ((1.0, 2.0, X, Y + 1j), {}, ArgumentTypeError, "y holds complex"),
    ((1.0, "2", X, Y), {}, ArgumentTypeError, "b is a single real number"),
    ((1.0, np.ones(2), X, Y), {}, ArgumentError, "b is a single number, got an array"),
    ((1.0, 2**60 + 1, X, Y), {}, ArgumentError, "does not fit float64 exactly; pass float"),
    ((1.0, 2.0, np.full(10, 2**60 + 1), Y), {}, ArgumentError, "does not fit float64 exactly"),
    ((1.0, 2.0, X.reshape(2, 5), Y), {}, ArgumentError, r"x has shape \(2, 5\), expected \(n,\)"),
    ((1.0, 2.0, X, Y), {"out": np.empty(3)}, ArgumentError, r"out has shape \(3,\), the gradient \(2,\).*np.empty"),
    ((1.0, 2.0, X, Y), {"out": np.empty(2, "f4")}, ArgumentTypeError, "dtype float64, got dtype float32"),
    ((1.0, 2.0, X, Y), {"out": READ_ONLY}, ArgumentError, "out is read-only"),
    ((1.0, 2.0, X, Y), {"out": np.empty(4)[::2]}, ArgumentError, "out is not contiguous"),
    ((1.0, 2.0, X, Y), {"out": [0.0, 0.0]}, ArgumentTypeError, "out is an array.*got a list"),
]


@pytest.mark.parametrize(("args", "named", "kind", "message"), CALLS)
def test_calls_that_do_not_fit(
    f: CompiledGrad, args: tuple[Any, ...], named: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        f(*args, **named)
    assert isinstance(caught.value, GradcompileError)


def test_explain_check_and_loss_check_their_arguments_too(f: CompiledGrad) -> None:
    for call in (f.explain, f.check, f.loss):
        with pytest.raises(ArgumentTypeError, match="no value for y"):
            call(1.0, 2.0, X)
        with pytest.raises(ArgumentError, match="samples"):
            call(1.0, 2.0, X, Y[:3])


def test_bound_functions_check_theta(f: CompiledGrad) -> None:
    fun = f.bind(X, Y)
    with pytest.raises(ArgumentError, match=r"theta has shape \(3,\), expected \(2,\)"):
        fun(np.ones(3))
    with pytest.raises(ArgumentTypeError, match="theta holds text"):
        fun(["1", "2"])
    with pytest.raises(ArgumentError, match="out is read-only"):
        fun(np.ones(2), out=READ_ONLY)
    with pytest.raises(ArgumentTypeError, match="no value for y"):
        f.bind(X)
    with pytest.raises(ArgumentError, match=r"theta has shape \(1,\)"):
        f.unpack(np.ones(1))
    with pytest.raises(ArgumentTypeError, match="no value for b"):
        f.pack(1.0)
    assert fun([1, 2])[0] == f(1, 2, X, Y)[0]


def test_gradients_of_arrays_are_refused_by_name() -> None:
    g = compile_grad(sp.IndexedBase("v")[1] ** 2, {"v": sp.IndexedBase("v")}, cache=False)
    with pytest.raises(ArgumentError, match="v has shape"):
        _ = g.gradients


@pytest.mark.parametrize(
    ("loss", "at", "value", "slope"),
    [
        (sp.Abs(w), 0.0, 0.0, 0.0),
        (sp.Max(w, 2 * w), 0.0, 0.0, 1.5),
        (sp.Min(w, 2 * w), 0.0, 0.0, 1.5),
        (gradcompile.relu(w), 0.0, 0.0, 0.0),
        (sp.sqrt(w**2), 0.0, 0.0, 0.0),
        (sp.sign(w), 0.0, 0.0, 0.0),
        (sp.floor(w), 1.0, 1.0, 0.0),
        (sp.log(w), -1.0, np.nan, -1.0),
        (sp.log(w), 0.0, -np.inf, np.inf),
        (sp.sqrt(w), 0.0, 0.0, np.inf),
        (1 / w, 0.0, np.inf, -np.inf),
        (sp.asin(w), 2.0, np.nan, np.nan),
        (w**2, np.nan, np.nan, np.nan),
        (sp.exp(w), 1000.0, np.inf, np.inf),
    ],
)
def test_kinks_and_edges_follow_the_conventions(loss: Any, at: float, value: float, slope: float) -> None:
    with np.errstate(all="raise"):
        found = compile_grad(loss, w, cache=False)(at)
    np.testing.assert_array_equal(found, (value, slope))
