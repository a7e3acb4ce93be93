"""The order of the samples in each epoch, a function of seed and epoch alone, so that any place in it can be found."""

from typing import Any

import numpy as np

from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.library import shuffles

Vector = np.ndarray[Any, np.dtype[Any]]

COMPUTED = 1_000_000  # samples from which on the order is computed entry by entry, and never stored
WINDOW = 1 << 16  # entries of an order that stand in memory, about


class Order:
    """The order of so many samples. Below 10^6 it is drawn, epoch by epoch, by PCG64 from the seed; from there on it is

        place(i) = F(F(... F(i)))

    applied until it is below the number of samples, where F is a Feistel network on the b bits that samples - 1 has:
    of the left half l and the right half r, three times, l = l xor m(r, k_j), r = r xor m(l, k_j+1), with m the middle
    bits of two products (`library/shuffles.py`); the six keys are drawn by PCG64 from (seed, epoch).
    """

    def __init__(self, samples: int, shuffled: bool, seed: int) -> None:
        self.samples, self.shuffled, self.seed = samples, shuffled, seed
        self.random, self.drawn, self.last = self.generator(), -1, np.empty(0, np.int64)

    def rows(self, epoch: int, first: int, count: int) -> Vector:
        """The samples at so many places of an epoch."""
        if not self.shuffled:
            return np.arange(first, first + count)
        if self.samples >= COMPUTED:
            return places(self.keys(epoch), self.samples, first, count)
        return self.permutation(epoch)[first : first + count]

    def keys(self, epoch: int) -> Vector:
        """Of the rounds."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        return random.integers(1 << 31, size=2 * shuffles.PAIRS)

    def permutation(self, epoch: int) -> Vector:
        """The whole order, drawn after those of all epochs before."""
        if epoch < self.drawn:
            self.random, self.drawn = self.generator(), -1
        while self.drawn < epoch:
            self.last, self.drawn = self.random.permutation(self.samples), self.drawn + 1
        return self.last

    def generator(self) -> np.random.Generator:
        """What draws the orders of epochs 0, 1, ..."""
        return np.random.Generator(np.random.PCG64(self.seed))


def places(keys: Vector, samples: int, first: int, count: int) -> Vector:
    """Where so many samples are, from one on.

    >>> sorted(places(np.arange(6), 10, 0, 10).tolist()) == list(range(10))
    True
    """
    bits = max(2, (samples - 1).bit_length())
    kinds = [*(array_kind("int64", 1),) * 2, *(array_kind("int64", 0),) * 4]
    out = np.empty(count, np.int64)
    jit.entry(shuffles.fill, kinds)(out, np.asarray(keys, np.int64), samples, first, bits // 2, bits - bits // 2)
    return out
