"""Edges of programs over arrays: maxima over the samples, ties, no entries at all, zeros in products.

What is compiled is compared with the interpreter, and with numbers that are known.
"""

import numpy as np
import pytest
import sympy

import gradcompile as gc
from gradcompile import compile_grad, compile_value
from gradcompile.analysis.evaluate import evaluate
from gradcompile.errors import ArgumentError
from gradcompile.ir import types
from gradcompile.testing import check_grads

RANDOM = np.random.default_rng(7)
DRAWN = {"X": RANDOM.normal(size=(1100, 6)), "y": RANDOM.normal(size=1100), "w": RANDOM.normal(size=6),
         "W": RANDOM.normal(size=(6, 8))}  # fmt: skip
X, y, w, W = gc.array("X", ("n", 6)), gc.array("y", "n"), gc.array("w", 6), gc.array("W", (6, 8))


def agrees(f, *args, tolerance=1e-10):
    """Call, and compare loss and gradients with those of the graph before it was cut and lowered.

    args: in the order of the problem, whoever stated it.
    """
    named = {"args": dict(zip(f.signature.parameters, args, strict=True))}
    loss, grads = f(**named)
    wanted = evaluate(f.graph.simplified, f._leaf_values((), named))
    found = [loss, *(grads if isinstance(grads, tuple) else (grads,))]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return loss, grads


# Maxima over the samples

EXTREMES = {
    "margin": (np.max(np.abs(X @ w - y)), [w]),
    "least": (np.min(y * np.sin(X @ w)), [w]),
    "columns": (np.sum(np.max(np.tanh(X @ W), axis=0) ** 2), [W]),
    "entries": (np.max(X * w), [w]),
    "range": (np.max(X @ w) - np.min(X @ w) + np.mean(np.maximum(X @ w, 0.0)), [w]),
    "of two": (np.sum(np.max(X @ W, axis=0)) + np.max(np.sum(X * w, axis=1)), [w, W]),
    "logsumexp": (gc.logsumexp(X @ w), [w]),
    "logsumexp of columns": (np.sum(gc.logsumexp(X @ W, axis=0)), [W]),
    "attention over samples": (np.sum(gc.softmax(X @ w, axis=0) * y), [w]),
    "whole numbers": (np.max(gc.array("t", "n", "int64")) * np.sum(w), [w]),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("n", [1, 130, 1100])
def test_maxima_over_the_samples_come_out_of_blocks(name, n):
    loss, params = EXTREMES[name]
    f = compile_grad(loss, params)
    assert "for first in range(start, stop, BLOCK)" in f.source
    values = DRAWN | {"t": RANDOM.integers(-9, 9, 1100)}
    agrees(f, *(values[a.name] for a in f.problem.params), *(values[a.name][:n] for a in f.problem.inputs))


def test_ties_share_the_derivative_over_blocks_and_groups():
    values = np.zeros(100_000)
    values[[3, 500, 99_999]] = 2.0
    for threads in (1, 2):
        f = compile_grad(np.max(X[:, 0] * w[0] + y), w, inputs=[X, y], threads=threads)
        rows = np.zeros((100_000, 6))
        rows[[3, 500, 99_999], 0] = [1.0, 2.0, 6.0]
        loss, grad = f(np.zeros(6), rows, values)
        assert loss == 2.0
        np.testing.assert_allclose(grad, [3.0, 0, 0, 0, 0, 0], rtol=1e-15)


def test_what_is_compared_with_its_maximum_is_the_same_to_the_last_bit():
    """Sums may be added in another order in another pass: then nothing would equal the maximum."""
    f = compile_grad(np.max(np.tanh(X @ W)), W, inputs=[X])
    assert f.source.count(" = W.T @ X_b.T") == 1
    g = compile_grad(gc.logsumexp(X @ W), W, inputs=[X])
    assert g.source.count(" = W.T @ X_b.T") > 1  # not kept where no derivative needs to know where the maximum is


def test_nan_is_larger_than_anything_in_any_block():
    f = compile_grad(np.max(y * w[0]), w, inputs=[y])
    for k in (0, 1, 700, 1099):
        values = DRAWN["y"].copy()
        values[k] = np.nan
        assert np.isnan(f(DRAWN["w"], values)[0])


def test_a_part_and_the_whole_of_one_array_have_names_of_their_own():
    """Every sample against all: the scaled samples are there for a block, and whole."""
    scaled = X * w
    f = compile_grad(np.mean(gc.logsumexp(scaled @ scaled.T, axis=1) - np.sum(scaled**2, axis=1)), w)
    agrees(f, DRAWN["w"], DRAWN["X"][:300])


# Products with zeros

ZEROS = [[2.0, -3.0, 0.5], [2.0, 0.0, 0.5], [0.0, -3.0, 0.0], [0.0, 0.0, 0.0], [4.0], [0.0], []]


def without_each(values):
    """For each factor the product of the others."""
    return np.array([np.prod(np.delete(values, k)) for k in range(len(values))])


@pytest.mark.parametrize("values", ZEROS)
@pytest.mark.parametrize("way", ["numpy", "sympy"])
def test_a_product_of_any_length_has_its_derivative_where_factors_are_zero(values, way):
    if way == "numpy":
        f = compile_grad(np.prod(y * w[0] + w[1]), w, inputs=[y])
    else:
        x, u, n = sympy.IndexedBase("y"), sympy.IndexedBase("w", shape=(6,)), sympy.Symbol("n", integer=True)
        i = sympy.Idx("i", n)
        f = compile_grad(sympy.Product(x[i] * u[0] + u[1], (i, 0, n - 1)), u, inputs=[x])
    y0 = np.array([1.0, 2.0, -1.0][: len(values)])
    for w0, w1 in ((1.0, 2.0), (1.0, -2.0), (0.0, 0.0), (3.0, 3.0)):
        loss, grad = f([w0, w1, 0, 0, 0, 0], y0)
        rest = without_each(y0 * w0 + w1)
        np.testing.assert_allclose(loss, np.prod(y0 * w0 + w1), rtol=1e-14)
        np.testing.assert_allclose(grad, [rest @ y0, rest.sum(), 0, 0, 0, 0], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("values", ZEROS)
def test_all_derivatives_of_a_product(values):
    """Differences of polynomials are exact enough at any zeros."""
    x = gc.array("x", "n")
    check_grads(np.prod(x).node, [x.node], {x.node: np.array(values)}, order=3)


def test_products_along_any_axis():
    Z, u = gc.array("Z", ("n", 3, "k")), gc.array("u", 3)
    loss = np.sum(np.prod(Z * u[:, None], axis=2, keepdims=True) ** 2) + np.sum(np.prod(Z, axis=(0, 2)) * u)
    f = compile_grad(loss, u)
    values = RANDOM.integers(-2, 3, (4, 3, 2)).astype(float)
    agrees(f, [1.0, -2.0, 0.5], values)
    assert compile_value(np.prod(gc.array("t", "n", "int64")))([3, -4, 5]) == -60


# Lengths beyond the integers of BLAS


def test_lengths_that_blas_cannot_count_are_refused(monkeypatch):
    D, V = gc.array("D", ("n", "n")), gc.array("V", (4, "k"))
    whole = compile_value(np.tanh(D) @ np.tanh(D @ y), inputs=[D, y])
    blocks = compile_value(X @ W, W)
    columns = compile_grad(np.sum(np.tanh(gc.array("u", (2, 4)) @ V)), gc.array("u", (2, 4)))
    long = {n: (np.zeros((n, n)), np.zeros(n)) for n in (200, 201)}
    monkeypatch.setattr(types, "LARGEST", 200)
    whole(*long[200])
    with pytest.raises(ArgumentError, match="product over n entries takes 200 of them at most, and n is 201"):
        whole(*long[201])
    assert blocks(DRAWN["W"], DRAWN["X"]).shape == (1100, 8)  # 128 at a time
    columns(np.zeros((2, 4)), np.zeros((4, 200)))
    with pytest.raises(ArgumentError, match="k is 201"):
        columns(np.zeros((2, 4)), np.zeros((4, 201)))


# No entries

NOTHING = {
    "mean": (np.mean((X @ w - y) ** 2), np.nan, 0.0),
    "sum": (np.sum((X @ w - y) ** 2), 0.0, 0.0),
    "sum of parts": (np.sum((X @ w - y) ** 2 / np.size(y)), 0.0, 0.0),
    "sum over a number": (np.sum((X @ w - y) ** 2) / np.size(y), np.nan, 0.0),
    "with a penalty": (np.sum(w) + np.mean((X @ w - y) ** 2), np.nan, 1.0),
    "mean times sum": (np.mean(X @ w) * np.sum(w), np.nan, np.nan),
    "spread": (np.std(X @ w), np.nan, 0.0),
    "order": (np.sum(np.sort(X @ w) * np.cumsum(y)), 0.0, 0.0),
    "product": (np.prod(X @ w), 1.0, 0.0),
    "beside others": (np.sum(np.concatenate([X @ w, w])), None, 1.0),
    "pairs": (np.sum(np.exp(-np.sum((X[:, None] * w - X) ** 2, axis=2))), 0.0, 0.0),
    "largest of each": (np.sum(np.max(X * w, axis=1)), 0.0, 0.0),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_samples(name):
    loss, value, gradient = NOTHING[name]
    f = compile_grad(loss, w)
    inputs = [np.zeros((0, 6)[: len(a.leaf.type.shape)]) for a in f.problem.inputs]
    found, grad = agrees(f, DRAWN["w"], *inputs)
    np.testing.assert_equal(found, DRAWN["w"].sum() if value is None else value)
    np.testing.assert_equal(grad, np.full(6, gradient))


@pytest.mark.parametrize("make", [np.max, np.min, gc.logsumexp, lambda z: np.sum(w[np.argmax(z)])])
@pytest.mark.parametrize("way", ["call", "bind", "flat", "loss", "explain", "check"])
def test_nothing_is_the_largest_of_nothing(make, way):
    f = compile_grad(make(X @ w), w, inputs=[X])
    run = f if way == "call" else getattr(f, way)
    args = [np.zeros((0, 6))] if way == "bind" else [DRAWN["w"], np.zeros((0, 6))]
    with pytest.raises(ArgumentError, match="n >= 1, and n is 0"):
        run(*args)


@pytest.mark.parametrize("name", ["max", "argmax"])
def test_of_no_rows_the_largest_entries_are_none(name):
    z = gc.array("z", ("n", "k"))
    f = compile_value(getattr(np, name)(z, axis=1))
    assert f(np.zeros((0, 0))).shape == f(np.zeros((0, 3))).shape == (0,)
    assert evaluate([f.problem.primal], {z.node: np.zeros((0, 0))})[0].shape == (0,)
    with pytest.raises(ArgumentError, match=f"{name}.*axis=1.* needs k >= 1, and k is 0"):
        f(np.zeros((3, 0)))
    with pytest.raises(ArgumentError, match=r"shape \(3, 0\) has no entry along axis 1"):
        evaluate([f.problem.primal], {z.node: np.zeros((3, 0))})


# Places that are data


def test_one_entry_at_a_place_that_is_found():
    f = compile_grad(w[np.argmax(X @ w)] ** 2 + w[np.argmin(w)], w, inputs=[X])
    rows = np.eye(6)[:4]
    _, grad = agrees(f, [0.5, 3.0, -1.0, 2.0, 0.0, 1.0], rows)
    np.testing.assert_array_equal(grad, [0, 6, 1, 0, 0, 0])


LOOSE = [
    "W[k + 3]", "W[3 * k, k]", "W[:, k + 4].T", "W[k * k - 9][:1]", "np.take(W, 2 * k, axis=0)", "W[k[::-1] + 2]",
    "np.take_along_axis(rows @ W, 3 * k[:, None], axis=1)", "-gc.cross_entropy(rows @ W, k + 4)",
    "W[np.argmax(rows) + 6]",
    "W[np.where(k > 0, 100, k)]", "rows[k * 7, k]", "np.stack([W, W])[:, k + 3, 1].T",
    "gc.scan(lambda at, r: (at + 2, W[at] * r[0]), k[0] * 0, rows)[1]",
    "gc.scan(lambda at, j: (at, W[j[1] + at]), k[0] * 0, pairs)[1]",
    "gc.scan(lambda at, j: (at, W[j[1]]), k[0] * 0, pairs)[1]",
]  # fmt: skip


@pytest.mark.parametrize("text", LOOSE)
def test_places_that_are_computed_are_inside_their_axis_or_nan(text):
    """Compiled code checks no index, so what is outside would be read, and written to, somewhere in memory."""
    k0, rows0 = np.array([-5, 0, 3, 4]), DRAWN["X"][:4]
    pairs0 = np.array([[0, 5], [1, 7], [2, -7], [3, 1]])
    given = {"W": W, "k": gc.array("k", "n", "int64"), "rows": gc.array("rows", ("n", 6)), "gc": gc, "np": np}
    f = compile_grad(np.sum(eval(text, given | {"pairs": gc.array("pairs", ("n", 2), "int64")})), W, allow_unused=True)
    values = {"k": k0, "rows": rows0, "pairs": pairs0}
    loss, _ = agrees(f, DRAWN["W"], *(values[a.name] for a in f.problem.inputs))
    assert np.isnan(loss)


def test_a_place_outside_takes_no_part_in_the_gradient():
    k = gc.array("k", "n", "int64")
    f = compile_grad(np.sum(np.where(np.isnan(w[k + 2]), 1.0, w[k + 2] ** 2)), w)
    loss, grad = agrees(f, np.arange(6.0), [0, 1, 5, 100, -9])
    assert loss == 4 + 9 + 3
    np.testing.assert_array_equal(grad, [0, 0, 4, 6, 0, 0])


def test_places_that_are_checked_or_known_are_as_they_are():
    k = gc.array("k", "n", "int64")
    for entries in (w[k], w[k % 6], w[[0, 1]], np.sort(w), w[np.argsort(w)], w[np.argmax(w)], W[k, k]):
        assert entries.node.op.name == "gather"


@pytest.mark.parametrize(
    "text",
    ["(k * k - 9) * c", "(k + k) * c", "(2 - 3 * k) * c", "np.where(k > -1, -k, k - 2) * c", "np.clip(k, -3, -1) * c",
     "W[(k + k) % 6]", "W[(k * k - 9) % 6] * c", "np.max(k - 7) * c", "np.sum(np.sort(k - 2)) * c"],
)  # fmt: skip
def test_whole_numbers_stay_whole(text):
    k, c = gc.array("k", "n", "int64"), gc.array("c")
    f = compile_grad(np.sum(eval(text, {"k": k, "c": c, "W": W, "np": np})), [W, c], allow_unused=True)
    agrees(f, DRAWN["W"], 0.7, [-5, 0, 3, 4])
    assert "9.0" not in f.source
