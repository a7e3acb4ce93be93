"""A part of a rule: one function of the subset, and what it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradcompile.optim.schedules import Schedule

Vector = np.ndarray[Any, np.dtype[Any]]
Numbers = Callable[[Vector, Vector], Sequence[Any]]  # of the steps (1, 2, ...) and their rates, for each its own
PARAMS = "params"  # what a row of the state begins with: these, or a number


@dataclass(frozen=True)
class Part:
    """One function of the subset, and what it is given.

    numbers: gives `h` of each step. starts: what each row of its state begins with. rate: if it has one of its own.
    shown: its row that holds the parameters to be used, as a mean of theta has them. is_own: of the package.
    """

    function: Any
    width: int = 0
    numbers: Numbers = field(default=lambda steps, rates: (), repr=False, compare=False)
    starts: tuple[Any, ...] = ()
    rate: Schedule | None = field(default=None, compare=False)
    shown: int | None = None
    is_own: bool = True
    takes_places: bool = False

    @property
    def name(self) -> str:
        """Of its function."""
        return str(self.function.__name__)

    @property
    def rows(self) -> int:
        """How many vectors of state it keeps."""
        return len(self.starts)


def part(function: Any, numbers: Numbers | Sequence[float] = (), width: int | None = None, **options: Any) -> Part:
    """A part of the package's; numbers: the same at each step, or what gives them."""
    if callable(numbers):
        return Part(function, width or 0, numbers, **options)
    fixed = tuple(map(float, numbers))
    return Part(function, len(fixed), lambda steps, rates: fixed, **options)
