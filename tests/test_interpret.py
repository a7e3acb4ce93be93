"""The reference evaluator: values, named dimensions, many digits, and what it refuses."""

import warnings

import mpmath
import numpy as np
import pytest

from gradcompile.analysis.evaluate import evaluate, evaluate_all, exact
from gradcompile.errors import ArgumentError
from gradcompile.ir.core import apply, const, leaf
from gradcompile.ir.types import ArrayType

N = ArrayType(("n",))


def mean(x):
    return apply("div", apply("sum", x, params=((0,),)), apply("size", x, params=(0,)))


def test_a_mean_over_samples():
    x = leaf("x", N, "data")
    assert evaluate([mean(x)], {x: [1, 2, 6]}) == [3.0]


def test_results_have_the_dtype_of_their_nodes():
    x = leaf("x", ArrayType(("n",), "float32"))
    values = evaluate_all([apply("exp", mean(x)), apply("lt", x, const(0.0, "float32"))], {x: [1.0, 2.0]})
    assert {n.op.name: np.asarray(v).dtype.name for n, v in values.items()} == {
        "leaf": "float32",
        "sum": "float32",
        "size": "float32",
        "div": "float32",
        "exp": "float32",
        "const": "float32",
        "lt": "bool",
    }


def test_a_named_dimension_comes_from_any_leaf():
    x, s = leaf("x", N), leaf("s")
    (value,) = evaluate([apply("broadcast", s, params=(("n",),))], {x: [0.0, 0.0, 0.0], s: 2.0})
    assert value.tolist() == [2.0, 2.0, 2.0]


def test_deep_graphs_do_not_recurse():
    x = n = leaf("x")
    for _ in range(20_000):
        n = apply("add", n, x)
    assert evaluate([n], {x: 1.0}) == [20_001.0]


def test_no_warning_and_no_error_at_the_edges():
    x = leaf("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roots = [apply("log", x), apply("div", const(1.0), x), apply("exp", apply("exp", const(1000.0)))]
        assert evaluate(roots, {x: 0.0}) == [-np.inf, np.inf, np.inf]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, r"leaf 'x' of type float64\[n\] has no value"),
        ({"x": 1.0}, r"'x' has type float64\[n\], its value has shape \(\)"),
        ({"x": [1.0, 2.0], "y": [1.0]}, "'y' .* n is 2 here, not 1"),
    ],
)
@pytest.mark.parametrize("run", [evaluate, exact])
def test_values_that_do_not_fit(run, env, message):
    x, y = leaf("x", N), leaf("y", N)
    with pytest.raises(ArgumentError, match=message):
        run([apply("add", x, y)], {leaf(k, N): v for k, v in env.items()})


def test_a_dimension_that_nobody_gives():
    s = leaf("s")
    with pytest.raises(ArgumentError, match="dimension 'n'"):
        evaluate([apply("broadcast", s, params=(("n",),))], {s: 1.0})


def test_many_digits_over_samples():
    x = leaf("x", N)
    (value,) = exact([mean(apply("exp", x))], {x: [0.0, 1.0]})
    with mpmath.workdps(50):
        assert abs(value - (1 + mpmath.e) / 2) < mpmath.mpf(10) ** -49


def test_many_digits_take_numbers_of_many_digits():
    x = leaf("x")
    with mpmath.workdps(40):
        third = mpmath.mpf(1) / 3
    assert (
        exact([apply("mul", x, const(3.0))], {x: third}, 40)[0]
        != exact([apply("mul", x, const(3.0))], {x: 1 / 3}, 40)[0]
    )


def test_branches_follow_the_high_precision_comparison():
    x = leaf("x")
    small = apply("add", apply("add", const(1.0), x), const(-1.0))
    branch = apply("select", apply("lt", const(0.0), small), const(1.0), const(2.0))
    assert (evaluate([branch], {x: 1e-30}), exact([branch], {x: 1e-30})) == ([2.0], [1])


@pytest.mark.parametrize(("name", "want"), [("log", -np.inf), ("gamma", np.inf), ("sqrt", 0.0)])
def test_poles_in_many_digits(name, want):
    x = leaf("x")
    assert float(exact([apply(name, x)], {x: 0.0})[0]) == want


def test_off_the_reals_is_nan():
    x = leaf("x")
    assert mpmath.isnan(exact([apply("log", x)], {x: -1.0})[0])
    assert mpmath.isnan(exact([apply("pow", x, const(0.5))], {x: -1.0})[0])


def test_arrays_in_many_digits():
    x, s = leaf("x", ArrayType(("n", 2))), leaf("s")
    column = apply("item", x, params=((None, 1),))
    built = apply("assemble", column, s, params=(("n", 2), ((None, 1), (None, 0))))
    (value,) = exact([built], {x: [[1.0, 2.0], [3.0, 4.0]], s: 9.0})
    assert value.astype(float).tolist() == [[9.0, 2.0], [9.0, 4.0]]


def test_long_sums_have_exact_values() -> None:
    leaves = [leaf(f"t{k}") for k in range(100)]
    (value,) = exact([apply("add", *leaves)], dict.fromkeys(leaves, 0.5))
    assert value == 50


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_larger_or_smaller_of_two_is_not_a_number_if_either_is_not(name: str) -> None:
    x, y = leaf("x"), leaf("y")
    found = [
        exact([apply(name, x, y)], {x: a, y: b}, 30)[0] for a, b in ((1.0, np.nan), (np.nan, 1.0), (np.nan, np.nan))
    ]
    assert all(map(np.isnan, map(float, found)))
