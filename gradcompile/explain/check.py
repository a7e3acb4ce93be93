"""The compiled gradient against one that shares nothing with it: central differences of the loss in high precision."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcompile.analysis.evaluate import exact
from gradcompile.ir.algebra import add, sum_over
from gradcompile.ir.core import Node, leaf
from gradcompile.ir.graph import topological
from gradcompile.signature.arguments import Argument

DIGITS = 60
STEP = "1e-20"  # the error of a central difference is its square
MOST = 32  # entries that are looked at one by one
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

    Of more than 32 entries, as many are drawn, always the same; then a step in a direction that moves all of them is
    compared as well, so that an entry that was not drawn can't be wrong unnoticed.
    With a function of the user's, which is known in doubles only, the difference is good to about 1e-9.
    At a kink a central difference is the mean of both sides, which is the convention for abs, max and min only. At the
    end of a domain the difference is taken to the side that is inside. NaN is right only where the loss is no number.
    """
    import mpmath

    in_doubles = any(map(is_known_in_doubles_only, topological([primal])))
    drawn, names = np.random.default_rng(0), entry_names(params)
    places = np.arange(len(names))
    steps: dict[str, np.ndarray] = {}
    if len(names) > MOST and not in_doubles:
        places = np.sort(drawn.choice(places, MOST, replace=False))
        steps["a step of 1 or -1 in every entry"] = drawn.choice([-1.0, 1.0], len(names))
    steps |= {names[k]: unit(len(names), int(k)) for k in places}
    checks = []
    for where, direction in steps.items():
        with np.errstate(all="ignore"):
            got = float(np.sum(gradient * direction, where=direction != 0))
        with mpmath.workdps(DIGITS):
            step = mpmath.mpf(COARSE if in_doubles else STEP)
            expected = slope = float(difference(primal, values, params, direction, step))
            if np.isinf(got):  # which a difference never is; it grows with a shorter step
                nearer = float(difference(primal, values, params, direction, step * 1e-8))
                expected = float(np.sign(nearer) * np.inf) if abs(nearer) > 1.1 * abs(slope) else slope
        checks.append(Check(distance(got, expected), where, got, expected))
    worst = max(checks, key=lambda c: c.error)
    known = worst.error or not any(np.isnan(c.compiled) for c in checks)
    return worst if known else of_nan(primal, values, checks)


def is_known_in_doubles_only(n: Node) -> bool:
    """Whether a function can't be evaluated in high precision; whole numbers need none."""
    is_whole = n.op.by_shape or n.op.gives_places or not n.args
    return n.op.exact is None and n.op.partials is not None and not is_whole


def weighted(nodes: Sequence[Node], weights: Sequence[np.ndarray]) -> tuple[Node, dict[Node, Any]]:
    """The sum of the entries of nodes, each times its weight, and the values of the leaves that hold the weights.

    Its gradient is a product with the transposed Jacobian of the nodes, which is checked like any gradient.
    """
    leaves = [leaf(f"weights.{k}", n.type) for k, n in enumerate(nodes)]
    terms = [sum_over(n * w, tuple(range(len(n.type.shape)))) if n.type.shape else n * w
             for n, w in zip(nodes, leaves, strict=True)]  # fmt: skip
    return add(*terms), dict(zip(leaves, weights, strict=True))


def along(
    primal: Node, params: Sequence[Argument], values: Mapping[Node, Any], got: float, vector: np.ndarray
) -> Check:
    """A derivative along a vector against the central difference."""
    import mpmath

    with mpmath.workdps(DIGITS):
        expected = float(difference(primal, values, params, vector, mpmath.mpf(STEP)))
    return Check(distance(got, expected), "the direction", got, expected)


def moved(params: Sequence[Argument], values: Mapping[Node, Any], vector: np.ndarray, step: Any) -> dict[Node, Any]:
    """The values with the parameters moved by a step along a vector."""
    found, first = dict(values), 0
    for a in params:
        theta = np.array(values[a.leaf], dtype=object)
        for k, index in enumerate(np.ndindex(theta.shape), start=first):
            if vector[k]:
                theta[index] = type(step)(float(theta[index])) + step * float(vector[k])
        found[a.leaf] = theta
        first += theta.size
    return found


def of_nan(primal: Node, values: Mapping[Node, Any], checks: Sequence[Check]) -> Check:
    """A check where NaN met NaN: they agree if the loss is NaN as well."""
    found = next(c for c in checks if np.isnan(c.compiled))
    return found if np.isnan(float(exact([primal], values, DIGITS)[0])) else found._replace(error=float("inf"))


def unit(size: int, k: int) -> np.ndarray:
    """The direction that moves one entry."""
    return np.where(np.arange(size) == k, 1.0, 0.0)


def entry_names(params: Sequence[Argument]) -> list[str]:
    """What the entries of theta are called."""
    found = []
    for a in params:
        for index in np.ndindex(tuple(int(d) for d in a.leaf.type.shape)):
            found.append(a.name + (f"[{', '.join(map(str, index))}]" if index else ""))
    return found


def difference(
    primal: Node, values: Mapping[Node, Any], params: Sequence[Argument], direction: np.ndarray, step: Any
) -> Any:
    """The central difference along a direction of theta; to one side if the loss has no finite value on the other."""
    import mpmath

    def at(sign: int) -> Any:
        """The loss there."""
        return exact([primal], moved(params, values, direction, sign * step), DIGITS)[0]

    above, below = at(1), at(-1)
    if mpmath.isfinite(above) and mpmath.isfinite(below):
        return (above - below) / (2 * step)
    here = at(0)
    return (above - here) / step if mpmath.isfinite(above) else (here - below) / step


def distance(x: float, y: float) -> float:
    """|x - y| / max(1, |x| + |y|), infinite if one of them is not finite and the other is not the same."""
    if x == y or (np.isnan(x) and np.isnan(y)):
        return 0.0
    return float(abs(x - y) / max(1.0, abs(x) + abs(y))) if np.isfinite(x) and np.isfinite(y) else float("inf")
