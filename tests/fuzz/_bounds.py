"""How far from the truth a compiled graph may be: its running error, and the truth itself, in 400 digits.

`bounded` walks a graph of nodes: each value, computed in many digits, is rounded once to its dtype, by as many ulps as
the record of its op says; what an error of an argument does to a value is found by moving the argument by it. What is
beyond the range of the dtype is marked, and so is what was made of it.

`slopes_of` is the chain rule over a graph as it was read, with the slope of each op as a difference of its values in
many digits, so that it shares nothing with the package's own partials.
"""

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import mpmath
import numpy as np

from gradcompile.analysis.evaluate import bound, exact_value, to_mpf
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ops.elementwise import SPECIAL
from tests.fuzz.run import refused

FEW = 90  # digits of special functions, which take long, and of all where the arguments are of ordinary size
DIGITS, MANY = 300, 900  # many where arguments have large or small exponents: 1e308
MORE = (DIGITS, MANY, 3600)  # if those do not agree: of x - sin(x) three times as many cancel as x has zeros
SLOW = 5.0  # seconds of CPU time for one value of a special function in many digits; what takes longer says nothing
TOO_SLOW = f"no value in many digits within {SLOW:g} s"
LONG = 20_000  # bits of a whole part
HUGE = 10**8  # binary exponents beyond this are infinities and zeros: exp(exp(exp(9))) has too many digits
EXACT = frozenset({"neg", "abs", "sign", "max", "min", "floor", "ceil", "rint", "select", "stop_gradient"}
                  | {"broadcast", "item", "assemble", "pack", "transpose", "reshape", "size", "heaviside"})  # fmt: skip
ARITHMETIC = EXACT | {"add", "mul", "div", "sum", "dot", "sqrt", "cbrt", "hypot", "lt", "le", "eq", "ne", "log"}
INVERSES = frozenset({"log", "log1p", "log2", "log10", "softplus", "asinh", "acosh", "pow", "sqrt", "cbrt", "xlogy"})
LOGARITHMS = frozenset({"log", "log1p", "log2", "log10", "xlogy"})
EXPONENTIALS = frozenset({"exp", "exp2", "expm1", "exp_sum", "pow", "sigmoid", "tanh", "sech", "erf", "erfc", "gamma"})
REAL_ONLY = frozenset({"ellipkinc", "ellipeinc"})  # SciPy has no values above m = 1 (docs/limits.md)
PERIODIC = frozenset({"sin", "cos", "tan", "besselj", "bessely"})  # any value, where the argument is off by 1
COMPARED = frozenset({"lt", "le", "eq", "ne"})
FLAT = frozenset({"sign", "floor", "ceil", "rint", "stop_gradient", "size"})  # without a derivative

Values = dict[Node, Any]


class Beyond(Exception):
    """A function is asked for where nothing is said about it, or where its argument has too many digits."""


def digits_for(leaves: Mapping[Node, Any]) -> int:
    """The digits that arguments need."""
    sizes = np.concatenate([np.abs(np.ravel(np.asarray(v, float))) for v in leaves.values()])
    if np.any((sizes > 150) | ((sizes < 1e-50) & (sizes > 0))):
        return MANY
    return DIGITS if np.any((sizes > 20) | ((sizes < 1e-4) & (sizes > 0))) else FEW


def settled(judge: Callable[[], str | None], leaves: Mapping[Node, Any]) -> str | None:
    """What is wrong in as many digits as it takes; None where nothing can be said."""
    first, wrong = digits_for(leaves), None
    for digits in (first, *(d for d in MORE if d > first)):  # beside 1e-300, 1 needs more of them
        try:
            with mpmath.workdps(digits):
                wrong = judge()
        except Beyond:
            if digits > FEW:
                return None
            continue
        if wrong is None:
            return None
    return wrong


def evaluated(n: Node, values: Mapping[Node, Any], dims: dict[str, int]) -> Any:
    """The value of a node from those of its arguments; Beyond where it can't be known."""
    if n.op.name not in ARITHMETIC and any(np.any(each(is_long, values[a])) for a in n.args):
        raise Beyond  # its exponential, or its remainder by pi, would take for ever
    if n.op.name in INVERSES and any(np.any(each(mpmath.isinf, values[a])) for a in n.args):
        raise Beyond  # the infinity may be a number with many digits
    if n.op.accuracy != SPECIAL:
        try:
            value = exact_value(n, values, dims, mpmath)
            if n.op.name in LOGARITHMS and np.any(each(mpmath.isinf, value)) and is_of_exps(n):
                raise Beyond  # of a number that was too small, or too near 1, for the digits
            return value
        except (OverflowError, mpmath.libmp.NoConvergence):
            raise Beyond from None
    for k, (low, high) in enumerate(n.op.domain[: len(n.args)]):
        if (k == 0 or n.op.name in REAL_ONLY) and not np.all(
            each(lambda x, a=low, b=high: a <= x <= b, values[n.args[k]])
        ):
            raise Beyond
    try:
        with mpmath.workdps(FEW), limited():
            value = exact_value(n, values, dims, mpmath)
    except mpmath.libmp.NoConvergence:
        raise Beyond from None
    if np.any(each(lambda x: isinstance(x, mpmath.mpc), value)):
        raise Beyond  # mpmath goes on where the function of real numbers ends
    return value


@contextmanager
def limited() -> Iterator[None]:
    """Raise Beyond in what takes longer than SLOW: mpmath has no bound for how many terms it adds up."""

    def over(*_: Any) -> None:
        refused[TOO_SLOW] += 1
        raise Beyond

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)  # not of the clock: how busy the machine is changes nothing
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def is_of_exps(n: Node) -> bool:
    """Whether there is an exponential below a node."""
    return any(m.op.name in EXPONENTIALS for m in topological([n]))


def is_long(x: Any) -> bool:
    """Whether a number's whole part has too many digits for a function of it."""
    return not isinstance(x, bool | np.bool_) and bool(mpmath.isfinite(x)) and bool(x) and mpmath.mag(x) > LONG


class Bound(NamedTuple):
    """The exact values of a graph's node, the error that rounding may leave, and whether all it took was in range."""

    value: Any
    error: Any
    fits: Any


def bounded(roots: Sequence[Node], leaves: Mapping[Node, Any], dims: dict[str, int]) -> list[Bound]:
    """The running error of each root, entry by entry."""
    found: dict[Node, Bound] = {}
    with np.errstate(all="ignore"):
        for n in topological(roots):
            found[n] = leaf_bound(n, leaves) if not n.args else node_bound(n, found, dims)
    return [found[r] for r in roots]


def leaf_bound(n: Node, leaves: Mapping[Node, Any]) -> Bound:
    """Leaves are what they are; numbers that are not short were rounded."""
    value = to_mpf(np.asarray(leaves[n], object) if n.op.name == "leaf" else n.op.value(*n.params), mpmath.mpf)
    short = n.op.name == "leaf" or n.type.dtype == "bool" or math.isinf(n.value) or float(n.value) * 64 % 1 == 0
    error = each(lambda v: mpmath.mpf(0) if short else abs(v) * ulp(n) / 2, value)
    return Bound(value, error, np.full(np.shape(value), True))


def node_bound(n: Node, found: Mapping[Node, Bound], dims: dict[str, int]) -> Bound:
    """A node's value from those of its arguments, what their errors do to it, and its own rounding."""
    values = {a: found[a].value for a in n.args}
    value = clamped(evaluated(n, values, dims))
    if n.type.dtype == "bool":
        return truth_bound(n, value, found, dims)
    error = own_error(n, value, values) + value * 0
    for a in dict.fromkeys(n.args):
        error = error + moved(n, a, value, values, found, dims)
    error = each(lambda e, v: e if e == e and abs(v) <= most(n) else mpmath.inf, error, value)
    # a value that leaves its domain, or its range, by rounding
    fits = each(lambda e, v: not mpmath.isfinite(v) or (e < mpmath.inf and (not v or abs(v) >= least(n))), error, value)
    return Bound(value, error, np.logical_and(fits, all_fit(n, found)))


def all_fit(n: Node, found: Mapping[Node, Bound]) -> Any:
    """Whether what a node takes was in range; of a selection what is selected, if rounding can't turn that."""
    fits = [found[a].fits for a in n.args]
    if n.op.name == "select":
        condition = found[n.args[0]]
        taken = np.where(np.asarray(condition.value, bool), fits[1], fits[2])
        return np.logical_and(np.logical_and(fits[0], taken), each(lambda e: not e, condition.error))
    if n.op.name in ("sum", "amax"):
        return np.all(fits[0], axis=n.params[0])
    if n.op.takes_arrays:
        return np.all([np.all(f) for f in fits])
    return np.logical_and.reduce(np.broadcast_arrays(*fits))


def truth_bound(n: Node, value: Any, found: Mapping[Node, Bound], dims: dict[str, int]) -> Bound:
    """A condition; its error is infinite where rounding may turn it."""
    error = each(lambda v: mpmath.mpf(0), value)
    for a in dict.fromkeys(n.args):
        if a.type.dtype == "bool":
            error = error + found[a].error
            continue
        error = error + each(lambda e: mpmath.mpf(0) if mpmath.isfinite(e) else mpmath.inf, found[a].error)
        for there in places(found[a]):
            other = evaluated(n, {**{b: found[b].value for b in n.args}, a: there}, dims)
            error = error + each(lambda v, o: mpmath.mpf(0) if bool(v) == bool(o) else mpmath.inf, value, other)
    if n.op.name in ("eq", "ne") and n.args[0].type.dtype != "bool":  # what is equal lies between these places
        x, y = (found[a] for a in n.args)
        error = error + each(meeting, x.value, x.error, y.value, y.error)
    return Bound(value, error, all_fit(n, found))


def meeting(x: Any, dx: Any, y: Any, dy: Any) -> Any:
    """Infinite if rounding may make two numbers equal that are not, or the other way round."""
    return mpmath.inf if dx + dy and abs(x - y) <= 16 * (dx + dy) else mpmath.mpf(0)


def places(x: Bound) -> list[Any]:
    """Where rounding may have put a value: as far as its error goes, and 0 if that is not far away."""
    near = each(lambda v, e: mpmath.mpf(0) if e and abs(v) <= 16 * e else v, x.value, x.error)
    return [x.value + x.error, x.value - x.error, near]


def moved(n: Node, a: Node, value: Any, values: Values, found: Mapping[Node, Bound], dims: dict[str, int]) -> Any:
    """How much a value changes when an argument is off by its error."""
    error = found[a].error
    if a.type.dtype == "bool":
        x, y = (found[b] for b in n.args[1:])  # what turns the condition may have moved them as well
        apart = each(lambda u, v, du, dv: abs(u - v) + du + dv, x.value, y.value, x.error, y.error)
        return each(lambda e, d: d if e else mpmath.mpf(0), error, apart)
    if not np.any(each(bool, error)):
        return 0
    if n.op.name == "sum":
        return np.sum(error, axis=n.params[0])
    if n.op.takes_arrays:
        return evaluated(n, {b: found[b].error if b is a else found[b].error * 0 for b in n.args}, dims)
    if n.op.name in PERIODIC and np.any(each(lambda e: e >= 1, error)):
        return each(lambda e, v: mpmath.inf if e >= 1 else mpmath.mpf(0), error, value) + moved_little(
            n, a, value, values, found, dims
        )
    return moved_little(n, a, value, values, found, dims)


def moved_little(
    n: Node, a: Node, value: Any, values: Values, found: Mapping[Node, Bound], dims: dict[str, int]
) -> Any:
    """How much a value changes between the places where rounding may have put an argument."""
    most_moved: Any = mpmath.mpf(0)
    for place in places(found[a]):
        there = clamped(evaluated(n, {**values, a: place}, dims))
        most_moved = each(lambda m, t, v: max_of(m, abs(t - v)), most_moved, there, value)
    return most_moved


def max_of(x: Any, y: Any) -> Any:
    """The larger, infinite if one is NaN."""
    return max(x, y) if x == x and y == y else mpmath.inf


def own_error(n: Node, value: Any, values: Values) -> Any:
    """The rounding of a node's own value."""
    unit, name = ulp(n), n.op.name
    if name in EXACT:
        return 0
    if name == "add":
        total, error = values[n.args[0]], mpmath.mpf(0)
        for a in n.args[1:]:
            total = total + values[a]
            error = error + each(lambda t: half_ulp(t, n), total)
        return error
    if name == "sum":
        entries = np.size(values[n.args[0]])
        return entries * np.sum(each(abs, values[n.args[0]]), axis=n.params[0]) * unit / 2
    if n.op.accuracy == SPECIAL:
        return each(lambda v: n.op.ulps * unit * max(abs(v), 1), value)
    return each(lambda v: max(2 * n.op.ulps, 1) * half_ulp(v, n), value)


def half_ulp(v: Any, n: Node) -> Any:
    """Half the spacing of floats near a value."""
    return max(abs(v) * ulp(n), smallest(n)) / 2 if v and mpmath.isfinite(v) else mpmath.mpf(0)


def ulp(n: Node) -> Any:
    """The largest relative spacing of the floats of a node."""
    return mpmath.mpf(2) ** (-23 if n.type.dtype == "float32" else -52)


def most(n: Node) -> Any:
    """The largest float of a node's dtype."""
    return mpmath.mpf(float(np.finfo(n.type.dtype).max)) if n.type.dtype.startswith("float") else mpmath.inf


def least(n: Node) -> Any:
    """The least normal float of a node's dtype."""
    return mpmath.mpf(float(np.finfo(n.type.dtype).tiny)) if n.type.dtype.startswith("float") else mpmath.mpf(0)


def smallest(n: Node) -> Any:
    """The least float of a node's dtype above 0."""
    return mpmath.mpf(2) ** (-149 if n.type.dtype == "float32" else -1074)


def each(function: Callable[..., Any], *args: Any) -> Any:
    """A function of numbers, entry by entry, over arrays of objects."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    if not shape:
        return function(*(a[()] if isinstance(a, np.ndarray) else a for a in args))
    columns = [np.broadcast_to(np.asarray(a, object), shape).ravel() for a in args]
    result = np.empty(shape, object)
    result.ravel()[:] = [function(*row) for row in zip(*columns, strict=True)]
    return result


def clamped(value: Any) -> Any:
    """Numbers with too large an exponent as infinities, with too small a one as zeros."""
    return each(lambda v: v if isinstance(v, bool | np.bool_) else clamp(v), value)


def clamp(v: Any) -> Any:
    """One number."""
    if not v or not mpmath.isfinite(v):
        return v
    exponent = mpmath.mag(v)
    return mpmath.sign(v) * mpmath.inf if exponent > HUGE else mpmath.mpf(0) if exponent < -HUGE else v


# The truth


def value_of(root: Node, leaves: Mapping[Node, Any], dims: dict[str, int]) -> Any:
    """The value of a root."""
    return values_of(root, leaves, dims)[root]


def values_of(root: Node, leaves: Mapping[Node, Any], dims: dict[str, int]) -> Values:
    """The values of a root and of all below it."""
    values: Values = {}
    with np.errstate(all="ignore"):
        for n in topological([root]):
            if n.op.name in COMPARED and any(np.any(each(mpmath.isnan, values[a])) for a in n.args):
                raise Beyond  # an infinity that is a number with too many digits, times 0, would choose the branch
            values[n] = clamped(evaluated(n, values, dims)) if n.args else leaf_bound(n, leaves).value
    return values


def slopes_of(
    root: Node, leaf: Node, leaves: Mapping[Node, Any], dims: dict[str, int], values: Values | None = None
) -> list[Any]:
    """The derivative of a scalar root by a scalar leaf; both one-sided ones at a kink, none where it has no value."""
    found = chained(root, leaf, values_of(root, leaves, dims) if values is None else values, dims)
    if mpmath.isfinite(found):
        return [found]
    sides = [s for sign in (1, -1) for s in one_sided(root, leaf, leaves, dims, sign)]
    return [s for s in sides if s == s]


def one_sided(root: Node, leaf: Node, leaves: Mapping[Node, Any], dims: dict[str, int], sign: int) -> list[Any]:
    """The slope on one side, an infinity if it grows without end, 0 too if it falls; NaN if there are no values."""
    x, value, slopes = mpmath.mpf(float(leaves[leaf])), value_of(root, leaves, dims), []
    for power in (1, 2):
        far = sign * step(mpmath.mp.dps) ** power * scale_of(x)
        moved_by = value_of(root, {**leaves, leaf: x + far}, dims) - value
        if not moved_by and any(n.op.accuracy == SPECIAL or n.op.name == "pow" for n in topological([root])):
            raise Beyond  # a change that is small beside the value has no digits
        slopes.append(moved_by / far)
    if mpmath.isfinite(slopes[1]) and abs(slopes[1]) > 1.5 * abs(slopes[0]):  # twice as large, if it is a logarithm
        return [mpmath.sign(slopes[1]) * mpmath.inf]
    return [slopes[1], mpmath.mpf(0)] if abs(slopes[1]) < abs(slopes[0]) / 1.5 else [slopes[1]]


def chained(root: Node, leaf: Node, values: Values, dims: dict[str, int]) -> Any:
    """The derivative by the chain rule; NaN where the slope of an op is infinite, or there is none."""
    tangents: Values = {leaf: mpmath.mpf(1)}
    with np.errstate(all="ignore"):
        for n in topological([root]):
            if any(a in tangents for a in n.args) and n.type.dtype != "bool" and n.op.name not in FLAT:
                tangents[n] = tangent(n, values, tangents, dims)
    return tangents.get(root, mpmath.mpf(0))


def tangent(n: Node, values: Values, tangents: Values, dims: dict[str, int]) -> Any:
    """The derivative of one node from those of its arguments."""
    if n.op.name == "heaviside":  # which is its second argument where the first is 0
        own = tangents.get(n.args[1], mpmath.mpf(0))
        return each(lambda x, t: mpmath.mpf(0) if x else t, values[n.args[0]], own) + values[n] * 0
    if n.op.vjp is not None:
        return n.op.value(tangents[n.args[0]], *bound(n, dims))
    if n.op.name == "select":
        moving = [tangents.get(a, mpmath.mpf(0)) for a in n.args[1:]]
        return each(lambda c, x, y: x if c else y, values[n.args[0]], *moving) + values[n] * 0
    total = values[n] * 0
    for a in dict.fromkeys(n.args):
        if a in tangents:
            total = total + each(lambda t, s: t * s, tangents[a], slope(n, a, values, dims))
    return total


def step(digits: int) -> Any:
    """The step of differences with so many digits, of which two thirds are right."""
    return mpmath.mpf(10) ** -(digits // 3)


def scale_of(x: Any) -> Any:
    """By how much a number may change: relatively, if it is small, or so large that digits would not suffice."""
    return abs(x) if x and (abs(x) < 1 or mpmath.mag(x) > 1.2 * mpmath.mp.dps) else mpmath.mpf(1)


def is_lost(x: Any, up: Any, down: Any) -> bool:
    """Whether the difference of two values beside x has few digits; at 0 an even function has equal ones."""
    few = mpmath.mpf(10) ** (25 - mpmath.mp.dps)
    return bool(x and up and mpmath.isfinite(up) and abs(up - down) <= few * abs(up))


def slope(n: Node, a: Node, values: Values, dims: dict[str, int]) -> Any:
    """The derivative of an op by an argument, as a difference; NaN at 0 where it is infinite."""
    if n.op.name == "add":  # in which a step would be lost beside a term with many more digits
        return values[n] * 0 + n.args.count(a)
    if n.op.name == "mod" and a is n.args[0] and n.args.count(a) == 1:  # which jumps
        return values[n] * 0 + 1
    found, basis = [], step(FEW if n.op.accuracy == SPECIAL else mpmath.mp.dps)
    for power in (1, 2):
        far = each(lambda x, power=power: basis**power * scale_of(x), values[a])
        up, down = (evaluated(n, {**values, a: values[a] + s * far}, dims) for s in (1, -1))
        if n.op.name not in EXACT and np.any(each(is_lost, values[a], up, down)):
            raise Beyond  # a slope that is small beside the value has no digits
        found.append(each(lambda u, d, h: (u - d) / (2 * h), up, down, far))
        if np.all(each(bool, values[a])):
            return found[0]
    return each(lambda x, s, t: mpmath.nan if not x and abs(t) > 8 * abs(s) else s if x else t, values[a], *found)
