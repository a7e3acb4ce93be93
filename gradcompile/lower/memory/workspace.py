"""One piece of memory for all arrays of a function: places are planned once, and used again when nothing reads them."""

from dataclasses import dataclass, field

from gradcompile.ir.types import Dim, dim_product, dim_sum

ALIGNED = 16  # entries that the start of an array is a multiple of: a cache line holds 8 or 16
APART = 64  # times its size: an array leaves larger places to others, so that a small one does not keep a large one out


@dataclass(slots=True)
class Workspace:
    """Places for arrays that live from one step to another.

    >>> work = Workspace()
    >>> work.place(30, 0, 2), work.place(16, 1, 4), work.place(20, 3, 4), work.size
    (0, 32, 0, 48)
    """

    size: Dim = 0
    free: list[tuple[Dim, Dim]] = field(default_factory=list)  # start and length
    living: list[tuple[int, Dim, Dim]] = field(default_factory=list)  # last step, start and length

    def place(self, length: Dim, first: int, last: int) -> Dim:
        """Where an array of so many entries stands, which is read and written from one step to another."""
        length = -(-length // ALIGNED) * ALIGNED if isinstance(length, int) else length
        self.free += [(start, n) for end, start, n in self.living if end < first]
        self.living = [x for x in self.living if x[0] >= first]
        fitting = [x for x in self.free if x[1] == length or (isinstance(x[1], int) and isinstance(length, int)
                                                              and length < x[1] <= APART * length)]  # fmt: skip
        if fitting:
            start, n = min(fitting, key=lambda x: (x[1] != length, x[1] if isinstance(x[1], int) else 0))
            self.free.remove((start, n))
            if n != length:
                self.free.append((dim_sum(start, length), dim_sum(n, dim_product(-1, length))))
        else:
            start, self.size = self.size, dim_sum(self.size, length)
        self.living.append((last, start, length))
        return start
