"""numpy.linalg beside what `linalg` has: norms, singular values, QR and LU factors, least squares, exponentials."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift
from gradcompile.frontend.arrays.linalg import identity, inv, solve
from gradcompile.frontend.arrays.linalg import square as squared
from gradcompile.frontend.arrays.recurrence import scan
from gradcompile.frontend.arrays.reductions import largest, root, total
from gradcompile.frontend.arrays.shapes import Axis, axes_of, moveaxis, with_axes
from gradcompile.frontend.arrays.ufuncs import choose, elementwise, floating, function, number
from gradcompile.ir.core import Node, apply

np: Any = numpy  # whose stubs know numbers alone

SQUARINGS = 16  # of exponentials of matrices: norms up to 350,000


class SVD(NamedTuple):
    """Singular vectors as columns, values falling, and the other vectors as rows."""

    U: Array
    S: Array
    Vh: Array


class QR(NamedTuple):
    """A matrix with orthonormal columns, and an upper triangular one."""

    Q: Array
    R: Array


# Norms


@function(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """The norm of vectors or matrices; where it is 0 its derivative is 0."""
    n = floating(lift(x))
    axes = axes_of(axis, len(n.type.shape)) if axis is not None else tuple(range(len(n.type.shape)))
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return Array(root(total(elementwise("mul", n, n), axes, keepdims)))
    if len(axes) == 1:
        return of_vectors(n, ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ExpressionError(f"norm with ord={ord!r} of shape {n.type.shape}: give axis=, one, or two of matrices")
    given = (axis[0] % len(n.type.shape), axis[1] % len(n.type.shape)) if isinstance(axis, tuple | list) else axes
    return of_matrices(n, ord, given, keepdims)


def of_vectors(n: Node, ord: Any, axis: int, keepdims: bool) -> Any:
    """The norm of vectors along an axis."""
    size = elementwise("abs", n)
    if ord in (math.inf, -math.inf):
        sign = 1.0 if ord > 0 else -1.0
        found = largest(elementwise("mul", number(sign, n), size), axis, keepdims)
        return Array(elementwise("mul", number(sign, n), found))
    if ord == 0:
        counted = choose(elementwise("ne", n, number(0.0, n)), number(1.0, n), number(0.0, n))
        return Array(total(counted, axis, keepdims))
    if ord == 1:
        return Array(total(size, axis, keepdims))
    if isinstance(ord, str) or ord is None:
        raise ExpressionError(f"norm with ord={ord!r} of vectors: a number is needed, or np.inf")
    power = elementwise("pow", size, number(float(ord), n))
    found = total(power, axis, keepdims)
    is_some = elementwise("ne", found, number(0.0, n))
    inner = choose(is_some, found, number(1.0, n))
    nothing = number(0.0 if ord > 0 else math.inf, n)
    return Array(choose(is_some, elementwise("pow", inner, number(1 / ord, n)), nothing))


def of_matrices(n: Node, ord: Any, axes: Sequence[int], keepdims: bool) -> Any:
    """The norm of matrices over two axes."""
    x = moveaxis(Array(n), axes, (-2, -1))
    if ord in (2, -2, "nuc"):
        values = svdvals(x)
        found = np.sum(values, axis=-1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]
    elif ord in (1, -1, math.inf, -math.inf):
        sums = np.sum(abs(x), axis=-2 if abs(ord) == 1 else -1)
        found = np.max(sums, axis=-1) if ord > 0 else np.min(sums, axis=-1)
    else:
        raise ExpressionError(
            f"norm with ord={ord!r} of matrices: 1, 2, np.inf, their negatives, 'fro' or 'nuc' is needed"
        )
    return Array(with_axes(found.node, sorted(axes))) if keepdims else found


@function(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm of vectors, which may lie along several axes; all unless some are given."""
    n = floating(lift(x))
    ndim = len(n.type.shape)
    axes = axes_of(axis, ndim)
    rest = [k for k in range(ndim) if k not in axes]
    flat = Array(n).transpose(*rest, *axes) if ndim > 1 else Array(n)
    flat = flat.reshape(*(n.type.shape[k] for k in rest), -1)
    found = norm(flat, ord, -1)
    return Array(with_axes(found.node, axes)) if keepdims else found


function(np.linalg.matrix_norm)(lambda x, /, *, keepdims=False, ord="fro": norm(x, ord, (-2, -1), keepdims))


@function(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """How much a matrix may enlarge relative errors: its norm times that of its inverse."""
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


# Singular values


def matrices(a: Any) -> Node:
    """A batch of matrices of floats."""
    n = floating(lift(a))
    if len(n.type.shape) < 2 or any(isinstance(d, str) for d in n.type.shape[-2:]):
        raise ExpressionError(f"matrices whose sides have known lengths are needed, not shape {n.type.shape}")
    return n


def svdvals(a: Any) -> Any:
    """Singular values, falling."""
    return Array(apply("svdvals", matrices(a)))


if hasattr(np.linalg, "svdvals"):
    function(np.linalg.svdvals)(svdvals)


@function(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """Singular vectors and values; the largest component of each left vector is positive."""
    n = matrices(a)
    rows, columns = (int(d) for d in n.type.shape[-2:])
    if not compute_uv:
        return svdvals(a)
    if full_matrices and rows != columns:
        raise ExpressionError(f"the vectors beyond the {min(rows, columns)} of shape {n.type.shape} may turn in any "
                              "direction; write full_matrices=False")  # fmt: skip
    both = Array(apply("svdvecs", n))
    return SVD(both[..., :rows, :], svdvals(a), both[..., rows:, :].mT)


@function(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The pseudoinverse. With a cutoff of its own the derivative at equal singular values is NaN."""
    least = rtol if rcond is None else rcond
    if least is None:
        return Array(apply("pinv", matrices(a)))
    u, s, vh = svd(a, full_matrices=False)
    kept = s > least * s[..., :1]
    return vh.mT @ (np.where(kept, 1.0 / np.where(kept, s, 1.0), 0.0)[..., None] * u.mT)


@function(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, ...]:
    """The shortest x with the least |a @ x - b|, the sums of squares that are left, the rank, the singular values."""
    cut = {} if rcond is None else {"rcond": max(rcond, 0.0)}
    x, s = pinv(a, **cut) @ Array(lift(b)), svdvals(a)
    rank = np.sum(s > cut["rcond"] * s[0]) if cut else matrix_rank(a)
    m, n = np.shape(a)
    rest = np.sum((Array(lift(a)) @ x - b) ** 2, axis=0)
    return x, (rest if np.ndim(b) > 1 else rest[None]) if m > n else np.zeros_like(x, shape=(0,)), rank, s


@function(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The number of singular values that are not rounding; no derivative."""
    if np.ndim(A) < 2:
        return np.any(Array(lift(A)) != 0.0).astype("int64")
    s = svdvals(A)
    least = max(np.shape(A)[-2:]) * np.finfo(s.dtype).eps if rtol is None else rtol
    return np.sum(s > (least * np.max(s, axis=-1, keepdims=True) if tol is None else tol), axis=-1)


# Systems of tensors


@function(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """x with tensordot(a, x, x.ndim) = b."""
    x, right = Array(lift(a)), Array(lift(b))
    if axes is not None:
        x = moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    shape = x.shape[right.ndim :]
    return solve(x.reshape(right.size, -1), right.reshape(-1)).reshape(shape)


@function(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of a tensor whose first axes, so many, are the rows."""
    x = Array(lift(a))
    size = math.prod(x.shape[ind:])
    return inv(x.reshape(-1, size)).reshape(*x.shape[ind:], *x.shape[:ind])


# Factors


@function(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Orthonormal columns times an upper triangular matrix, by reflections as LAPACK makes them."""
    n = matrices(a)
    rows, columns = (int(d) for d in n.type.shape[-2:])
    if mode not in ("reduced", "complete", "r"):
        raise ExpressionError(f"np.linalg.qr with mode={mode!r}: 'reduced', 'complete' or 'r' is needed")
    row, column = np.arange(rows), np.arange(columns)

    def step(carry: Any, k: Any) -> Any:
        r, q = carry
        x = np.where(row >= k, np.sum(np.where(column == k, r, 0.0), axis=-1), 0.0)
        first, tail = np.sum(np.where(row == k, x, 0.0), axis=-1), np.sum(np.where(row > k, x * x, 0.0), axis=-1)
        is_due = tail > 0.0
        size = np.sqrt(np.where(is_due, first * first + tail, 1.0))
        head = np.where(first < 0.0, first - size, first + size)
        v = np.where(row == k, head[..., None], x)
        scale = np.where(is_due, 2.0 / np.where(is_due, np.sum(v * v, axis=-1), 1.0), 0.0)[..., None]
        r = r - (scale * v)[..., None] * np.vecmat(v, r)[..., None, :]
        q = q - np.matvec(q, v)[..., None] * (scale * v)[..., None, :]
        return (r, q), None

    unit = Array(identity((*n.type.shape[:-2], rows, rows), n.type.dtype))
    (r, q), _ = scan(step, (Array(n), unit), np.arange(min(rows, columns)))
    least = rows if mode == "complete" else min(rows, columns)
    upper = np.triu(r[..., :least, :])
    return upper if mode == "r" else QR(q[..., :, :least], upper)


def lu(a: Any) -> tuple[Any, ...]:
    """The order of rows as a matrix of a permutation, a lower triangle with ones on its diagonal, an upper one."""
    n = matrices(a)
    rows, columns = (int(d) for d in n.type.shape)
    row, column, least = np.arange(rows), np.arange(columns), min(rows, columns)
    below = row[:, None]

    def step(carry: Any, k: Any) -> Any:
        x, order = carry
        pivot = np.argmax(np.where(row >= k, abs(np.sum(np.where(column == k, x, 0.0), axis=1)), -1.0))
        turned = np.where(row == k, pivot, np.where(row == pivot, k, row))
        moves = np.where(turned[:, None] == row, 1.0, 0.0)
        x, order = moves @ x, moves @ order
        top = np.sum(np.where(below == k, x, 0.0), axis=0)
        entry = np.sum(np.where(column == k, top, 0.0))
        divisor = np.where(entry == 0.0, 1.0, entry)
        factor = np.where(row > k, np.sum(np.where(column == k, x, 0.0), axis=1) / divisor, 0.0)[:, None]
        x = np.where(column > k, x - factor * top, np.where((column == k) & (below > k), factor, x))
        return (x, order), None

    (x, order), _ = scan(step, (Array(n), Array(identity((rows, rows), n.type.dtype))), np.arange(least))
    lower = np.tril(x[:, :least], -1) + np.eye(rows, least)
    return order.T, lower, np.triu(x[:least])


# Functions of matrices

PADE = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
        10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0,
        1.0)  # fmt: skip
LARGEST_NORM = {"float64": 5.371920351148152, "float32": 3.925724783138660}  # up to which it has all digits


def expm(a: Any) -> Any:
    """The exponential of matrices, by Pade's quotient and squaring (Higham 2005).

    >>> from gradcompile.frontend.arrays.core import array
    >>> expm(array("a", (3, 3))).shape
    (3, 3)
    """
    n = squared(a)
    x = Array(n)
    size = np.max(np.sum(abs(x), axis=-2), axis=-1)
    halvings = np.clip(np.ceil(np.log2(np.where(size > 0.0, size, 1.0) / LARGEST_NORM[n.type.dtype])), 0.0, SQUARINGS)
    times = Array(apply("stop_gradient", halvings.node))[..., None, None]
    x, unit = x * np.exp2(-times), Array(identity(n.type.shape, n.type.dtype))
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x4 @ x2
    c = PADE
    odd = x @ (x6 @ (c[13] * x6 + c[11] * x4 + c[9] * x2) + c[7] * x6 + c[5] * x4 + c[3] * x2 + c[1] * unit)
    even = x6 @ (c[12] * x6 + c[10] * x4 + c[8] * x2) + c[6] * x6 + c[4] * x4 + c[2] * x2 + c[0] * unit
    found = solve(even - odd, even + odd)
    last, _ = scan(lambda r, k: (np.where(k < times, r @ r, r), None), found, np.arange(SQUARINGS))
    return last
