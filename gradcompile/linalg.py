"""scipy.linalg's functions on symbolic arrays, under their names and with their arguments.

>>> import gradcompile as gc
>>> from gradcompile import linalg
>>> linalg.expm(gc.array("a", (3, 3))).shape
(3, 3)
"""

from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays import decompositions
from gradcompile.frontend.arrays.arranging import places
from gradcompile.frontend.arrays.core import Array, lift
from gradcompile.ir.algebra import expand
from gradcompile.ir.core import apply
from gradcompile.ir.types import broadcast
from gradcompile.tracebacks import entries

np: Any = numpy  # whose stubs know numbers alone


def array(x: Any) -> Any:
    """A symbolic array, of floats."""
    found = Array(lift(x))
    return found if found.dtype.kind == "f" else found.astype("float64")


def assumed(a: Any, structure: Any, lower: bool) -> Any:
    """The matrix of which a structure is assumed: SciPy does not look at the other entries."""
    x = array(a)
    if structure in SYMMETRIC:
        return symmetric(x, lower)
    if structure not in PARTS:
        raise ExpressionError(f"assume_a={structure!r}: one of {', '.join(map(repr, (*PARTS, *SYMMETRIC)))} is needed")
    return PARTS[structure](x)


SYMMETRIC = ("symmetric", "sym", "hermitian", "her", "positive definite", "pos")
PARTS: dict[Any, Any] = {
    **dict.fromkeys((None, "general", "gen", "banded"), lambda x: x),
    "diagonal": lambda x: np.tril(np.triu(x)),
    "tridiagonal": lambda x: np.tril(np.triu(x, -1), 1),
    "upper triangular": np.triu,
    "lower triangular": np.tril,
}


def inv(a: Any, overwrite_a: Any = None, check_finite: Any = None, *, assume_a: Any = None, lower: bool = False) -> Any:
    """The inverse."""
    return np.linalg.inv(assumed(a, assume_a, lower))


def det(a: Any, overwrite_a: Any = None, check_finite: Any = None) -> Any:
    """The determinant."""
    return np.linalg.det(array(a))


def solve(
    a: Any, b: Any, lower: bool = False, overwrite_a: Any = None, overwrite_b: Any = None, check_finite: Any = None,
    assume_a: Any = None, transposed: bool = False
) -> Any:  # fmt: skip
    """x with a @ x = b, or a.T @ x = b; of a positive definite matrix by its Cholesky factor."""
    if assume_a in ("pos", "positive definite"):
        return cho_solve(cho_factor(a, lower), b)
    matrix = assumed(a, assume_a, lower)
    return np.linalg.solve(matrix.mT if transposed else matrix, array(b))


def solve_banded(
    l_and_u: tuple[int, int], ab: Any, b: Any, overwrite_ab: Any = None, overwrite_b: Any = None,
    check_finite: Any = None
) -> Any:  # fmt: skip
    """x with a @ x = b for a matrix that is given by its diagonals, the highest first, as one system."""
    bands, upper = array(ab), l_and_u[1]
    n = bands.shape[-1]
    matrix = sum(
        np.diag(bands[k, max(upper - k, 0) : n - max(k - upper, 0)], upper - k) for k in range(sum(l_and_u) + 1)
    )
    return np.linalg.solve(matrix, array(b))


def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False, overwrite_b: Any = None,
    check_finite: Any = None
) -> Any:  # fmt: skip
    """x with a @ x = b for a triangle of a, or with its transpose."""
    matrix, right = array(a), array(b)
    if unit_diagonal:
        matrix = np.where(np.eye(matrix.shape[-1], dtype=bool), 1.0, matrix)
    is_turned = trans in (1, 2, "T", "C")
    matrix = matrix.mT if is_turned else matrix
    part = "lower" if lower != is_turned else "upper"
    is_vector = right.ndim == 1 or right.ndim == matrix.ndim - 1
    columns = right[..., None] if is_vector else right
    batch = broadcast(matrix.node.type.shape[:-2], columns.node.type.shape[:-2])
    nodes = (expand(n, (*batch, *n.type.shape[-2:])) for n in (matrix.node, columns.node))
    found = Array(apply("solve", *nodes, params=(part,)))
    return found[..., 0] if is_vector else found


def cholesky(a: Any, lower: bool = False, overwrite_a: Any = None, check_finite: Any = None) -> Any:
    """The triangular factor of a positive definite matrix: U with U.T @ U = a, or L with L @ L.T = a."""
    return np.linalg.cholesky(array(a)) if lower else np.linalg.cholesky(array(a).mT).mT


def cho_factor(a: Any, lower: bool = False, overwrite_a: Any = None, check_finite: Any = None) -> tuple[Any, bool]:
    """The factor for `cho_solve`, in one triangle; the other has a's own entries, as SciPy leaves them."""
    factor, matrix = cholesky(a, lower), array(a)
    return (factor + (np.triu(matrix, 1) if lower else np.tril(matrix, -1))), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any, overwrite_b: Any = None, check_finite: Any = None) -> Any:
    """x with a @ x = b, by a's factor."""
    factor, lower = c_and_lower
    first = solve_triangular(factor, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(factor, first, trans=1 if lower else 0, lower=lower)


def eigh(
    a: Any, b: Any = None, *, lower: bool = True, eigvals_only: bool = False, overwrite_a: Any = None,
    overwrite_b: Any = None, type: int = 1, check_finite: Any = None, subset_by_index: Any = None,
    subset_by_value: Any = None, driver: Any = None
) -> Any:  # fmt: skip
    """Eigenvalues, rising, and vectors of a symmetric matrix, or of a pair (a @ v = w * b @ v)."""
    if subset_by_index is not None or subset_by_value is not None or type != 1:
        raise ExpressionError("linalg.eigh computes all eigenvalues, of type 1; take a slice of them")
    part = "L" if lower else "U"
    if b is None:
        found = np.linalg.eigh(array(a), part)
        return found[0] if eigvals_only else (found[0], found[1])
    factor = np.linalg.cholesky(array(b) if lower else array(b).mT)
    whole = symmetric(array(a), lower)
    half = solve_triangular(factor, whole, lower=True)
    values, vectors = np.linalg.eigh(solve_triangular(factor, half.mT, lower=True))
    return values if eigvals_only else (values, solve_triangular(factor, vectors, trans=1, lower=True))


def symmetric(a: Any, lower: bool) -> Any:
    """The symmetric matrix with one triangle of a."""
    return np.tril(a) + np.tril(a, -1).mT if lower else np.triu(a) + np.triu(a, 1).mT


def eigvalsh(a: Any, b: Any = None, *, lower: bool = True, **options: Any) -> Any:
    """Eigenvalues, rising."""
    return eigh(a, b, lower=lower, eigvals_only=True, **options)


def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, overwrite_a: Any = None, check_finite: Any = None,
    lapack_driver: Any = None
) -> Any:  # fmt: skip
    """Singular vectors and values."""
    found = np.linalg.svd(array(a), full_matrices, compute_uv)
    return tuple(found) if compute_uv else found


def svdvals(a: Any, overwrite_a: Any = None, check_finite: Any = None) -> Any:
    """Singular values, falling."""
    return decompositions.svdvals(array(a))


def pinv(a: Any, *, atol: Any = None, rtol: Any = None, return_rank: bool = False, check_finite: Any = None) -> Any:
    """The pseudoinverse."""
    if atol is not None:
        raise ExpressionError("linalg.pinv takes rtol=, a part of the largest singular value")
    found = np.linalg.pinv(array(a), rcond=rtol)
    return (found, np.linalg.matrix_rank(array(a), rtol=rtol)) if return_rank else found


def lstsq(
    a: Any, b: Any, cond: Any = None, overwrite_a: Any = None, overwrite_b: Any = None, check_finite: Any = None,
    lapack_driver: Any = None
) -> Any:  # fmt: skip
    """The shortest least-squares solution, squares that are left, rank, singular values."""
    return np.linalg.lstsq(array(a), array(b), cond)


def norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: Any = None) -> Any:
    """The norm of vectors or matrices."""
    return np.linalg.norm(array(a), ord, axis, keepdims)


def qr(a: Any, overwrite_a: Any = None, lwork: Any = None, mode: str = "full", pivoting: bool = False,
       check_finite: Any = None) -> Any:  # fmt: skip
    """Orthonormal columns times an upper triangle."""
    if pivoting or mode not in ("full", "r", "economic"):
        raise ExpressionError("linalg.qr has the modes 'full', 'economic' and 'r', without pivoting")
    if mode == "r":
        return (np.linalg.qr(array(a), "complete")[1],)
    return tuple(np.linalg.qr(array(a), "complete" if mode == "full" else "reduced"))


def lu(
    a: Any, permute_l: bool = False, overwrite_a: Any = None, check_finite: Any = None, p_indices: bool = False
) -> Any:
    """The matrix of a permutation, a lower triangle with ones on the diagonal, an upper one."""
    order, lower, upper = decompositions.lu(array(a))
    if permute_l:
        return order @ lower, upper
    return (np.argmax(order.T, axis=0) if p_indices else order), lower, upper


def expm(A: Any) -> Any:
    """The exponential of matrices."""
    return decompositions.expm(array(A))


def block_diag(*arrs: Any) -> Any:
    """Matrices along the diagonal of one; of stacks of matrices as many."""
    blocks = [np.atleast_2d(array(a)) for a in arrs]
    lead = numpy.broadcast_shapes(*(b.shape[:-2] for b in blocks))
    width = sum(b.shape[-1] for b in blocks)
    rows, before = [], 0
    for b in blocks:
        sides = [(0, 0)] * (len(lead) + 1) + [(before, width - before - b.shape[-1])]
        rows.append(np.pad(np.broadcast_to(b, (*lead, *b.shape[-2:])), sides))
        before += b.shape[-1]
    return np.concatenate(rows, axis=-2)


def length(x: Any, axis: int, name: str) -> int:
    """The length of an axis, which has to be known."""
    return places(x.shape[axis], f"gradcompile.linalg.{name}", "give the array a length there")


def toeplitz(c: Any, r: Any = None) -> Any:
    """A matrix whose diagonals are the entries of its first column and row; of rows of them as many matrices."""
    column = np.atleast_1d(array(c))
    row = column if r is None else np.atleast_1d(array(r))
    m, n = (length(x, -1, "toeplitz") for x in (column, row))
    diagonals = numpy.arange(m)[:, None] - numpy.arange(n) + n - 1
    return np.concatenate([np.flip(row[..., 1:], axis=-1), column], axis=-1)[..., diagonals]


def hankel(c: Any, r: Any = None) -> Any:
    """A matrix whose diagonals from right to left are the entries of its first column and last row."""
    column = np.ravel(array(c))
    row = np.zeros_like(column) if r is None else np.ravel(array(r))
    m, n = (length(x, 0, "hankel") for x in (column, row))
    diagonals = numpy.arange(m)[:, None] + numpy.arange(n)
    return np.concatenate([column, row[1:]])[diagonals]


def circulant(c: Any) -> Any:
    """A matrix whose columns are one another, moved by one place."""
    column = np.atleast_1d(array(c))
    n = length(column, -1, "circulant")
    return column[..., (numpy.arange(n)[:, None] - numpy.arange(n)) % n]


def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """x with a @ x + x @ b = q, as one system."""
    first, second, right = array(a), array(b), array(q)
    m, n = (length(x, 0, "solve_sylvester") for x in (first, second))
    system = np.kron(first, numpy.eye(n)) + np.kron(numpy.eye(m), second.T)
    return np.linalg.solve(system, right.reshape(-1)).reshape(m, n)


def solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    """x with a @ x + x @ a.T = q."""
    return solve_sylvester(a, array(a).T, q)


def solve_discrete_lyapunov(a: Any, q: Any, method: Any = None) -> Any:
    """x with a @ x @ a.T - x + q = 0, as one system."""
    matrix, right = array(a), array(q)
    n = length(matrix, 0, "solve_discrete_lyapunov")
    return np.linalg.solve(numpy.eye(n * n) - np.kron(matrix, matrix), right.reshape(-1)).reshape(n, n)


entries(globals())
