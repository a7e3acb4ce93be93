"""What values are never below: one rule for each kind of op, from the bounds of its arguments and its params."""

import math
from collections.abc import Sequence

from gradcompile.ir.core import Params

NONE = -math.inf  # of what has no bound


def of_sum(least: Sequence[float], params: Params) -> float:
    """All terms have a bound."""
    return sum(least) if NONE not in least else NONE


def of_product(least: Sequence[float], params: Params) -> float:
    """Factors that are not negative."""
    return math.prod(least) if min(least) >= 0 else NONE


def of_entries(least: Sequence[float], params: Params) -> float:
    """Sums of entries, or of products of entries, that are not negative, however many."""
    return 0.0 if min(least) >= 0 else NONE


def of_quotient(least: Sequence[float], params: Params) -> float:
    """Not negative, divided by what is positive."""
    return 0.0 if least[0] >= 0 and least[1] > 0 else NONE


def of_remainder(least: Sequence[float], params: Params) -> float:
    """The remainder has the sign of the divisor."""
    return 0.0 if least[1] > 0 else NONE


def of_root(least: Sequence[float], params: Params) -> float:
    """A root keeps the order."""
    return math.sqrt(least[0]) if least[0] >= 0 else NONE


def of_smallest(least: Sequence[float], params: Params) -> float:
    """The smallest of all."""
    return min(least)


def of_largest(least: Sequence[float], params: Params) -> float:
    """The largest of all."""
    return max(least)


def of_chosen(least: Sequence[float], params: Params) -> float:
    """One of the values after a condition."""
    return min(least[1:])


def of_first(least: Sequence[float], params: Params) -> float:
    """Entries of the first argument."""
    return least[0]


def zero(least: Sequence[float], params: Params) -> float:
    """Never negative, whatever the arguments are."""
    return 0.0
