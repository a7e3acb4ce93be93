"""Sums of adjoints taken apart: what waits for a factor does not wait with it, and the value stays."""

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.analysis.evaluate import evaluate
from gradcompile.ir.core import apply, const, leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType
from gradcompile.passes import distribute_sums

A, B = (leaf(name, ArrayType(("n", 3))) for name in "ab")
VALUES = {x: np.random.default_rng(k).normal(size=(7, 3)) for k, x in enumerate((A, B))}
ROWS = ("n", 3)


def summed(x, axes=(0,)):
    return apply("sum", x, params=(axes,))


def repeated(x):
    return apply("broadcast", x, params=(ROWS, (1,)))


LATE = summed(apply("exp", A))  # comes from all samples
WAITING = {
    "a factor": summed(apply("add", A, apply("mul", repeated(LATE), B))),
    "several factors": summed(
        apply("add", A, apply("mul", apply("mul", B, repeated(LATE)), apply("mul", const(3.0), A)))
    ),
    "two terms": summed(
        apply("add", A, apply("mul", repeated(LATE), B), apply("mul", repeated(apply("sin", LATE)), apply("cos", B)))
    ),
    "one entry": summed(
        apply("add", A, apply("mul", apply("reshape", LATE, params=((1, 3),)), B)),
    ),
    "all axes": summed(apply("add", A, apply("mul", summed(LATE), B)), (0, 1)),
}
LEFT = {
    "no term before": summed(apply("mul", repeated(LATE), B)),
    "a function of it": summed(apply("add", A, apply("mul", apply("exp", repeated(LATE)), B))),
    "it carries no samples": summed(apply("add", A, repeated(LATE))),
    "behind a branch": summed(
        apply("add", A, apply("select", apply("lt", A, B), apply("mul", repeated(LATE), B), const(0.0)))
    ),
    "an axis of known length": summed(apply("add", A, apply("mul", repeated(LATE), B)), (1,)),
}


def reductions(n):
    """How many sums over the samples come one after the other."""
    level = {}
    for x in topological([n]):
        level[x] = max((level[a] for a in x.args), default=0) + (x.op.name == "sum" and 0 in x.params[0])
    return level[n]


@pytest.mark.parametrize("name", WAITING)
def test_a_sum_does_not_wait_for_a_factor(name):
    n = WAITING[name]
    (m,) = distribute_sums([n], A)
    assert reductions(m) < reductions(n)
    np.testing.assert_allclose(evaluate([m], VALUES)[0], evaluate([n], VALUES)[0], rtol=1e-12)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_as_it_is(name):
    assert distribute_sums([LEFT[name]], A) == [LEFT[name]]


def test_the_primal_is_left_as_it_is():
    n = WAITING["a factor"]
    assert distribute_sums([n, apply("neg", n)], n) == [n, apply("neg", n)]


def network(depth):
    X, weights = gc.array("X", ("n", 4)), [gc.array(f"w{k}", (4, 4)) for k in range(depth)]
    h = X
    for w in weights:
        h = np.tanh(gc.batch_norm(h @ w))
    return gc.compile_grad(np.mean(h**2), weights)


def test_batch_normalisation_has_three_passes_a_layer():
    counts = [network(depth).source.count("\ndef samples") for depth in (2, 3)]
    assert counts[1] - counts[0] == 3


def test_the_gradient_of_batch_normalisation():
    rng = np.random.default_rng(0)
    assert network(2).check(*rng.normal(size=(2, 4, 4)), rng.normal(size=(6, 4))).error < 1e-9
