"""Colours for columns: those of one colour share no row, so one product with the sum of their unit vectors gives all.

A. R. Curtis, M. J. D. Powell, J. K. Reid, On the estimation of sparse Jacobian matrices, 1974; greedy, those with most
neighbours first, as in T. F. Coleman, J. J. Moré, Estimation of sparse Jacobian matrices and graph coloring, 1983.
"""

import numpy as np

Ints = np.ndarray


def colors_of(rows: Ints, columns: Ints, width: int) -> Ints:
    """A colour for each column of a pattern, from 0 on.

    >>> rows, columns = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 3])
    >>> colors_of(rows, columns, 4).tolist()
    [1, 0, 1, 0]
    """
    by_row, by_column = lists_of(rows, columns), lists_of(columns, rows, width)
    most = sorted(range(width), key=lambda k: -sum(len(by_row[r]) for r in by_column[k]))
    found = np.full(width, -1)
    for k in most:
        taken = {int(found[j]) for r in by_column[k] for j in by_row[r]}
        found[k] = next(c for c in range(width) if c not in taken)
    return found


def lists_of(keys: Ints, values: Ints, count: int | None = None) -> list[list[int]]:
    """The values of each key, keys being numbers from 0 on."""
    found: list[list[int]] = [[] for _ in range(int(keys.max(initial=-1)) + 1 if count is None else count)]
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        found[key].append(value)
    return found
