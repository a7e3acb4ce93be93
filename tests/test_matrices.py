"""SymPy's matrix expressions give the values that NumPy gives, and gradients that differences confirm."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import sympy as sp

from gradcompile.analysis.evaluate import evaluate
from gradcompile.compile import compile_grad
from gradcompile.errors import ArgumentError, ExpressionError, GradcompileError
from gradcompile.frontend.sympy.convert import read
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.passes import contracted
from gradcompile.signature.arguments import Problem
from gradcompile.testing import check_grads
from tests.cases_matrices import (
    CASES,
    CENTRED,
    EACH,
    GAIN,
    MODELS,
    RESIDUALS,
    ROWS,
    A,
    B,
    C,
    M,
    P,
    X,
    b,
    k,
    n,
    point,
    s,
    t,
    tr,
    u,
    values,
    w,
    x,
    y,
    z,
)


def checked(loss: Any, params: Any, want: Any, order: int = 1, **options: Any) -> Problem:
    """The problem, once its value is the wanted one and its derivatives are right, contracted or not."""
    problem, given = read(loss, params, **options), values()
    env = point(problem, given)
    expected = want(**{k: v for k, v in given.items() if k in want.__code__.co_varnames})
    for root in (problem.primal, contracted([problem.primal])[0]):
        assert root.type.shape == ()
        np.testing.assert_allclose(evaluate([root], env)[0], np.squeeze(expected), rtol=1e-12)
        check_grads(root, [a.leaf for a in problem.params], env, order, tolerance=1e-8)
    return problem


def ops(problem: Problem) -> list[str]:
    """The ops of the loss."""
    return [k.op.name for k in topological([problem.primal])]


@pytest.mark.parametrize("name", CASES)
def test_value_and_derivatives(name: str) -> None:
    checked(*CASES[name])


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    checked(*MODELS[name])


def found(problem: Problem, name: str) -> list[Node]:
    """The nodes of one op."""
    return [k for k in topological([problem.primal]) if k.op.name == name]


@pytest.mark.parametrize("product", [P.T * A.I * B, x.T * A.I, A.I * B * C.I, GAIN], ids=str)
def test_an_inverse_is_never_worked_out_where_it_multiplies_something(product: Any) -> None:
    solved = found(read(sp.Trace(product.T * product), [s], allow_unused=True), "solve")
    assert solved and all(k.args[1].op.name != "select" for k in solved)


def test_the_narrow_side_is_solved_for() -> None:
    problem = read(sp.Trace(P.T * A.I * x * y.T * B.I * P), [A, B])
    assert [k.type.shape[1] for k in found(problem, "solve")] == [1, 1]


@pytest.mark.parametrize(("residual", "dots"), [(RESIDUALS, 2), (CENTRED, 1), ((X * A).applyfunc(sp.sin) - X, 2)])
def test_a_residual_and_its_transpose_are_computed_once(residual: Any, dots: int) -> None:
    problem = read(sp.Trace(residual.T * residual), [b, x, A], allow_unused=True)
    assert [len(found(problem, op)) for op in ("dot", "add")] == [dots, 1] and len(found(problem, "sin")) < 2


def test_sizes_are_known_from_the_arrays() -> None:
    problem = read(sp.Trace(X.T * X) * n**2 / (n + 1) + s, [s])
    assert [a.name for a in problem.inputs] == ["X"] and problem.inputs[0].leaf.type.shape == ("n", 3)
    given = values()
    want = (given["X"] ** 2).sum() * ROWS**2 / (ROWS + 1) + given["s"]
    assert np.isclose(evaluate([problem.primal], point(problem, given))[0], want)


def test_single_precision_stays_single() -> None:
    loss = sp.Trace(X.T * X * sp.Matrix(3, 3, range(9))) / n + sp.Trace(sp.OneMatrix(n, n) * X * P * P.T * X.T)
    nodes = topological([read(loss, [P], dtype="float32").primal])
    assert {k.type.dtype for k in nodes if k.op.name != "size"} == {"float32"}


def test_elements_alone_stay_scalars() -> None:
    problem = read(A[0, 1] * A[1, 1], [A])
    assert problem.params[0].entries is not None and len(problem.params[0].symbols) == 9
    whole = read(A[0, 1] * sp.Trace(A), [A])
    assert whole.params[0].entries is None and whole.params[0].symbols == () and not whole.symbols


# For each sample


@pytest.mark.parametrize(("loss", "want"), EACH, ids=lambda v: getattr(v, "__name__", str(v))[:40])
def test_the_loss_of_one_sample(loss: Any, want: Callable[..., Any]) -> None:
    rng, given = np.random.default_rng(1), values()
    data = {"M": rng.uniform(0.5, 1.0, (4, 3, 3)) + 2 * np.eye(3), "u": rng.uniform(0.5, 1, (4, 3, 1)), "w": np.ones(4)}
    problem = read(loss, [x, A], data=[M, u, w], allow_unused=True)
    env = point(problem, given | data)
    each = [np.squeeze(want(*row, given["x"], given["A"])) for row in zip(*data.values(), strict=True)]
    np.testing.assert_allclose(evaluate([problem.primal], env)[0], np.mean(each), rtol=1e-12)
    check_grads(problem.primal, [a.leaf for a in problem.params], env, tolerance=1e-8)


# What is wrong

K, N, odd = sp.MatrixSymbol("K", k, k), sp.MatrixSymbol("N", n * sp.Symbol("r"), 2), sp.Symbol("a b")
ERRORS: list[tuple[Any, dict[str, Any], type[GradcompileError], str]] = [
    (sp.Trace(A * A.T) * A, {}, ExpressionError, r"the loss is given .* 3 x 3; a loss is a scalar: take the Trace"),
    (sp.exp(A * A), {}, ExpressionError, r"exp is given A\*\*2, which is 3 x 3; .*applyfunc"),
    (sp.Trace(A**s), {}, ExpressionError, "the power s of a matrix is not a number"),
    (sp.Trace(A ** sp.Rational(1, 2)), {}, ExpressionError, "the power 1/2 of a matrix is no integer"),
    (sp.Trace(sp.FunctionMatrix(3, 3, sp.Lambda((s, t), s * t)) * A), {}, ExpressionError,
     "FunctionMatrix of matrices can't be compiled; near ones are"),
    (sp.Trace(K), {"params": [K]}, ExpressionError, "symbolic shape .*give it numbers"),
    (sp.Trace(K) * s * k, {"params": [s, k]}, ArgumentError, "k is a dimension of K, whose array tells it"),
    (sp.Trace(N.T * N) * s, {"params": [s]}, ArgumentError, "no argument has an axis of length n,"),
    (sp.Trace(A.applyfunc(lambda e: sp.Determinant(e * B))), {}, ExpressionError, "uses it in a matrix"),
    (sp.Trace(X.T * X) * s * t, {"params": [s], "data": [t]}, ArgumentError, "n of X: the axis of the samples"),
    (sp.Trace(sp.MatrixSymbol("L", 2, odd).T * sp.OneMatrix(2, odd)) * s, {"params": [s]}, ExpressionError,
     "'a b' is no identifier"),
    (sp.Trace(sp.MatrixSymbol("L", n / 2, n / 2)) * s, {"params": [s]}, ExpressionError, "n/2 is no dimension"),
    (sp.Trace(X[0:n:2, :] * A), {}, ExpressionError, "a step of 2 along an axis"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "given", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(loss: Any, given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read(loss, **{"params": [A], **given})
    assert len(str(caught.value)) < 600


def test_depth_and_sharing_are_no_matter() -> None:
    deep = shared = A
    for _ in range(40):  # SymPy takes most of the time
        deep = (deep * B + C).applyfunc(sp.tanh)
    for _ in range(10):
        shared = (shared * B).applyfunc(sp.tanh) + shared
    for loss, count in ((sp.Trace(deep), 40), (sp.Trace(shared), 10)):
        assert len(found(read(loss, [A]), "tanh")) == count


# Drawn expressions

SHAPES = {"A": (3, 3), "B": (3, 3), "P": (3, 2), "x": (3, 1), "X": ("n", 3), "z": ("n", 1)}
SYMBOLS = {"A": A, "B": B, "P": P, "x": x, "X": X, "z": z}
SIZES = {"n": (n, ROWS), 1: (1, 1), 2: (2, 2), 3: (3, 3)}


def drawn(rng: np.random.Generator, given: Mapping[str, Any], rows: Any, columns: Any, depth: int) -> tuple[Any, Any]:
    """A matrix expression of that shape, and its value."""
    leaves = [k for k, d in SHAPES.items() if d == (rows, columns)]
    (r, rv), (c, cv) = SIZES[rows], SIZES[columns]
    if depth == 0 or rng.random() < 0.15:
        if leaves and rng.random() < 0.8:
            k = leaves[rng.integers(len(leaves))]
            return SYMBOLS[k], given[k]
        return (sp.Identity(r), np.eye(rv)) if rows == columns and rng.random() < 0.5 else (
            sp.OneMatrix(r, c), np.ones((rv, cv)))  # fmt: skip

    def part(i: Any, j: Any) -> tuple[Any, Any]:
        return drawn(rng, given, i, j, depth - 1)

    kind = rng.integers(9)
    if kind < 3:
        middle = [1, 2, 3, "n"][rng.integers(4)]
        (e, ev), (f, fv) = part(rows, middle), part(middle, columns)
        return e * f, ev @ fv
    e, ev = part(rows, columns)
    if kind == 3:
        f, fv = part(columns, rows)
        return e - 2 * f.T, ev - 2 * fv.T
    if kind == 4:
        return s * e, given["s"] * ev
    if kind == 5:
        f, fv = part(rows, columns)
        return sp.HadamardProduct(e, f), ev * fv
    if kind == 6:
        return e.applyfunc(lambda v: sp.sin(s * v)), np.sin(given["s"] * ev)
    if kind == 7:
        g, gv = part(rows, rows)
        damped, value = g * g.T + 9 * sp.Identity(r), gv @ gv.T + 9 * np.eye(rv)
        return damped.I * e, np.linalg.solve(value, ev)
    v, vv = part(rows, 1)
    return sp.DiagMatrix(v) * e, vv * ev


@pytest.mark.parametrize("seed", range(60))
def test_drawn_expressions(seed: int) -> None:
    rng, given = np.random.default_rng(seed), {k: v - 0.75 for k, v in values(seed).items()}
    rows = [1, 2, 3, "n"][seed % 4]
    e, value = drawn(rng, given, rows, rows, 4)
    f, other = drawn(rng, given, rows, rows, 2)
    problem = read(sp.Trace(e * f.T) + s * z[1, 0], [s, A, x], allow_unused=True)
    env = point(problem, given)
    want = tr(value @ other.T) + given["s"] * given["z"][1, 0]
    for root in (problem.primal, contracted([problem.primal])[0]):
        np.testing.assert_allclose(evaluate([root], env)[0], want, rtol=1e-10)
    check_grads(problem.primal, [a.leaf for a in problem.params], env, tolerance=1e-6)


def test_an_entry_of_the_inverse_of_an_explicit_matrix_is_solved_for():
    entries = sp.symbols("e0:16")
    inverse = sp.Inverse(sp.ImmutableMatrix(4, 4, entries))
    f = compile_grad(sp.matrices.expressions.matexpr.MatrixElement(inverse, 0, 1), entries)
    M = np.random.default_rng(0).normal(size=(4, 4)) + 4 * np.eye(4)
    value, grads = f(*M.ravel())
    V = np.linalg.inv(M)
    np.testing.assert_allclose(value, V[0, 1], rtol=1e-12)
    np.testing.assert_allclose(grads, -np.outer(V[0], V[:, 1]).ravel(), rtol=1e-11)
