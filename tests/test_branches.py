"""Nothing leaks from what was left out: by selections, in loops, linear algebra, products of missing data, picks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcompile as gc

NAN, INF = np.nan, np.inf
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


def gradient(loss: Callable[..., Any], *params: Any, data: dict[str, Any] | None = None, dtype: str = "float64") -> Any:
    """Loss and gradients at these parameters, which are given in order, and data by name."""
    arrays = [gc.array(f"p{k}", np.shape(p), dtype) for k, p in enumerate(params)]
    kinds = {name: np.asarray(x) for name, x in (data or {}).items()}
    inputs = [gc.array(name, x.shape, x.dtype.name) for name, x in kinds.items()]
    f = gc.compile_grad(loss(*arrays, *inputs), arrays, inputs=inputs)
    value, grads = f(*(np.asarray(p, dtype) for p in params), *kinds.values())
    return float(value), [g.tolist() if np.ndim(g) else float(g) for g in grads]


# In loops


def in_scan(f: Callable[[Any], Any], condition: Callable[[Any], Any] = lambda r: r > 0) -> Callable[[Any], Any]:
    """The sum of f over the entries for which the condition holds, step by step."""
    return lambda x: gc.scan(lambda c, r: (c + np.where(condition(r), f(r), 0.0), None), 0.0, x)[0]


@pytest.mark.parametrize(
    ("loss", "at", "slopes"),
    [
        (in_scan(np.log), [0, 1, 2], [0, 1, 0.5]),
        (in_scan(lambda r: r * np.log(r)), [0, 1, 2], [0, 1, 1 + np.log(2)]),
        (in_scan(lambda r: r**0.3), [0, 1], [0, 0.3]),
        (in_scan(np.cbrt), [0, 1], [0, 1 / 3]),
        (in_scan(lambda r: np.log1p(r - 1)), [0, 1], [0, 1]),
        (in_scan(np.arccos, lambda r: r < 1), [1, 0], [0, -1]),
        (in_scan(np.exp, lambda r: r < 1), [1e4, 0], [0, 1]),
        (in_scan(lambda r: np.sqrt(r) / r), [0, 1], [0, -0.5]),
        (lambda x: np.sum(gc.scan(lambda c, r: (c, np.where(r > 0, np.log(r), c)), 1.0, x)[1]), [0, 2], [0, 0.5]),
        # the carry is left out by entries, after steps that gave NaN
        (lambda x: np.sum(np.where(x > 0, gc.scan(lambda c, _: (np.sqrt(c), None), x, length=2)[0], 0.0)),
         [-1, 0, 16], [0, 0, 0.25 * 16**-0.75]),
        (lambda x: gc.scan(lambda c, r: (np.where(r > 0, c * r, 1.0), None), np.log(x[0]), x)[0], [0, 2], [0, 1]),
        (lambda x: np.sum(gc.scan(lambda c, r: (np.log(c), np.where(c > 0, np.log(c), 0.0)), x, length=3)[1]),
         [0.5, np.e], [2, 1 / np.e + 1 / np.e]),
    ],
)  # fmt: skip
def test_a_selection_in_a_loop(loss: Callable[[Any], Any], at: list[float], slopes: list[float]) -> None:
    value, (found,) = gradient(loss, at)
    assert np.isfinite(value) and found == pytest.approx(slopes, rel=1e-12)


# Linear algebra and loops that were not taken


@pytest.mark.parametrize(
    "other",
    [
        lambda x: np.sum(np.linalg.inv(x)),
        lambda x: np.sum(np.linalg.solve(x, np.ones(2))),
        lambda x: np.sum(np.linalg.cholesky(x - 9 * np.eye(2))),
        lambda x: np.linalg.slogdet(x)[1],
        lambda x: np.log(np.linalg.det(x)),
        lambda x: np.sum(np.linalg.matrix_power(x, -2)),
        lambda x: np.sum(np.linalg.eigh(x * 0 + np.eye(2))[1]),
        lambda x: gc.scan(lambda c, r: (c / (r[0] - r[0]), None), 1.0, x)[0],
        lambda x: gc.scan(lambda c, r: (np.sqrt(c - 10), None), np.sum(x), length=3)[0],
    ],
)
def test_linear_algebra_and_loops_not_taken(other: Callable[[Any], Any]) -> None:
    assert gradient(lambda x: np.where(np.trace(x) > 0, np.sum(x), other(x)), SINGULAR) == (9.0, [[[1, 1], [1, 1]]])
    stack = np.stack([SINGULAR, np.eye(2)])

    def batched(x: Any) -> Any:
        return np.sum(np.where(np.linalg.det(x) > 0.5, np.sum(np.linalg.inv(x), axis=(1, 2)), 0.0))

    assert gradient(batched, stack) == (2.0, [[[[0, 0], [0, 0]], [[-1, -1], [-1, -1]]]])


# Missing data


X = np.array([[1.0, 2.0], [NAN, 1.0], [INF, 1.0]])
MASK = np.array([True, False, False])
W = [1.0, 2.0]


def known(r: Any, m: Any) -> Any:
    """The sum of squares of what is there."""
    return np.sum(np.where(m, r**2, 0.0))


@pytest.mark.parametrize(
    ("loss", "slopes"),
    [
        (lambda w, x, m: known(x @ w, m), [10, 20]),
        (lambda w, x, m: np.sum(np.where(np.isfinite(x @ w), (x @ w) ** 2, 0.0)), [10, 20]),
        (lambda w, x, m: known(np.sum(x * w, axis=1), m), [10, 20]),
        (lambda w, x, m: known(np.einsum("ij,j->i", x, w), m), [10, 20]),
        (lambda w, x, m: known(np.einsum("ij,j,j->i", x, w, w), m), [36, 144]),
        (lambda w, x, m: known(x @ np.outer(w, w), m[:, None]), [100, 200]),
        (lambda w, x, m: known((x[:, None] @ w)[:, 0], m), [10, 20]),
        (lambda w, x, m: known(gc.scan(lambda c, r: (c, w @ r), 0.0, x)[1], m), [10, 20]),
        (lambda w, x, m: gc.scan(lambda c, s: (c + known(w @ s[0], s[1]), None), 0.0, (x, m))[0], [10, 20]),
        (lambda w, x, m: known(gc.conv(x[:, None], np.reshape(w, (1, 1, 2)))[:, 0, 0], m), [10, 20]),
        (lambda w, x, m: known(np.log(np.exp(x)) @ w, m), [10, 20]),
        (lambda w, x, m: known(np.cumsum(x * w, axis=1)[:, -1], m), [10, 20]),
        (lambda w, x, m: known(np.tensordot(x, w, axes=1), m), [10, 20]),
        (lambda w, x, m: known(np.kron(x, w[None])[:, ::3] @ np.ones(2), m), [10, 20]),
        (lambda w, x, m: np.sum(np.where(1.0 * m > 0, (x @ w) ** 2, 0.0)), [10, 20]),
    ],
)
def test_missing_data_behind_a_mask(loss: Callable[..., Any], slopes: list[float]) -> None:
    _, (found,) = gradient(loss, W, data={"x": X, "m": MASK})
    assert found == pytest.approx(slopes, rel=1e-12)


def test_missing_data_in_a_network() -> None:
    a, b = np.array([[0.3, -0.2], [0.1, 0.4]]), np.array([0.7, -0.5])

    def loss(a: Any, b: Any, x: Any, m: Any) -> Any:
        return np.sum(np.where(m, np.maximum(np.tanh(x @ a), 0) @ b, 0.0))

    whole = gradient(loss, a, b, data={"x": X, "m": MASK})
    assert whole == gradient(loss, a, b, data={"x": X[:1], "m": MASK[:1]}) and np.isfinite(whole[0])


def test_both_ways_of_a_condition_are_no_branch() -> None:
    x, w = gc.array("x", ("n", 3)), gc.array("w", 3)
    leaky = gc.compile_grad(np.sum(gc.leaky_relu(x @ w)), [w], inputs=[x])
    assert "kept" not in leaky.source and " | " not in leaky.source
    assert leaky([1.0, -1.0, 2.0], np.eye(3))[1].w.tolist() == [1.0, 0.01, 1.0]


# Entries that nobody picks


@pytest.mark.parametrize(
    ("loss", "slopes"),
    [
        (lambda x: np.sum(np.sqrt(x)[1:]), [0, 0.5, 0.25]),
        (lambda x: np.sum(np.sqrt(x)[np.array([1, 2, 2])]), [0, 0.5, 0.5]),
        (lambda x: np.sort(np.sqrt(x))[-1], [0, 0, 0.25]),
        (lambda x: np.sum(np.sort(np.log(x))[1:]), [0, 1, 0.25]),
        (lambda x: np.sum(np.log(x)[::-1][:2]), [0, 1, 0.25]),
        (lambda x: np.sum(np.take(1 / x, np.array([[1], [2]]))), [0, -1, -1 / 16]),
        (lambda x: np.cbrt(x)[1] + np.cbrt(x)[2], [0, 1 / 3, 4 ** (-2 / 3) / 3]),
        (lambda x: np.sum(np.diff(np.sqrt(x)[1:])), [0, -0.5, 0.25]),
        (lambda x: np.trace((np.sqrt(x)[:, None] * np.ones(2))[1:]), [0, 0.5, 0.25]),
        (lambda x: np.sum((np.sqrt(x)[:, None] + np.arange(2.0))[1:, 0]), [0, 0.5, 0.25]),
        (lambda x: np.sum(np.median(np.sqrt(x))), [0, 0.5, 0]),
        (lambda x: np.sum(np.split(np.log(x), [1])[1]), [0, 1, 0.25]),
    ],
)
def test_entries_that_nobody_picks(loss: Callable[[Any], Any], slopes: list[float]) -> None:
    _, (found,) = gradient(loss, [0, 1, 4])
    assert found == pytest.approx(slopes, rel=1e-12)


def test_the_right_class_is_picked_at_no_cost() -> None:
    z, t = gc.array("z", ("n", 3)), gc.array("t", "n", dtype="int64")
    f = gc.compile_grad(np.mean(gc.cross_entropy(z * gc.array("p"), t)), [gc.array("p")], inputs=[z, t])
    assert "0.0 < " not in f.source


def test_picks_that_are_all_there_are_need_no_condition() -> None:
    x, y = gc.array("x", ("n", 3)), gc.array("y", ("n", 2))

    def gradient_of(split: Callable[[Any], Any]) -> str:
        f = gc.compile_grad(np.sum(split(np.exp(x * gc.array("p"))) - y), [gc.array("p")], inputs=[x, y])
        return str(f.source)

    assert "0.0 <" not in gradient_of(lambda z: z[:, :2] / z[:, 2:])
    assert "0.0 <" in gradient_of(lambda z: z[:, :2] / z[:, 1:2])  # the last column is left out, and may be infinite


def test_columns_that_are_used_one_by_one_share_the_condition_of_their_row() -> None:
    x, p = gc.array("x", ("n", 3)), gc.array("p", (3,))
    u = np.exp(x * p)
    s = np.sum(u, axis=1)
    crossed = np.stack([u[:, 0] * x[:, 1], u[:, 1] * x[:, 2], u[:, 2] * x[:, 0]], axis=1)
    f = gc.compile_grad(np.sum(np.where(s[:, None] > 1, crossed, u) ** 2), [p], inputs=[x])
    assert "0.0 < joined" not in f.source
