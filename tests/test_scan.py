"""Loops: values against plain Python and JAX, gradients in both modes, structures, errors, memory."""

import pickle

import numpy as np
import pytest

from gradcompile import compile_grad, scan
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff.reverse import vjp
from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays import Array, array
from gradcompile.ir.graph import topological
from gradcompile.testing import check_grads
from tests.cases_scan import CASES, rng, scans, symbolic, wave


def looped(step, init, xs, reverse=False):
    """The definition, in plain Python, of one carry and one array."""
    carry, ys = init, [None] * len(xs)
    for t in range(len(xs))[:: -1 if reverse else 1]:
        carry, ys[t] = step(carry, xs[t])
    return carry, ys


def values(*results):
    """Numbers instead of formulas, given those of the leaves as the last argument."""
    *arrays, env = results
    return evaluate([a.node for a in arrays], {k.node: v for k, v in env.items()})


def check(loss, env, order=2):
    """Both modes, up to an order."""
    point = {k.node: v for k, v in env.items()}
    floats = [n for n in point if n.type.dtype == "float64"]
    check_grads(loss.node, floats, point, order=order, tolerance=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 7])
@pytest.mark.parametrize("named", [False, True])
def test_a_scan_is_a_loop(reverse, length, named):
    a, x = array("a"), array("x", "T" if named else length)
    last, ys = scan(wave(a), 0.5, x, reverse=reverse)
    env = {a: 0.7, x: rng.normal(size=length)}
    got = values(last, ys, env)
    want = looped(wave(0.7), 0.5, env[x], reverse)
    assert got[0] == want[0]
    assert np.array_equal(got[1], want[1])
    check(last * last + np.sum(ys * ys), env)


def test_a_cumulative_sum():
    x = array("x", "n")
    last, sums = scan(lambda total, x: (total + x, total + x), 0.0, x)
    numbers = rng.normal(size=100)
    assert np.array_equal(values(sums, {x: numbers})[0], np.cumsum(numbers))
    check(np.sum(sums * sums) + last, {x: numbers[:9]})


# Models


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_models_against_jax(jax, name, named):
    jax.config.update("jax_enable_x64", True)
    function, numbers = CASES[name]
    loss, env = symbolic(name, named)

    def in_jax(arrays):
        return function(jax.numpy, jax.lax.scan, jax.nn.sigmoid, **arrays)

    want, gradients = jax.value_and_grad(in_jax)({k: jax.numpy.asarray(v) for k, v in numbers.items()})
    point = {k.node: v for k, v in env.items()}
    value, *grads = evaluate([loss.node, *vjp(loss.node, list(point))], point)
    assert value == pytest.approx(float(want), rel=1e-12)
    for key, got in zip(numbers, grads, strict=True):
        np.testing.assert_allclose(got, gradients[key], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_models_in_both_modes_and_second_order(name):
    loss, env = symbolic(name, False)
    check(loss, env)


def test_a_result_that_is_given_twice_counts_twice():
    a, x = array("a"), array("x", "T")

    def step(c, x):
        c = np.sin(a * c + x)
        return c, (c, c, c * c)

    last, (u, v, w) = scan(step, 0.5, x)
    check(last * np.sum(u) + np.sum(v * w), {a: 0.7, x: rng.normal(size=4)})


def test_lengths_that_are_polynomials():
    a, x = array("a"), array("x", "T")
    _, errors = scan(lambda e, pair: ((v := pair[0] - a * pair[1] - 0.3 * e), v * v), 0.0, (x[1:], x[:-1]))
    assert errors.shape == ("T-1",)
    check(np.sum(errors), {a: 0.7, x: rng.normal(size=6)})


# Branches


def gradient(loss, env):
    point = {k.node: v for k, v in env.items()}
    return evaluate(vjp(loss.node, list(point)), point)


def test_nothing_leaks_out_of_a_loop_that_is_not_used():
    a, x = array("a"), array("x", "T")
    last, ys = scan(lambda c, x: (c * x, np.log(c)), a, x)
    safe = np.where(a > 0, last + np.sum(ys), 2.0 * a)
    d_a, d_x = gradient(safe, {a: 0.0, x: np.ones(3)})
    assert (d_a, d_x.tolist()) == (2.0, [0.0, 0.0, 0.0])


def test_nothing_leaks_from_steps_that_are_left_out():
    a, x, used = array("a"), array("x", "T"), array("used", "T", "bool")
    _, ys = scan(lambda c, x: (c * x, np.log(c)), a, x)
    loss = np.sum(np.where(used, ys, 0.0))
    env = {a: 2.0, x: np.array([3.0, 0.0, 5.0]), used: np.array([True, True, False])}
    d_a, d_x, _ = gradient(loss, env)
    assert d_a == pytest.approx(1.0)  # log(a) + log(3*a)
    assert d_x.tolist() == pytest.approx([1 / 3, 0.0, 0.0])


def test_a_step_of_its_own_branches():
    a, x = array("a"), array("x", "T")
    last, _ = scan(lambda c, x: (np.where(x > 0, c * np.log(np.where(x > 0, x, 1.0)) + a, c), None), a, x)
    (d_a, d_x) = gradient(last, {a: 2.0, x: np.array([3.0, -1.0, 0.0])})
    assert np.isfinite(d_a)
    assert d_x.tolist()[1:] == [0.0, 0.0]


# The graph


def test_equal_scans_are_one_node():
    a, x = array("a"), array("x", "T")
    assert scan(wave(a), 0.5, x)[0].node is scan(wave(a), 0.5, x)[0].node


def test_what_does_not_change_is_computed_outside():
    W, x = array("W", (3, 3)), array("x", ("T", 3))
    h, _ = scan(lambda h, x: (np.tanh(np.exp(W) @ h + x), None), np.zeros(3), x)
    (n,) = scans(h.node)
    assert "exp" not in [m.op.name for m in topological(n.params[0].roots)]
    assert n.args[-1].op.name == "exp"


def test_arrays_that_the_step_does_not_use_are_left_out():
    x, y = array("x", "T"), array("y", "T")
    c, _ = scan(lambda c, pair: (c + pair[0], None), 0.0, (x, y))
    assert y.node not in scans(c.node)[0].args


def test_contractions_are_stored_not_redone():
    W, x = array("W", (3, 3)), array("x", ("T", 3))
    h, _ = scan(lambda h, x: (np.tanh(W @ h) + x, None), np.zeros(3), x)
    _, _, backward = scans(*vjp((h @ h).node, [W.node]))[-3:]
    dots = [m for m in topological(backward.params[0].roots) if m.op.name == "dot"]
    assert len(dots) == 2  # W^T d and d h^T; not W h


def test_a_graph_of_loops_is_pickled():
    a, x = array("a"), array("x", "T")
    last, _ = scan(wave(a), 0.5, x)
    (gradient,) = vjp(last.node, [a.node])
    assert pickle.loads(pickle.dumps(gradient)) is gradient


def test_mixed_dtypes():
    x, k = array("x", ("T",), "float32"), array("k", ("T",), "int64")

    def step(carry, entry):
        n, c = carry
        return (n + entry[1], np.sin(c * entry[0])), (n, c > 0, entry[0])

    (n, c), (ns, positive, xs) = scan(step, (k[0], 1.0), (x, k))
    assert [str(a.dtype) for a in (n, c, ns, positive, xs)] == ["int64", "float64", "int64", "bool", "float32"]
    numbers = np.array([0.5, -2.0, 3.0], np.float32)
    got = values(n, ns, positive, xs, {x: numbers, k: np.array([4, 5, 6])})
    assert got[0] == 19
    assert got[1].tolist() == [4, 8, 13]
    assert got[2].tolist() == [True, True, False]
    assert np.array_equal(got[3], numbers)
    check(c * c, {x: np.array([0.5, -2.0, 3.0]), k: np.array([4, 5, 6])}, order=1)


def test_structures():
    x = array("x", ("T", 2))

    def step(carry, entry):
        a, (b, _), c = carry["a"], *carry["rest"]
        return {"rest": [(b + a, None), c], "a": a * entry["u"][0]}, (None, [a, {"b": b}])

    init = {"a": 1.0, "rest": [(np.zeros(2), None), x[0]]}
    carry, (nothing, (a, inner)) = scan(step, init, {"u": x})
    assert nothing is None
    assert carry["rest"][0][1] is None
    assert isinstance(carry["rest"], list)
    assert (a.shape, inner["b"].shape, carry["rest"][1].shape) == (("T",), ("T", 2), (2,))


# Segments


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 11, 16])
def test_segments_change_nothing(reverse, length):
    a, x = array("a"), array("x", length)
    both = [scan(wave(a), 0.5, x, reverse=reverse, checkpoint=c) for c in (False, True)]
    env = {a: 0.7, x: rng.normal(size=length)}
    plain, cut = (values(last, ys, env) for last, ys in both)
    assert plain[0] == cut[0]
    assert np.array_equal(plain[1], cut[1])
    last, ys = both[1]
    check(last + np.sum(ys * ys), env)


def longest(roots):
    """The most entries that any scan's vector has, inner ones apart."""
    return max(n.type.shape[0] for n in scans(*roots))


def test_segments_keep_few_carries():
    a, h = array("a"), array("h", 50)
    last = [scan(lambda h, _: (np.tanh(a * h), None), h, length=400, checkpoint=c)[0] for c in (False, True)]
    plain, cut = (longest(vjp(np.sum(h).node, [a.node])) for h in last)
    assert plain >= 400 * 50
    assert cut <= 22 * 50


# Errors


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: scan(lambda c, x: (c, c), 0.0), ["length="]),
        (lambda x: scan(lambda c, x: (c, c), 0.0, (x, x[1:])), ["xs[0]", "T", "xs[1]", "T-1"]),
        (lambda x: scan(lambda c, x: (c, c), 0.0, x, length=3), ["length has 3", "xs has T"]),
        (lambda x: scan(lambda c, x: (c, c), 0.0, length=-1), ["-1", "whole number"]),
        (lambda x: scan(lambda c, x: (c, c), 0.0, 1.0), ["xs is a number"]),
        (lambda x: scan(lambda c, x: c, 0.0, x), ["pair"]),
        (lambda x: scan(lambda c, x: ((c, c), c), 0.0, x), ["carry[0], carry[1]", "init"]),
        (lambda x: scan(lambda c, x: ({"h": c["h"] + x}, c), {"h": np.zeros(3)}, x[:, None] * np.ones(4)), ["3", "4"]),
        (lambda x: scan(lambda c, x: (c > x, None), 0.0, x), ["carry", "float64[]", "bool[]"]),
        (lambda x: scan(lambda c, x: (np.stack([c, x]), None), 0.0, x), ["float64[]", "float64[2]"]),
        (lambda x: scan(lambda c, x: ("new", None), 0.0, x), ["carry is no array", "new"]),
        (lambda x: scan(lambda c, x: (c, c), 0.0, x, checkpoint=True), ["'T'", "known", "checkpoint"]),
    ],
)
def test_errors_say_what_and_where(call, words):
    with pytest.raises(ExpressionError) as caught:
        call(array("x", "T"))
    message = str(caught.value)
    assert all(w in message for w in words), message
    assert "test_scan.py:" in message


def test_the_results_are_arrays():
    last, nothing = scan(lambda c, _: (c, None), np.zeros(2), length="T")
    assert isinstance(last, Array)
    assert nothing is None


def test_a_maximum_that_stands_in_a_loop_alone() -> None:
    x = array("x", 3)
    f = compile_grad(np.sum(scan(lambda c, _: (c - np.max(c) / 2, None), x, None, length=2)[0]), [x])
    loss, (grad,) = f([1.0, 2.0, 4.0])
    assert loss == -2.0 and grad.tolist() == [1.0, 1.0, -1.25]
