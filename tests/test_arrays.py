"""Symbolic arrays: every function against NumPy's own, by both modes of differentiation, with drawn shapes."""

import pickle

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse, testing
from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError
from gradcompile.frontend.arrays import Array, array
from gradcompile.ir.graph import topological, verify
from gradcompile.passes import finished, simplified
from tests.cases_arrays import CASES, ENV, FLOATS, SCOPE, S, V, written


@pytest.mark.parametrize("case", CASES)
def test_values_and_derivatives(case):
    want, got = written(case, V), written(case, S).node
    (value,) = evaluate([got], ENV)
    assert np.shape(value) == np.shape(want)
    single = "float32" in case
    np.testing.assert_allclose(value, want, rtol=1e-6 if single else 1e-11, atol=1e-13)
    verify([got])
    if got.type.dtype == "float64":
        testing.check_grads(got, FLOATS, ENV, order=2, tolerance=1e-9)


@pytest.mark.parametrize("case", CASES[::3])
def test_the_passes_keep_value_and_gradient(case):
    n = written(case, S).node
    if n.type.dtype != "float64":
        return
    loss = (Array(n) * Array(n)).sum().node
    roots = [loss, *reverse.vjp(loss, FLOATS)]
    before, after = evaluate(roots, ENV), evaluate(finished(simplified(roots), {})[0], ENV)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-13)


# Drawn shapes: zero-sized, one-sized and broadcast axes

DIMS = st.sampled_from((0, 1, 2, 3))


@st.composite
def broadcasting(draw):
    """Two shapes that broadcast."""
    whole = draw(st.lists(DIMS, max_size=3))
    shapes = [[d if draw(st.booleans()) else 1 for d in whole] for _ in range(2)]
    return [tuple(shape[draw(st.integers(0, len(shape))) :]) for shape in shapes]


def values_of(*shapes):
    return [np.random.default_rng(k).uniform(0.5, 2.0, shape) for k, shape in enumerate(shapes)]


def agree(function, *values, tolerance=1e-10):
    """A function of symbolic arrays does what it does to NumPy's, and both modes of differentiation agree."""
    arrays = [array("xyz"[k], v.shape) for k, v in enumerate(values)]
    got, want = function(*arrays).node, function(*values)
    env = {a.node: v for a, v in zip(arrays, values, strict=True)}
    (value,) = evaluate([got], env)
    assert np.shape(value) == np.shape(want)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    testing.check_grads(got, [a.node for a in arrays], env, order=2, tolerance=tolerance)


@given(broadcasting(), st.sampled_from((np.add, np.multiply, np.divide, np.maximum, np.hypot, np.power)))
@settings(max_examples=60, deadline=None)
def test_broadcasting(shapes, ufunc):
    agree(lambda x, y: ufunc(np.sin(x) + 2.0, y), *values_of(*shapes))


@given(st.lists(DIMS, min_size=1, max_size=3), st.data())
@settings(max_examples=60, deadline=None)
def test_reductions(shape, data):
    axes = data.draw(st.one_of(st.none(), st.sets(st.integers(-len(shape), -1), min_size=1).map(tuple)))
    keepdims = data.draw(st.booleans())
    name = data.draw(st.sampled_from(("sum", "prod", "var") if 0 in shape else ("sum", "mean", "max", "var", "prod")))
    if name == "var" and 0 in shape:
        name = "sum"
    agree(lambda x: getattr(np, name)(x, axis=axes, keepdims=keepdims), *values_of(tuple(shape)))


@given(st.lists(DIMS, max_size=2), st.lists(DIMS, max_size=2), DIMS, DIMS, DIMS)
@settings(max_examples=60, deadline=None)
def test_matmul_of_any_rank(left, right, m, k, n):
    batch = [max(a, b) if 0 not in (a, b) else 0 for a, b in zip(left[::-1], right[::-1], strict=False)][::-1]
    fits = lambda own: tuple(1 if j % 2 else d for j, d in enumerate(batch[len(batch) - min(len(own), len(batch)) :]))  # noqa: E731
    agree(np.matmul, *values_of((*fits(left), m, k), (*batch, k, n)))


@given(st.lists(st.sampled_from(("ij", "jk", "kl", "il", "i", "k", "jl")), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_einsum_of_any_operands(terms, data):
    letters = sorted(set("".join(terms)))
    sizes = {c: data.draw(DIMS) for c in letters}
    result = "".join(data.draw(st.permutations(letters)))[: data.draw(st.integers(0, len(letters)))]
    subscripts = f"{','.join(terms)}->{result}"
    values = values_of(*(tuple(sizes[c] for c in t) for t in terms))
    arrays = [array(f"x{k}", v.shape) for k, v in enumerate(values)]
    got, env = np.einsum(subscripts, *arrays).node, {a.node: v for a, v in zip(arrays, values, strict=True)}
    np.testing.assert_allclose(evaluate([got], env)[0], np.einsum(subscripts, *values), rtol=1e-12)
    testing.check_grads(got, [a.node for a in arrays], env, tolerance=1e-10)


def entries(dim):
    """What can stand for one axis of an index."""
    bound = st.one_of(st.none(), st.integers(-dim - 1, dim + 1))
    slices = st.builds(slice, bound, bound, st.sampled_from((None, 1, 2, -1, -2)))
    if dim == 0:
        return slices
    return st.one_of(slices, st.integers(-dim, dim - 1), st.lists(st.integers(-dim, dim - 1), min_size=2, max_size=2))


@given(st.lists(DIMS, min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_indexing(shape, data):
    count = data.draw(st.integers(0, len(shape)))
    key = [data.draw(entries(d)) for d in shape[:count]]
    if data.draw(st.booleans()):
        key.append(Ellipsis)
    for _ in range(data.draw(st.integers(0, 2))):
        key.insert(data.draw(st.integers(0, len(key))), None)
    agree(lambda x: x[tuple(key)], *values_of(tuple(shape)))


@given(st.lists(DIMS, min_size=1, max_size=3), st.integers(-4, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_moving_entries(shape, shift, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    name = data.draw(st.sampled_from(("roll", "flip", "cumsum", "sort", "diff", "repeat", "concatenate", "stack")))
    functions = {
        "roll": lambda x: np.roll(x, shift, axis),
        "flip": lambda x: np.flip(x, axis),
        "cumsum": lambda x: np.cumsum(x, axis),
        "sort": lambda x: np.sort(x, axis),
        "diff": lambda x: np.diff(x, axis=axis) if x.shape[axis] else np.sin(x),
        "repeat": lambda x: np.repeat(x, abs(shift), axis),
        "concatenate": lambda x: np.concatenate([x, x * x, x], axis),
        "stack": lambda x: np.stack([x, x * x], axis),
    }
    agree(functions[name], *values_of(tuple(shape)))


@given(st.lists(DIMS, max_size=2), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_linear_algebra_of_batches(batch, m):
    a, b = values_of((*batch, m, m), (*batch, m, 2))
    a += 3 * np.eye(m)
    agree(np.linalg.solve, a, b)
    agree(np.linalg.det, a)
    agree(lambda a: np.linalg.cholesky(a + np.swapaxes(a, -1, -2)), a)
    agree(lambda a: np.linalg.eigvalsh(a + np.swapaxes(a, -1, -2)), a, tolerance=1e-8)


# Named dimensions


def test_named_dimensions_are_computed_with():
    x = array("x", ("n", 3))
    shapes = [x[1:-1].shape, np.concatenate([x, x[:2]]).shape, x.reshape(-1).shape, x.reshape(-1, 1, 3).shape]
    assert shapes == [("n-2", 3), ("n+2", 3), ("3*n",), ("n", 1, 3)]
    assert (x[1:] - x[:-1]).shape == ("n-1", 3)
    assert np.outer(x, x).reshape(-1).shape == ("9*n*n",)
    assert np.pad(x, 1)[1:-1, 1:-1].shape == ("n", 3)


def test_a_length_below_zero_is_an_error():
    x = array("x", "n")
    with pytest.raises(ArgumentError, match="n-3 is -1 here"):
        evaluate([x[3:].node], {x.node: [1.0, 2.0]})


# Dtypes


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("f + 1.5", "float32"),
        ("f * k", "float32"),
        ("f / k", "float32"),
        ("k + 1", "int64"),
        ("k + 0.5", "float64"),
        ("k / k", "float64"),
        ("k ** 2", "int64"),
        ("np.exp(k)", "float64"),
        ("b + b", "bool"),
        ("b & b", "bool"),
        ("b * f", "float32"),
        ("np.mean(f)", "float32"),
        ("np.mean(b)", "float64"),
        ("np.where(b, f, 0)", "float32"),
        ("np.where(b, k, 0)", "int64"),
        ("f @ f", "float32"),
        ("k @ k", "int64"),
        ("np.linalg.norm(f)", "float32"),
        ("np.concatenate([b, b])", "bool"),
        ("f[k]", "float32"),
        ("np.std(f)", "float32"),
        ("np.cumsum(b)", "int64"),
        ("np.array([1.0, 2.0, 3.0]) * f", "float32"),
    ],
)
def test_dtypes(case, dtype):
    scope = {"f": array("f", 3, "float32"), "k": array("k", 3, "int64"), "b": array("b", 3, "bool")}
    n = eval(case, {**SCOPE, **scope}).node
    assert n.type.dtype == dtype
    verify([n])
    evaluate([n], {scope["f"].node: [1, 2, 3], scope["k"].node: [0, 1, 2], scope["b"].node: [True, False, True]})


def test_a_gradient_has_the_dtype_of_its_parameter():
    f, x = array("f", (3, 2), "float32"), array("x", (4, 3))
    loss = np.sum(np.tanh(x @ f)).node
    (gradient,) = reverse.vjp(loss, [f.node])
    assert str(gradient.type) == "float32[3, 2]"
    verify([gradient])


# Branches

ROWS = np.array([[1.0, 2.0], [0.0, 3.0], [4.0, 0.5]])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: np.where(x[:, 0] > 0, np.log(x) @ w, 0.0),
        lambda x, w: np.where(x[:, :1] > 0, np.log(x) @ w[:, None] @ w[None], 0.0),
        lambda x, w: np.where(x > 0, np.sqrt(x), 0.0) @ w,
        lambda x, w: np.where(x[:, 0] > 0, np.einsum("ij,ij,j->i", 1 / x, np.log(x), w), 0.0),
        lambda x, w: np.where(x > 0, np.log(x)[::-1][::-1], 0.0) * w,
        lambda x, w: np.where(x.T > 0, np.log(x).T.reshape(2, 3), 0.0) * w[:, None],
        lambda x, w: np.where(x > 0, np.concatenate([np.log(x), 1 / x])[:3], 0.0) * w,
        lambda x, w: np.where(x > 0, np.log(x)[[0, 1, 2]], 0.0) * w,
        lambda x, w: np.where(x > 0, np.log(x) * w, 0.0)[[2, 1, 1]],
        lambda x, w: np.where(np.all(x > 0, axis=1), np.sum(np.log(x) * w, axis=1), 0.0),
    ],
)
def test_a_branch_not_taken_passes_nothing_on(function):
    """The gradient is finite, zero in the entry behind the branch, and does not depend on what stands there."""
    x, w = array("x", ROWS.shape), array("w", 2)
    loss = (function(x, w) ** 2).sum().node
    gradients = reverse.vjp(loss, [x.node, w.node])
    of_x, of_w = evaluate(gradients, {x.node: ROWS, w.node: np.array([0.3, -0.7])})
    other = np.where(ROWS > 0, ROWS, -1.0)  # not taken either, and NaN under a logarithm
    assert np.all(np.isfinite(of_x)) and of_x[1, 0] == 0
    moved = evaluate(gradients, {x.node: other, w.node: np.array([0.3, -0.7])})
    np.testing.assert_allclose(moved[0], of_x, rtol=1e-14)
    np.testing.assert_allclose(moved[1], of_w, rtol=1e-14)


def test_finite_operands_of_a_contraction_need_no_mask():
    x, w, u = array("x", ("n", 3)), array("w", (3, 4)), array("u", (4, 2))
    loss = np.maximum(np.maximum(x @ w, 0.0) @ u, 0.0).sum().node
    gradients = reverse.vjp(loss, [w.node, u.node])
    products = [n for n in topological(gradients) if n.op.name == "dot"]
    assert len(products) == 2 + 3  # forward, and two for u's layer and one for w's
    assert not any(n.op.name == "lt" and n.args[1].op.name == "sum" for n in topological(gradients))


# The order of products


def test_the_order_of_a_chain_is_chosen_by_cost():
    a, b, v = array("a", (100, 100)), array("b", (100, 100)), array("v", 100)
    for n in (np.einsum("ij,jk,k->i", a, b, v).node, np.linalg.multi_dot([a, b, v]).node):
        assert [m.type.shape for m in topological([n]) if m.op.name == "dot"] == [(100,), (100,)]


def test_many_operands_are_multiplied_in_their_order():
    a = array("a", (2, 2))
    n = np.linalg.multi_dot([a] * 12).node
    value = np.array([[1.0, 0.5], [0.25, 1.0]])
    np.testing.assert_allclose(evaluate([n], {a.node: value})[0], np.linalg.matrix_power(value, 12))


# Errors


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("X @ W.T", r"matmul of X of shape \(n, 3\) and W.T of shape \(4, 3\): .*3 against 4"),
        ("X + W", r"add of X of shape \(n, 3\) and W of shape \(3, 4\): .* do not broadcast: 3 against 4 on axis -1 "),
        ("v + np.zeros(3)", r"v of shape \(n,\)"),
        ("bool(X > 0)", "use np.where"),
        ("X and W", "use np.where"),
        ("float(s)", "keep it inside"),
        ("len(X)", "no length known"),
        ("[entry for entry in v]", "no length known .* a recurrence with gradcompile.scan"),
        ("np.array([v, v])", r"write np.stack\(list\)"),
        ("np.asarray([1.0, 2.0])[k]", r"np.asarray\(numbers, like=k\)\[k\]"),
        ("np.eye(X.shape[0])", r"the length n is not known before the call; write .*np.eye\(n, like=x\)"),
        ("np.ones(X.shape)", "the length n is not known before the call"),
        ("range(X.shape[0] - 1)", "the length n-1 is not known before the call; .*gradcompile.scan"),
        ("np.arange(0, X.shape[0], 2, like=X)", "steps are 1"),
        ("X[: v.shape[0] * 2]", "a slice has whole numbers"),
        ("sympy.exp(v)", "can't stand in an expression of SymPy: write np.exp"),
        ("sympy.Symbol('a') * v", "a of type Symbol is neither a number"),
        ("np.select([X > 0], [])", "1 conditions and 0 choices"),
        ("np.cross(W, A)", "two or three entries along the axis"),
        ("np.linalg.eig(A)", "np.linalg.eig does not take symbolic arrays"),
        ("np.add.at(X, 0, 1.0)", "np.add.at changes an array"),
        ("np.exp(X, where=X > 0)", "np.exp with where="),
        ("np.nextafter(X, X)", "np.nextafter does not take"),
        ("np.sum(X, 0, out=W)", "unexpected keyword argument 'out'"),
        ("X[5:3:0]", "indexing of X"),
        ("W[7]", "index 7 is outside an axis of 3"),
        ("W[0, 0, 0]", "3 indices for shape"),
        ("W[[0, 9]]", "an index from 0 to 9 is outside an axis of 3"),
        ("X[X > 0]", "a symbolic mask .* use np.where"),
        ("X[v]", "an index has dtype float64"),
        ("v[::2]", "steps of 2 along the named dimension 'n'"),
        ("X.reshape(7, -1)", r"-1 can't be worked out"),
        ("W.reshape(5, 2)", "the numbers of entries differ"),
        ("W.reshape(-1, -1)", "more than one -1"),
        ("np.sum(X, axis=2)", "there is no axis 2"),
        ("np.sum(B, axis=(0, 0))", "names an axis twice"),
        ("np.concatenate([W, A])", r"shapes \(3, 4\) and \(3, 3\) differ off axis 0"),
        ("np.stack([W, A])", "np.stack needs equal ones"),
        ("np.linalg.inv(W)", "square matrices are needed"),
        ("np.linalg.solve(A, v[:4])", "the rows differ"),
        ("np.einsum('ij,jk->ik', X)", "names 2 operands, 1 are given"),
        ("np.einsum('ijk->i', X)", "does not name the 2 axes"),
        ("np.einsum('ii->i', A[:1])", r"axes 0 and 1 of shape \(1, 3\): their lengths differ"),
        ("np.einsum('ij->iz', X)", "one that no operand has"),
        ("X & W", "compare first"),
        ("X * np.random.default_rng(0).normal(size=(400, 400))", "make it an input"),
        ("np.max(W[:0])", "no entry along axis 0"),
        ("np.argmin(W[:, :0], axis=1)", "no entry along axis 1"),
        ("np.split(v, 2)", "split by slices"),
        ("np.pad(X, 1, mode='reflect')", "its length must be known"),
        ("np.squeeze(X, 0)", "has not one entry"),
        ("np.median(v)", "a length that is known"),
        ("np.linalg.norm(A, 5)", "ord=5"),
        ("np.diagonal(X)", "a length that is not known"),
        ("X @ 2", "use \\* for a number"),
        ("np.linalg.multi_dot([X, A, W[0, 0]])", "matrices, and vectors at the ends, not 2 and 2 and 0 axes"),
        ("np.linalg.multi_dot([X])", "not 2 axes; write a @ b @ c"),
        ("np.sin(X) @ np.cos(W.T)", r"sin\(X\) of shape \(n, 3\) and cos\(W.T\)"),
    ],
)
def test_an_error_names_operands_shapes_and_the_line(case, message):
    with pytest.raises((ExpressionError, ArgumentTypeError), match=message) as error:
        eval(compile(case, "users_model.py", "eval"), {**SCOPE, **S})
    assert "(at users_model.py:1" in str(error.value)


def test_an_assignment_is_refused():
    with pytest.raises(ExpressionError, match="can't be assigned to"):
        S["X"][0] = 1.0


def test_conversion_by_a_function_without_the_protocol_is_refused():
    with pytest.raises(ExpressionError, match="can't be taken apart into its entries"):
        np.asarray(S["X"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("",), "must be a text"),
        (("x", (-1,)), "not -1"),
        (("x", ("n-1",)), "not 'n-1'"),
        (("x", (True,)), "not True"),
        (("x", 3, "int32"), "'int32' is not supported"),
        (("x", 3, "complex128"), "float64"),
    ],
)
def test_an_array_that_can_not_be(args, message):
    with pytest.raises(ArgumentError, match=message):
        array(*args)


def test_in_place_operators_give_the_name_another_meaning():
    x = S["X"]
    x += 1
    assert x.node is (S["X"] + 1).node


def test_numbers_of_sympy_are_numbers():
    v = S["v"]
    for case in (sympy.pi * v, v * sympy.pi, v * sympy.Rational(3, 2) + sympy.Integer(2) * v, v ** sympy.Integer(2)):
        assert isinstance(case, Array) and case.shape == ("n",)
    np.testing.assert_array_equal(evaluate([(sympy.Rational(3, 2) * v).node], ENV)[0], 1.5 * V["v"])


def test_the_same_expression_is_the_same_node():
    assert (S["X"] @ S["W"]).node is np.einsum("ij,jk->ik", S["X"], S["W"]).node
    assert pickle.loads(pickle.dumps(S["X"][1:])).node is S["X"][1:].node
    assert len({S["X"], S["X"]}) == 1
    assert "mean" in dir(S["X"])
