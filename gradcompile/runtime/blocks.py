"""Columns that a call converts block by block: in chunks, or of another dtype than the kernel takes.

A block is converted where it is needed, so beside a long column there is never a second one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

ROWS = 1 << 16  # of a block, a power of two of spans


class Blocks:
    """A column in chunks, which are arrays of NumPy or of a library that makes them ones; dtype: what it is read as.

    >>> column = Blocks([np.arange(3), np.arange(3, 5)], np.dtype("float64"))
    >>> column.shape, column.block(2, 4), np.asarray(column)
    ((5,), array([2., 3.]), array([0., 1., 2., 3., 4.]))
    """

    def __init__(self, chunks: Sequence[Any], dtype: np.dtype[Any] | None = None) -> None:
        self.chunks = [c for c in chunks if len(c)] or list(chunks[:1])
        self.own = np.asarray(self.chunks[0][:1]).dtype
        self.dtype = self.own if dtype is None else dtype
        self.starts = np.cumsum([0, *map(len, self.chunks)])
        self.shape = (int(self.starts[-1]),)
        self.ndim, self.nbytes = 1, self.shape[0] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def flags(self) -> Any:
        """Those of an array that does not lie in one piece."""
        return np.empty(4)[::2].flags

    def read_as(self, dtype: np.dtype[Any]) -> "Blocks":
        """The same column as numbers of another dtype."""
        return Blocks(self.chunks, dtype)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Some rows as an array of their own."""
        found = np.empty(min(stop, len(self)) - start, self.dtype)
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        for chunk, at in zip(self.chunks[first:], self.starts[first:].tolist(), strict=False):
            if at >= stop:
                break
            part = np.asarray(chunk[max(start - at, 0) : stop - at])
            begin = max(at, start) - start
            found[begin : begin + len(part)] = part
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.block(0, len(self)), dtype)
