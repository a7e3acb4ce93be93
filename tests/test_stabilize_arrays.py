"""Stabilisation of sums over axes of arrays: the same value at ordinary points, a finite one at extreme points."""

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse
from gradcompile.frontend import nn
from gradcompile.frontend.arrays import array
from gradcompile.ir.graph import topological
from gradcompile.passes import finished, simplified, stabilized

A, X, c = array("A", (3, 3)), array("X", ("n", 3)), array("c", ("n", 1))
rng = np.random.default_rng(0)
ENV = {A.node: rng.normal(size=(3, 3)), X.node: rng.normal(size=(4, 3)), c.node: rng.normal(size=(4, 1))}

SUMS = [
    np.log(np.sum(np.exp(X), axis=1)),
    np.log(np.sum(np.exp(A), axis=0)),
    np.log(np.sum(np.exp(A), axis=1)),
    np.log(np.sum(np.exp(X), axis=1, keepdims=True)),
    np.log(np.sum(np.exp(A))),
    np.log(1 + np.sum(np.exp(A), axis=1)),
    np.log(np.sum(np.exp(A) + np.exp(A[0]), axis=0)),
    np.log(np.sum(np.exp(A) * (1 + A * A), axis=1)),
    np.log(3 * np.sum(2 * np.exp(A), axis=1)),
    np.log(np.sum(np.exp(A), axis=1) + np.exp(A[1])),
    np.log(np.sum(np.exp(X[:, None] - A), axis=1)),
    np.exp(A) / np.sum(np.exp(A), axis=0),
    np.exp(X) / np.sum(np.exp(X), axis=1, keepdims=True),
    np.exp(A[0]) / np.sum(np.exp(A[0])),
]


@pytest.mark.parametrize("k", range(len(SUMS)))
def test_value_and_gradient_are_kept(k):
    (after,), rewrites = stabilized(simplified([SUMS[k].node]))
    assert rewrites
    leaves = list(ENV)
    values = [evaluate([n, *pulled(n, leaves)], ENV) for n in (SUMS[k].node, after)]
    for a, b in zip(*values, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-14)


def pulled(n, leaves):
    """The gradient of the sum of an array, ready to be lowered."""
    gradients = reverse.vjp(n, leaves, np.ones_like(array("g", n.type.shape)).node)
    return finished(gradients, {})[0]


@pytest.mark.parametrize("k", range(len(SUMS)))
@pytest.mark.parametrize("scale", [1e3, -1e3])
def test_large_exponents_do_not_overflow(k, scale):
    (after,), _ = stabilized(simplified([SUMS[k].node]))
    moved = {leaf: value + scale for leaf, value in ENV.items()}
    for v in evaluate([after, *reverse.vjp(after, list(ENV), after)], moved):
        assert np.all(np.isfinite(v))


def test_a_sum_that_does_not_fit_its_neighbours_is_left():
    _, rewrites = stabilized([np.log(np.sum(np.exp(A), axis=1) + np.exp(X)).node])
    assert not rewrites


@pytest.mark.parametrize("function", [nn.softmax, nn.log_softmax, nn.logsumexp])
def test_what_is_stable_already_is_left(function):
    before = simplified([function(X).node])
    assert stabilized(before) == (before, [])


@pytest.mark.parametrize("keepdims", [False, True])
def test_the_derivative_of_a_norm_at_zero_is_zero(keepdims):
    n = np.sqrt(np.sum(X * X, axis=1, keepdims=keepdims)).node
    (after,), rewrites = stabilized(simplified([n]))
    assert [r.rule for r in rewrites] == ["norm_of_loop"]
    (gradient,) = evaluate(pulled(after, [X.node]), {X.node: np.zeros((2, 3))})
    assert gradient.tolist() == np.zeros((2, 3)).tolist()


B, b = array("B", (3, 3)), array("b", ())
DETS = {
    "determinant": np.log(np.linalg.det(A)),
    "scaled": np.log(2.5 * np.linalg.det(A)),
    "negative": np.log(-np.linalg.det(A)),
    "product": np.log(np.linalg.det(A) * np.linalg.det(B)),
    "ratio": np.log(np.linalg.det(A) / np.linalg.det(B) * b),
    "density": np.log(np.exp(-b) / np.sqrt(4 * np.linalg.det(A))),
    "root": np.log(np.sqrt(np.linalg.det(A))),
}


@pytest.mark.parametrize("name", DETS)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1), (-1, 1, -1), (1, 1, -1)])
def test_the_logarithm_of_determinants_keeps_its_meaning(name, signs):
    (after,), rewrites = stabilized(simplified([DETS[name].node]))
    assert "log_of_det" in {r.rule for r in rewrites} and "det" not in {n.op.name for n in topological([after])}
    leaves = [A.node, B.node, b.node]
    near = [np.diag([s, 1.0, 1.0]) @ (rng.uniform(-0.3, 0.3, (3, 3)) + 2 * np.eye(3)) for s in signs[:2]]
    env = dict(zip(leaves, [*near, 1.5 * signs[2]], strict=True))
    want, *slopes = evaluate([DETS[name].node, *pulled(DETS[name].node, leaves)], env)
    got, *found = evaluate([after, *pulled(after, leaves)], env)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    if np.isfinite(want):
        for a, e in zip(found, slopes, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-13)


def test_determinants_beyond_the_range_of_floats_have_a_logarithm():
    large = array("L", (400, 400))
    (after,), _ = stabilized(simplified([np.log(3 * np.linalg.det(large)).node]))
    got, slope = evaluate([after, *pulled(after, [large.node])], {large.node: 1e3 * np.eye(400)})
    assert np.isclose(got, np.log(3) + 400 * np.log(1e3)) and np.allclose(slope, 1e-3 * np.eye(400))


def test_the_derivative_of_a_norm_by_a_contraction_at_zero_is_zero():
    v = array("v", (3, 1))
    n = np.sqrt(2 * np.einsum("ij,ij->", v, v)).node
    (after,), rewrites = stabilized(simplified([n]))
    assert [r.rule for r in rewrites] == ["norm_of_product"]
    assert evaluate(pulled(after, [v.node]), {v.node: np.zeros((3, 1))})[0].tolist() == [[0.0]] * 3


def test_terms_of_weight_zero_do_not_overflow() -> None:
    """The exponent that a mask leaves out may be larger than the others by any amount."""
    logits, k = gc.array("logits", (2, 2)), gc.array("k", 2, dtype="int64")
    at = np.array([[0.0, 1000.0], [-1000.0, 5.0]])
    for picked in (np.array([[1.0, 0.0], [1.0, 0.0]]), gc.one_hot(k, 2)):
        loss = np.sum(np.log(np.sum(gc.softmax(logits, axis=1) * picked, axis=1)))
        f = gc.compile_grad(loss, logits, inputs=[] if isinstance(picked, np.ndarray) else [k])
        value, grad = f(at) if isinstance(picked, np.ndarray) else f(at, [0, 0])
        assert value == -2005.0
        np.testing.assert_array_equal(grad, [[1.0, -1.0], [1.0, -1.0]])


def test_log1p_as_the_logarithm() -> None:
    """log1p(-exp(-x)), log1p(-sigmoid(x)) and log1p(-tanh(x)**2) where they would be -inf."""
    x = gc.array("x", 1)
    for loss, at, value, slope in (
        (np.log1p(-np.exp(-x)), 1e-20, np.log(1e-20), 1e20),
        (np.log1p(-gc.sigmoid(x)), 800.0, -800.0, -1.0),
        (np.log1p(-gc.sigmoid(x)), -60.0, -np.exp(-60.0), -np.exp(-60.0)),
        (np.log1p(-(np.tanh(x) ** 2)), 20.0, 2 * np.log(2) - 40, -2.0),
    ):
        found = gc.compile_grad(np.sum(loss), x)([at])
        np.testing.assert_allclose([found[0], *found[1]], [value, slope], rtol=1e-13)


def test_a_logarithm_sees_through_arrays_that_were_put_together() -> None:
    x = gc.array("x", 4)
    halves, p = [gc.softmax(x[:2]), gc.softmax(x[2:])], gc.softmax(x)
    apart = np.log(np.concatenate(halves)) + np.log(np.stack(halves)).reshape(4)
    rolled = np.log(np.roll(p, 1)) + np.log(np.concatenate([p, np.ones(2)])[:4])
    value, grad = gc.compile_grad(np.sum(apart) + np.sum(rolled), x)([0.0, -800.0, 3.0, -900.0])
    shares = np.exp([-3.0, 0.0]) / (1 + np.exp(-3.0))
    assert np.isclose(value, -2 * 1703 - 2 * (1697 + 4 * (3 + np.log1p(np.exp(-3.0)))), rtol=1e-15)
    want = 2 * np.array([-1.0, 1, -1, 1]) + 2 * (1 - 4 * np.array([shares[0], 0, shares[1], 0]))
    np.testing.assert_allclose(grad, want, rtol=1e-14)
    padded = gc.compile_grad(np.sum(np.exp(np.log(np.pad(p, 1)))), x)  # whose logarithm is -inf at the ends
    assert padded(np.zeros(4))[0] == 1.0
    filled = np.log(np.pad(p, 1, constant_values=0.5))[:-1] + np.log(np.pad(p, 1))[1:]
    value, grad = gc.compile_grad(np.sum(filled[1:-1]) + filled[0], x)([0.0, -800.0, 3.0, -900.0])
    assert np.isclose(value, -2494 - 7 * (3 + np.log1p(np.exp(-3.0))) + np.log(0.5), rtol=1e-15)
    np.testing.assert_allclose(grad, [2 - 7 * shares[0], 2, 2 - 7 * shares[1], 1], rtol=1e-14)


def test_a_picked_part_of_an_outer_product_is_one_of_parts() -> None:
    x = gc.array("x", 3)
    w = np.array([0.0, 2.0, 3.0])
    for picked, want in (((slice(None), 0), [0, 0, 0]), ((slice(1, None),), [0, 2.5, 1.25]), ((2, 1), [0, 0, 0.5])):
        np.testing.assert_array_equal(gc.compile_grad(np.sum(np.outer(np.sqrt(x), w)[picked]), x)([0.0, 1, 4])[1], want)
