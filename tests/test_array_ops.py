"""Ops of whole arrays: transposes against their ops, types, what does not fit, and planted faults that are caught."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.diff import testing
from gradcompile.diff.reverse import vjp
from gradcompile.errors import ExpressionError, GraphError
from gradcompile.ir.algebra import expand
from gradcompile.ir.core import apply, const, leaf
from gradcompile.ir.graph import verify
from gradcompile.ir.types import ArrayType, broadcast, dim_product, dim_sum, dim_value
from gradcompile.ops import OPS, linalg
from gradcompile.ops.contract import contract
from gradcompile.ops.shape import Span

rng = np.random.default_rng(0)
X, Y = leaf("X", ArrayType(("n", 3))), leaf("Y", ArrayType((3, 4)))
B, Q = leaf("B", ArrayType((2, 3, 3))), leaf("Q", ArrayType((2, 3, 2)))
ROW, COLUMN = leaf("i", ArrayType((2, 2), "int64")), leaf("j", ArrayType((2, 2), "int64"))
ENV = {
    X: rng.normal(size=(5, 3)),
    Y: rng.normal(size=(3, 4)),
    B: rng.normal(size=(2, 3, 3)) + 3 * np.eye(3),
    Q: rng.normal(size=(2, 3, 2)),
    ROW: np.array([[0, 2], [2, -1]]),
    COLUMN: np.array([[1, 0], [3, 3]]),
}

CASES = {
    "item_span": apply("item", X, params=((Span(1, "n-2"), Span(2, 2, -2)),)),
    "item_reversed": apply("item", X, params=((Span("n-1", "n", -1), None),)),
    "item_last": apply("item", X, params=(("n-1", None),)),
    "assemble_spans": apply("assemble", X, Y, params=(("n+4", 4), ((Span(0, "n"), Span(0, 3)), (Span("n", 3), None)))),
    "assemble_overlapping": apply("assemble", Y, Y, params=((4, 4), ((Span(0, 3), None), (Span(3, 3, -1), None)))),
    "transpose": apply("transpose", B, params=((2, 0, 1),)),
    "reshape": apply("reshape", X, params=(("3*n",),)),
    "cast": apply("cast", X, params=("float64",)),
    "dot": contract(X, (0, 1), Y, (1, 2), (0, 2)),
    "dot_transposed": contract(Y, (1, 2), X, (0, 1), (2, 0)),
    "dot_batch": contract(B, (0, 1, 2), Q, (0, 2, 3), (0, 1, 3)),
    "dot_outer": contract(X, (0, 1), Y, (2, 3), (3, 0, 1, 2)),
    "dot_scalar": contract(Y, (0, 1), Y, (0, 1), ()),
    "gather": apply("gather", Y, ROW, params=(0,)),
    "gather_inner": apply("gather", B, ROW, params=(1,)),
    "gather_pairs": apply("gather", Y, ROW, COLUMN, params=(0,)),
    "scatter_add": apply("scatter_add", apply("gather", Y, ROW, params=(0,)), ROW, params=(0, (4,))),
    "scatter_pairs": apply(
        "scatter_add", apply("gather", Y, ROW, COLUMN, params=(0,)), ROW, COLUMN, params=(0, (3, 5))
    ),
    "cumsum": apply("cumsum", X, params=(0, False)),
    "cumsum_reversed": apply("cumsum", X, params=(1, True)),
    "window": apply("window", X, params=(0, 2, 1, 2)),
    "window_strided": apply("window", Y, params=(1, 2, 2, 1)),
    "overlap": apply("overlap", B, params=(1, 7, 2, 1)),
    "amax_of_named": apply("amax", X, params=((0,),)),
    "solve": apply("solve", B, Q, params=("full",)),
    "solve_lower": apply("solve", B, Q, params=("lower",)),
    "solve_upper": apply("solve", B, Q, params=("upper",)),
    "det": apply("det", B),
    "logabsdet": apply("logabsdet", B),
    "detsign": apply("mul", apply("detsign", B), apply("logabsdet", B)),
    "cholesky": apply("cholesky", linalg.matmul(B, linalg.flipped(B))),
    "cholesky_of_a_symmetric_matrix": apply("cholesky", linalg.symmetric(B)),
    "eigvals": apply("eigvals", linalg.symmetric(B)),
    "eigvecs": apply("eigvecs", linalg.symmetric(B)),
    "svdvals": apply("svdvals", B),
    "svdvals_of_columns": apply("svdvals", Q),
    "svdvecs": apply("svdvecs", B),
    "svdvecs_of_columns": apply("svdvecs", Q),
    "svdvecs_of_rows": apply("svdvecs", linalg.flipped(Q)),
    "pinv": apply("pinv", B),
    "pinv_of_columns": apply("pinv", Q),
    "pinv_of_rows": apply("pinv", linalg.flipped(Q)),
    "dft": apply("dft", apply("item", B, params=((None, Span(0, 2), None),)), params=("forward",)),
    "argsort": apply("gather", Y, apply("argsort", apply("item", Y, params=((None, 0),)), params=(0,)), params=(0,)),
    "argmax": apply("gather", Y, apply("argmax", Y, params=(1,)), params=(1,)),
    "iota": apply("mul", apply("iota", params=(3,)), X),
}


@pytest.mark.parametrize("name", CASES)
def test_both_modes_to_the_second_order(name):
    n = CASES[name]
    verify([n])
    squared = apply("mul", n, n)
    testing.check_grads(squared, [X, Y, B, Q], ENV, order=2, tolerance=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_doubles_and_many_digits_agree(name):
    got, want = evaluate([CASES[name]], ENV)[0], exact([CASES[name]], ENV)[0]
    np.testing.assert_allclose(got, np.asarray(want, float), rtol=1e-12, atol=1e-13)


SMALL = st.integers(0, 3)


@given(st.lists(SMALL, min_size=2, max_size=4), st.data())
@settings(max_examples=80, deadline=None)
def test_contractions_of_drawn_labels(sizes, data):
    labels = st.lists(st.sampled_from(range(len(sizes))), unique=True, max_size=3)
    la, lb = data.draw(labels), data.draw(labels)
    shared = [k for k in la if k in lb]
    kept = [k for k in dict.fromkeys([*la, *lb]) if k not in shared or data.draw(st.booleans())]
    result = data.draw(st.permutations(kept))
    a, b = (leaf(name, ArrayType(tuple(sizes[k] for k in own))) for name, own in (("a", la), ("b", lb)))
    env = {x: rng.normal(size=x.type.shape) for x in (a, b)}
    n = contract(a, la, b, lb, result)
    np.testing.assert_allclose(evaluate([n], env)[0], np.einsum(env[a], la, env[b], lb, result), atol=1e-13)
    testing.check_grads(n, [a, b], env, order=2, tolerance=1e-10)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_overlap_is_the_transpose_of_window(size, stride, dilation, extra):
    length = (size - 1) * dilation + 1 + extra
    windows = OPS["window"].value(np.eye(length), 0, size, stride, dilation)
    g = rng.normal(size=windows.shape[:2])
    np.testing.assert_allclose(
        OPS["overlap"].value(g, 0, length, stride, dilation), np.einsum("ij,ijk->k", g, windows), atol=1e-14
    )


def test_equal_contractions_are_one_node():
    assert contract(X, (5, 2), Y, (2, 9), (5, 9)) is contract(X, (0, 1), Y, (1, 2), (0, 2))


def test_a_singular_matrix_gives_nan_and_no_error():
    singular = {B: np.zeros((2, 3, 3)), Q: np.ones((2, 3, 2))}
    values = evaluate([apply("solve", B, Q, params=("full",)), apply("cholesky", B), apply("det", B)], singular)
    assert np.all(np.isnan(values[0])) and np.all(np.isnan(values[1])) and np.all(values[2] == 0)


def test_the_derivative_of_eigenvectors_of_equal_eigenvalues_is_not_a_number():
    loss = apply("sum", apply("eigvecs", B), params=((0, 1, 2),))
    (gradient,) = evaluate(vjp(loss, [B]), {B: np.stack([np.eye(3)] * 2)})
    assert np.all(np.isnan(gradient))


# Named dimensions


@pytest.mark.parametrize(
    ("dim", "want"),
    [
        (dim_sum("n", -1), "n-1"),
        (dim_sum("n-1", 1), "n"),
        (dim_sum("n", dim_product(-1, "n")), 0),
        (dim_sum("m", "n", 2), "m+n+2"),
        (dim_product("n-1", "n+1"), "n*n-1"),
        (dim_product(2, "b", "a"), "2*a*b"),
        (dim_product("n", 0), 0),
        (dim_product(-1, "n"), "-n"),
    ],
)
def test_dimensions_have_one_form(dim, want):
    assert dim == want
    sizes = {"n": 7, "m": 3, "a": 2, "b": 5}
    assert dim_value(dim, sizes) == (eval(dim, {}, sizes) if isinstance(dim, str) else dim)


@given(st.lists(st.sampled_from(("n", "m", "n-1", "2*n+m", 1, 2, -1, "m*n")), min_size=1, max_size=4))
def test_sums_and_products_of_dimensions(dims):
    sizes = {"n": 5, "m": 3}
    values = [dim_value(d, sizes) for d in dims]
    assert dim_value(dim_sum(*dims), sizes) == sum(values)
    assert dim_value(dim_product(*dims), sizes) == math.prod(values)
    assert dim_sum(*dims) == dim_sum(*dims[::-1]) and dim_product(*dims) == dim_product(*dims[::-1])


def test_expand_leaves_what_fits():
    assert expand(X, ("n", 3)) is X
    with pytest.raises(ExpressionError, match="n against 3"):
        broadcast(("n",), (3,))


# What does not fit


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: contract(X, (0, 1), Y, (0, 1), (0, 1)), r"axis 0 is n and 3"),
        (lambda: contract(X, (0, 1), Y, (1, 2), (0,)), "only an axis of both can be summed"),
        (lambda: contract(X, (0, 0), Y, (0, 1), (1,)), "one of its own"),
        (lambda: contract(X, (0,), Y, (0, 1), (1,)), "one of its own"),
        (lambda: apply("transpose", X, params=((0, 0),)), "named once"),
        (lambda: apply("reshape", X, params=(("n", 4),)), "numbers of entries differ"),
        (lambda: apply("item", Y, params=((Span(1, 3), None),)), "outside an axis of 3"),
        (lambda: apply("item", Y, params=((Span(0, 2, -1), None),)), "outside an axis of 3"),
        (lambda: apply("assemble", Y, params=((3, 5), ((None, None),))), "float64.3, 4. at"),
        (lambda: apply("gather", X, Y, params=(0,)), "int64 arrays of one shape"),
        (lambda: apply("gather", X, ROW, COLUMN, ROW, params=(0,)), "no axis"),
        (lambda: apply("scatter_add", X, ROW, params=(0, (4,))), "do not fit"),
        (lambda: apply("window", Y, params=(0, 2, 1, 3)), "do not fit into an axis of 3"),
        (lambda: apply("window", X, params=(0, 2, 2, 1)), "named dimension n"),
        (lambda: apply("overlap", B, params=(1, 6, 2, 1)), "do not fit"),
        (lambda: apply("solve", B, Y, params=("full",)), "numbers of rows"),
        (lambda: apply("det", Y), "square matrices"),
    ],
)
def test_an_error_says_what_and_where(build, message):
    with pytest.raises(GraphError, match=message):
        build()


# The tests of the tests


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("dot", {"vjp": lambda g, n: OPS["dot"].vjp(g, n)[::-1]}),
        ("transpose", {"vjp": lambda g, n: (apply("transpose", g, params=n.params),)}),
        ("gather", {"vjp": lambda g, n: (apply("mul", n.args[0], const(0.0)), None)}),
        ("cumsum", {"vjp": lambda g, n: (apply("cumsum", g, params=n.params),)}),
        ("window", {"jvp": lambda n, t: apply("neg", apply("window", t[0], params=n.params))}),
        ("solve", {"vjp": lambda g, n: (None, OPS["solve"].vjp(g, n)[1])}),
        ("cholesky", {"jvp": lambda n, t: linalg.halved(OPS["cholesky"].jvp(n, t))}),
        ("eigvecs", {"vjp": lambda g, n: (linalg.halved(OPS["eigvecs"].vjp(g, n)[0]),)}),
    ],
)
def test_a_planted_wrong_rule_is_caught(name, record, monkeypatch):
    planted = dataclasses.replace(OPS[name], name=f"planted_{name}", **record)
    monkeypatch.setitem(OPS, planted.name, planted)
    case = {"gather": "gather", "dot": "dot_batch"}.get(name, name)
    n = CASES[case]
    wrong = apply(planted.name, *n.args, params=n.params)
    with pytest.raises((AssertionError, GraphError, ExpressionError)):
        testing.check_grads(apply("mul", wrong, wrong), [X, Y, B, Q], ENV, tolerance=1e-9)
