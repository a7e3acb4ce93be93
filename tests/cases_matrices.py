"""Losses of SymPy's matrices, and values for what they are of."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp
from sympy.matrices.expressions.kronecker import KroneckerProduct
from sympy.matrices.expressions.matexpr import MatrixElement

from gradcompile.ir.core import Node
from gradcompile.signature.arguments import Problem

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
k = sp.Symbol("k", integer=True)
