"""Routines on one matrix or one row for generated code: systems of equations, factors, eigenproblems, orders.

What a routine computes goes into its first argument. Matrices are rows after rows (C-contiguous), float64 or float32.
All but the eigenvalues, which are LAPACK's, are loops of the subset that `native` describes, with vectors along rows:
a matrix of a block's size costs no call into a library. Larger ones are cut into blocks, with products between them.
Nothing raises: a matrix that an algorithm breaks down on gives NaN.
"""

import numpy as np

from gradcompile.codegen.functions import jit, njit
from gradcompile.library.blas import addresses, connect_blas, linked
from gradcompile.library.primitives import copysign, empty, fabs, integers, lanes, sqrt, to_float
from gradcompile.library.vmath.double import log

__all__ = [
    "adjugate", "argsort", "cholesky", "det", "detsign", "eigvals", "eigvecs", "logabsdet", "pinv", "solve_full",
    "solve_lower", "solve_upper", "svdvals", "svdvecs",
]  # fmt: skip

connect_blas()
NAN = float("nan")
BLOCK = 64  # rows or columns that are worked off in loops; between blocks there are matrix products
HUGE, TINY = 2.0**512, 2.0**-512  # beyond these a factor of a determinant is scaled


# ---- systems of equations


@jit
def solve_full(x, a, b):  # type: ignore[no-untyped-def]
    """x with a @ x = b, for a of shape (n, n), x and b of shape (n, k); all NaN where a is singular.

    Gauss with partial pivoting.

    >>> x = np.zeros((2, 1))
    >>> solve_full(x, np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[4.0], [5.0]]))
    >>> x[:, 0].tolist()
    [3.0, 2.0]
    """
    work = empty((a.shape[0], a.shape[0]), a)
    copy_rows(work, a)
    copy_rows(x, b)
    eliminate(work, x)
    solve_upper(x, work, x)


@jit
def solve_lower(x, a, b):  # type: ignore[no-untyped-def]
    """x with a @ x = b, where of a, of shape (n, n), only the lower triangle counts; all NaN if a diagonal entry is 0.

    x and b are of shape (n, k), and may be the same array.

    >>> x = np.zeros((2, 1))
    >>> solve_lower(x, np.array([[2.0, 9.0], [1.0, 1.0]]), np.array([[4.0], [5.0]]))
    >>> x[:, 0].tolist()
    [2.0, 3.0]
    """
    n = b.shape[0]
    copy_rows(x, b)
    solve_rows_down(x, a, 0, min(BLOCK, n))
    for first in range(BLOCK, n, BLOCK):
        stop = min(first + BLOCK, n)
        x[first:stop, :] -= a[first:stop, 0:first] @ x[0:first, :]
        solve_rows_down(x, a, first, stop)
    spoil_singular(x, a)


@jit
def solve_upper(x, a, b):  # type: ignore[no-untyped-def]
    """As `solve_lower`, with the upper triangle.

    >>> x = np.zeros((2, 1))
    >>> solve_upper(x, np.array([[1.0, 1.0], [9.0, 2.0]]), np.array([[5.0], [4.0]]))
    >>> x[:, 0].tolist()
    [3.0, 2.0]
    """
    n = b.shape[0]
    copy_rows(x, b)
    solve_rows_up(x, a, max(n - BLOCK, 0), n)
    for done in range(BLOCK, n, BLOCK):
        stop = n - done
        first = max(stop - BLOCK, 0)
        x[first:stop, :] -= a[first:stop, stop:n] @ x[stop:n, :]
        solve_rows_up(x, a, first, stop)
    spoil_singular(x, a)


@jit
def solve_rows_down(x, a, first, stop):  # type: ignore[no-untyped-def]
    """Solve for the rows from first to stop, from which those before have been subtracted."""
    for i in range(first, stop):
        for j in range(first, i):
            subtract_row(x, i, a[i, j], x, j, 0)
        divide_row(x, i, a[i, i], 0)


@jit
def solve_rows_up(x, a, first, stop):  # type: ignore[no-untyped-def]
    """Solve for the rows from stop back to first, from which those behind have been subtracted."""
    for place in range(first, stop):
        i = first + stop - 1 - place
        for j in range(i + 1, stop):
            subtract_row(x, i, a[i, j], x, j, 0)
        divide_row(x, i, a[i, i], 0)


@jit
def copy_rows(x, a):  # type: ignore[no-untyped-def]
    """x[:, :] = a."""
    for i in range(a.shape[0]):
        for c in lanes(0, a.shape[1]):
            x[i, c] = a[i, c]


@jit
def subtract_row(x, i, factor, y, j, start):  # type: ignore[no-untyped-def]
    """x[i, start:] -= factor * y[j, start:]."""
    subtract_piece(x, i, factor, y, j, start, x.shape[1])


@jit
def subtract_piece(x, i, factor, y, j, start, stop):  # type: ignore[no-untyped-def]
    """x[i, start:stop] -= factor * y[j, start:stop]."""
    for c in lanes(start, stop):
        x[i, c] -= factor * y[j, c]


@jit
def divide_row(x, i, divisor, start):  # type: ignore[no-untyped-def]
    """x[i, start:] /= divisor."""
    for c in lanes(start, x.shape[1]):
        x[i, c] = x[i, c] / divisor


@jit
def spoil_singular(x, a):  # type: ignore[no-untyped-def]
    """Fill x with NaN if there is a 0 on the diagonal of a triangular matrix."""
    broken = False
    for i in range(a.shape[0]):
        broken = broken | (a[i, i] == 0.0)
    fill_nan(x, broken)


@jit
def fill_nan(x, wanted):  # type: ignore[no-untyped-def]
    """Fill a matrix with NaN, if that is wanted."""
    for i in range(x.shape[0] if wanted else 0):
        for c in lanes(0, x.shape[1]):
            x[i, c] = NAN


# ---- elimination and determinants


@jit
def eliminate(work, x):  # type: ignore[no-untyped-def]
    """Take a square matrix to an upper triangle by steps on its rows and on those of x; gives the sign of the swaps.

    The largest entry of a column is its pivot. A column without any is left as it is: its 0 stays on the diagonal.
    Below the diagonal are the factors of the steps.
    """
    n = work.shape[0]
    sign = eliminate_columns(work, x, 0, min(BLOCK, n))
    for first in range(BLOCK, n, BLOCK):
        before = first - BLOCK
        work[first:n, first:n] -= work[first:n, before:first] @ work[before:first, first:n]
        x[first:n, :] -= work[first:n, before:first] @ x[before:first, :]
        sign = sign * eliminate_columns(work, x, first, min(first + BLOCK, n))
    return sign


@jit
def eliminate_columns(work, x, first, stop):  # type: ignore[no-untyped-def]
    """Eliminate below the diagonal in the columns from first to stop; beyond them, change only their pivots' rows."""
    sign = 1.0
    for k in range(first, stop):
        pivot = pivot_row(work, k)
        sign = sign if pivot == k else -sign
        swap_rows(work, k, pivot)
        swap_rows(x, k, pivot)
        for i in range(k + 1, work.shape[0]):
            factor = work[i, k] / work[k, k] if work[k, k] != 0.0 else work[i, k]
            work[i, k] = factor
            subtract_piece(work, i, factor, work, k, k + 1, stop)
    for i in range(first + 1, stop):
        for k in range(first, i):
            subtract_row(work, i, work[i, k], work, k, stop)
            subtract_row(x, i, work[i, k], x, k, 0)
    return sign


@jit
def pivot_row(work, k):  # type: ignore[no-untyped-def]
    """The row from k on whose entry in column k is largest."""
    best = fabs(work[k, k])
    place = k
    for i in range(k + 1, work.shape[0]):
        size = fabs(work[i, k])
        is_larger = size > best
        best = size if is_larger else best
        place = i if is_larger else place
    return place


@jit
def swap_rows(x, i, j):  # type: ignore[no-untyped-def]
    """Swap two rows."""
    for c in lanes(0, x.shape[1] if i != j else 0):
        here = x[i, c]
        x[i, c] = x[j, c]
        x[j, c] = here


@jit
def triangular(work, a):  # type: ignore[no-untyped-def]
    """Copy a matrix to work, and eliminate there; gives the sign of the row swaps."""
    nothing = empty((a.shape[0], 0), a)
    copy_rows(work, a)
    return eliminate(work, nothing)


@jit
def det(a):  # type: ignore[no-untyped-def]
    """The determinant of a square matrix, as a float64; out of range only if its value is.

    >>> det(np.array([[1.0, 2.0], [3.0, 4.0]]))
    -2.0
    """
    work = empty((a.shape[0], a.shape[0]), a)
    product = float(triangular(work, a))
    level = 0
    for k in range(a.shape[0]):
        factor = float(work[k, k])
        step = excess(factor)
        product = product * scaled(factor, step)
        level = level + step + excess(product)
        product = scaled(product, excess(product))
    for _ in range(min(level, 4)):
        product = product * HUGE
    for _ in range(min(-level, 4)):
        product = product * TINY
    return product


@jit
def adjugate(out, a):  # type: ignore[no-untyped-def]
    """The transposed cofactors of a square matrix, which are det(a) times its inverse; of a singular one as well.

    With the largest entry for each pivot, a small one comes last, and nothing is divided by that. If there are two, the
    product of the others is as small, and so are all cofactors.

    >>> out = np.zeros((2, 2))
    >>> adjugate(out, np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> out.tolist()
    [[4.0, -2.0], [-2.0, 1.0]]
    """
    n = a.shape[0]
    work = empty((n, n), a)
    turns = integers(n)
    copy_rows(work, a)
    for i in range(n):
        for c in lanes(0, n):
            out[i, c] = 1.0 if c == i else 0.0
    sign = eliminate_fully(work, out, turns)
    for i in range(n):
        scale_row(out, i, work, n, sign < 0.0)
    for i in range(n - 1):
        subtract_row(out, i, work[i, n - 1], out, n - 1, 0)
    for done in range(n - 1):
        i = n - 2 - done
        for j in range(i + 1, n - 1):
            subtract_row(out, i, work[i, j], out, j, 0)
        divide_row(out, i, work[i, i] if work[i, i] != 0.0 else work[i, i] + 1.0, 0)
    for done in range(n):
        swap_rows(out, n - 1 - done, turns[n - 1 - done])


@jit
def scale_row(x, i, work, n, is_negative):  # type: ignore[no-untyped-def]
    """Multiply a row by all pivots but the last, and unless it is the last row by that too; by -1 if wanted."""
    for k in range(n - 1 if i == n - 1 else n):
        for c in lanes(0, n):
            x[i, c] = x[i, c] * work[k, k]
    for c in lanes(0, n):
        x[i, c] = -x[i, c] if is_negative else x[i, c]


@jit
def eliminate_fully(work, x, turns):  # type: ignore[no-untyped-def]
    """Take a square matrix to an upper triangle with the largest entry for each pivot; gives the sign of the swaps.

    Steps on rows are made on those of x as well; turns get the column that each was swapped with.
    """
    n = work.shape[0]
    sign = 1.0
    for k in range(n):
        row = k
        best = largest_of_row(work, k, k)
        for i in range(k + 1, n):
            size = largest_of_row(work, i, k)
            is_larger = size > best
            best = size if is_larger else best
            row = i if is_larger else row
        column = k
        for c in range(k, n):
            column = c if fabs(work[row, c]) == best else column
        turns[k] = column
        sign = sign if row == k else -sign
        sign = sign if column == k else -sign
        swap_rows(work, k, row)
        swap_rows(x, k, row)
        for i in range(n):
            here = work[i, k]
            work[i, k] = work[i, column]
            work[i, column] = here
        for i in range(k + 1, n):
            factor = work[i, k] / work[k, k] if work[k, k] != 0.0 else work[i, k]
            subtract_piece(work, i, factor, work, k, k + 1, n)
            subtract_row(x, i, factor, x, k, 0)
    return sign


@jit
def largest_of_row(work, i, start):  # type: ignore[no-untyped-def]
    """The largest size in a row from a column on."""
    best = fabs(work[i, start])
    for c in range(start + 1, work.shape[1]):
        best = fabs(work[i, c]) if fabs(work[i, c]) > best else best
    return best


@jit
def excess(x):  # type: ignore[no-untyped-def]
    """1 where |x| is huge, -1 where it is tiny, 0 for any other number."""
    return 1 if fabs(x) > HUGE else (-1 if fabs(x) < TINY else 0)


@jit
def scaled(x, step):  # type: ignore[no-untyped-def]
    """x / HUGE**step."""
    return x * (TINY if step > 0 else (HUGE if step < 0 else 1.0))


@jit
def logabsdet(a):  # type: ignore[no-untyped-def]
    """log|det(a)| as a float64; -inf for a singular matrix.

    >>> logabsdet(np.array([[0.0, 1.0], [1.0, 7.0]]))
    0.0
    """
    work = empty((a.shape[0], a.shape[0]), a)
    triangular(work, a)
    total = to_float(0)
    for k in range(a.shape[0]):
        total = total + log(float(fabs(work[k, k])))
    return total


@jit
def detsign(a):  # type: ignore[no-untyped-def]
    """The sign of the determinant: 1.0, -1.0, or 0.0 for a singular matrix.

    >>> detsign(np.array([[0.0, 1.0], [1.0, 7.0]]))
    -1.0
    """
    work = empty((a.shape[0], a.shape[0]), a)
    sign = float(triangular(work, a))
    for k in range(a.shape[0]):
        d = float(work[k, k])
        sign = sign * (copysign(1.0, d) if fabs(d) > 0.0 else d)
    return sign + 0.0


# ---- factors of symmetric matrices


@jit
def cholesky(out, a):  # type: ignore[no-untyped-def]
    """The lower triangular L with L @ L.T = a, by the lower triangle of a; all NaN unless it is positive definite.

    >>> out = np.zeros((2, 2))
    >>> cholesky(out, np.array([[4.0, 9.0], [2.0, 5.0]]))
    >>> out.tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    n = a.shape[0]
    mirror(out, a)
    factor_rows(out, 0, min(BLOCK, n))  # the transposed factor grows row by row in the upper triangle
    for first in range(BLOCK, n, BLOCK):
        stop = min(first + BLOCK, n)
        out[first:stop, first:n] -= out[0:first, first:stop].T @ out[0:first, first:n]
        factor_rows(out, first, stop)
    broken = False
    for i in range(n):
        broken = broken | (not out[i, i] > 0.0)
    transpose(out)
    for i in range(n):
        for c in lanes(i + 1, n):
            out[i, c] = 0.0
    fill_nan(out, broken)


@jit
def factor_rows(out, first, stop):  # type: ignore[no-untyped-def]
    """The rows from first to stop of the transposed factor; a pivot that is not positive becomes NaN or 0."""
    for k in range(first, stop):
        out[k, k] = sqrt(out[k, k])
        divide_row(out, k, out[k, k], k + 1)
        for i in range(k + 1, stop):
            subtract_row(out, i, out[k, i], out, k, i)


@jit
def mirror(out, a):  # type: ignore[no-untyped-def]
    """The symmetric matrix with the lower triangle of a, which may be out."""
    for i in range(a.shape[0]):
        for c in lanes(0, i + 1):
            out[i, c] = a[i, c]
        for c in lanes(0, i):
            out[c, i] = out[i, c]


@jit
def transpose(x):  # type: ignore[no-untyped-def]
    """Transpose a square matrix in place."""
    for i in range(x.shape[0]):
        for c in lanes(i + 1, x.shape[0]):
            here = x[i, c]
            x[i, c] = x[c, i]
            x[c, i] = here


# ---- eigenproblems of symmetric matrices


@jit
def eigvals(out, a):  # type: ignore[no-untyped-def]
    """The eigenvalues of a symmetric matrix in rising order, by its lower triangle; NaN where an entry is not finite.

    >>> out = np.zeros(2)
    >>> eigvals(out, np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> out.tolist()
    [1.0, 2.0]
    """
    work = empty((a.shape[0], a.shape[0]), a)
    mirror(work, a)
    spectrum(out, work, False)


@jit
def eigvecs(out, a):  # type: ignore[no-untyped-def]
    """The eigenvectors of a symmetric matrix as columns, in the order of the eigenvalues, by its lower triangle.

    NaN where an entry is not finite. Of each the component that is largest in size, the first of equals, is positive.

    >>> out = np.zeros((2, 2))
    >>> eigvecs(out, np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> out.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    values = empty(a.shape[0], a)
    mirror(out, a)
    spectrum(values, out, True)
    transpose(out)
    for c in range(a.shape[0]):
        orient_column(out, c, a.shape[0])


dsyevd, ssyevd = (linked(name, addresses("cython_lapack", [name])[0], 11) for name in ("dsyevd", "ssyevd"))


@njit
def spectrum(values, matrix, has_vectors):  # type: ignore[no-untyped-def]
    """The eigenvalues of a symmetric matrix; its rows become the eigenvectors if these are wanted, else anything.

    NaN if an entry is not finite, with which LAPACK may not come to an end, and if it finds no eigenvalues.
    """
    n = matrix.shape[0]
    info = np.ones(1, np.int32)
    if n > 0 and np.isfinite(matrix).all():
        order = np.array([n, 1 + 6 * n + 2 * n * n, 3 + 5 * n], np.int32)
        what = np.array([ord("V") if has_vectors else ord("N"), ord("U")], np.uint8)
        work, places = np.empty(order[1], matrix.dtype), np.empty(order[2], np.int32)
        pointers = (
            what.ctypes, what[1:].ctypes, order.ctypes, matrix.ctypes, order.ctypes, values.ctypes, work.ctypes,
            order[1:].ctypes, places.ctypes, order[2:].ctypes, info.ctypes,
        )  # fmt: skip
        if matrix.itemsize == 8:
            dsyevd(*pointers)
        else:
            ssyevd(*pointers)
    if info[0] != 0:
        values[:] = np.nan
        matrix[:, :] = np.nan


# ---- singular values

dgesdd, sgesdd = (linked(name, addresses("cython_lapack", [name])[0], 14) for name in ("dgesdd", "sgesdd"))


@jit
def svdvals(out, a):  # type: ignore[no-untyped-def]
    """The singular values of a matrix, falling; NaN where an entry is not finite.

    >>> out = np.zeros(2)
    >>> svdvals(out, np.array([[0.0, 3.0, 0.0], [4.0, 0.0, 0.0]]))
    >>> out.tolist()
    [4.0, 3.0]
    """
    k = min(a.shape[0], a.shape[1])
    singular(out, empty((a.shape[0], k), a), empty((k, a.shape[1]), a), a, False)


@jit
def svdvecs(out, a):  # type: ignore[no-untyped-def]
    """The left singular vectors as columns, the largest component of each positive, and below them the right ones.

    >>> out = np.zeros((4, 2))
    >>> svdvecs(out, np.array([[0.0, 3.0], [4.0, 0.0]]))
    >>> (out + 0.0).tolist()
    [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    m = a.shape[0]
    k = min(m, a.shape[1])
    right = empty((k, a.shape[1]), a)
    left = empty((m, k), a)
    singular(empty(k, a), left, right, a, True)
    for i in range(m):
        for c in lanes(0, k):
            out[i, c] = left[i, c]
    for c in range(k):
        for i in range(a.shape[1]):
            out[m + i, c] = right[c, i]
    for c in range(k):
        orient_column(out, c, m)


@jit
def orient_column(x, c, count):  # type: ignore[no-untyped-def]
    """Give a column the sign that makes the largest of its first components positive."""
    best = x[0, c]
    for i in range(1, count):
        best = x[i, c] if fabs(x[i, c]) > fabs(best) else best
    for i in range(x.shape[0]):
        x[i, c] = -x[i, c] if best < 0.0 else x[i, c]


@jit
def pinv(out, a):  # type: ignore[no-untyped-def]
    """The pseudoinverse; singular values that are rounding beside the largest count as 0.

    >>> out = np.zeros((2, 2))
    >>> pinv(out, np.array([[2.0, 0.0], [0.0, 0.0]]))
    >>> out.tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    k = min(a.shape[0], a.shape[1])
    values = empty(k, a)
    left = empty((a.shape[0], k), a)
    right = empty((k, a.shape[1]), a)
    singular(values, left, right, a, True)
    least = cutoff(values)
    for c in range(k):
        divide_row(right, c, values[c] if not values[c] <= least else 1.0, 0)
        if values[c] <= least:
            for i in lanes(0, a.shape[1]):
                right[c, i] = 0.0
    out[:, :] = right.T @ left.T


@njit
def cutoff(values):  # type: ignore[no-untyped-def]
    """Up to where singular values count as 0."""
    return values[0] * np.finfo(values.dtype).eps * 4.5 if len(values) else 0.0


@njit
def singular(values, left, right, a, has_vectors):  # type: ignore[no-untyped-def]
    """The singular values of a matrix; left vectors as columns, right ones as rows, if these are wanted.

    LAPACK is given the rows as columns, and so the transposed matrix. NaN if an entry is not finite.
    """
    m, n = a.shape
    least = min(m, n)
    info = np.ones(1, np.int32)
    if least == 0:
        info[0] = 0
    elif np.isfinite(a).all():
        copy = a.copy()
        sizes = np.array([n, m, least, 5 * least * least + 12 * least + 4 * max(m, n)], np.int32)
        what = np.array([ord("S") if has_vectors else ord("N")], np.uint8)
        work, places = np.empty(sizes[3], a.dtype), np.empty(8 * least, np.int32)
        pointers = (
            what.ctypes, sizes.ctypes, sizes[1:].ctypes, copy.ctypes, sizes.ctypes, values.ctypes, right.ctypes,
            sizes.ctypes, left.ctypes, sizes[2:].ctypes, work.ctypes, sizes[3:].ctypes, places.ctypes, info.ctypes,
        )  # fmt: skip
        if a.itemsize == 8:
            dgesdd(*pointers)
        else:
            sgesdd(*pointers)
    if info[0] != 0:
        values[:] = np.nan
        left[:, :] = np.nan
        right[:, :] = np.nan


# ---- orders


@jit
def argsort(order, x):  # type: ignore[no-untyped-def]
    """The places of the entries of x, of shape (n,), in rising order, in an int64 array; equal ones stay in theirs.

    NaN goes last. A merge sort from the bottom up.

    >>> order = np.zeros(4, np.int64)
    >>> argsort(order, np.array([2.0, np.nan, 1.0, 2.0]))
    >>> order.tolist()
    [2, 0, 3, 1]
    """
    n = x.shape[0]
    merged = empty(n, order)
    for k in lanes(0, n):
        order[k] = k
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            merge(merged, order, x, start, min(start + width, n), min(start + 2 * width, n))
        for k in lanes(0, n):
            order[k] = merged[k]
        width = 2 * width


@jit
def merge(merged, order, x, start, middle, stop):  # type: ignore[no-untyped-def]
    """Merge two neighbouring runs of places into one."""
    left = start
    right = middle
    for k in range(start, stop):
        one = order[min(left, middle - 1)]
        other = order[min(right, stop - 1)]
        is_due = (x[one] <= x[other]) | (x[other] != x[other])
        is_left = (right == stop) | ((left < middle) & is_due)
        merged[k] = one if is_left else other
        left = left + 1 if is_left else left
        right = right if is_left else right + 1
