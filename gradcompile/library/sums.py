"""Sums over samples, pairwise: within a group they are added up, and groups meet in a binary tree.

A group of columns is a span, in which every lane adds up, then lanes fold. The tree is the carry chain of a binary
counter (group 0 with 1, 2 with 3, then those two, ...), so its shape depends on the number of groups alone, the error
grows with its logarithm, and the memory does too. A power of two of groups that begins at a multiple of itself is a
tree of its own, which is how threads share the work and give the same bits.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes

SPAN = 1024  # samples of a group of columns
GROUPS = 8  # groups of samples that stay when they grow
GROWTH = 16  # how much they grow at most
LEVELS = 32  # of a tree of spans: enough for 2**32


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
def carry(total, tree, index):  # type: ignore[no-untyped-def]
    """Carry the sums of group number index into the tree, and clear them for the next group.

    >>> import numpy as np
    >>> total, tree = np.ones(1), np.zeros((2, 1))
    >>> carry(total, tree, 0)
    >>> total[0] = 2.0
    >>> carry(total, tree, 1)
    >>> total, tree.ravel()
    (array([0.]), array([1., 3.]))
    """
    level = 0
    while (index >> level) & 1 == 1:
        for k in lanes(0, tree.shape[1]):
            total[k] = tree[level, k] + total[k]
        level += 1
    for k in lanes(0, tree.shape[1]):
        tree[level, k] = total[k]
        total[k] = 0.0


@jit
def levels(groups):  # type: ignore[no-untyped-def]
    """The levels that a tree needs for so many groups before the last, whose sums never enter it.

    >>> [int(levels(n)) for n in (0, 1, 2, 3, 4)]
    [0, 1, 2, 2, 3]
    """
    level = 0
    while 1 << level <= groups:
        level += 1
    return level


@jit
def close_tree(tree, total, groups):  # type: ignore[no-untyped-def]
    """Add what the tree of so many groups still holds apart to what came after them."""
    level = 0
    while 1 << level <= groups:
        if (groups >> level) & 1 == 1:
            for k in lanes(0, total.shape[0]):
                total[k] = tree[level, k] + total[k]
        level += 1


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
