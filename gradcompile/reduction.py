"""Sums over samples, pairwise: within a span every lane adds up, then lanes fold, then spans meet in a binary tree.

The tree is the carry chain of a binary counter (span 0 with 1, 2 with 3, then those two, ...), so its shape depends on
the number of spans alone, the error grows with its logarithm, and the memory does too.
"""

import numpy as np

from gradcompile.runtime.jit import jit

LANES = 64  # samples in a block: each sum has one partial result a lane
SPAN = 4096  # samples between two entries in the tree
LEVELS = 48  # enough for 2**48 spans


@jit
def zeros(count, like):  # type: ignore[no-untyped-def]
    """An array of zeros with the dtype of another."""
    result = np.empty(count, like.dtype)
    for k in range(count):
        result[k] = 0.0
    return result


@jit
def close_span(sums, tree, index):  # type: ignore[no-untyped-def]
    """Fold the lanes of each sum, carry the result into the tree as entry number index, and clear the lanes."""
    count = sums.shape[0] // LANES
    for k in range(count):
        width = LANES // 2
        while width > 0:
            for i in range(width):
                sums[k * LANES + i] += sums[k * LANES + width + i]
            width //= 2
        carry = sums[k * LANES]
        level = 0
        while (index >> level) & 1:
            carry = tree[level * count + k] + carry
            level += 1
        tree[level * count + k] = carry
        for i in range(LANES):
            sums[k * LANES + i] = 0.0


@jit
def close_tree(tree, totals, spans):  # type: ignore[no-untyped-def]
    """Add what a tree of so many spans still holds apart, into totals."""
    count = totals.shape[0]
    for level in range(LEVELS):
        if (spans >> level) & 1:
            first = (spans & ((1 << level) - 1)) == 0
            for k in range(count):
                totals[k] = tree[level * count + k] if first else tree[level * count + k] + totals[k]
