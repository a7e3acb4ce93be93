"""Checks of derivatives, for the tests of this package and of ops that a user adds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.diff.reverse import jvp, vjp
from gradcompile.ir.core import Node, leaf
from gradcompile.ir.graph import topological

Point = Mapping[Node, Any]


def ulps(got: float, want: Any) -> float:
    """The distance of a double from a number (of mpmath, say) in units of its last place; 0 for NaN against NaN.

    >>> ulps(1.0 + 2**-52, 1.0)
    1.0
    """
    nearest = float(want)
    if not (math.isfinite(got) and math.isfinite(nearest)):
        return 0.0 if got == nearest or (math.isnan(got) and math.isnan(nearest)) else math.inf
    return float(abs(want - got) / float(np.spacing(abs(nearest))))


def check_grads(
    output: Node, wrt: Sequence[Node], env: Point, order: int = 1, tolerance: float = 1e-11, seed: int = 0
) -> None:
    """Check both modes of differentiation of `output` in the leaves `wrt` at a point, up to an order.

    Along a random direction u and cotangent v: J u by `jvp` against the central difference (of 60 digits, where every
    op has a high-precision form), and <v, J u> against <J'v, u> by `vjp`. Errors are relative to max(1, |value|).

    Raises AssertionError with both numbers.

    >>> from gradcompile.ir.core import apply
    >>> x = leaf("x")
    >>> check_grads(apply("sin", x), [x], {x: 0.5}, order=2)
    """
    rng = np.random.default_rng(seed)
    point = dict(env)
    for k in range(order):
        tangents = [leaf(f"tangent_{k}_{i}", x.type) for i, x in enumerate(wrt)]
        directions = [rng.uniform(-1.0, 1.0, np.shape(env[x])) for x in wrt]
        point |= dict(zip(tangents, directions, strict=True))
        (pushed,) = jvp([output], wrt, tangents)
        (along,) = evaluate([pushed], point)
        limit = max(tolerance, 1e-6) if not has_exact(output) else tolerance
        compare(f"order {k + 1}: J u", along, difference(output, wrt, point, directions), limit)
        cotangent = leaf(f"cotangent_{k}", output.type)
        weights = rng.uniform(-1.0, 1.0, np.shape(along))
        pulled = evaluate(vjp(output, wrt, cotangent), {**point, cotangent: weights})
        inner = sum(float(np.sum(p * u)) for p, u in zip(pulled, directions, strict=True))
        compare(f"order {k + 1}: <v, J u> and <J'v, u>", float(np.sum(weights * along)), inner, tolerance)
        output = pushed


def has_exact(output: Node) -> bool:
    """Whether every op below has a high-precision form."""
    return all(n.op.exact is not None or n.op.takes_arrays for n in topological([output]))


def difference(output: Node, wrt: Sequence[Node], env: Point, directions: Sequence[Any]) -> Any:
    """The central difference of the output along the directions."""
    if not has_exact(output):
        step = 6e-6
        ends = [evaluate([output], moved(wrt, env, directions, s))[0] for s in (step, -step)]
        return (ends[0] - ends[1]) / (2.0 * step)
    import mpmath

    with mpmath.workdps(60):
        tiny = mpmath.mpf(10) ** -20  # the error of the difference, 1e-40, is far below double precision
        ends = [exact([output], moved(wrt, env, directions, s), 60)[0] for s in (tiny, -tiny)]
        return np.asarray((ends[0] - ends[1]) / (2 * tiny), np.float64)


def moved(wrt: Sequence[Node], env: Point, directions: Sequence[Any], step: Any) -> Point:
    """The point env + step * directions."""
    return {**env, **{x: np.asarray(env[x]) + np.asarray(u) * step for x, u in zip(wrt, directions, strict=True)}}


def compare(what: str, got: Any, want: Any, tolerance: float) -> None:
    """Raise AssertionError unless two values agree, relative to max(1, |want|); NaN agrees with NaN."""
    got, want = np.asarray(got), np.asarray(want)
    near = np.abs(got - want) <= tolerance * np.maximum(1.0, np.abs(want))
    if not np.all(near | (got == want) | (np.isnan(got) & np.isnan(want))):
        raise AssertionError(f"{what}: {got} against {want}")
