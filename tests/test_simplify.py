"""Exact rules change no bit; what may round differently says so and stays near."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import passes
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse
from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.ir.graph import topological, verify
from gradcompile.ir.types import ArrayType
from gradcompile.passes.hoist import hoist
from gradcompile.passes.simplify import balance, share_reciprocals, simplify, simplify_node
from tests.graphs import COLUMNS, SCALARS, VALUES, graphs

x, y, z = leaf("x"), leaf("y"), leaf("z")
LESS = apply("lt", x, y)
WHOLE = leaf("k", ArrayType((), "int64"))
WEIGHT = apply("div", const(1.0), apply("size", COLUMNS[0], params=(0,)))
REPEATED = apply("broadcast", WEIGHT, params=(("n",),))
POSITIVE = apply("lt", const(0.0), COLUMNS[0])


def same_bits(u: object, v: object) -> bool:
    a, b = np.asarray(u, float), np.asarray(v, float)
    return a.shape == b.shape and bool(
        np.all((np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b))))
    )


@given(graphs(), st.tuples(VALUES, VALUES), st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_simplify_keeps_every_bit(n: Node, scalars: tuple[float, float], rows: list[tuple[float, float]]) -> None:
    env = {**dict(zip(SCALARS, scalars, strict=True)), **{c: [r[k] for r in rows] for k, c in enumerate(COLUMNS)}}
    (simpler,) = simplify([n])
    verify([simpler], "simplify")
    assert same_bits(evaluate([n], env)[0], evaluate([simpler], env)[0])
    assert len(topological([simpler])) <= len(topological([n])) + 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (apply("add", x, const(-0.0)), x),
        (apply("mul", x, const(1.0)), x),
        (apply("mul", const(-1.0), x), apply("neg", x)),
        (apply("neg", apply("neg", x)), x),
        (apply("add", x, x), apply("mul", const(2.0), x)),
        (apply("pow", x, const(2.0)), apply("mul", x, x)),
        (apply("pow", x, const(-1.0)), apply("div", const(1.0), x)),
        (apply("pow", x, const(0.5)), apply("sqrt", x)),
        (apply("pow", x, const(0.0)), const(1.0)),
        (apply("pow", x, const(-1.5)), apply("div", const(1.0), apply("pow", x, const(1.5)))),
        (apply("mul", const(2.0), apply("mul", const(0.5), x)), x),
        (apply("mul", const(2.0), apply("mul", apply("mul", const(-0.5), x), y)), apply("neg", apply("mul", x, y))),
        (apply("mul", x, const(3.0)), apply("mul", const(3.0), x)),
        (apply("div", x, const(-4.0)), apply("mul", const(-0.25), x)),
        (apply("select", const(False, "bool"), COLUMNS[0], x), apply("broadcast", x, params=(("n",),))),
        (apply("and", LESS, apply("and", apply("lt", y, z), LESS)), apply("and", LESS, apply("lt", y, z))),
        (apply("or", apply("lt", x, y), const(True, "bool")), const(True, "bool")),
        (apply("mul", x, apply("div", const(1.0), y)), apply("div", x, y)),
        (apply("mul", apply("neg", x), apply("neg", y)), apply("mul", x, y)),
        (apply("exp", const(0.0)), const(1.0)),
        (apply("select", const(True, "bool"), x, y), x),
        (apply("not", apply("not", apply("lt", x, y))), apply("lt", x, y)),
        (apply("add", const(-1.0), x), apply("add", x, const(-1.0))),
        (apply("add", WHOLE, const(0, "int64")), WHOLE),
        (apply("select", LESS, apply("select", LESS, x, y), z), apply("select", LESS, x, z)),
        (apply("select", LESS, x, apply("select", LESS, y, z)), apply("select", LESS, x, z)),
        (
            apply("select", LESS, x, apply("select", LESS, y, z, params=("own",)), params=("own",)),
            apply("select", LESS, x, z, params=("own",)),
        ),
        (apply("eq", apply("neg", x), const(0.0)), apply("eq", x, const(0.0))),
        (apply("ne", WEIGHT, const(0.0)), const(True, "bool")),
        (apply("select", apply("ne", REPEATED, const(0.0)), COLUMNS[0], x), COLUMNS[0]),
        (apply("and", apply("ne", REPEATED, const(0.0)), POSITIVE, POSITIVE), POSITIVE),
    ],
)
def test_rules(before: Node, after: Node) -> None:
    assert simplify([before]) == [after]


LARGE = const(1e308)
INFINITE = [apply("mul", LARGE, LARGE), apply("add", LARGE, LARGE, LARGE), apply("div", const(1.0), const(0.0))]


@pytest.mark.parametrize("n", [*INFINITE, apply("neg", const(float("inf")))])
def test_numbers_that_give_no_finite_one_are_left(n: Node) -> None:
    assert simplify([n]) == [n]


def test_what_a_rule_leaves_unsimplified_below_is_seen_by_the_next_pass() -> None:
    deep = apply("exp", apply("neg", apply("neg", x)))
    n = apply("mul", deep, y)
    assert simplify_node(n) is n and not n.simple
    (found,) = simplify([n])
    assert found is apply("mul", apply("exp", x), y) and found.simple
    assert simplify([found]) == [found]


@pytest.mark.parametrize(
    "n",
    [apply("mul", x, const(0.0)), apply("add", x, const(0.0)), apply("add", x, apply("neg", x)), apply("div", x, x)],
)
def test_what_nan_or_a_sign_would_show_is_left(n: Node) -> None:
    assert simplify([n])[0] is n or simplify([n])[0].op is n.op


def test_entries_of_an_array_are_put_together_once() -> None:
    array = leaf("W", ArrayType((2, 2)), "param")
    entries = [apply("item", array, params=(k,)) for k in ((0, 0), (1, 1), (0, 0))]
    loss = apply("add", *(apply("mul", e, e) for e in entries))
    (gradient,) = simplify(reverse.vjp(loss, [array]))
    assert gradient.op.name == "assemble"
    assert len(gradient.args) == 2
    assert evaluate([gradient], {array: [[1.0, 2.0], [3.0, 4.0]]})[0].tolist() == [[4.0, 0.0], [0.0, 8.0]]


def test_a_divisor_used_twice_is_inverted_once() -> None:
    d = apply("exp", z)
    shared = share_reciprocals([apply("div", x, d), apply("div", y, d)])
    assert [n.op.name for n in shared] == ["mul", "mul"]
    assert share_reciprocals([apply("div", x, d)]) == [apply("div", x, d)]


def test_long_sums_become_trees() -> None:
    leaves = [leaf(f"t{k}") for k in range(1000)]
    (tree,) = balance([apply("add", *leaves)])
    assert max(len(n.args) for n in topological([tree])) == 8
    env = dict.fromkeys(leaves, 0.1)
    assert abs(evaluate([tree], env)[0] - 100.0) < 1e-13


@given(graphs(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_the_passes_after_differentiation_keep_the_gradient(n: Node, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = {**{s: rng.uniform(0.2, 1.5) for s in SCALARS}, **{c: rng.uniform(0.2, 1.5, 5) for c in COLUMNS}}
    mean = apply("add", n, apply("mul", COLUMNS[0], SCALARS[0]))
    loss = apply("div", apply("sum", mean, params=((0,),)), apply("size", COLUMNS[0], params=(0,)))
    roots = [loss, *reverse.vjp(loss, SCALARS)]
    final, _ = passes.finished(roots, {})
    before, after = evaluate(roots, env), evaluate(final, env)
    assert np.allclose(before, after, rtol=1e-9, atol=1e-9, equal_nan=True) or not np.all(np.isfinite(before))


def test_the_weight_of_a_mean_leaves_the_loop() -> None:
    (col,) = COLUMNS[:1]
    loss = apply(
        "div",
        apply("sum", apply("mul", apply("mul", x, col), apply("mul", x, col)), params=((0,),)),
        apply("size", col, params=(0,)),
    )
    (gradient,) = reverse.vjp(loss, [x])
    again = apply("sum", apply("mul", apply("broadcast", y, params=(("n",),)), gradient.args[0]), params=((0,),))
    for weighted in (gradient, again):  # by one weight, and by another as well
        (hoisted,), _ = hoist([weighted], {})
        assert hoisted.op.name == "div"
        assert not any(n.op.name in ("size", "broadcast") for n in topological([hoisted.args[0]]))


def test_overlapping_places_of_an_array_are_added_not_chosen() -> None:
    row, corner = leaf("row", ArrayType((2,))), leaf("corner")
    array = apply("assemble", row, corner, params=((2, 2), ((0, None), (0, 0))))
    entry = apply("item", array, params=((0, 0),))
    assert simplify([entry]) == [entry]
    assert simplify([apply("item", apply("assemble", x, y, params=((2,), ((0,), (1,)))), params=((1,),))]) == [y]


def test_a_transposing_broadcast_stays() -> None:
    square = leaf("A", ArrayType((2, 2)))
    flipped = apply("broadcast", square, params=((2, 2), (1, 0)))
    assert simplify([flipped]) == [flipped]
    assert simplify([apply("broadcast", square, params=((2, 2),))]) == [square]


def test_a_division_by_a_scalar_leaves_the_loop() -> None:
    (quotient,) = share_reciprocals([apply("div", COLUMNS[0], x)])
    assert quotient is apply("mul", COLUMNS[0], apply("div", const(1.0), x))
    assert simplify([quotient]) == [quotient]


def test_the_last_passes_keep_shared_reciprocals() -> None:
    d = apply("exp", z)
    final, _ = passes.finished([apply("div", x, d), apply("div", y, d)], {})
    assert sum(n.op.name == "div" for n in topological(final)) == 1


def test_no_pass_recurses() -> None:
    n = reduce(lambda u, k: apply("sin" if k % 2 else "neg", apply("add", u, x)), range(20_000), x)
    (final,), _ = passes.finished([n], {})
    assert len(topological([final])) < 40_010


def test_a_sum_behind_a_scalar_condition() -> None:
    (col,) = COLUMNS[:1]
    loss = apply("sum", apply("select", apply("lt", x, y), col, apply("neg", x)), params=((0,),))
    gradients = reverse.vjp(loss, [x])
    assert evaluate(gradients, {x: 1.0, y: 0.0, col: [1.0, 2.0, 3.0]}) == [-3.0]
    assert evaluate(gradients, {x: 0.0, y: 1.0, col: [1.0, 2.0, 3.0]}) == [0.0]
