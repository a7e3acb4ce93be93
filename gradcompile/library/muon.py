"""Muon's step on matrices, in the subset, with products by BLAS; what optimisers have in common is in `optimizers`."""

from gradcompile.codegen.functions import jit
from gradcompile.library.blas import connect_blas
from gradcompile.library.optimizers import norm, scale_by_adam
from gradcompile.library.primitives import lanes, sqrt, to_float, view

connect_blas()
A, B, C = 3.4445, -4.7750, 2.0315  # of Newton and Schulz's polynomial, as Jordan chose them


@jit
def scale_by_muon(updates, theta, state, h, places):  # type: ignore[no-untyped-def]
    """Of matrices the mean gradient made orthogonal, of other parameters Nadam's direction.

    The rows of state behind the two moments are memory for the matrices.
    """
    for p in range(places.shape[0]):
        first = places[p, 0]
        count = places[p, 1]
        if places[p, 2] > 0:
            mean_ahead(updates[first : first + count], state[0, first : first + count], h)
            orthogonal(updates, state, h, first, places[p, 2], places[p, 3])
        else:
            part = state[0:2, first : first + count]
            scale_by_adam(updates[first : first + count], theta, part, h[7:16])


@jit
def mean_ahead(g, m, h):  # type: ignore[no-untyped-def]
    """The mean of the gradients, a step of Nesterov's ahead."""
    for k in lanes(0, g.shape[0]):
        mean = h[0] * m[k] + h[1] * g[k]
        m[k] = mean
        g[k] = mean * h[2] + g[k] * h[3]


@jit
def orthogonal(updates, state, h, first, rows, columns):  # type: ignore[no-untyped-def]
    """U V' of a matrix U S V', about, by five steps of Newton and Schulz on the side that is shorter."""
    count = rows * columns
    n = min(rows, columns)
    m = max(rows, columns)
    g = view(updates, first, (rows, columns))
    x = view(state[2], first, (n, m))
    other = view(state[3], first, (n, m))
    gram = view(state[4], first, (n, n))
    square = view(state[5], first, (n, n))
    length = norm(updates[first : first + count]) + h[4]
    for i in range(n):
        for j in range(m):
            x[i, j] = (g[j, i] if rows > columns else g[i, j]) / length
    for _ in range(5):
        gram[:, :] = x @ x.T
        square[:, :] = gram @ gram
        for i in range(n):
            for j in lanes(0, n):
                square[i, j] = B * gram[i, j] + C * square[i, j]
        other[:, :] = square @ x
        for i in range(n):
            for j in lanes(0, m):
                x[i, j] = A * x[i, j] + other[i, j]
    factor = sqrt(max(1.0, to_float(columns) / to_float(rows)))
    for i in range(rows):
        for j in range(columns):
            g[i, j] = factor * (x[j, i] if rows > columns else x[i, j])
