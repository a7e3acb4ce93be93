"""Passes over loops: the same numbers, and what stays in a loop, what leaves it, and what is not computed at all."""

import numpy as np
import pytest

from gradcompile import scan
from gradcompile.analysis.cost import operations
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff.batch import batched, fitting
from gradcompile.diff.reverse import jvp, vjp
from gradcompile.frontend.arrays import array
from gradcompile.frontend.functions import sigmoid
from gradcompile.ir.core import leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType
from gradcompile.ops.shape import Span
from gradcompile.passes import contracted, finished, looped, simplified, stabilized
from gradcompile.passes.simplify import are_apart
from tests.cases_scan import CASES, scans, symbolic, wave

rng = np.random.default_rng(1)


def ops(roots):
    """The names of the ops below."""
    return [n.op.name for n in topological(roots)]


def compiled(loss, wrt):
    """The value and the gradients by the whole pipeline."""
    (value,), _ = stabilized(simplified([loss.node]))
    (value,) = looped(contracted([value]))
    return finished(contracted(looped([value, *vjp(value, wrt)])), {})[0]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_stay(name, named):
    loss, env = symbolic(name, named)
    point = {k.node: v for k, v in env.items()}
    want = evaluate([loss.node, *vjp(loss.node, list(point))], point)
    for a, b in zip(evaluate(compiled(loss, list(point)), point), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_second_derivatives_stay(name):
    loss, env = symbolic(name, True)
    point = {k.node: v for k, v in env.items()}
    leaves = list(point)
    tangents = [leaf(f"tangent.{k}", n.type) for k, n in enumerate(leaves)]
    point |= {t: rng.normal(size=np.shape(v)) for t, v in zip(tangents, env.values(), strict=True)}
    roots = jvp(vjp(loss.node, leaves), leaves, tangents)
    after = contracted(looped(simplified(roots)))
    for a, b in zip(evaluate(after, point), evaluate(roots, point), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)
    assert len(scans(*after)) <= len(scans(*roots))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_recurrent_network_has_one_product_a_step(name):
    loss, env = symbolic(name, True)
    roots = compiled(loss, [k.node for k in env])
    loops = [n.params[0] for n in scans(*roots)]
    assert [ops(loop.roots).count("dot") for loop in loops] == [1, 1]
    assert all(q.op.name != "dot" for loop in loops for q in loop.totals)


def test_a_plain_network_needs_no_tanh_again():
    loss, env = symbolic("rnn", True)
    _, backward = (n.params[0] for n in scans(*compiled(loss, [k.node for k in env])))
    assert "tanh" not in ops(backward.roots)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_gates_are_stored_in_place_of_the_sums_they_are_of(name):
    loss, env = symbolic(name, True)
    onward, backward = (n.params[0] for n in scans(*compiled(loss, [k.node for k in env])))
    assert not {"sigmoid", "tanh"} & {*ops(backward.roots)}
    assert not any(y.op.name == "dot" for y in onward.ys)


def test_functions_of_numbers_leave_the_loop():
    loss, env = symbolic("garch", True)
    assert all("log" not in ops(n.params[0].roots) for n in scans(*compiled(loss, [k.node for k in env])))


def test_what_only_the_results_need_is_done_after_the_loop():
    V, x = array("V", (3, 5)), array("x", ("T", 3))
    _, ys = scan(lambda h, x: (np.tanh(h + x), np.exp(h) @ V + 1.0), np.zeros(3), x)
    (root,) = looped([ys.node])
    (loop,) = (n.params[0] for n in scans(root))
    assert "dot" not in ops(loop.roots)
    point = {V.node: rng.normal(size=(3, 5)), x.node: rng.normal(size=(4, 3))}
    np.testing.assert_allclose(evaluate([root], point)[0], evaluate([ys.node], point)[0], rtol=1e-14)


def test_cheap_operations_are_done_in_the_step():
    W, x, y, b = array("W", (3, 3)), array("x", ("T", 3)), array("y", ("T", 3)), array("b", 3)
    walked = np.where(x > 0.1, 2.0 * x - y, b * x)
    c, _ = scan(lambda c, x: (np.sin(W @ c + x[0] * x[1]), None), np.zeros(3), (walked, np.broadcast_to(b, ("T", 3))))
    (root,) = looped([c.node])
    (n,) = scans(root)
    assert {a.op.name for a in n.args[1:]} == {"leaf"}
    point = {a.node: rng.normal(size=(4, 3) if a.ndim > 1 and a.shape[0] == "T" else a.shape) for a in (W, x, y, b)}
    np.testing.assert_allclose(evaluate([root], point)[0], evaluate([c.node], point)[0], rtol=1e-14)


def test_adjoints_that_are_the_same_in_all_steps_are_not_stored():
    a, h = array("a"), array("h", 3)
    _, ys = scan(lambda h, _: (np.sin(a * h), h), h, length="T")
    backward = scans(*compiled(np.sum(ys), [a.node]))[-1]
    assert len(backward.params[0].slices) == 1  # the carries


def test_a_loop_that_carries_nothing_is_none():
    W, x = array("W", (3, 3)), array("x", ("T", 3))
    _, ys = scan(lambda _, x: (None, np.tanh(W @ x)), None, x)
    assert not scans(*looped([ys.node]))


def test_loops_of_one_recurrence_are_one():
    a, x = array("a"), array("x", "T")
    last, _ = scan(wave(a), 0.5, x)
    _, others = scan(lambda c, x: (np.tanh(a * c + x), c), 0.5, x)
    roots = [last.node, others.node]
    assert len(scans(*roots)) == 2
    assert len(scans(*looped(roots))) == 1
    assert len(scans(*looped([last.node, *vjp(last.node, [a.node, x.node])]))) == 2


def test_a_loop_is_not_joined_with_one_that_it_needs():
    x = array("x", "T")
    _, first = scan(lambda c, x: (c + x, c), 0.0, x)
    _, second = scan(lambda c, pair: (c + pair[0], c * pair[1]), 0.0, (x, first))
    (root,) = looped([second.node])
    assert len(scans(root)) == 2
    point = {x.node: rng.normal(size=5)}
    assert np.array_equal(evaluate([root], point)[0], evaluate([second.node], point)[0])


def test_what_is_not_used_is_not_computed():
    a, x, y = array("a"), array("x", "T"), array("y", "T")

    def step(carry, entry):
        c, d, e = carry
        return (c + d * entry[0], d * a, e + entry[1]), (c, d * c, e)

    (c, _, _), _ = scan(step, (0.0, 1.0, 2.0), (x, y))
    (n,) = scans(*looped([c.node]))
    loop = n.params[0]
    assert (len(loop.finals), len(loop.ys), y.node in n.args) == (2, 0, False)
    point = {a.node: 0.7, x.node: rng.normal(size=5), y.node: np.zeros(5)}
    assert evaluate(looped([c.node]), point) == evaluate([c.node], point)


def test_what_is_not_used_inside_is_not_computed_either():
    x = array("x", ("S", "T"))

    def outer(c, row):
        c, ys = scan(lambda d, x: (d + x, d * x), c, row)
        return c, ys

    c, _ = scan(outer, 0.0, x)
    (n,) = scans(*looped([c.node]))
    (inner,) = scans(*n.params[0].roots)
    assert not inner.params[0].ys


def test_a_carry_that_stays_is_a_constant():
    a, x = array("a"), array("x", "T")
    (c, same), ys = scan(lambda carry, x: ((carry[0] * carry[1] + x, carry[1]), carry[1] * x), (0.0, a), x)
    roots = [(c * same).node, ys.node]
    (n,) = scans(*looped(roots))
    assert (len(n.params[0].carries), a.node in n.args) == (1, True)
    point = {a.node: 0.7, x.node: rng.normal(size=5)}
    for got, want in zip(evaluate(looped(roots), point), evaluate(roots, point), strict=True):
        assert np.array_equal(got, want)
    assert not scans(*looped([same.node]))


def test_only_needed_adjoints_are_computed():
    a, x = array("a"), array("x", "T")
    last, _ = scan(wave(a), 0.5, x)
    backward = scans(*looped(vjp(last.node, [a.node])))[-1].params[0]
    assert (len(backward.ys), len(backward.totals)) == (0, 1)
    backward = scans(*looped(vjp(last.node, [x.node])))[-1].params[0]
    assert (len(backward.ys), len(backward.totals)) == (1, 0)


def test_segments_stay_small():
    W, X = array("W", (5, 50)), array("X", (400, 5))
    U, h = array("U", (50, 50)), array("h", 50)
    last, _ = scan(lambda h, x: (np.tanh(h @ U + x @ W), None), h, X, checkpoint=True)
    roots = compiled(np.sum(last * last), [W.node, U.node])
    assert max(n.type.shape[0] for n in topological(roots) if n.type.shape) <= 60 * 50  # 400 * 50 carries


def test_bodies_are_stabilized():
    a, x = array("a"), array("x", "T")
    c, _ = scan(lambda c, x: (np.log(1 + np.exp(a * c + x)), None), 0.0, x)
    (root,), rewrites = stabilized([c.node])
    assert "softplus" in ops(scans(root)[0].params[0].roots)
    assert rewrites[0].after.startswith("softplus")


def test_bodies_are_contracted_and_share_reciprocals():
    A, d, x = array("A", (3, 3)), array("d"), array("x", ("T", 3))
    c, _ = scan(lambda c, x: (np.sum(A * c, axis=1) / (d + x[0]) + x / (d + x[0]), None), np.zeros(3), x)
    (root,) = contracted([c.node])
    assert "dot" in ops(scans(root)[0].params[0].roots)
    (root,), _ = finished([root], {})
    assert ops(scans(root)[0].params[0].roots).count("div") == 1


def test_the_cost_is_that_of_all_steps():
    x, y = array("x", 10), array("y", "T")
    costs = [operations([scan(lambda c, x: (c + c * x, None), 0.0, a)[0].node]) for a in (x, y)]
    assert costs == [20, 2]


def test_adjoints_of_transposed_weights_are_one_product():
    W, x = array("W", (2, 3, 4)), array("x", ("T", 2))
    turned = np.transpose(W, (1, 2, 0))
    c, _ = scan(lambda c, x: (np.tanh(c + np.tensordot(turned, x * np.sum(c), 1)), None), np.ones((3, 4)), x)
    roots = vjp(np.sum(c * c).node, [W.node])
    after = looped(roots)
    assert all(q.op.name == "sum" for n in scans(*after) for q in n.params[0].totals)
    point = {W.node: rng.normal(size=(2, 3, 4)), x.node: rng.normal(size=(5, 2))}
    np.testing.assert_allclose(evaluate(after, point)[0], evaluate(roots, point)[0], rtol=1e-11)


def test_much_is_not_stored_to_do_little_after_the_loop():
    V, x = array("V", (3, 3)), array("x", ("T", 3))

    def step(carry, x):
        a, b, c = carry
        return (np.sin(a + x), np.cos(b + x), np.tanh(c - x)), (a * b + c) @ V

    _, ys = scan(step, (np.zeros(3), np.ones(3), np.ones(3)), x)
    (n,) = scans(*looped([ys.node]))
    assert len(n.params[0].ys) == 1


def test_spans_of_named_lengths_that_are_apart():
    assert are_apart(Span(0, "n"), Span("n", 3))
    assert are_apart(Span("2*n+1", 3), Span("n", "n"))
    assert not are_apart(Span(0, "n"), Span("n-1", 3))
    assert not are_apart(Span(0, "n"), Span("m", 3))
    assert not are_apart(Span("n", "n", -1), Span("2*n", 3))


# Any step

SHAPES = [(), (3,), (3,), (3, 3)]


def drawn(draw, values):
    """A random formula of some values."""
    pool = list(values)
    for _ in range(draw.integers(3, 9)):
        a, b = (pool[k] for k in draw.integers(len(pool), size=2))
        kinds = [np.sin(a), 0.5 * np.tanh(a) * b, a - 0.3 * b, np.where(a > 0.1, a, 0.5 * b), np.sqrt(1.0 + a * a)]
        if a.ndim == 2 and b.ndim:
            kinds += [a @ b / 3, a.T @ b / 3, np.sum(a, axis=1), a[0], np.concatenate([b, b])[1:4]]
        if a.ndim == b.ndim == 1:
            kinds += [np.outer(a, b) / 3, a @ b / 3, a[::-1], np.stack([a[0], b[1], a[2]])]
        pool.append(kinds[draw.integers(len(kinds))])
    return pool[len(values) :]


def drawn_step(seed, outside):
    """A random step, the same whenever it is run: three or so carries, some results."""

    def step(carry, entry):
        draw = np.random.default_rng(seed)
        found = drawn(draw, [*carry, *entry, *outside])
        new = tuple(0.8 * c + 0.3 * np.sin(found[k % len(found)] * np.ones_like(c))
                    if found[k % len(found)].ndim <= c.ndim else np.tanh(c) for k, c in enumerate(carry))  # fmt: skip
        return new, tuple(found[-2:])

    return step


def unrolled(step, carry, xs, length, reverse):
    """The same without a loop in the graph."""
    rows = [None] * length
    for t in range(length)[:: -1 if reverse else 1]:
        carry, rows[t] = step(carry, tuple(x[t] for x in xs))
    return carry, tuple(np.stack(y) for y in zip(*rows, strict=True))


@pytest.mark.parametrize("seed", range(24))
def test_any_step_is_what_it_is_unrolled(seed):
    draw = np.random.default_rng(seed)
    inits, outside, entries = ([array(f"{kind}{k}", shape) for k, shape in enumerate(SHAPES)] for kind in "cow")
    xs = [array(f"x{k}", (4, *e.shape)) for k, e in enumerate(entries)]
    step, reverse = drawn_step(seed, outside), bool(seed % 2)
    wanted = draw.integers(2, size=6) | (np.arange(6) == seed % 6)

    def loss(results):
        carry, ys = results
        return sum(np.sum(r * r) for r, w in zip((*carry, *ys), wanted, strict=True) if w)

    loop = loss(scan(step, tuple(inits), tuple(xs), reverse=reverse))
    flat = loss(unrolled(step, tuple(inits), xs, 4, reverse))
    leaves = [a.node for a in (*inits, *xs, *outside)]
    point = {n: draw.normal(size=n.type.shape) for n in leaves}
    want = evaluate([flat.node, *vjp(flat.node, leaves)], point)
    for roots in ([loop.node, *vjp(loop.node, leaves)], compiled(loop, leaves)):
        for a, b in zip(evaluate(roots, point), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


# One formula for many

FORMULAS = {
    "stretched": lambda x, v, A: x * v + np.exp(A @ v) + x,
    "outer": lambda x, v, A: np.outer(v, v) * x,
    "product": lambda x, v, A: A @ A.T @ v,
    "parts": lambda x, v, A: np.concatenate([v[1:], v[::-1], A[0]]),
    "stacked": lambda x, v, A: np.stack([x, 2.0 * x, v[0]]),
    "reshaped": lambda x, v, A: A.reshape(9)[2:5] + A.T.reshape(9)[0],
    "reduced": lambda x, v, A: np.sum(A, axis=0) + np.max(A, axis=1) + np.mean(A),
    "chosen": lambda x, v, A: np.where(v > x, v, np.where(x > 0, 1.0, A)),
    "solved": lambda x, v, A: np.linalg.solve(A, v) + np.linalg.det(A) + np.linalg.slogdet(A)[1],
    "repeated": lambda x, v, A: np.broadcast_to(v, (2, 3)) + np.broadcast_to(x, (2, 3)),
    "cast": lambda x, v, A: v.astype("float32"),
}


@pytest.mark.parametrize("which", range(1, 8))
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_for_many(name, which):
    shapes = {"x": (), "v": (3,), "A": (3, 3)}
    entries = [array(name, shape) for name, shape in shapes.items()]
    many = [leaf(f"{name}s", ArrayType(("T", *shape))) for name, shape in shapes.items()]
    chosen = [bool(which >> k & 1) for k in range(3)]
    root = FORMULAS[name](*entries).node
    known = {e.node: m for e, m, c in zip(entries, many, chosen, strict=True) if c}
    moving = {n for n in topological([root]) if set(topological([n])) & known.keys()}
    assert fitting(topological([root]), known, moving) >= moving
    (result,) = batched([root], known, {}, "T")
    numbers = [rng.normal(size=(4, *shape)) for shape in shapes.values()]
    point = {many[0]: numbers[0], many[1]: numbers[1], many[2]: numbers[2]}
    point |= {e.node: v[0] for e, v in zip(entries, numbers, strict=True)}
    got = evaluate([result], point)[0]
    for t in range(4):
        rows = [v[t] if c else v[0] for v, c in zip(numbers, chosen, strict=True)]
        want = evaluate([root], {e.node: v for e, v in zip(entries, rows, strict=True)})[0]
        np.testing.assert_allclose(got[t], want, rtol=1e-12)


def test_sigmoid_is_stored_for_no_derivative():
    a, h = array("a"), array("h", 3)
    last, _ = scan(lambda h, _: (sigmoid(a * h), None), h, length="T")
    loops = [n.params[0] for n in scans(*compiled(np.sum(last), [a.node]))]
    assert [len(loop.ys) for loop in loops] == [1, 0]  # the carries, from which the rest is computed again
