"""Re-rolled losses, compiled: the loops compute what the unrolled code computes, and their length does not grow."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp

from gradcompile import compile_grad, compile_value, mean


def added(terms):
    """A sum in one step: SymPy sorts the terms anew at each `+`."""
    return sp.Add(*terms)


N = 40
x = sp.symbols(f"x:{N}")
M = 8  # rows of a matrix: the code that is not rolled holds a line for each entry, and is compiled as well
u, V = sp.IndexedBase("u", shape=(N,)), sp.IndexedBase("V", shape=(M, M))
W = sp.IndexedBase("W", shape=(33, 33))
grid = [(i, j) for i in range(M - 1) for j in range(M - 1)]

LOSSES = {
    "chain": lambda: (added((b - a * a) ** 2 + sp.sin(a * b) for a, b in pairwise(x)), x),
    "inside a logarithm": lambda: (sp.log(1 + added(a**2 * sp.exp(-a) for a in x)), x),
    "two factors": lambda: (added(sp.sin(a) for a in x) * added(a**2 for a in x) ** 2, x),
    "maximum": lambda: (sp.Max(*(sp.sin(a) * (k + 1) for k, a in enumerate(x))), x),
    "log-sum-exp": lambda: (sp.log(added(sp.exp(a) for a in x)), x),
    "norm": lambda: (sp.sqrt(added(a**2 for a in x)), x),
    "vector input": lambda: (added((a * u[k] - 1) ** 2 for k, a in enumerate(x)), x),
    "matrix input": lambda: (added((x[k] * V[k, j] - 1) ** 2 for k in range(M) for j in range(M)), x[:M]),
    "grid with a corner": lambda: (
        added((V[i, j] - V[i + 1, j]) ** 2 + sp.cos(V[i, j + 1]) for i, j in grid) + V[0, 0] ** 4, V
    ),
    "layer": lambda: (added(sp.tanh(added(W[i, j] * u[j] for j in range(33))) ** 2 for i in range(33)), W),
    "irregular places": lambda: (added((x[7 * k % N] - x[(k * k) % N] * 0.1 * k) ** 2 for k in range(N)), x),
    "numbers baked in": lambda: (added((x[k % 20] * 0.3 * k - k * k * 0.01) ** 2 for k in range(4 * N)), x[:20]),
    "branches": lambda: (added(sp.Piecewise((a * sp.log(a), a > 1), (0, True)) for a in x), x),
}  # fmt: skip


@cache
def loss_of(name):
    """A loss and its parameters."""
    return LOSSES[name]()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LOSSES)
def test_loops_and_unrolled_code_agree(name, dtype):
    loss, params = loss_of(name)
    params = [params] if params in (V, W) else [list(params)]
    rolled = compile_grad(loss, params, dtype=dtype)
    unrolled = compile_grad(loss, params, dtype=dtype, reroll=False)
    assert len(rolled.source.splitlines()) < 75 and "in lanes(" in rolled.source
    assert "in lanes(" not in unrolled.source
    rng = np.random.default_rng(0)
    theta = (1.0 + 0.5 * rng.normal(size=rolled.size)).astype(dtype)
    inputs = [rng.normal(size=a.leaf.type.shape).astype(dtype) for a in rolled.problem.inputs]
    (loss_a, grad_a), (loss_b, grad_b) = rolled.flat(theta, *inputs), unrolled.flat(theta, *inputs)
    exact = 1e-13 if dtype == "float64" else 3e-5
    assert loss_a == pytest.approx(loss_b, rel=exact)
    np.testing.assert_allclose(grad_a, grad_b, rtol=exact, atol=exact * np.abs(grad_b).max())
    value = compile_value(loss, params, dtype=dtype)
    assert value(*(rolled.unpack(theta)), *inputs) == pytest.approx(loss_b, rel=exact)


def test_many_single_entries_beside_a_loop():
    x = sp.IndexedBase("x", shape=(20, 5))
    ring = added(x[i, j] * x[(i + 1) % 20, j] for i in range(20) for j in range(5))  # the last row meets the first
    values = np.random.default_rng(0).normal(size=(20, 5))
    _, gradient = compile_grad(ring, x)(values)
    np.testing.assert_allclose(gradient, np.roll(values, 1, axis=0) + np.roll(values, -1, axis=0), rtol=1e-14)


def test_the_source_does_not_grow_with_the_count():
    def lines(count):
        names = sp.symbols(f"y:{count}")
        loss = added((b - a * a) ** 2 + sp.exp(-a * b) for a, b in pairwise(names))
        return [len(line) for line in compile_grad(loss, [names]).source.splitlines()[5:]]

    assert len(lines(300)) == len(lines(50))


def test_separate_parameters_are_gathered_as_well():
    loss, params = loss_of("chain")
    f, g = compile_grad(loss, params), compile_grad(loss, [params])
    assert "in lanes(" in f.source
    theta = np.linspace(-1.0, 1.0, N)
    assert f.flat(theta)[1].tobytes() == g.flat(theta)[1].tobytes()


def test_a_long_loop_adds_up_in_a_tree():
    names = sp.symbols("y:3000")
    f = compile_grad(sp.Add(*(sp.cos(a) for a in names)), [names])
    assert "close_tree" in f.source
    theta = np.linspace(0.0, 3.0, 3000)
    loss, grad = f.flat(theta)
    assert loss == pytest.approx(np.cos(theta).sum(), rel=1e-14, abs=1e-12)
    np.testing.assert_allclose(grad, -np.sin(theta), rtol=1e-15)


def test_loops_beside_samples():
    a, t, v = sp.symbols("a t v")
    ridge = added((b - c) ** 2 for b, c in pairwise(x))
    loss = mean((a * t + x[0] * sp.sin(x[1] * t) - v) ** 2) + ridge
    f = compile_grad(loss, [a, list(x)], data=[t, v])
    g = compile_grad(loss, [a, list(x)], data=[t, v], reroll=False)
    rng = np.random.default_rng(1)
    theta, columns = rng.normal(size=f.size), rng.normal(size=(2, 2100))
    one, other = f.flat(theta, *columns), g.flat(theta, *columns)
    assert one[0] == pytest.approx(other[0], rel=1e-13)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-12, atol=1e-13)


def test_a_round_is_a_span():
    from gradcompile.library import sums
    from gradcompile.lower.rules import constant_index

    assert constant_index.SPAN == sums.SPAN
