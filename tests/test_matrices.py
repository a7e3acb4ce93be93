"""SymPy's matrix expressions give the values that NumPy gives, and gradients that differences confirm."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy.matrices.expressions.kronecker import KroneckerProduct
from sympy.matrices.expressions.matexpr import MatrixElement

from gradcompile.analysis.evaluate import evaluate
from gradcompile.errors import ArgumentError, ExpressionError, GradcompileError
from gradcompile.frontend.sympy.convert import read
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.passes import contracted
from gradcompile.signature.arguments import Problem
from gradcompile.testing import check_grads

n, m = sp.symbols("n m", integer=True, positive=True)
s, t = sp.symbols("s t")
A, B, C = (sp.MatrixSymbol(name, 3, 3) for name in "ABC")
P = sp.MatrixSymbol("P", 3, 2)
x, y = sp.MatrixSymbol("x", 3, 1), sp.MatrixSymbol("y", 3, 1)
X, z, b = sp.MatrixSymbol("X", n, 3), sp.MatrixSymbol("z", n, 1), sp.MatrixSymbol("b", 3, 1)
ROWS = 5


def values(seed: int = 0) -> dict[str, Any]:
    """A value for every symbol; the square matrices are far from singular."""
    rng = np.random.default_rng(seed)
    square = {k: rng.uniform(-0.4, 0.4, (3, 3)) + 2 * np.eye(3) for k in "ABC"}
    shapes = {"P": (3, 2), "x": (3, 1), "y": (3, 1), "X": (ROWS, 3), "z": (ROWS, 1), "b": (3, 1), "s": (), "t": ()}
    return square | {k: rng.uniform(0.5, 1.5, shape) for k, shape in shapes.items()}


def point(problem: Problem, given: Mapping[str, Any]) -> dict[Node, Any]:
    """The values of the leaves."""
    return {a.leaf: given[a.name] for a in (*problem.params, *problem.inputs)}


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


inv, det, tr = np.linalg.inv, np.linalg.det, np.trace
CASES: dict[str, tuple[Any, Any, Callable[..., Any]]] = {
    "quadratic form": (x.T * A * x, [x, A], lambda x, A: x.T @ A @ x),
    "explicit entry": (MatrixElement(x.T * A * x, 0, 0), [x, A], lambda x, A: x.T @ A @ x),
    "inverse": (x.T * A**-1 * y, [x, A, y], lambda x, A, y: x.T @ inv(A) @ y),
    "inverses": (x.T * A.I * B * C.I * y, [x, A, C], lambda x, A, B, C, y: x.T @ inv(A) @ B @ inv(C) @ y),
    "inverse squared": (x.T * A**-2 * y, [x, A], lambda x, A, y: x.T @ inv(A) @ inv(A) @ y),
    "inverse transposed": (x.T * sp.Transpose(sp.Inverse(A)) * y, [A], lambda x, A, y: x.T @ inv(A).T @ y),
    "inverse alone": (sp.Trace(A.I), [A], lambda A: tr(inv(A))),
    "inverses alone": (sp.Trace(A.I * B.I), [A, B], lambda A, B: tr(inv(A) @ inv(B))),
    "inverse of a sum": (
        sp.Trace((A + s * sp.Identity(3)).I * B), [A, s], lambda A, s, B: tr(inv(A + s * np.eye(3)) @ B),
    ),
    "powers": (sp.Trace(A**2 * B + A**6), [A], lambda A, B: tr(A @ A @ B + np.linalg.matrix_power(A, 6))),
    "trace of products": (sp.Trace(2 * A * B - C), [A, B], lambda A, B, C: tr(2 * A @ B - C)),
    "frobenius": (sp.sqrt(sp.Trace(P.T * P)), [P], lambda P: np.linalg.norm(P)),
    "determinant": (sp.Determinant(A * B) + sp.Determinant(C), [A, C], lambda A, B, C: det(A @ B) + det(C)),
    "log-determinant": (sp.log(sp.Determinant(A)), [A], lambda A: np.log(det(A))),
    "hadamard": (
        sp.Trace(sp.HadamardProduct(A, B) * sp.HadamardPower(C, 2)), [A, B, C], lambda A, B, C: tr((A * B) @ C**2),
    ),
    "hadamard root": (sp.Trace(sp.HadamardPower(x, sp.Rational(1, 2)) * y.T), [x], lambda x, y: tr(x**0.5 @ y.T)),
    "applyfunc": (y.T * (A * x).applyfunc(sp.tanh), [A, x, y], lambda A, x, y: y.T @ np.tanh(A @ x)),
    "applied formula": (
        sp.Trace(A.applyfunc(sp.Lambda(t, s * t**2 + sp.exp(-t)))), [A, s], lambda A, s: tr(s * A**2 + np.exp(-A)),
    ),
    "applied constant": (y.T * x.applyfunc(sp.Lambda(t, 7)), [y], lambda y: 7 * y.sum()),
    "applied with a trace": (
        y.T * x.applyfunc(sp.Lambda(t, t * sp.Trace(A))), [x, A], lambda x, y, A: y.T @ x * tr(A),
    ),
    "blocks": (
        sp.Trace(sp.BlockMatrix([[A, x], [y.T, sp.Matrix([[s]])]]) ** 2), [A, x, s],
        lambda A, x, y, s: tr(np.linalg.matrix_power(np.block([[A, x], [y.T, s]]), 2)),
    ),
    "diagonal blocks": (
        sp.Determinant(sp.BlockDiagMatrix(A, B)), [A, B], lambda A, B: det(A) * det(B),
    ),
    "constants": (
        x.T * (A + 2 * sp.OneMatrix(3, 3) - sp.Identity(3) + sp.ZeroMatrix(3, 3)) * y, [x, A],
        lambda x, A, y: x.T @ (A + 2 - np.eye(3)) @ y,
    ),
    "sum of entries": (sp.OneMatrix(1, 3) * P * sp.OneMatrix(2, 1), [P], lambda P: P.sum()),
    "ones alone": (s * sp.OneMatrix(1, 3) * sp.OneMatrix(3, 1), [s], lambda s: 3 * s),
    "trace of ones": (
        sp.Trace(sp.OneMatrix(3, 3) * A) + sp.Trace(sp.Identity(3)) * s, [A, s], lambda A, s: A.sum() + 3 * s,
    ),
    "diagonal matrix": (x.T * sp.DiagMatrix(y) * A * x, [y, A], lambda x, y, A: x.T @ (y * (A @ x))),
    "diagonal matrices": (
        sp.Trace(sp.DiagMatrix(x) * sp.DiagMatrix(y)) + sp.Determinant(sp.DiagMatrix(x)), [x, y],
        lambda x, y: (x * y).sum() + x.prod(),
    ),
    "reciprocal diagonal": (x.T * sp.Inverse(sp.DiagMatrix(y)) * x, [x, y], lambda x, y: (x * x / y).sum()),
    "diagonal of": (y.T * sp.DiagonalOf(A), [y, A], lambda y, A: y.T @ np.diag(A)[:, None]),
    "diagonal part": (sp.Trace(sp.DiagonalMatrix(A) * B), [A, B], lambda A, B: np.diag(A) @ np.diag(B)),
    "elements": (A[0, 1] * sp.Trace(A) + P[2, 1] * s, [A, s], lambda A, P, s: A[0, 1] * tr(A) + P[2, 1] * s),
    "slices": (sp.Trace(A[0:2, 1:3] * B[:, 0:2][1:3, :]), [A, B], lambda A, B: tr(A[0:2, 1:3] @ B[1:3, 0:2])),
    "stepped slice": (sp.Trace(A[0:3:2, 0:3:2]), [A], lambda A: A[0, 0] + A[2, 2]),
    "kronecker": (
        sp.Trace(KroneckerProduct(A, P * P.T) * KroneckerProduct(B, C)), [A, P],
        lambda A, B, C, P: tr(np.kron(A, P @ P.T) @ np.kron(B, C)),
    ),
    "numbers": (x.T * sp.Matrix([[1, 2, 0], [0, 1, 0], [3, 0, sp.pi]]) * y, [x],
                lambda x, y: x.T @ np.array([[1, 2, 0], [0, 1, 0], [3, 0, np.pi]]) @ y),
    "symbols": (x.T * sp.Matrix([[s, 0, 1], [0, s * t, 0], [0, 0, t]]) * y, [x, s],
                lambda x, y, s, t: x.T @ np.array([[s, 0, 1], [0, s * t, 0], [0, 0, t]]) @ y),
    "scalar function of one entry": (sp.exp(-x.T * x), [x], lambda x: np.exp(-x.T @ x)),
    "dot product": (sp.DotProduct(x, A[:, 0]), [x, A], lambda x, A: x[:, 0] @ A[:, 0]),
    "scaled": ((s + 1) * x.T * y / t, [x, s, t], lambda x, y, s, t: (s + 1) * x.T @ y / t),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value_and_derivatives(name: str) -> None:
    checked(*CASES[name])


RESIDUALS = X * b - z
CENTRED = X - sp.OneMatrix(n, 1) * x.T
GAIN = A * P * (P.T * A * P + sp.Identity(2)).I  # Kalman's, for the covariance A and the observations P'x
MODELS: dict[str, tuple[Any, Any, Callable[..., Any]]] = {
    "ridge": (
        RESIDUALS.T * RESIDUALS / n + s * b.T * b, [b, s],
        lambda X, b, z, s: ((X @ b - z) ** 2).mean() + s * (b * b).sum(),
    ),
    "gaussian log-likelihood": (
        sp.log(sp.Determinant(A)) / 2 + sp.Trace(CENTRED * A.I * CENTRED.T) / n, [x, A],
        lambda X, x, A: np.log(det(A)) / 2 + np.trace((X - x.T) @ inv(A) @ (X - x.T).T) / ROWS,
    ),
    "principal components": (
        -sp.Trace(P.T * X.T * X * P * (P.T * P).I) / n, [P], lambda P, X: -tr(P.T @ X.T @ X @ P @ inv(P.T @ P)) / ROWS,
    ),
    "mahalanobis": (sp.sqrt((x - y).T * A.I * (x - y)), [x, y], lambda x, y, A: ((x - y).T @ inv(A) @ (x - y)) ** 0.5),
    "factorisation": (
        sp.Trace((A - P * P.T).T * (A - P * P.T)) + s * sp.Trace(P.T * P), [P, s],
        lambda A, P, s: ((A - P @ P.T) ** 2).sum() + s * (P**2).sum(),
    ),
    "normal equations in blocks": (
        z.T * X * sp.BlockMatrix([[sp.Identity(3), A]]) * sp.BlockMatrix([[b], [x]]), [A, b],
        lambda z, X, A, b, x: z.T @ X @ (b + A @ x),
    ),
    "kalman gain": (
        sp.Trace((sp.Identity(3) - GAIN * P.T) * A), [A, P],
        lambda A, P: tr((np.eye(3) - A @ P @ inv(P.T @ A @ P + np.eye(2)) @ P.T) @ A),
    ),
    "layer": (
        sp.OneMatrix(1, n) * ((X * A).applyfunc(sp.tanh) * b - z).applyfunc(lambda e: e**2), [A, b],
        lambda X, A, b, z: ((np.tanh(X @ A) @ b - z) ** 2).sum(),
    ),
    "mean of all entries": (sp.OneMatrix(1, n) * X * sp.OneMatrix(3, 1) / (3 * n) * s, [s], lambda X, s: X.mean() * s),
    "counted ones": (
        sp.Trace(sp.OneMatrix(n, n)) * z[0, 0] * s + sp.Trace(sp.Identity(n + 1)), [s],
        lambda s, z: s * ROWS * z[0, 0] + ROWS + 1,
    ),
    "named slices": (s * sp.Trace(X[1:n, :].T * X[0 : n - 1, :]), [s], lambda X, s: s * tr(X[1:].T @ X[:-1])),
    "named kernel": (
        z.T * sp.Inverse(X * A * X.T + t * sp.Identity(n)) * z, [A, t],
        lambda z, X, A, t: z.T @ inv(X @ A @ X.T + t * np.eye(ROWS)) @ z,
    ),
}  # fmt: skip


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

M, u, w = sp.MatrixSymbol("M", 3, 3), sp.MatrixSymbol("u", 3, 1), sp.Symbol("w")
EACH: list[tuple[Any, Callable[..., Any]]] = [
    ((u - x).T * A.I * (u - x), lambda M, u, w, x, A: (u - x).T @ inv(A) @ (u - x)),
    (x.T * M.I * u, lambda M, u, w, x, A: x.T @ inv(M) @ u),
    (u.T * M * A * x, lambda M, u, w, x, A: u.T @ M @ A @ x),
    (sp.log(sp.Determinant(M * A)) * sp.Trace(M) + M[0, 1], lambda M, u, w, x, A: np.log(det(M @ A)) * tr(M) + M[0, 1]),
    (w * x.T * A.applyfunc(lambda e: sp.exp(-w * e)) * x, lambda M, u, w, x, A: w * x.T @ np.exp(-w * A) @ x),
    (x.T * u.applyfunc(lambda e: e * w + 1), lambda M, u, w, x, A: x.T @ (u * w + 1)),
    (x.T * sp.BlockMatrix([[M[:, 0:2], u]]) * x, lambda M, u, w, x, A: x.T @ np.hstack([M[:, :2], u]) @ x),
    (x.T * sp.Matrix([[w, 0, 1], [0, 1, 0], [0, 0, w]]) * M * x,
     lambda M, u, w, x, A: x.T @ np.array([[w, 0, 1], [0, 1, 0], [0, 0, w]]) @ M @ x),
    (x.T * sp.DiagMatrix(u) * x + (w * sp.Identity(3))[0:1, 0:1], lambda M, u, w, x, A: (x * x * u).sum() + w),
    (sp.Trace(KroneckerProduct(M, A)), lambda M, u, w, x, A: tr(np.kron(M, A))),
    (sp.Trace(u * sp.OneMatrix(1, 3)) + 2 * sp.Trace(w * sp.OneMatrix(2, 2)), lambda M, u, w, x, A: u.sum() + 4 * w),
    (sp.sqrt(u.T * M * u), lambda M, u, w, x, A: np.sqrt(u.T @ M @ u)),
    (x.T * sp.DiagonalOf(M) + x.T * sp.DiagonalMatrix(M) * x, lambda M, u, w, x, A: (x + x * x).T @ np.diag(M)),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "want"), EACH, ids=lambda v: str(v)[:40])
def test_the_loss_of_one_sample(loss: Any, want: Callable[..., Any]) -> None:
    rng, given = np.random.default_rng(1), values()
    data = {"M": rng.uniform(0.5, 1.0, (4, 3, 3)) + 2 * np.eye(3), "u": rng.uniform(0.5, 1, (4, 3, 1)), "w": np.ones(4)}
    problem = read(loss, [x, A], data=[M, u, w], allow_unused=True)
    env = point(problem, given | data)
    each = [np.squeeze(want(*row, given["x"], given["A"])) for row in zip(*data.values(), strict=True)]
    np.testing.assert_allclose(evaluate([problem.primal], env)[0], np.mean(each), rtol=1e-12)
    check_grads(problem.primal, [a.leaf for a in problem.params], env, tolerance=1e-8)


# What is wrong

k = sp.Symbol("k", integer=True)
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
