"""Spacing: the places that similar terms read, split into runs that a loop can step through.

A row of places is what one term reads, a column what the terms read in one position. A run is a line or a grid if each
of its columns is start + stride*i, or start + stride*i + stride'*j, over the same counts.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradcompile.ops.constant_index import Affine, Places, Spec

Ints = npt.NDArray[np.int64]

FEWEST = 32  # terms of a loop
SHORTEST = 8  # steps of the inner axis of a grid, if the other one has more
PIECES = 8  # runs that the terms of one form are split into


class Run(NamedTuple):
    """The terms of a loop in its order, the counts of its axes, and whether it steps evenly."""

    terms: Ints
    shape: tuple[int, ...]
    even: bool = True

    @property
    def is_line(self) -> bool:
        """Whether the terms step evenly along one axis."""
        return self.even and len(self.shape) == 1

    def spec(self, column: Ints) -> Spec:
        """The index by which the run reads one column.

        >>> Run(np.arange(6), (2, 3)).spec(np.array([5, 6, 7, 15, 16, 17]))
        Affine(start=5, axes=((2, 10), (3, 1)))
        """
        places = column[self.terms]
        return Affine(int(places[0]), self.axes(column)) if self.even else Places(tuple(places.tolist()))

    def axes(self, column: Ints) -> tuple[tuple[int, int], ...]:
        """Count and stride of each axis by which an even run reads one column."""
        steps = [prod(self.shape[k + 1 :]) for k in range(len(self.shape))]
        strides = [int(column[self.terms[s]] - column[self.terms[0]]) for s in steps]
        return tuple(zip(self.shape, strides, strict=True))


def runs(columns: Ints) -> list[Run]:
    """The terms as runs; fewer terms than a loop has are left out where they fit no other.

    >>> [(r.shape, r.even) for r in runs(np.array([np.arange(40), np.arange(40) + 1]))]
    [((40,), True)]
    """
    ordered = in_order(columns)
    whole = even(columns, ordered)
    if whole is not None:
        return [whole]
    found = [run for group in by_offset(columns, ordered) for run in pieces(columns, group)]
    left = np.setdiff1d(np.arange(len(ordered)), [k for run in found for k in run.terms])
    if len(left) >= FEWEST:
        left = ordered[np.isin(ordered, left)]
        found.append(Run(left, (len(left),), False))
    return found


def first_equal(columns: Ints) -> Ints:
    """For each place, the first column that has the same place in its row.

    >>> first_equal(np.array([[5, 5], [6, 5], [5, 7]])).tolist()
    [[0, 0], [1, 0], [0, 2]]
    """
    order = np.argsort(columns, axis=0, kind="stable")
    ordered = np.take_along_axis(columns, order, 0)
    is_new = np.diff(ordered, axis=0, prepend=ordered[:1] - 1) != 0
    starts = np.maximum.accumulate(np.where(is_new, np.arange(len(columns))[:, None], 0), axis=0)
    result = np.empty_like(order)
    np.put_along_axis(result, order, np.take_along_axis(order, starts, 0), 0)
    return result


def in_order(columns: Ints) -> Ints:
    """The terms sorted by their places, in the column of the most distinct places first."""
    distinct = [-len(np.unique(c)) for c in columns]
    keys = [columns[k] for k in np.argsort(distinct, kind="stable")]
    return np.lexsort(keys[::-1]) if keys else np.arange(columns.shape[1])


def even(columns: Ints, terms: Ints) -> Run | None:
    """The terms as a line or a grid, if they are one; its longer axis is the inner one if the other is very short."""
    places = columns[:, terms]
    steps = np.diff(places, axis=1)
    regular = np.all(steps == steps[:, :1], axis=0)
    if np.all(regular):
        return Run(terms, (len(terms),))
    inner = int(np.argmin(regular)) + 1
    if inner == 1 or len(terms) % inner:
        return None
    grid = places.reshape(len(columns), -1, inner)
    if np.any(grid != grid[:, :1, :] + grid[:, :, :1] - grid[:, :1, :1]) or np.any(np.ptp(np.diff(grid[:, :, 0]), 1)):
        return None
    outer = grid.shape[1]
    if inner < min(SHORTEST, outer):
        return Run(terms.reshape(outer, inner).T.ravel(), (inner, outer))
    return Run(terms, (outer, inner))


def by_offset(columns: Ints, terms: Ints) -> list[Ints]:
    """The terms by how far their places are from each other: on a grid, those along rows and those along columns."""
    offsets, which = np.unique(columns[1:, terms] - columns[0, terms], axis=1, return_inverse=True)
    groups = [terms[which.ravel() == k] for k in range(min(offsets.shape[1], PIECES + 1))]
    large = [g for g in groups if len(g) >= FEWEST]
    return large if large and sum(map(len, large)) > len(terms) - FEWEST else [terms]


def pieces(columns: Ints, terms: Ints) -> list[Run]:
    """The terms as one run, or as a few lines that hold most of them; none if there are no such."""
    whole = even(columns, terms)
    if whole is not None:
        return [whole]
    found = list(lines(columns[:, terms]))
    covered = sum(stop - start for start, stop in found)
    if len(found) > PIECES or 4 * covered < 3 * len(terms):
        return []
    return [Run(terms[start:stop], (stop - start,)) for start, stop in found]


def lines(places: Ints) -> Iterator[tuple[int, int]]:
    """First and last + 1 of the longest stretches of even steps, without overlap.

    >>> list(lines(np.array([[*range(40), *range(50, 52), *range(100, 200)]])))
    [(0, 40), (42, 142)]
    """
    steps = np.diff(places, axis=1)
    changes = np.flatnonzero(np.any(np.diff(steps, axis=1) != 0, axis=0)) + 1
    taken = 0
    for start, stop in zip([0, *changes.tolist()], [*changes.tolist(), steps.shape[1]], strict=True):
        start = max(start, taken)
        if stop + 1 - start >= FEWEST:
            taken = stop + 1
            yield start, taken
