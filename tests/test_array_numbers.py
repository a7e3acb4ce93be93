"""Values and gradients of array functions where they were once wrong, against NumPy, closed forms and mpmath."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.errors import ExpressionError

INF, NAN = np.inf, np.nan
Loss = Callable[[Any], Any]


def gradient(loss: Loss, at: Any, dtype: str = "float64") -> tuple[float, Any]:
    """Loss and gradient at a point."""
    x = gc.array("x", np.shape(at), dtype)
    value, grads = gc.compile_grad(loss(x), [x])(np.asarray(at, dtype))
    return float(value), grads.x


@pytest.mark.parametrize(
    ("terms", "slopes"),
    [
        ([1, 1], [0.5, 0.5]),
        ([0, 0, 0, 0], [0.25] * 4),
        ([800, 800], [0.5, 0.5]),
        ([1, 1, 1 + np.log(2)], [0.25, 0.25, 0.5]),
        ([-INF, -INF], [0.5, 0.5]),
        ([INF, 1], [1, 0]),
        ([-INF, 1], [0, 1]),
        ([3, 1], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))]),
    ],
)
def test_logaddexp(terms: list[float], slopes: list[float]) -> None:
    def loss(x: Any) -> Any:
        found = x[0]
        for k in range(1, len(terms)):
            found = np.logaddexp(found, x[k])
        return found

    value, found = gradient(loss, terms)
    with np.errstate(invalid="ignore"):
        assert value == pytest.approx(np.logaddexp.reduce(np.array(terms, float)), rel=1e-14)
    assert found == pytest.approx(slopes, rel=1e-12)


X = np.array([1.0, 1.0, 7.5, -7.5, -1.0, INF, -1.0, 1.0, 0.0, NAN, -1e-320, 6.0, 4e15, 1e300, 0.3, -0.0])
Y = np.array([0.1, -0.1, 2.0, 2.0, INF, 1.0, -INF, 0.0, 0.0, 1.0, 1e300, 0.1, 0.7, 3.0, 0.1, 2.0])


def test_floor_divide() -> None:
    x, y = gc.array("x", "n"), gc.array("y", "n")
    found = gc.compile_value(x // y, inputs=[x, y])
    rng = np.random.default_rng(3)
    many = np.round(rng.normal(size=2000) * 10, 1), np.round(rng.normal(size=2000), 1)
    with np.errstate(all="ignore"):
        for a, b in ((X, Y), many):
            np.testing.assert_array_equal(found(a, b), a // b)
    assert gradient(lambda x: np.sum(x // 0.3 * x), [1.0])[1].tolist() == [3.0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.reshape(x, (3, 2), order="F"),
        lambda x: x.reshape(2, 3, order="F"),
        lambda x: x.reshape((-1, 1), order="F"),
        lambda x: np.ravel(x, order="F"),
        lambda x: x.ravel(order="F"),
        lambda x: x.flatten(order="F"),
        lambda x: np.reshape(x, -1, order="C"),
        lambda x: np.column_stack(x),
        lambda x: np.column_stack([x[:, 0], x]),
        lambda x: np.column_stack(x[0]),
        lambda x: np.repeat(x, [1, 2, 0, 3, 0, 1]),
        lambda x: np.repeat(x, np.array([2, 0, 1]), axis=1),
        lambda x: x.repeat([1, 2], axis=0),
        lambda x: np.repeat(x, [3]),
        lambda x: np.flip(np.max(x)),
        lambda x: np.flip(x, axis=()),
        lambda x: np.sort(np.max(x), axis=None),
        lambda x: np.argsort(np.max(x), axis=None) + x,
        lambda x: np.linalg.inv(np.reshape(np.max(x), (1, 1))),
        lambda x: np.linalg.cholesky(np.reshape(np.max(x) + 9, (1, 1))),
        lambda x: round(np.max(x)) + np.sum(x),
        lambda x: np.median(x),
        lambda x: np.median(x, axis=1, keepdims=True),
        lambda x: np.prod(x, axis=(0, 1)),
        lambda x: np.prod(x, axis=-1, keepdims=True),
    ],
)
def test_a_function_of_an_array(f: Loss) -> None:
    at = np.random.default_rng(1).normal(size=(2, 3))
    weights = np.cos(np.arange(np.size(f(at)))).reshape(np.shape(f(at)))
    value, found = gradient(lambda x: np.sum(f(x) * weights), at)
    assert value == pytest.approx(np.sum(f(at) * weights), rel=1e-13)
    step = 1e-6 * np.eye(6).reshape(6, 2, 3)
    slopes = [np.sum((f(at + s) - f(at - s)) * weights) / 2e-6 for s in step]
    assert found.ravel() == pytest.approx(slopes, abs=1e-8)


def test_orders_that_depend_on_memory_and_wrong_repeats_are_refused() -> None:
    x = gc.array("x", (2, 3))
    for refused in (
        lambda: np.reshape(x, -1, order="A"),
        lambda: x.ravel(order="K"),
        lambda: np.repeat(x, [1, 2], axis=1),
        lambda: np.repeat(gc.array("y", "n"), [1, 2]),
        lambda: gc.array("z", 2, "float32").astype("float64"),
    ):
        with pytest.raises(ExpressionError):
            refused()


# Lower triangles, determinants, equal eigenvalues


LOWER = np.array([[4.0, 9.0], [1.0, 3.0]])


@pytest.mark.parametrize("f", [np.linalg.cholesky, np.linalg.eigvalsh, lambda x: np.abs(np.linalg.eigh(x)[1])])
def test_the_lower_triangle_counts_and_both_share_the_derivative(f: Loss) -> None:
    weights = np.cos(np.arange(f(LOWER).size)).reshape(f(LOWER).shape)
    value, found = gradient(lambda x: np.sum(f(x) * weights), LOWER)
    assert value == pytest.approx(np.sum(f(LOWER) * weights), rel=1e-14)
    assert gradient(lambda x: np.sum(f(x) * weights), np.where([[False, True], [False, False]], NAN, LOWER))[0] == value
    step = np.array([[0, 0], [1e-6, 0]])
    below = np.sum((f(LOWER + step) - f(LOWER - step)) * weights) / 2e-6
    assert found[0, 1] == found[1, 0] == pytest.approx(below / 2, rel=1e-8)


COUNTED = np.arange(1.0, 10.0).reshape(3, 3)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("matrix", "cofactors"),
    [
        ([[1, 2], [2, 4]], [[4, -2], [-2, 1]]),
        ([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        ([[0]], [[1]]),
        (COUNTED, [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]]),
        (np.ones((4, 4)), np.zeros((4, 4))),
        (np.diag([0.0, 2, 3]), np.diag([6.0, 0, 0])),
        ([[0, 1], [1, 0]], [[0, -1], [-1, 0]]),
        ([[[2, 1], [4, 2]], [[1, 0], [0, 3]]], [[[2, -4], [-1, 2]], [[3, 0], [0, 1]]]),
    ],
)
def test_the_gradient_of_a_determinant_is_its_cofactors(matrix: Any, cofactors: Any, dtype: str) -> None:
    _, found = gradient(lambda x: np.sum(np.linalg.det(x)), matrix, dtype)
    assert found == pytest.approx(np.asarray(cofactors, float), abs=1e-12 if dtype == "float64" else 1e-4)


def test_cofactors_of_a_regular_matrix() -> None:
    matrix = np.random.default_rng(0).normal(size=(7, 7))
    _, found = gradient(np.linalg.det, matrix)
    assert found == pytest.approx(np.linalg.det(matrix) * np.linalg.inv(matrix).T, rel=1e-11)


def test_vectors_of_equal_eigenvalues() -> None:
    def loss(pick: Loss) -> Loss:
        return lambda x: np.sum(pick(np.linalg.eigh(x)[1]) * np.array([1.0, 2.0, 3.0]))

    twice = np.diag([1.0, 2.0, 2.0])
    assert np.isnan(gradient(loss(lambda v: v[:, 1]), twice)[1]).any()
    alone = np.array([[0, -1, -1.5], [-1, 0, 0], [-1.5, 0, 0]])
    assert gradient(loss(lambda v: v[:, 0]), twice)[1] == pytest.approx(alone)
    assert gradient(lambda x: np.sum(np.linalg.eigvalsh(x) ** 2), twice)[1] == pytest.approx(2 * twice)


# Products, medians, infinite data


@pytest.mark.parametrize(
    ("factors", "product", "slopes"),
    [
        ([1e200, 1e-200, 1e200, 1e-200], 1, [1e-200, 1e200, 1e-200, 1e200]),
        ([1e200, 0, 0, 1e200, 1e200, 1e-300], 0, [0] * 6),
        ([0, 2, 3], 0, [6, 0, 0]),
        ([2.0] * 20, 2.0**20, [2.0**19] * 20),
        ([1e-200, 1e200] * 10, 1, [1e200, 1e-200] * 10),
    ],
)
def test_products_in_order(factors: list[float], product: float, slopes: list[float]) -> None:
    row = np.array([factors], float)
    for loss, at in (
        (np.prod, factors),
        (np.prod, row.reshape(-1, 2 - len(factors) % 2)),
        (lambda x: np.sum(np.prod(x, axis=0)), row.T),
        (lambda x: np.sum(np.prod(x, axis=1)), row),
    ):
        value, found = gradient(loss, at)
        assert value == pytest.approx(product, rel=1e-13)
        assert found.ravel() == pytest.approx(slopes, rel=1e-12)


@pytest.mark.parametrize("entries", [[NAN, 1, 2], [NAN, 1, 5, 2], [1, 3, NAN], [1, INF, -INF], [1, 2, INF, INF], [NAN]])
def test_the_median_of_nan_is_nan(entries: list[float]) -> None:
    assert gradient(np.median, entries)[0] == pytest.approx(np.median(entries), nan_ok=True)
    rows = np.array([entries, [1.0] * len(entries)])
    x = gc.array("x", rows.shape)
    np.testing.assert_array_equal(gc.compile_value(np.median(x, axis=1))(rows), np.median(rows, axis=1))


@pytest.mark.parametrize(
    ("loss", "at", "value", "slopes"),
    [
        (lambda x: np.sum(gc.binary_cross_entropy_with_logits(x, np.array([1.0, 0.0]))), [INF, -INF], 0, [0, 0]),
        (lambda x: np.sum(gc.binary_cross_entropy_with_logits(x, np.array([1.0, 0.5]))), [-INF, INF], INF, [-1, 1]),
        (lambda x: np.sum(gc.binary_cross_entropy_with_logits(x, np.array([1.0]))), [0.0], np.log(2), [-0.5]),
        (lambda x: np.sum(gc.gelu(x)), [-INF, 0, -50], 0, [0, 0.5, 0]),
        (lambda x: np.sum(gc.silu(x)), [-INF, 0, -800], 0, [0, 0.5, 0]),
        (lambda x: np.sum(gc.gelu(x)), [INF, 50], INF, [1, 1]),
        (lambda x: np.sum(gc.silu(x)), [INF, 800], INF, [1, 1]),
        (lambda x: np.sum(np.tanh(gc.elu(x))), [-INF, INF], 1 - np.tanh(1), [0, 0]),
    ],
)
def test_infinite_data(loss: Loss, at: list[float], value: float, slopes: list[float]) -> None:
    found, grad = gradient(loss, at)
    assert found == pytest.approx(value, abs=1e-15) and grad == pytest.approx(slopes, abs=1e-15)


def test_labels_below_zero_are_as_said() -> None:
    z, t = gc.array("z", (2, 3)), gc.array("t", 2, dtype="int64")
    f = gc.compile_grad(np.sum(np.where(t < 0, 0.0, gc.cross_entropy(z, t))), [z], inputs=[t])
    at = np.arange(6.0).reshape(2, 3)
    assert f(at, [-1, 2])[1].z[0].tolist() == [0, 0, 0]
    assert gc.compile_value(gc.one_hot(t, 3), inputs=[t])([-1, 2]).tolist() == [[0, 0, 0], [0, 0, 1]]


def test_whole_numbers_in_a_product_follow_the_floats() -> None:
    w, k = gc.array("w", 30), gc.array("k", ("n", 30), "int64")
    table = np.arange(150).reshape(5, 30) % 7
    for loss in (np.sum(np.sum(w * k, axis=1) ** 2), np.sum((k @ w) ** 2)):
        value, grads = gc.compile_grad(loss, [w], inputs=[k])(np.ones(30), table)
        assert value == np.sum(table.sum(1) ** 2) and grads.w.tolist() == (2 * table.T @ table.sum(1)).tolist()


def test_floats_beside_float32_are_float32() -> None:
    x, k = gc.array("x", 4, "float32"), gc.array("k", 4, "int64")
    at, places = np.array([1, 2, 4, 8], np.float32), np.arange(4)
    for loss in (np.sum(np.where(k > 1, 1.0, 0.0) * x), np.sum(x @ (k / 2)), np.median(x) + np.mean(k) * np.sum(x),
                 np.sum(np.where(k > 1, x, k / 2)), np.sum(np.stack([x, k / 2]))):  # fmt: skip
        value, grads = gc.compile_grad(loss, [x], inputs=[k])(at, places)
        assert np.isfinite(value) and grads.x.dtype == np.float32


def test_remainders_by_their_divisor() -> None:
    """-floor(x/y), also where x/y is rounded up to a whole number; the remainder of 1 by 0.1 is nearly 0.1."""
    for x, y, slope in ((1.0, 0.1, -9), (6.0, 0.1, -59), (-7.0, 2.0, 4), (7.0, -2.0, 4), (6.0, 2.0, -3), (0.5, 3.0, 0)):
        value, grad = gradient(lambda a: np.sum(a[:1] % a[1:]), [x, y])
        assert (value, *grad) == (x % y, 1.0, slope)
