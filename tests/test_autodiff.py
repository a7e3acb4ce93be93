"""Reverse and forward mode: against central differences, against each other, and behind branches."""

import math

import numpy as np
import pytest

from gradcompile import ops  # noqa: F401
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse
from gradcompile.errors import GraphError
from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.ir.graph import topological, verify
from gradcompile.ir.types import ArrayType

w, v = leaf("w"), leaf("v")
x = leaf("x", ArrayType(("n",)), "data")


def test_the_blackboard_example() -> None:
    diff = apply("add", apply("mul", w, const(3.0)), const(-10.0))
    loss = apply("mul", diff, diff)
    (gradient,) = reverse.vjp(loss, [w])
    assert evaluate([loss, gradient], {w: 2.0}) == [16.0, -24.0]


def test_an_adjoint_that_comes_twice_from_a_wider_dtype_is_doubled_and_cast() -> None:
    narrow = leaf("narrow", ArrayType((), "float32"))
    total = apply("add", narrow, narrow, w)
    (gradient,) = reverse.vjp(apply("mul", total, v), [narrow])
    assert gradient.type == narrow.type and gradient.op.name == "cast"
    assert evaluate([gradient], {narrow: np.float32(1.0), w: 1.0, v: 3.0}) == [6.0]


def per_sample_loss() -> Node:
    e = apply("exp", apply("neg", apply("mul", v, x)))
    r = apply("add", apply("mul", w, e), apply("tanh", x))
    return apply("sum", apply("mul", r, r), params=((0,),))


def test_both_modes_agree_with_differences() -> None:
    loss, point = per_sample_loss(), {w: 0.7, v: 0.3, x: np.linspace(-1, 2, 7)}
    gradient = evaluate(reverse.vjp(loss, [w, v]), point)
    tangents = [const(0.6), const(-0.8)]
    (forward,) = evaluate(reverse.jvp([loss], [w, v], tangents), point)
    assert forward == pytest.approx(np.dot(gradient, [0.6, -0.8]), rel=1e-13)
    for k, p in enumerate((w, v)):
        up, down = ({**point, p: point[p] + h} for h in (1e-6, -1e-6))
        assert gradient[k] == pytest.approx((evaluate([loss], up)[0] - evaluate([loss], down)[0]) / 2e-6, rel=1e-8)


def test_the_transpose_of_the_pushforward_is_the_pullback() -> None:
    r = apply("add", apply("mul", w, apply("exp", x)), apply("sin", apply("mul", x, x)))
    point = {w: 0.4, x: np.linspace(-1, 1, 5)}
    u, c = leaf("u", ArrayType(("n",))), leaf("c", ArrayType(("n",)))
    rng = np.random.default_rng(0)
    env = {**point, u: rng.normal(size=5), c: rng.normal(size=5)}
    (pushed,) = evaluate(reverse.jvp([r], [x], [u]), env)
    (pulled,) = evaluate(reverse.vjp(r, [x], c), env)
    assert np.dot(env[c], pushed) == pytest.approx(np.dot(pulled, env[u]), rel=1e-13)


def test_second_derivatives_come_by_themselves() -> None:
    (first,) = reverse.vjp(apply("sin", apply("mul", w, w)), [w])
    (second,) = reverse.vjp(first, [w])
    z = 0.8
    assert evaluate([second], {w: z})[0] == pytest.approx(2 * math.cos(z * z) - 4 * z * z * math.sin(z * z))


@pytest.mark.parametrize("inner", ["log", "sqrt"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_branch_not_taken_passes_nothing_on(inner: str, depth: int) -> None:
    value = apply(inner, w)
    for _ in range(depth):
        value = apply("mul", value, apply("sin", value))
    positive = apply("lt", const(0.0), w)
    loss = apply("select", positive, value, const(0.0))
    assert evaluate(reverse.vjp(loss, [w]), {w: 0.0}) == [0.0]
    both = apply("add", loss, apply("select", apply("lt", const(1.0), w), apply("div", const(1.0), apply(inner, w)), w))
    assert evaluate(reverse.vjp(both, [w]), {w: 0.0}) == [1.0]


def test_a_branch_that_no_sample_took_stays_closed_behind_the_sum() -> None:
    chosen = apply("select", apply("lt", const(5.0), x), apply("mul", apply("log", w), x), x)
    loss = apply("sum", chosen, params=((0,),))
    assert evaluate(reverse.vjp(loss, [w]), {w: 0.0, x: np.ones(3)}) == [0.0]


def test_a_sum_behind_a_branch_not_taken_passes_nothing_on() -> None:
    behind = apply("sum", apply("log", apply("mul", w, x)), params=((0,),))
    loss = apply("select", apply("lt", const(0.0), w), behind, const(0.0))
    assert evaluate(reverse.vjp(loss, [w]), {w: 0.0, x: np.ones(3)}) == [0.0]


def test_adjoints_have_the_types_of_their_primals() -> None:
    loss = per_sample_loss()
    for n, adjoint in reverse.adjoints(loss, topological([loss])).items():
        assert adjoint.type == n.type
        verify([adjoint], "differentiation")


def test_a_node_that_is_not_involved_gets_zeros() -> None:
    array = leaf("A", ArrayType((2, 3)))
    (gradient,) = reverse.vjp(apply("sin", w), [array])
    assert evaluate([gradient], {})[0].tolist() == np.zeros((2, 3)).tolist()


def test_an_array_needs_a_cotangent() -> None:
    with pytest.raises(GraphError, match=r"float64\[n\]"):
        reverse.vjp(apply("sin", x), [x])


def test_deep_graphs_do_not_recurse() -> None:
    chain = w
    for _ in range(5_000):
        chain = apply("sin", chain)
    (gradient,) = reverse.vjp(chain, [w])
    assert evaluate([gradient], {w: 0.0}) == [1.0]
