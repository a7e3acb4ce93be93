"""SymPy's matrix expressions give the values that NumPy gives, and gradients that differences confirm."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy.matrices.expressions.kronecker import KroneckerProduct
from sympy.matrices.expressions.matexpr import MatrixElement

from gradcompile.errors import ArgumentError, ExpressionError, GradcompileError
from gradcompile.frontend.arguments import Problem
from gradcompile.frontend.from_sympy import read
from gradcompile.interpret import evaluate
from gradcompile.ir import Node, topological
from gradcompile.passes import contracted
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
    "inverse of a sum": (sp.Trace((A + s * sp.Identity(3)).I * B), [A, s], lambda A, s, B: tr(inv(A + s * np.eye(3)) @ B)),
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
    "trace of ones": (sp.Trace(sp.OneMatrix(3, 3) * A) + sp.Trace(sp.Identity(3)) * s, [A, s], lambda A, s: A.sum() + 3 * s),
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


MODELS: dict[str, tuple[Any, Any, Callable[..., Any]]] = {
    "ridge": (
        (X * b - z).T * (X * b - z) / n + s * b.T * b, [b, s],
        lambda X, b, z, s: ((X @ b - z) ** 2).mean() + s * (b * b).sum(),
    ),
    "gaussian log-likelihood": (
        sp.log(sp.Determinant(A)) / 2 + sp.Trace((X - sp.OneMatrix(n, 1) * x.T) * A.I * (X - sp.OneMatrix(n, 1) * x.T).T) / n,
        [x, A],
        lambda X, x, A: np.log(det(A)) / 2 + np.trace((X - x.T) @ inv(A) @ (X - x.T).T) / ROWS,
    ),
    "principal components": (
        -sp.Trace(P.T * X.T * X * P) + sp.Trace(A * (P.T * P - sp.Identity(2)).as_explicit().T) if False
        else sp.Trace(P.T * X.T * X * P) / n, [P], lambda P, X: tr(P.T @ X.T @ X @ P) / ROWS,
    ),
    "normal equations in blocks": (
        z.T * X * sp.BlockMatrix([[sp.Identity(3), A]]) * sp.BlockMatrix([[b], [x]]), [A, b],
        lambda z, X, A, b, x: z.T @ X @ (b + A @ x),
    ),
    "layer": (
        sp.OneMatrix(1, n) * ((X * A).applyfunc(sp.tanh) * b - z).applyfunc(lambda e: e**2) * sp.OneMatrix(1, 1), [A, b],
        lambda X, A, b, z: ((np.tanh(X @ A) @ b - z) ** 2).sum(),
    ),
    "mean of all entries": (sp.OneMatrix(1, n) * X * sp.OneMatrix(3, 1) / (3 * n) * s, [s], lambda X, s: X.mean() * s),
    "counted ones": (sp.Trace(sp.OneMatrix(n, n)) * s + sp.Trace(sp.Identity(n + 1)), [s], lambda s, X: s * ROWS + ROWS + 1),
    "named slices": (s * sp.Trace(X[1:n, :].T * X[0:n - 1, :]), [s], lambda X, s: s * tr(X[1:].T @ X[:-1])),
    "named kernel": (
        z.T * sp.Inverse(X * A * X.T + t * sp.Identity(n)) * z, [A, t],
        lambda z, X, A, t: z.T @ inv(X @ A @ X.T + t * np.eye(ROWS)) @ z,
    ),
}  # fmt: skip
