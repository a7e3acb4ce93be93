"""Linear algebra on the last two axes: systems of equations, determinants, Cholesky factors, symmetric eigenproblems.

The other axes are a batch. A matrix that an algorithm breaks down on gives NaN. Rules after Giles, Collected matrix
derivative results for forward and reverse mode, 2008.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.algebra import (
    add,
    any_of,
    assemble,
    at_most,
    broadcast_to,
    counting,
    equal,
    expand,
    less,
    part_at,
    permute,
    select,
    sum_over,
    unequal,
    zeros_like,
)
from gradcompile.ir.core import Node, Op, Params, apply, const, is_const, register
from gradcompile.ir.types import ArrayType, Dim, Shape, promote
from gradcompile.ops.contract import contract
from gradcompile.ops.elementwise import mp
from gradcompile.ops.shape import Span, Tangents

Value = Callable[..., Any]

# Graph algebra on the last two axes


def matmul(a: Node, b: Node) -> Node:
    """a @ b, of two batches of matrices of one batch shape."""
    batch = tuple(range(len(a.type.shape) - 2))
    k = len(batch)
    return contract(a, (*batch, k, k + 1), b, (*batch, k + 1, k + 2), (*batch, k, k + 2))


def flipped(a: Node) -> Node:
    """The matrices transposed."""
    k = len(a.type.shape)
    return permute(a, (*range(k - 2), k - 1, k - 2))


def positions(shape: Shape) -> tuple[Node, Node]:
    """Row and column of each entry of an array of matrices."""
    axes = len(shape) - 2, len(shape) - 1
    row, column = (counting(shape, k) for k in axes)
    return row, column


def zero(like: Node) -> Node:
    """0 of a node's dtype."""
    return const(0.0, like.type.dtype)


def halved(x: Node) -> Node:
    """x/2."""
    return 0.5 * x


def symmetric(x: Node) -> Node:
    """(x + transpose of x)/2."""
    return halved(x + flipped(x))


def lower_half(x: Node) -> Node:
    """The lower triangle with half the diagonal."""
    row, column = positions(x.type.shape)
    diagonal = select(equal(column, row), halved(x), zero(x))
    return select(less(column, row), x, diagonal)


def triangle(x: Node, part: str) -> Node:
    """The lower or the upper triangle, or all of a full matrix."""
    if part == "full":
        return x
    row, column = positions(x.type.shape)
    inside = at_most(column, row) if part == "lower" else at_most(row, column)
    return select(inside, x, zero(x))


def on_diagonal(v: Node, shape: Shape) -> Node:
    """Matrices with a batch of vectors, or of scalars, on the diagonal."""
    row, column = positions(shape)
    at = (*range(len(shape) - 2), *([len(shape) - 1] if len(v.type.shape) == len(shape) - 1 else ()))
    return select(equal(row, column), broadcast_to(v, shape, at), zero(v))


def diagonal_of(x: Node) -> Node:
    """The diagonals of matrices."""
    row, column = positions(x.type.shape)
    kept = select(equal(row, column), x, zero(x))
    return sum_over(kept, (len(x.type.shape) - 2,))


def trace(x: Node) -> Node:
    """The traces of matrices."""
    row, column = positions(x.type.shape)
    kept = select(equal(row, column), x, zero(x))
    return sum_over(kept, (len(x.type.shape) - 2, len(x.type.shape) - 1))


def solve(a: Node, b: Node, part: str = "full") -> Node:
    """x with a @ x = b; of a triangular matrix only the triangle is looked at."""
    return apply("solve", a, b, params=(part,))


# Types


def square_shape(type: ArrayType, what: str) -> Shape:
    """The shape of a batch of square matrices; GraphError for anything else."""
    if len(type.shape) < 2 or type.shape[-1] != type.shape[-2]:
        raise GraphError(f"{what} of a value of type {type}: square matrices are needed")
    return type.shape


def matrix_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """Matrices of the argument's type."""
    return ArrayType(square_shape(types[0], "a factor"), types[0].dtype)


def number_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A number for each matrix."""
    return ArrayType(square_shape(types[0], "a determinant")[:-2], types[0].dtype)


def vector_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A vector for each matrix."""
    return ArrayType(square_shape(types[0], "eigenvalues")[:-1], types[0].dtype)


def least_side(shape: Shape) -> Shape:
    """The batch and the smaller side of matrices; GraphError where which is smaller is not known."""
    if len(shape) < 2 or not all(isinstance(d, int) for d in shape[-2:]):
        raise GraphError(f"singular values of matrices of shape {shape}: both sides need known lengths")
    return (*shape[:-2], min(int(d) for d in shape[-2:]))


def singular_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A vector for each matrix, as long as its smaller side."""
    return ArrayType(least_side(types[0].shape), types[0].dtype)


def pair_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The left vectors, below them the right ones, as columns."""
    *batch, k = least_side(types[0].shape)
    rows, columns = types[0].shape[-2:]
    return ArrayType((*batch, int(rows) + int(columns), k), types[0].dtype)


def transposed_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """Matrices of the transposed shape."""
    shape = types[0].shape
    least_side(shape)
    return ArrayType((*shape[:-2], shape[-1], shape[-2]), types[0].dtype)


def solve_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The type of the right-hand side."""
    a, b = types
    if len(b.shape) != len(square_shape(a, "solve")) or a.shape[:-1] != b.shape[:-1]:
        raise GraphError(f"solve of {a} and {b}: the batches and the numbers of rows must be equal")
    return ArrayType(b.shape, promote(a.dtype, b.dtype))


# Values


def batched(function: Value, axes: int, own: Value | None = None) -> Value:
    """A function of matrices for batches of them, with results of so many axes; NaN where it breaks down.

    own: the shape of a result by that of a matrix, if it is not the last argument's.
    """

    def value(*args: Any) -> Any:
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        params = args[len(arrays) :]
        batch, rest = arrays[0].shape[:-2], arrays[-1].shape[-2:][:axes]
        shape = (*batch, *(rest if own is None else own(*arrays[0].shape[-2:])))
        result = np.empty(shape, arrays[0].dtype)
        for k in np.ndindex(*batch):
            result[k] = attempt(function, [a[k] for a in arrays], params)
        return result[()]

    return value


def attempt(function: Value, matrices: list[Any], params: Params) -> Any:
    """The function's value, NaN if LAPACK or mpmath can't compute it."""
    try:
        return function(*matrices, *params)
    except (np.linalg.LinAlgError, ZeroDivisionError, ValueError):
        return np.nan


def part_of(a: Any, part: str) -> Any:
    """The triangle that counts."""
    return a if part == "full" else np.tril(a) if part == "lower" else np.triu(a)


def symmetric_of_lower(a: Any) -> Any:
    """The symmetric matrix with this lower triangle."""
    return np.where(np.tri(*a.shape) > 0, a, a.T)


def eigen(a: Any) -> tuple[Any, Any]:
    """Eigenvalues in rising order, and eigenvectors whose largest component is positive."""
    return oriented(*np.linalg.eigh(symmetric_of_lower(a)))


def oriented(values: Any, vectors: Any) -> tuple[Any, Any]:
    """Eigenvectors with the sign that makes the largest component of each positive."""
    largest = np.argmax(np.abs(vectors), axis=0)[None] if vectors.size else np.zeros((1, 0), np.int64)
    lead = np.take_along_axis(vectors, largest, axis=0)
    return values, np.where(lead < 0, -vectors, vectors)


def singular(a: Any) -> tuple[Any, Any, Any]:
    """Left vectors, values and right vectors as columns; the largest component of each left one is positive."""
    return both_oriented(*np.linalg.svd(a, full_matrices=False)) if np.isfinite(a).all() else (a * np.nan,) * 3


def both_oriented(u: Any, s: Any, vt: Any) -> tuple[Any, Any, Any]:
    """Pairs of singular vectors with the sign that makes the largest component of each left one positive."""
    k = len(s)
    largest = np.argmax(np.abs(u[:, :k]), axis=0)[None] if u.size else np.zeros((1, 0), np.int64)
    sign = np.where(np.take_along_axis(u[:, :k], largest, axis=0) < 0, -1, 1)
    return u[:, :k] * sign, s, vt[:k].T * sign


def exact_singular(a: Any) -> tuple[Any, Any, Any]:
    """The same in high precision."""
    u, s, vt = of_mpmath("svd_r", a)
    return both_oriented(to_array(u), np.array(list(s), object), to_array(vt))


def inverted(u: Any, s: Any, v: Any, least: float) -> Any:
    """The pseudoinverse by singular values; those that are small beside the largest count as 0."""
    high = max(s, default=0)
    return (v * np.array([1 / x if x > least * high else 0 * x for x in s])) @ u.T


def of_mpmath(name: str, *matrices: Any) -> Any:
    """A function of mpmath's matrices."""
    mpmath = importlib.import_module("mpmath")
    return getattr(mpmath, name)(*(mpmath.matrix(m.tolist()) for m in matrices))


def to_array(matrix: Any) -> Any:
    """A matrix of mpmath as an array of its numbers."""
    return np.array(matrix.tolist(), object).reshape(matrix.rows, matrix.cols)


def exact_solve(a: Any, b: Any, part: str) -> Any:
    """Gauss, column by column."""
    columns = [to_array(of_mpmath("lu_solve", part_of(a, part), c[:, None]))[:, 0] for c in b.T]
    return np.array(columns, object).reshape(b.T.shape).T


def exact_eigen(a: Any) -> tuple[Any, Any]:
    """Jacobi's method, in rising order."""
    values, vectors = of_mpmath("eigsy", symmetric_of_lower(a))
    return oriented(np.array(list(values), object), to_array(vectors))


def adjugate(a: Any) -> Any:
    """The transposed cofactors by singular values, whose products need no division."""
    u, s, v = np.linalg.svd(a)
    others = [np.prod(np.delete(s, k)) for k in range(len(s))]
    return np.linalg.det(u) * np.linalg.det(v) * (v.T * others) @ u.T


def exact_adjugate(a: Any) -> Any:
    """Minor by minor."""
    rows = range(len(a))
    minors = [[of_mpmath("det", np.delete(np.delete(a, j, 0), i, 1)) if len(a) > 1 else 1 for j in rows] for i in rows]
    return np.array([[(-1) ** (i + j) * minors[i][j] for j in rows] for i in rows], object)


# Derivatives


def solve_vjp(g: Node, n: Node) -> Tangents:
    """The transposed system for the right-hand side; minus its product with the solution for the matrix."""
    a, part = n.args[0], n.params[0]
    other = {"full": "full", "lower": "upper", "upper": "lower"}[part]
    b = solve(flipped(a), g, other)
    return triangle(-matmul(b, flipped(n)), part), b


def solve_jvp(n: Node, tangents: Tangents) -> Node:
    """x' with a @ x' = b' - a' @ x."""
    da, db = tangents
    moved = None if da is None else -matmul(triangle(da, n.params[0]), n)
    parts = [p for p in (db, moved) if p is not None]
    return solve(n.args[0], add(*parts), n.params[0])


def given(n: Node, tangents: Tangents) -> Node:
    """The tangent of the one argument."""
    return tangents[0] or zeros_like(n.args[0])


def det_vjp(g: Node, n: Node) -> Tangents:
    """The cofactors."""
    a, shape = n.args[0], n.args[0].type.shape
    return (broadcast_to(g, shape, tuple(range(len(shape) - 2))) * flipped(apply("adjugate", a)),)


def adjugate_vjp(g: Node, n: Node) -> Tangents:
    """With C = det(a) a^-1: a^-T (tr(g^T C) - g C^T)."""
    a, shape = n.args[0], n.type.shape
    inner = sum_over(g * n, (len(shape) - 2, len(shape) - 1))
    right = on_diagonal(inner, shape) - matmul(g, flipped(n))
    return (solve(flipped(a), right),)


def adjugate_jvp(n: Node, tangents: Tangents) -> Node:
    """With C = det(a) a^-1: (tr(C a') - C a') a^-1."""
    moved = matmul(n, given(n, tangents))
    left = on_diagonal(trace(moved), n.type.shape) - moved
    return flipped(solve(flipped(n.args[0]), flipped(left)))


def cholesky_vjp(g: Node, n: Node) -> Tangents:
    """Symmetric part of L^-T Phi(L^T g) L^-1, Phi being the lower triangle with half the diagonal."""
    upper = flipped(n)
    left = solve(upper, lower_half(matmul(upper, g)), "upper")
    return (symmetric(solve(upper, flipped(left), "upper")),)


def cholesky_jvp(n: Node, tangents: Tangents) -> Node:
    """L Phi(L^-1 a' L^-T)."""
    left = solve(n, symmetric(given(n, tangents)), "lower")
    return matmul(n, lower_half(solve(n, flipped(left), "lower")))


def rows_of(n: Node, first: int, count: Dim) -> Node:
    """So many rows of matrices."""
    return part_at(n, (*[None] * (len(n.type.shape) - 2), Span(first, count), None))


def halves(x: Node, a: Node) -> tuple[Node, Node]:
    """What belongs to the left singular vectors of a matrix, and what to the right ones."""
    rows, columns = a.type.shape[-2:]
    return rows_of(x, 0, rows), rows_of(x, int(rows), columns)


def svdvals_vjp(g: Node, n: Node) -> Tangents:
    """U diag(g) V^T."""
    u, v = halves(apply("svdvecs", n.args[0]), n.args[0])
    return (matmul(times_columns(u, g), flipped(v)),)


def svdvals_jvp(n: Node, tangents: Tangents) -> Node:
    """The diagonal of U^T a' V."""
    u, v = halves(apply("svdvecs", n.args[0]), n.args[0])
    return diagonal_of(matmul(flipped(u), matmul(given(n, tangents), v)))


def times_columns(x: Node, v: Node) -> Node:
    """Each column times a number of its own."""
    last = len(x.type.shape) - 1
    return x * broadcast_to(v, x.type.shape, (*range(last - 1), last))


def beyond(x: Node, u: Node) -> Node:
    """What of columns lies outside the space of others, which are orthonormal; nothing if these fill it."""
    is_whole = u.type.shape[-1] == u.type.shape[-2]
    return zeros_like(x) if is_whole else x - matmul(u, matmul(flipped(u), x))


def svdvecs_vjp(g: Node, n: Node) -> Tangents:
    """U (F * skew(U^T gu)) S V^T + U S (F * skew(V^T gv)) V^T, and what leaves the spaces, divided by S."""
    a = n.args[0]
    (u, v), (gu, gv), s = halves(n, a), halves(g, a), apply("svdvals", a)
    left, right = (matmul(flipped(x), gx) for x, gx in ((u, gu), (v, gv)))
    shape = left.type.shape
    turns = gaps_of(s * s, shape, touched(g, n, shape))
    inner = times_columns(turns * (left - flipped(left)), s)
    inner = inner + flipped(times_columns(flipped(turns * (right - flipped(right))), s))
    found = matmul(u, matmul(inner, flipped(v)))
    if u.type.shape[-2] != u.type.shape[-1]:
        found = found + matmul(times_columns(beyond(gu, u), 1.0 / s), flipped(v))
    if v.type.shape[-2] != v.type.shape[-1]:
        found = found + matmul(u, flipped(times_columns(beyond(gv, v), 1.0 / s)))
    return (found,)


def svdvecs_jvp(n: Node, tangents: Tangents) -> Node:
    """U (F * (P S + S P^T)) and V (F * (S P + P^T S)) with P = U^T a' V, and what leaves the spaces, divided by S."""
    a, tangent = n.args[0], given(n, tangents)
    (u, v), s = halves(n, a), apply("svdvals", a)
    p = matmul(flipped(u), matmul(tangent, v))
    turns = gaps_of(s * s, p.type.shape, const(True, "bool"))
    right, left = times_columns(p, s), times_columns(flipped(p), s)
    du, dv = matmul(u, turns * (right + flipped(right))), matmul(v, turns * (flipped(left) + left))
    if u.type.shape[-2] != u.type.shape[-1]:
        du = du + times_columns(beyond(matmul(tangent, v), u), 1.0 / s)
    if v.type.shape[-2] != v.type.shape[-1]:
        dv = dv + times_columns(beyond(matmul(flipped(tangent), u), v), 1.0 / s)
    rows, columns = a.type.shape[-2:]
    before = (None,) * (len(n.type.shape) - 2)
    return assemble([du, dv], n.type.shape, ((*before, Span(0, rows), None), (*before, Span(int(rows), columns), None)))


def pinv_vjp(g: Node, n: Node) -> Tangents:
    """-P^T g P^T + (1 - a P) g^T P P^T + P^T P g^T (1 - P a): right as long as the rank stays."""
    a, turned, back = n.args[0], flipped(n), flipped(g)
    inner = matmul(turned, matmul(g, turned))
    left, right = matmul(back, matmul(n, turned)), matmul(turned, matmul(n, back))
    return (left - matmul(a, matmul(n, left)) + right - matmul(matmul(right, n), a) - inner,)


def pinv_jvp(n: Node, tangents: Tangents) -> Node:
    """-P a' P + P P^T a'^T (1 - a P) + (1 - P a) a'^T P^T P."""
    a, tangent = n.args[0], given(n, tangents)
    turned, back = flipped(n), flipped(tangent)
    left, right = matmul(n, matmul(turned, back)), matmul(matmul(back, turned), n)
    inner = matmul(n, matmul(tangent, n))
    return left - matmul(matmul(left, a), n) + right - matmul(n, matmul(a, right)) - inner


def vectors_of(n: Node) -> Node:
    """The eigenvectors that go with eigenvalues."""
    return apply("eigvecs", n.args[0])


def gaps(n: Node, touched: Node) -> Node:
    """1/(w[j] - w[i]) for the eigenvalues of a matrix whose vectors are given."""
    return gaps_of(apply("eigvals", n.args[0]), n.type.shape, touched)


def gaps_of(w: Node, shape: Shape, touched: Node) -> Node:
    """1/(w[j] - w[i]), 0 on the diagonal; between equal ones NaN, or 0 if they are not touched."""
    batch = tuple(range(len(shape) - 2))
    row, column = (broadcast_to(w, shape, (*batch, k)) for k in (len(shape) - 2, len(shape) - 1))
    gap = column - row
    is_pair = apply("ne", *positions(shape)) & touched
    of_equal = select(is_pair, const(math.nan, w.type.dtype), zero(w))
    return select(unequal(gap, zero(w)), 1.0 / gap, of_equal)


def touched(g: Node, n: Node, pairs: Shape = ()) -> Node:
    """The pairs of vectors of which an adjoint reaches one: all, unless it comes from behind a branch.

    What is said of a vector alone does not tell how it turns within the space of equal eigenvalues.
    """
    if g.op.name != "select" or not is_const(g.args[2], 0.0):
        return const(True, "bool")
    shape, one = pairs or n.type.shape, const(1.0, n.type.dtype)
    count = sum_over(expand(select(g.args[0], one, zero(n)), n.type.shape), (len(shape) - 2,))
    batch = tuple(range(len(shape) - 2))
    sides = [broadcast_to(count, shape, (*batch, k)) for k in (len(shape) - 2, len(shape) - 1)]
    return any_of(*(less(zero(n), side) for side in sides))


def eigvals_vjp(g: Node, n: Node) -> Tangents:
    """V diag(g) V^T."""
    v = vectors_of(n)
    return (matmul(v, matmul(on_diagonal(g, v.type.shape), flipped(v))),)


def eigvals_jvp(n: Node, tangents: Tangents) -> Node:
    """The diagonal of V^T a' V."""
    v = vectors_of(n)
    return diagonal_of(matmul(flipped(v), matmul(given(n, tangents), v)))


def eigvecs_vjp(g: Node, n: Node) -> Tangents:
    """Symmetric part of V (F * (V^T g)) V^T with F[i, j] = 1/(w[j] - w[i])."""
    turned = gaps(n, touched(g, n)) * matmul(flipped(n), g)
    return (symmetric(matmul(n, matmul(turned, flipped(n)))),)


def eigvecs_jvp(n: Node, tangents: Tangents) -> Node:
    """V (F * (V^T a' V))."""
    inner = matmul(flipped(n), matmul(symmetric(given(n, tangents)), n))
    return matmul(n, gaps(n, const(True, "bool")) * inner)


def all_reached(g: Node, n: Node) -> Tangents:
    """An entry of the adjoint reaches all of its matrix."""
    batch = len(n.args[0].type.shape) - 2
    inner = tuple(range(batch, len(g.type.shape)))
    some = sum_over(g, inner) if inner else g
    return tuple(broadcast_to(some, a.type.shape, tuple(range(batch))) for a in n.args)


OF_MATRICES = ["detsign"]  # ops of one matrix, which a batch is a stack of
SYMMETRIC = "the lower triangle alone is looked at; the derivative is split equally between both"


def algebra(
    name: str, infer: Any, value: Value, exact: Value, vjp: Any, jvp: Any, axes: int, doc: str, **record: Any
) -> None:
    """Register an op on batches of matrices."""
    record = {"accuracy": "backward stable", "cost": 16, "arity": 1, **record}
    own = record.pop("own", None)
    OF_MATRICES.extend([name] if record["arity"] == 1 else [])
    register(Op(name, infer, batched(value, axes, own), vjp=vjp, jvp=jvp, reach=all_reached,
                exact=batched(exact, axes, own), is_expensive=True, in_memory=True, reads_memory=True,
                routine_axes=axes, doc=doc, **record))  # fmt: skip


algebra("solve", solve_type, lambda a, b, part: np.linalg.solve(part_of(a, part), b), exact_solve, solve_vjp, solve_jvp,
        2, "x with a @ x = b", arity=2, derivative="db = a^-T g; da = -db x^T")  # fmt: skip
algebra("det", number_type, np.linalg.det, lambda a: of_mpmath("det", a), det_vjp,
        lambda n, tangents: trace(matmul(apply("adjugate", n.args[0]), given(n, tangents))), 0, "determinant",
        derivative="the cofactors, det(a) a^-T")  # fmt: skip
algebra("adjugate", matrix_type, lambda a: adjugate(a), exact_adjugate, adjugate_vjp, adjugate_jvp, 2,
        "transposed cofactors, det(a) a^-1", derivative="a^-T (tr(g^T C) - g C^T)",
        convention="the derivative is NaN where the determinant is 0")  # fmt: skip
algebra("logabsdet", number_type, lambda a: np.linalg.slogdet(a)[1], lambda a: mp("log", abs(of_mpmath("det", a))),
        lambda g, n: (solve(flipped(n.args[0]), on_diagonal(g, n.args[0].type.shape)),),
        lambda n, tangents: trace(solve(n.args[0], given(n, tangents))),
        0, "log|det(a)|", derivative="a^-T")  # fmt: skip
register(Op("detsign", number_type, batched(lambda a: np.linalg.slogdet(a)[0], 0), partials=lambda n: (None,), cost=16,
            exact=batched(lambda a: mp("sign", of_mpmath("det", a)), 0), derivative="none", accuracy="exact",
            convention="0 for a singular matrix",
            in_memory=True, reads_memory=True, routine_axes=0,
            doc="sign of the determinant"))  # fmt: skip
algebra("cholesky", matrix_type, lambda a: np.linalg.cholesky(symmetric_of_lower(a)),
        lambda a: to_array(of_mpmath("cholesky", symmetric_of_lower(a))), cholesky_vjp, cholesky_jvp, 2,
        "lower triangular L with L L^T = a", derivative="L^-T Phi(L^T g) L^-1", convention=SYMMETRIC)  # fmt: skip
algebra("eigvals", vector_type, lambda a: eigen(a)[0], lambda a: exact_eigen(a)[0], eigvals_vjp, eigvals_jvp, 1,
        "eigenvalues of a symmetric matrix, rising", derivative="V diag(g) V^T", convention=SYMMETRIC)  # fmt: skip
algebra("eigvecs", matrix_type, lambda a: eigen(a)[1], lambda a: exact_eigen(a)[1], eigvecs_vjp, eigvecs_jvp, 2,
        "eigenvectors of a symmetric matrix, the largest component of each positive",
        derivative="V (F * (V^T g)) V^T, F = 1/(w[j] - w[i])",
        convention=f"{SYMMETRIC}; NaN where the vectors of equal eigenvalues have an adjoint")  # fmt: skip
algebra("svdvals", singular_type, lambda a: singular(a)[1], lambda a: exact_singular(a)[1], svdvals_vjp, svdvals_jvp, 1,
        "singular values, falling", derivative="U diag(g) V^T", own=lambda m, n: (min(m, n),))  # fmt: skip
algebra("svdvecs", pair_type, lambda a: np.concatenate(singular(a)[::2]),
        lambda a: np.concatenate(exact_singular(a)[::2]), svdvecs_vjp, svdvecs_jvp, 2,
        "left singular vectors as columns, the largest component of each positive, and below them the right ones",
        derivative="U (F * skew(U^T g)) S V^T + ..., F = 1/(s[j]^2 - s[i]^2)", own=lambda m, n: (m + n, min(m, n)),
        convention="NaN where the vectors of equal singular values have an adjoint, or, of a matrix that is not "
                   "square, those of 0")  # fmt: skip
algebra("pinv", transposed_type, lambda a: inverted(*singular(a), np.finfo(a.dtype).eps * 4.5),
        lambda a: inverted(*exact_singular(a), 1e-15), pinv_vjp, pinv_jvp, 2,
        "pseudoinverse; singular values below 1e-15 of the largest count as 0, in single precision below 5e-7",
        derivative="-P^T g P^T + (1 - a P) g^T P P^T + P^T P g^T (1 - P a)", own=lambda m, n: (n, m),
        convention="that of matrices of one rank")  # fmt: skip
