"""The parts of lowering arrays: entries, layout, storage, matrix products, preparation, names."""

import re
from itertools import pairwise
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import compile_grad
from gradcompile.analysis.evaluate import evaluate
from gradcompile.frontend.arrays import array
from gradcompile.ir.core import apply, const, leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType
from gradcompile.library.primitives import empty, lanes, view, zeros
from gradcompile.loops.ir import every
from gradcompile.loops.python import block
from gradcompile.lower.blocks.prepare import prepared
from gradcompile.lower.memory import workspace
from gradcompile.lower.memory.entries import IOTA, Entries, Memory
from gradcompile.lower.memory.layout import Layout, stored
from gradcompile.lower.memory.storage import Buffer, Storage
from gradcompile.lower.memory.workspace import Workspace
from gradcompile.lower.nests.naming import ArrayNaming, caller
from gradcompile.lower.nests.places import Destination
from gradcompile.lower.rules.elementwise import covered, merged
from gradcompile.lower.rules.products import product
from gradcompile.lower.stages import Stages
from gradcompile.ops.shape import Span
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Program

X = leaf("X", ArrayType(("n", 6)))
T = leaf("t", ArrayType(("n",), "int64"))


# Entries: at which place something is read


@pytest.mark.parametrize(
    ("n", "place", "read"),
    [
        (apply("transpose", X, params=((1, 0),)), ("j", "i"), ("i", "j")),
        (apply("broadcast", X, params=(("n", 4, 6), (0, 2))), ("i", "k", "j"), ("i", "j")),
        (apply("item", X, params=((None, Span(1, 2, 3)),)), ("i", "j"), ("i", "3*j+1")),
        (apply("item", X, params=((None, 5),)), ("i",), ("i", 5)),
        (apply("window", X, params=(1, 3, 2, 1)), ("i", "j", "k"), ("i", "2*j+k")),
        (apply("reshape", X, params=(("n", 2, 3),)), ("i", "j", "k"), ("i", "3*j+k")),
        (apply("reshape", X, params=(("n", 1, 6),)), ("i", 0, "k"), ("i", "k")),
    ],
    ids=["transpose", "broadcast", "span", "item", "window", "reshape", "reshape_one"],
)
def test_an_entry_of_what_moves_is_read_at_its_place(n, place, read):
    entries = Entries({X: None})
    found = entries.reads[entries.entry(n, place)]
    assert (found.source, found.place) == (X, read)


def test_equal_entries_are_one_node():
    entries = Entries({X: None})
    twice = apply("transpose", apply("transpose", X, params=((1, 0),)), params=((1, 0),))
    assert entries.entry(twice, ("i", "j")) is entries.entry(X, ("i", "j"))


def test_an_entry_of_arithmetic_is_arithmetic_of_entries():
    column = leaf("column", ArrayType(("n", 1)))
    entries = Entries({X: None, column: None})
    total = entries.entry(apply("add", X, column), ("i", "j"))
    assert total.op.name == "add"
    assert [entries.reads[a].place for a in total.args] == [("i", "j"), ("i", 0)]


def test_an_entry_at_a_place_that_is_data():
    entries = Entries({X: None, T: None})
    guarded = entries.entry(apply("gather", X, T, params=(0,)), ("i", "j"))
    assert guarded.op.name == "select" and np.isnan(guarded.args[2].value)  # what is outside is NaN, and not read
    found = entries.reads[guarded.args[1]]
    assert found.source is X and found.place[1] == "j"
    ((name, place),) = found.found
    assert found.place[0] == name and place.op.name == "select"
    assert T in {entries.reads[x].source for x in topological([place]) if x in entries.reads}


def test_places_that_count_are_places():
    entries = Entries({X: None})
    rows = apply("iota", params=("n",))
    found = entries.reads[entries.entry(apply("gather", X, rows, params=(0,)), ("i", "j"))]
    assert (found.source, found.place, found.found) == (X, ("i", "j"), ())
    assert entries.reads[entries.entry(rows, ("i",))].source is IOTA


def test_a_deep_expression_needs_no_recursion():
    n = X
    for _ in range(5000):
        n = apply("tanh", n)
    assert Entries({X: None}).entry(n, ("i", "j")).op.name == "tanh"


# Layout


def test_samples_of_a_block_lie_last():
    assert Layout("m").order(("m", 40)) == (1, 0)


def test_without_a_block_a_long_axis_lies_last_and_of_two_the_latter():
    assert Layout(None).order((40, 3)) == (1, 0)
    assert Layout(None).order((40, 50)) == (0, 1)
    assert Layout(None).order(()) == ()


def test_what_is_summed_does_not_lie_last():
    layout = Layout(None)
    x = leaf("x", ArrayType((40, 50)))
    layout.learn([apply("sum", x, params=((1,),))])
    assert layout.order((40, 50)) == (1, 0)


def test_matrices_of_routines_are_row_by_row():
    layout = Layout("m")
    x = leaf("x", ArrayType(("m", 3, 3)))
    layout.learn([apply("det", x)])
    assert layout.order(("m", 3, 3)) == (0, 1, 2)


def test_what_is_dear_and_shared_stands_in_memory():
    def kept(op, users):
        x = apply(op, X)
        sums = [apply("sum", apply("mul", x, const(k)), params=((0, 1),)) for k in range(2, 2 + users)]
        return x in stored(topological(sums), sums, {X: None})[1]

    assert kept("exp", 2) and not kept("exp", 1) and not kept("neg", 2)


# Memory


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_no_two_living_arrays_overlap(drawn):
    work = Workspace()
    lives = sorted((min(a, b), max(a, b), length) for length, a, b in drawn)
    placed = [(work.place(length, first, last), length, first, last) for first, last, length in lives]
    for k, (start, length, first, last) in enumerate(placed):
        assert start % 16 == 0 and start + length <= work.size
        for other, more, begin, end in placed[:k]:
            if begin <= last and first <= end:
                assert other + more <= start or start + length <= other


def test_a_small_array_leaves_a_large_place_to_a_large_one():
    work = Workspace()
    large = 16 * workspace.APART + 16
    assert work.place(large, 0, 1) == 0
    assert work.place(16, 2, 3) == large  # not where the first was
    assert work.place(large, 3, 4) == 0 and work.size == large + 16


def test_memory_is_used_again():
    work = Workspace()
    places = [work.place("m", k, k + 1) for k in range(6)]
    assert work.size == "2*m" and places == [0, "m"] * 3


def test_a_view_keeps_what_it_is_part_of():
    storage = Storage({X: Memory("X", (0, 1), dense=True)}, Namer(), "work")
    storage.buffers["X"] = Buffer(("n", 6))
    flat = storage.seen(apply("reshape", X, params=(("6*n",),)))
    assert flat == Memory("X_1d", (0,), dense=True)
    storage.touch(flat.name, 4)
    assert (storage.buffers["X"].first, storage.buffers["X"].last) == (4, 4)
    assert storage.seen(apply("reshape", X, params=(("6*n",),))) == flat


def test_parts_of_rows_are_views_and_torn_rows_are_none():
    storage = Storage({X: Memory("X", (0, 1), dense=True)}, Namer(), "work")
    part = storage.seen(apply("item", X, params=((Span(1, 2), None),)))
    source, rows = storage.views[part.name]
    assert (source, rows.text) == ("X", "X[1:3, :]") and not part.dense
    assert storage.seen(apply("item", X, params=((None, 2),))) is None
    assert storage.seen(apply("item", X, params=((None, Span(0, 3, 2)),))) is None
    assert storage.seen(apply("transpose", X, params=((1, 0),))) == Memory("X", (1, 0), dense=True)


# Tasks


def test_parts_that_fill_a_shape():
    rows = [(Span(0, 2), None), (2, None), (Span(3, "n-3"), None)]
    assert covered(("n", 6), rows) and covered(("n", 6), rows[::-1])
    assert not covered(("n", 6), rows[:2]) and not covered((4, 6), [(Span(0, 2, 2), None), (Span(1, 2, 2), None)])


def test_neighbouring_axes_become_one():
    x = leaf("x", ArrayType((2, 3, 4)))
    assert merged(apply("reshape", x, params=((6, 4),)), ("i", "j", "k")) == ("3*i+j", "k")
    assert merged(apply("reshape", x, params=((8, 3),)), ("i", "j", "k")) is None


# Matrix products


def stages_of(memory):
    program = Program(const(0.0), [], [], [], {}, {}, {})
    return Stages(ArrayNaming(program, Namer()), memory, {})


def run(statements, **arrays):
    """Run statements as plain Python."""
    scope = {"empty": empty, "lanes": lanes, "view": view, "zeros": zeros, "LANES": 4} | arrays
    scope["fold"] = np.sum
    exec("\n".join(block(statements, 0)), scope)


def einsums():
    """Contractions of two operands, up to four labels: each in one of them or in both, in the result or not."""
    found = []
    for count in range(1, 5):
        for code in range(4**count):
            kinds = [code // 4**k % 4 for k in range(count)]  # of a, of b, of both and kept, of both and summed
            if sorted(kinds) == kinds:
                la, lb, out = [], [], []
                for label, kind in enumerate(kinds):
                    la += [label] * (kind != 1)
                    lb += [label] * (kind != 0)
                    out += [label] * (kind != 3)
                found += [(tuple(la), tuple(lb[::-1]), tuple(out)), (tuple(la), tuple(lb), tuple(out[::-1]))]
    return [f for f in dict.fromkeys(found) if f[0] and f[1] and f[2] and set(f[0]) - set(f[2])]


@pytest.mark.parametrize("labels", einsums(), ids=lambda t: "-".join("".join(ascii_lowercase[k] for k in p) for p in t))
@pytest.mark.parametrize("add", [False, True])
def test_contractions_as_statements(labels, add):
    la, lb, out = labels
    rng = np.random.default_rng(0)
    sizes = [2, 3, 4, 5]
    a, b = (rng.normal(size=[sizes[k] for k in own]) for own in (la, lb))
    A, B = leaf("A", ArrayType(a.shape)), leaf("B", ArrayType(b.shape))
    n = apply("dot", A, B, params=labels)
    stages = stages_of({A: Memory("A", tuple(range(len(la))), dense=True), B: Memory.plain("B", B, dense=True)})
    result = np.ones([sizes[k] for k in out])
    stages.run([(n, Destination(Memory.plain("C", n, dense=True), add))])
    body = stages.emit()
    run([*stages.allocations(), *body], A=a, B=b, C=result, theta=np.zeros(1))
    (want,) = evaluate([n], {A: a, B: b})
    np.testing.assert_allclose(result - add, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("turned", [(1, 0), (0, 1)])
def test_a_product_takes_matrices_as_they_lie(turned):
    A, B = leaf("A", ArrayType((20, 30))), leaf("B", ArrayType((30, 40)))
    stages = stages_of({A: Memory("A", turned, dense=True), B: Memory.plain("B", B, dense=True)})
    product(stages, apply("dot", A, B, params=((0, 1), (1, 2), (0, 2))), None)
    (line,) = [s.text for s in every(stages.emit()) if "@" in s.text]
    assert line == f"product[:, :] = {'A.T' if turned == (1, 0) else 'A'} @ B"


def test_axes_that_lie_together_are_one_in_a_product():
    A, B = leaf("A", ArrayType((7, 20, 30))), leaf("B", ArrayType((30, 40)))
    stages = stages_of({A: Memory.plain("A", A, dense=True), B: Memory.plain("B", B, dense=True)})
    product(stages, apply("dot", A, B, params=((0, 1, 2), (2, 3), (0, 1, 3))), None)
    (line,) = [s.text for s in every(stages.emit()) if "@" in s.text]
    assert line == "product_2d[:, :] = A_2d @ B"


# Preparation


def same_value(n, env):
    (m,) = prepared([n])
    np.testing.assert_allclose(evaluate([m], env)[0], evaluate([n], env)[0], rtol=1e-13)
    return m


def test_one_entry_a_row_is_picked_by_comparison():
    rows = apply("iota", params=("n",))
    n = apply("gather", X, rows, T, params=(0,))
    m = same_value(n, {X: np.arange(18.0).reshape(3, 6), T: np.array([5, -1, 2])})
    assert m.op.name == "select" and m.args[1].op.name == "sum"
    assert not any(x.op.name == "gather" for x in topological([m]))
    g = leaf("g", ArrayType(("n",)))
    back = apply("scatter_add", g, rows, T, params=(0, ("n", 6)))
    assert same_value(back, {g: np.arange(3.0), T: np.array([0, 1, -2])}).op.name == "select"


def test_a_sum_of_few_entries_has_no_loop():
    A = leaf("A", ArrayType(("n", 2, 5, 2)))
    values = {A: np.arange(60.0).reshape(3, 2, 5, 2)}
    assert same_value(apply("sum", A, params=((1, 3),)), values).op.name == "add"
    for axes in ((0,), (0, 1), (2,), (1, 2)):
        assert same_value(apply("sum", A, params=(axes,)), values).op.name == "sum"
    one = leaf("one", ArrayType((4, 1)))
    assert same_value(apply("sum", one, params=((1,),)), {one: np.arange(4.0)[:, None]}).op.name == "item"


def test_outer_and_inner_products_are_loops_and_matrix_products_are_not():
    u, v, W = (leaf(k, ArrayType(s)) for k, s in (("u", (9,)), ("v", (9,)), ("W", (9, 5))))
    env = {u: np.arange(9.0), v: np.ones(9), W: np.ones((9, 5))}
    assert same_value(apply("dot", u, v, params=((0,), (0,), ())), env).op.name == "sum"
    assert same_value(apply("dot", u, W, params=((0,), (0, 1), (1,))), env).op.name == "dot"


def test_the_order_along_another_axis_is_that_along_the_last():
    m = same_value(apply("argsort", X, params=(0,)), {X: np.random.default_rng(0).normal(size=(4, 6))})
    assert m.op.name == "transpose" and m.args[0].params == (1,)


def test_gradients_of_parts_are_put_together_at_once():
    g, h = leaf("g", ArrayType((2,))), leaf("h", ArrayType((3,)))
    parts = [apply("assemble", x, params=((5,), ((s,),))) for x, s in ((g, Span(0, 2)), (h, Span(2, 3)))]
    m = same_value(apply("add", *parts), {g: np.ones(2), h: np.arange(3.0)})
    assert m.op.name == "assemble" and m.args == (g, h)


# Text


def test_the_function_that_a_formula_calls():
    assert [caller(t) for t in ("f(x)", "f(g(x) + h(y))", "f(x)*(y)", "x", "(x)", "")] == ["f", "f", "", "", "", ""]


def source(loss, params):
    return compile_grad(loss, params).source


def test_a_contraction_over_one_entry_is_computed_where_it_is_read():
    x, W, v = array("x", ("n", 4)), array("W", (4, 6)), array("v", (6, 1))
    text = source(np.mean((np.tanh(x @ W) @ v) ** 2), [W, v])
    assert re.search(r" \* v_\w \* \(1.0 - ", text) and "[:, :] = 0.0" not in text


def test_values_are_called_after_functions_of_the_formula():
    W, X = array("W", (6, 4)), array("X", ("n", 6))
    text = source(np.sum(np.maximum(X @ W, 0.0) @ W.T), [W])
    assert "X_W[:, :] = W.T @ X_b.T" in text
    assert "dot_1" not in text


def test_names_of_the_generated_code_may_be_names_of_inputs():
    names = ["row", "values", "count", "total_part", "grad_lost", "step", "BLOCK", "work", "tree", "first"]
    inputs = [array(name, "n") for name in names]
    w = array("w", (len(names),))
    f = compile_grad(np.mean((sum(w[k] * x for k, x in enumerate(inputs)) - 1) ** 2), [w], inputs=inputs)
    values = [np.random.default_rng(k).normal(size=300) for k in range(len(names))]
    loss, (gradient,) = f(np.ones(len(names)), *values)
    rest = np.sum(values, axis=0) - 1
    np.testing.assert_allclose(loss, np.mean(rest**2))
    np.testing.assert_allclose(gradient, [2 * np.mean(rest * v) for v in values])


def test_no_comment_is_said_twice_in_a_row():
    W, X = array("W", (6, 4)), array("X", ("n", 6))
    lines = source(np.mean(np.exp(np.tanh(X @ W)) * np.tanh(X @ W)), [W]).splitlines()
    said = [line.partition("  # ")[2] for line in lines]
    assert not [a for a, b in pairwise(said) if a and a == b]


def test_a_long_chain_of_values_in_one_nest_needs_no_recursion():
    w, x = array("w", (5,)), array("x", "n")
    z = x
    for k in range(520):
        z = np.tanh(z * w[k % 5] + k)
    assert source(np.mean(z**2), [w]).count("tanh(") >= 520
