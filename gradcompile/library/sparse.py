"""Products of a sparse matrix for generated code: its entries row by row, with the column of each.

The entries of row i are those from starts[i] to stops[i] of `data`, in the columns that `columns` has. A place outside
gives NaN. Sums run in the order of the entries.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes

__all__ = ["sparse_dot_columns_matrix", "sparse_dot_columns_vector", "sparse_dot_rows_matrix", "sparse_dot_rows_vector"]

NAN = float("nan")


@jit
def sparse_dot_rows_vector(z, x, columns, data, starts, stops):  # type: ignore[no-untyped-def]
    """The matrix times a vector.

    >>> import numpy as np
    >>> z, first, last = np.zeros(2), np.array([0, 1]), np.array([1, 3])
    >>> sparse_dot_rows_vector(z, np.array([1.0, 10.0]), np.array([1, 0, 1]), np.array([2.0, 3.0, 4.0]), first, last)
    >>> z.tolist()
    [20.0, 43.0]
    """
    for i in range(z.shape[0]):
        z[i] = 0.0
        for k in range(max(starts[i], 0), min(stops[i], data.shape[0])):
            at = columns[k]
            inside = (at >= 0) & (at < x.shape[0])
            z[i] += data[k] * x[at if inside else 0] if inside else NAN


@jit
def sparse_dot_columns_vector(z, x, columns, data, starts, stops):  # type: ignore[no-untyped-def]
    """The transposed matrix times a vector."""
    spoiled = 0.0
    for j in lanes(0, z.shape[0]):
        z[j] = 0.0
    for i in range(x.shape[0]):
        for k in range(max(starts[i], 0), min(stops[i], data.shape[0])):
            at = columns[k]
            inside = (at >= 0) & (at < z.shape[0])
            spoiled = spoiled if inside else NAN
            z[at if inside else 0] += data[k] * x[i] if inside else 0.0
    for j in lanes(0, z.shape[0]):
        z[j] += spoiled


@jit
def sparse_dot_rows_matrix(z, x, columns, data, starts, stops):  # type: ignore[no-untyped-def]
    """The matrix times a matrix."""
    for i in range(z.shape[0]):
        for c in lanes(0, z.shape[1]):
            z[i, c] = 0.0
        for k in range(max(starts[i], 0), min(stops[i], data.shape[0])):
            at = columns[k]
            inside = (at >= 0) & (at < x.shape[0])
            add_row(z, i, data[k] if inside else NAN, x, at if inside else 0)


@jit
def sparse_dot_columns_matrix(z, x, columns, data, starts, stops):  # type: ignore[no-untyped-def]
    """The transposed matrix times a matrix."""
    for j in range(z.shape[0]):
        for c in lanes(0, z.shape[1]):
            z[j, c] = 0.0
    for i in range(x.shape[0]):
        for k in range(max(starts[i], 0), min(stops[i], data.shape[0])):
            at = columns[k]
            inside = (at >= 0) & (at < z.shape[0])
            add_row(z, at if inside else 0, data[k] if inside else NAN, x, i)


@jit
def add_row(z, i, factor, x, j):  # type: ignore[no-untyped-def]
    """z[i] += factor*x[j]."""
    for c in lanes(0, z.shape[1]):
        z[i, c] += factor * x[j, c]
