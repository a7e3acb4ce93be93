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


def of_root(least: Sequence[float], params: Params) -> float:
    """A root keeps the order."""
    return math.sqrt(least[0]) if least[0] >= 0 else NONE


def of_first(least: Sequence[float], params: Params) -> float:
    """Entries of the first argument."""
    return least[0]


def zero(least: Sequence[float], params: Params) -> float:
    """Never negative, whatever the arguments are."""
    return 0.0
