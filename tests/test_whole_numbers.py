"""Whole numbers and truth values: NumPy's results and NumPy's dtypes, and no number that floats can't tell apart."""

import re

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import ArgumentError, ExpressionError, compile_value

x, k, j = gc.array("x", "n"), gc.array("k", "n", dtype="int64"), gc.array("j", "n", dtype="int64")
X, K, J = np.array([2.0, 0.5, -1.0, 0.0]), np.array([7, -3, 4, 0]), np.array([3, -2, -5, 0])
GIVEN = {"x": X, "k": K, "j": J}
TRUTHS = ["(x > 0) + (x > 1)", "(x > 0) * (x > 1)", "np.sum((x > 0) + (x > 1))", "np.maximum(x > 0, x > 1)",
          "np.minimum(x > 0, x > 1)", "abs(x > 0)", "np.max(x > 0)", "np.min(x > 0)", "(x > 0) * 2", "(x > 0) - 1",
          "np.sum(x > 0)", "k * (x > 0)", "x * (x > 0)", "((x > 0) + (x > 1)) * x", "(x > -9) @ (x > -1)",
          "np.outer(x > 0, k > 0)", "np.einsum('i,j->j', x > 0, x > 1)", "np.outer(x > 0, x) @ np.outer(x, k > 0)",
          "np.outer(x > 0, x > 1) @ (k > 0)", "np.outer(x > 0, k > 0) @ np.outer(k > 0, x < 1)"]  # fmt: skip
WHOLE = ["np.reciprocal(j - 2)", "k // 2", "k // -3", "k // j", "j // k", "k % j", "k // 0", "k % 0",
         "np.floor_divide(k, -2)", "k**2", "k**3", "k**0", "k**1", "np.power(k, 5)", "2 ** (k % 3)", "np.floor(k)",
         "np.ceil(k)", "np.trunc(k)", "np.rint(k)", "np.where(x > 0, 1, 0)", "np.where(x > 0, 1, 0) * k",
         "np.fabs(k)", "np.min(k)", "np.argmin(k)", "np.where(x > 0, 1.0, 0)", "k / 2", "k // 2.0", "k**0.5 * 0",
         "np.square(k)", "np.sum(k**0)", "k @ j", "np.outer(k, j)", "np.outer(k, j) @ np.outer(j, k)",
         "np.outer(k, x) @ np.outer(j, k)", "np.outer(x > 0, k) @ np.outer(j, x)", "np.einsum('i,j->i', k, j)",
         "x[np.floor(abs(k) // 3)]", "x[np.where(x > 0, 1, 0)]", "x[(k**2) % 4]"]  # fmt: skip


@pytest.mark.parametrize("text", TRUTHS + WHOLE)
def test_as_numpy_has_it(text) -> None:
    value = eval(text, {"np": np, "x": x, "k": k, "j": j})
    inputs = [a for a in (x, k, j) if re.search(rf"\b{a.node.params[0]}\b", text)]
    with np.errstate(all="ignore"):
        expected = np.asarray(eval(text, {"np": np} | GIVEN))
        found = np.asarray(compile_value(value, [], inputs=inputs)(*(GIVEN[str(a.node.params[0])] for a in inputs)))
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)


@pytest.mark.parametrize("text", ["-(x > 0)", "(x > 0) - (x > 1)", "k ** -1"])
def test_what_numpy_refuses(text) -> None:
    with pytest.raises(ExpressionError, match="write"):
        eval(text, {"np": np, "x": x, "k": k})


def test_the_cures() -> None:
    for value in (~(x > 0), 1 - (x > 0), (x > 0) ^ (x > 1), 1 * (x > 0) - (x > 1), k**-1.0):
        assert value.shape == ("n",)


BIG = np.array([2**53 + 1, -(2**63), 2**63 - 1, 5])


@pytest.mark.parametrize("value", [k + 0, np.sort(k), np.min(k), np.max(k), np.sum(k), np.where(k > 0, k, 0), k // 1])
def test_results_that_floats_do_not_tell_apart_are_refused(value) -> None:
    with pytest.raises(ArgumentError, match=r"2\*\*53"):
        compile_value(value, [], inputs=[k])(BIG)


def test_large_numbers_inside() -> None:
    """What is picked, compared and divided is exact; the least is found where its opposite has no place."""
    odd = np.array([2**62 + 1, -(2**61) - 1, 2**53 + 1, 12345])
    assert compile_value(np.argmin(k), [], inputs=[k])(BIG) == np.argmin(BIG)
    np.testing.assert_array_equal(compile_value(k % 1000, [], inputs=[k])(odd), odd % 1000)
    np.testing.assert_array_equal(compile_value((k // 1000) % 1000, [], inputs=[k])(odd), odd // 1000 % 1000)
    np.testing.assert_array_equal(compile_value((k // j) % 97, [], inputs=[k, j])(odd, J), odd // np.where(J, J, 1) % 97
                                  * (J != 0))  # fmt: skip


def test_remainders_that_processors_trap_on() -> None:
    f = compile_value(k % j, [], inputs=[k, j])
    least = -(2**63)
    assert f([least, 5, 0, least], [-1, 0, 0, 0]).tolist() == [0, 0, 0, 0]
    big = np.array([2**52 - 1, 2**52 - 2]), np.array([2**62 - 1, -(2**62)])
    np.testing.assert_array_equal(f(*big[:1], [2**62, 2**62]), big[0] % 2**62)
    numbers = np.arange(-40, 41), np.repeat([7, -7, 1], 27)
    np.testing.assert_array_equal(f(*numbers), np.remainder(*numbers))
