"""Sums over samples, pairwise: within a span every lane adds up, then lanes fold, then spans meet in a binary tree.

The tree is the carry chain of a binary counter (span 0 with 1, 2 with 3, then those two, ...), so its shape depends on
the number of spans alone, the error grows with its logarithm, and the memory does too. A power of two of spans that
begins at a multiple of itself is a tree of its own, which is how threads share the work and give the same bits.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import fabs, lanes

INF = float("inf")
SPAN = 1024  # samples between two entries in the tree
GROUPS = 8  # groups of samples that stay when they grow
GROWTH = 16  # how much they grow at most
LEVELS = 32  # enough for 2**32 spans


@jit
def close_span(sums, tree, index):  # type: ignore[no-untyped-def]
    """Fold the lanes of each sum, carry the result into the tree as entry number index, and clear the lanes."""
    for k in range(sums.shape[0]):
        width = sums.shape[1] // 2
        while width > 0:
            for i in range(width):
                sums[k, i] += sums[k, width + i]
            width = width // 2
        carry = sums[k, 0]
        level = 0
        while (index >> level) & 1 == 1:
            carry = tree[level, k] + carry
            level += 1
        tree[level, k] = carry
        for i in range(sums.shape[1]):
            sums[k, i] = 0.0


@jit
def carry_on(tree, part, level, index):  # type: ignore[no-untyped-def]
    """Carry the sums of part number index, a tree of 2**level spans, into a tree."""
    for k in range(tree.shape[1]):
        carry = part[level, k]
        at = level
        while (index >> (at - level)) & 1 == 1:
            carry = tree[at, k] + carry
            at += 1
        tree[at, k] = carry


@jit
def close_tree(tree, totals, samples):  # type: ignore[no-untyped-def]
    """Add what the tree of so many samples still holds apart, into totals."""
    spans = (samples + SPAN - 1) // SPAN
    for k in range(totals.shape[0]):
        total = 0.0
        level = 0
        while spans >> level > 0:
            total = tree[level, k] + total if (spans >> level) & 1 == 1 else total
            level += 1
        totals[k] = total


@jit
def largest(peaks):  # type: ignore[no-untyped-def]
    """The largest entry of a vector; NaN if one is.

    >>> import numpy as np
    >>> float(largest(np.array([1.0, 3.0, 2.0])))
    3.0
    """
    result = peaks[0]
    for i in range(1, peaks.shape[0]):
        here = peaks[i]
        result = result if (result >= here) | (result != result) else here
    return result


@jit
def group_size(samples, least):  # type: ignore[no-untyped-def]
    """The samples of a group: from many on groups are larger, so that fewer sums are merged.

    >>> [int(group_size(n, 256)) for n in (1000, 5000, 10**9)]
    [256, 512, 4096]
    """
    size = least
    while (size < GROWTH * least) & (2 * GROUPS * size <= samples):
        size += size
    return size


@jit
def add_part(total, part, lost):  # type: ignore[no-untyped-def]
    """Add a vector to another; what the rounding of each sum loses is added to a third, for `add_compensation`.

    The error then does not grow with the number of parts. A sum that is infinite or NaN loses nothing.

    >>> import numpy as np
    >>> total, lost = np.array([1e16]), np.zeros(1)
    >>> for _ in range(8):
    ...     add_part(total, np.array([1.0]), lost)
    >>> add_compensation(total, lost)
    >>> float(total[0]) - 1e16
    8.0
    """
    for k in lanes(0, total.shape[0]):
        x = total[k]
        y = part[k]
        both = x + y
        moved = both - x
        error = (x - (both - moved)) + (y - moved)
        total[k] = both
        lost[k] += error if fabs(error) < INF else 0.0


@jit
def add_parts(total, parts, lost, start, stop):  # type: ignore[no-untyped-def]
    """Add the rows of a matrix to a vector, one after the other by `add_part`; the entries from start to stop."""
    sums = total[start:stop]
    errors = lost[start:stop]
    for k in range(parts.shape[0]):
        part = parts[k, start:stop]
        add_part(sums, part, errors)


@jit
def raise_parts(total, parts, start, stop):  # type: ignore[no-untyped-def]
    """Put the rows of a matrix into a vector of maxima, one after the other; the entries from start to stop.

    Of equals, zeros of either sign or NaN, the first stays. So the bits do not depend on how the samples are grouped.

    >>> import numpy as np
    >>> total = np.array([1.0, 5.0])
    >>> raise_parts(total, np.array([[3.0, 4.0], [2.0, np.nan]]), 0, 2)
    >>> total
    array([ 3., nan])
    """
    for k in range(parts.shape[0]):
        for i in lanes(start, stop):
            x = total[i]
            y = parts[k, i]
            total[i] = x if (x >= y) | (x != x) else y


@jit
def add_compensation(total, lost):  # type: ignore[no-untyped-def]
    """Put back what `add_part` has lost; an empty vector has lost nothing."""
    for k in lanes(0, lost.shape[0]):
        total[k] += lost[k]
