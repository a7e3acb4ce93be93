"""Products of matrices and vectors without a BLAS, for code that has to stand alone.

The sums of a product of matrices are those of `codegen/tiles.py`: DEPTH terms in their order, each by one fused
multiplication and addition, then these sums in their order. So the bits do not depend on which of the two makes them.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import empty, fma, fold, lanes, zeros

LANES = 16
DEPTH = 128  # terms that are added up before they meet others
WIDTH = 16  # columns of a panel, which fits on the stack


@jit
def multiply(out, a, b, alpha, beta):  # type: ignore[no-untyped-def]
    """out = alpha*(a @ b) + beta*out for a beta of 0 or 1, and of 0 an alpha of 1; of any strides.

    >>> import numpy as np
    >>> out = np.ones((1, 2))
    >>> multiply(out, np.array([[1.0, 2.0]]), np.eye(2), -1.0, 1.0)
    >>> out
    array([[ 0., -1.]])
    """
    panel = empty((DEPTH, WIDTH), out)  # of b, its columns side by side
    sums = empty(WIDTH, out)
    for left in range(0, out.shape[1], WIDTH):
        columns = min(WIDTH, out.shape[1] - left)
        for first in range(0, max(a.shape[1], 1), DEPTH):
            terms = min(DEPTH, a.shape[1] - first)
            for k in range(terms):
                for j in lanes(0, columns):
                    panel[k, j] = b[first + k, left + j]
            for i in range(out.shape[0]):
                add_terms(sums, a[i, first : first + terms], panel, columns)
                for j in lanes(0, columns):
                    known = out[i, left + j]
                    added = fma(alpha if beta != 0.0 else 1.0, sums[j], known)
                    out[i, left + j] = added if (first > 0) | (beta != 0.0) else sums[j]


@jit
def add_terms(sums, a, rows, columns):  # type: ignore[no-untyped-def]
    """The product of a vector and as many rows, term by term in their order."""
    for j in lanes(0, columns):
        sums[j] = 0.0
    whole = a.shape[0] // 4 * 4
    for k in range(0, whole, 4):
        p = a[k]
        q = a[k + 1]
        r = a[k + 2]
        s = a[k + 3]
        for j in lanes(0, columns):
            one = fma(p, rows[k, j], sums[j])
            two = fma(q, rows[k + 1, j], one)
            three = fma(r, rows[k + 2, j], two)
            sums[j] = fma(s, rows[k + 3, j], three)
    for k in range(whole, a.shape[0]):
        t = a[k]
        for j in lanes(0, columns):
            sums[j] = fma(t, rows[k, j], sums[j])


@jit
def apply(out, a, x, alpha):  # type: ignore[no-untyped-def]
    """out += alpha*(a @ x), of any strides."""
    for i in range(out.shape[0]):
        out[i] = fma(alpha, inner(a[i, :], x), out[i])


@jit
def inner(a, b):  # type: ignore[no-untyped-def]
    """The product of two vectors of any strides; each lane adds up, then the lanes.

    >>> import numpy as np
    >>> float(inner(np.arange(3.0), np.arange(3.0)))
    5.0
    """
    sums = zeros(LANES, a)
    for i in lanes(0, a.shape[0]):
        sums[i % LANES] += a[i] * b[i]
    return fold(sums)
