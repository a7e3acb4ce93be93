"""The compiled gradient against one that shares nothing with it: central differences of the loss in high precision."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcompile.frontend.arguments import Argument
from gradcompile.interpret import exact
from gradcompile.ir import Node, topological

DIGITS = 60
STEP = "1e-20"  # the error of a central difference is its square
COARSE = "1e-6"  # where a function of the user's is known in doubles only


class Check(NamedTuple):
    """The worst error |x - y| / max(1, |x| + |y|), the entry it is in, and both values there.

    The measure is that of the ADBench suite, which calls two gradients equal up to 1e-8.
    """

    error: float
    where: str
    compiled: float
    expected: float


def check(gradient: np.ndarray, primal: Node, params: Sequence[Argument], values: Mapping[Node, Any]) -> Check:
    """The worst entry of a flat gradient against (L(theta + h) - L(theta - h)) / 2h in 60 digits.

    With a function of the user's, which is known in doubles only, the difference is good to about 1e-9.
    At a kink a central difference is the mean of both sides, which is the convention for abs, max and min only.
    """
    import mpmath

    checks = []
    in_doubles = any(n.op.exact is None and n.op.partials is not None for n in topological([primal]))
    step = COARSE if in_doubles else STEP
    position = 0
    for a in params:
        for index in np.ndindex(tuple(int(d) for d in a.leaf.type.shape)):
            with mpmath.workdps(DIGITS):
                expected = float(difference(primal, values, a.leaf, index, mpmath.mpf(step)))
            got = float(gradient[position])
            where = a.name + (f"[{', '.join(map(str, index))}]" if index else "")
            checks.append(Check(distance(got, expected), where, got, expected))
            position += 1
    return max(checks, key=lambda c: c.error)


def difference(primal: Node, values: Mapping[Node, Any], leaf: Node, index: tuple[int, ...], step: Any) -> Any:
    """The central difference in one entry."""
    sides = []
    for sign in (1, -1):
        moved = np.array(values[leaf], dtype=object)
        moved[index] = type(step)(float(moved[index])) + sign * step
        sides.append(exact([primal], {**values, leaf: moved}, DIGITS)[0])
    return (sides[0] - sides[1]) / (2 * step)


def distance(x: float, y: float) -> float:
    """|x - y| / max(1, |x| + |y|), infinite if one of them is not a number and the other is."""
    if np.isnan(x) or np.isnan(y):
        return 0.0 if np.isnan(x) and np.isnan(y) else float("inf")
    return 0.0 if x == y else float(abs(x - y) / max(1.0, abs(x) + abs(y)))
