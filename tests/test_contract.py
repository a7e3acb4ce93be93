"""Contractions: found in sums of products, free of transposes, and in the cheapest order; the value stays."""

import numpy as np
import pytest
from test_arrays import CASES, ENV, FLOATS, S, written

from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse
from gradcompile.frontend.arrays import Array, array
from gradcompile.ir.core import apply
from gradcompile.ir.graph import topological, verify
from gradcompile.passes import contracted, finished, simplified

X, W, A, v = (S[name] for name in "XWAv")
SUMS = {
    "matmul": (np.sum(X[:, :, None] * W[None], axis=1), X @ W),
    "matmul_of_stretched": (np.sum(np.expand_dims(X, 2) * W, axis=1), X @ W),
    "matvec": (np.sum(X * A[0], axis=1), X @ A[0]),
    "vecmat": (np.sum(v[:, None] * X, axis=0), v @ X),
    "gram": (np.sum(X[:, :, None] * X[:, None, :], axis=0), X.T @ X),
    "scalar": (np.sum(X * A[0]), None),
    "transposed": (np.sum(X.T[:, :, None] * v[None, :, None] * W[:, None], axis=1), None),
    "repeated": (np.sum(np.broadcast_to(v[:, None, None], (*X.shape, 4)) * W, axis=1), None),
}


def values_of(roots):
    return evaluate(roots, ENV)


@pytest.mark.parametrize("name", SUMS)
def test_a_product_hidden_in_a_sum_is_found(name):
    hidden, plain = SUMS[name]
    (n,) = contracted([hidden.node])
    verify([n])
    assert any(m.op.name == "dot" for m in topological([n]))
    assert plain is None or n is contracted([plain.node])[0]
    np.testing.assert_allclose(values_of([n])[0], values_of([hidden.node])[0], rtol=1e-12)


@pytest.mark.parametrize("n", [np.sum(X * X, axis=1), np.sum(X * np.exp(X)), np.sum(X + A[0]), np.sum(X * S["c"], 1)])
def test_sums_that_are_none_are_left(n):
    left = contracted([n.node])
    assert left == [n.node] or left[0].op.name == "mul" or not any(m.op.name == "dot" for m in topological(left))


def test_transposes_go_into_the_labels():
    (n,) = contracted([(X.T[::1].T @ W.T.T @ W.T).node])
    assert not any(m.op.name == "transpose" for m in topological([n]))
    loss = np.sum(np.tanh(X @ A) @ A.T).node
    roots = contracted([loss, *reverse.vjp(loss, [A.node])])
    assert not any(a.op.name == "transpose" for m in topological(roots) if m.op.name == "dot" for a in m.args)


@pytest.mark.parametrize("case", CASES[::2])
def test_values_and_gradients_stay(case):
    n = written(case, S).node
    if n.type.dtype != "float64":
        return
    loss = (Array(n) * Array(n)).sum().node
    before = [loss, *reverse.vjp(loss, FLOATS)]
    (first,) = contracted(simplified([loss]))
    after = finished(contracted([first, *reverse.vjp(first, FLOATS)]), {})[0]
    verify(after)
    for a, b in zip(values_of(before), values_of(after), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def shapes(n):
    return [m.type.shape for m in topological([n]) if m.op.name == "dot"]


def test_a_chain_is_multiplied_from_its_vector():
    a, b, u = array("a", (50, 50)), array("b", (50, 50)), array("u", 50)
    (n,) = contracted([(a @ b @ a @ u).node])
    assert shapes(n) == [(50,)] * 3
    value = {x.node: np.random.default_rng(0).normal(size=x.shape) for x in (a, b, u)}
    np.testing.assert_allclose(evaluate([n], value)[0], value[a.node] @ value[b.node] @ value[a.node] @ value[u.node])


def test_a_product_that_is_used_elsewhere_stays():
    a, u = array("a", (50, 50)), array("u", 50)
    squared = a @ a
    roots = contracted([(squared @ u).node, squared.node])
    assert roots == [(squared @ u).node, squared.node]


def test_deep_chains_and_deep_graphs_are_walked_without_recursion():
    n = array("a", (2, 2)).node
    first = n
    for _ in range(3000):
        n = apply("tanh", (Array(n) @ Array(first)).node)
    assert contracted([n])[0] is n
