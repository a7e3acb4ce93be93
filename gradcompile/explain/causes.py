"""Why nothing comes back along an edge, and why a value or a slope is no number: told from the op and its operands."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradcompile.explain.record import Edge, Record, slope
from gradcompile.explain.steps import body_of, places, walked
from gradcompile.ir.algebra import is_div, is_mul, is_ne, is_select
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.ir.graph import depends_on, topological

Place = tuple[int, ...]
Told = tuple[str, str]  # a short name, and a sentence

LAST = {"cancelled": 1, "branch not taken": 1, "step": 2, "condition only": 3}  # told where there is no other cause
ROUNDING = 8.0  # units of the last place of what was added, below which a sum counts as 0
LOST: Told = ("underflow", "the product of adjoint and slope is smaller than any number")
OVERFLOWN: Told = ("overflow", "the product of adjoint and slope is beyond all numbers")


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened at a node: a short name, a sentence, and where.

    share: of the entries that matter, those it happened at.  place: the index of the first one.  operands: nodes and
    their values there.
    """

    name: str
    sentence: str
    node: Node
    share: float = 1.0
    place: Place = ()
    operands: Mapping[Node, float] = field(default_factory=dict)


def located(made: Record, told: Told, n: Node, where: Any, among: Any) -> Cause:
    """A cause with its share, and the operands at the first of its places."""
    place = first_of(where)
    return Cause(*told, n, float(np.sum(where) / np.sum(among)), place, operands_at(made, n, place))


def first_of(where: Any) -> Place:
    """The index of the first entry that is true."""
    return tuple(int(k) for k in np.argwhere(where)[0]) if np.ndim(where) and np.any(where) else (0,) * np.ndim(where)


def operands_at(made: Record, n: Node, place: Place) -> dict[Node, float]:
    """The values of the operands of an entry; of a node that does not work entry by entry, those that are numbers."""
    floats = [a for a in dict.fromkeys(n.args or (n,)) if a.type.dtype.startswith("float")]
    if n.op.is_elementwise or not n.args:
        return {a: float(entry(made.values[a], place)) for a in floats}
    return {a: float(made.values[a]) for a in floats if not np.ndim(made.values[a])}


def entry(value: Any, place: Place) -> Any:
    """The entry that stands at a place of a result that the value was broadcast to."""
    own = place[len(place) - np.ndim(value) :]
    return np.asarray(value)[tuple(k if d != 1 else 0 for k, d in zip(own, np.shape(value), strict=True))]


# Nothing comes back


def walk(made: Record, below: set[Node], tops: Iterable[Node]) -> tuple[set[Node], dict[Node, Node]]:
    """The nodes that an adjoint comes to from the tops along those below, and from where it came first."""
    alive, senders = set(tops), dict[Node, Node]()
    received: dict[Node, list[tuple[Node, Edge]]] = {}
    for n in reversed(made.order):
        if n not in alive and n in below:
            sent = [(u, e) for u, e in received.get(n, ()) if u in alive and not is_dead(made, u, e)]
            if sent and not vanishes(made, n, sent):
                alive.add(n)
                senders[n] = sent[0][0]
        if n in below:
            for e in made.edges[n]:
                if e.sent is not None and e.arg in below:
                    received.setdefault(e.arg, []).append((n, e))
    return alive, senders


def vanishes(made: Record, n: Node, sent: Sequence[tuple[Node, Edge]]) -> bool:
    """Whether the adjoint of a node is 0, but for what rounding left of its terms."""
    adjoint = np.abs(made.adjoint(n))
    if not np.any(adjoint):
        return True
    whole = sum(np.asarray(gross(made, u, e)) for u, e in sent)
    eps = np.finfo(n.type.dtype).eps
    return bool(np.all((adjoint <= ROUNDING * eps * whole) & np.isfinite(whole)))


def ended(made: Record, below: set[Node], alive: set[Node]) -> list[tuple[Node, Node, Cause]]:
    """The edges at which the adjoint ended: node, argument, and why; from the last node back, the plainest first."""
    found = [
        (n, e.arg, why_zero(made, n, e) if is_dead(made, n, e) else Cause(*CANCELLED, e.arg))
        for n in reversed(made.order)
        if n in alive and n in below
        for e in made.edges[n]
        if e.arg in below and e.arg not in alive
    ]
    return sorted(found, key=lambda item: LAST.get(item[2].name, 0))


def why_zero(made: Record, n: Node, e: Edge) -> Cause:
    """Why an edge sends back nothing from a node that has an adjoint."""
    if e.sent is None:
        return Cause(*no_slope(n, e), n)
    adjoint = np.asarray(made.adjoint(n))
    if e.slope is None:
        return of_whole(made, n, e)
    live, slope = np.broadcast_arrays(adjoint != 0, made.values[e.slope])
    with np.errstate(invalid="ignore"):  # an infinite adjoint, as above a logarithm of 0
        flat, lost = live & is_flat(n, slope), live & (adjoint * slope == 0)
    if flat.any():
        return located(made, flat_told(made, n, e.arg, first_of(flat)), n, flat, live)
    return located(made, LOST, n, lost, live) if lost.any() else Cause(*CANCELLED, n)


def is_flat(n: Node, slope: Any) -> Any:
    """Where a slope is 0; of what settles on both sides, where its value would not change in the last digit."""
    bound = np.finfo(n.type.dtype).eps if n.op.settles and n.op.keeps_finite else 0.0
    return np.abs(slope) <= bound


def is_level(made: Record, n: Node, arg: Node, place: Place) -> bool:
    """Whether the slope at a place is 0, of a node that no derivative may come to."""
    found = slope(n, arg)
    if found is None:
        return False
    made.compute([found])
    return bool(is_flat(n, entry(made.values[found], place)))


def is_dead(made: Record, n: Node, e: Edge) -> bool:
    """Whether nothing comes back along an edge, or nothing but what a flat function lets through."""
    if not np.any(made.sent(e)):
        return True
    slope = made.slope(e)
    return slope is not None and bool(np.all(is_flat(n, slope) | (np.asarray(made.adjoint(n)) == 0)))


CANCELLED: Told = ("cancelled", "the terms that it gets add up to 0")


def no_slope(n: Node, e: Edge) -> Told:
    """An op without a derivative in an argument."""
    if e.arg.type.dtype.startswith("int"):
        return "step", f"{e.arg.op.name} gives whole numbers, which have no derivative"
    if n.op.is_copy:
        return "stop_gradient", "stop_gradient takes it for a constant"
    if is_select(n) or n.op.is_comparison or n.op.is_connective or e.arg.type.dtype == "bool":
        return "condition only", "it only decides between values, and a condition has no derivative"
    return "step", f"{n.op.name} has no derivative: it is a step, or gives a place"


def of_whole(made: Record, n: Node, e: Edge) -> Cause:
    """Why an op of whole arrays sends nothing: its other operand is 0 wherever an adjoint comes, or terms cancel."""
    if np.any(gross(made, n, e)):
        return Cause(*CANCELLED, n)
    others = [a for a in n.args if a is not e.arg and a.type.dtype.startswith("float")]
    if not others or n.op.is_linear or n.op.hands_on:
        return Cause("not picked", "the loss depends on none of the entries that come from it", n)
    if n.op.is_loop:
        return in_loop(made, n, e.arg)
    place = first_of(np.asarray(made.values[others[0]]) == 0)
    operands = {others[0]: float(entry(made.values[others[0]], place))}
    return Cause(*factor_told(made, others[0], place), n, operands=operands)


def in_loop(made: Record, n: Node, arg: Node) -> Cause:
    """Why the steps of a loop send nothing to an argument: in the last step that hands nothing on to the one before."""
    body = body_of(made, n)
    loop, below = body.loop, [x for x, a in zip(body.loop.leaves, n.args, strict=True) if a is arg]
    reached = depends_on((x for x in body.order if not x.op.by_shape), [*below, *body.loop.carries])
    for k in reversed(places(loop, len(body.forward))):
        at_step = body.record(made, k)
        alive, _ = walk(at_step, reached, [x for x in loop.roots if x in reached and np.any(at_step.adjoint(x))])
        if alive.isdisjoint(loop.carries) and (found := ended(at_step, reached, alive)):
            return Cause(found[0][2].name, f"{found[0][2].sentence}, in step {k}", n)
    return Cause("lost in a loop", "its steps hand nothing of it on", n)


def gross(made: Record, n: Node, e: Edge) -> Any:
    """What an edge would send if nothing had a sign: 0 only where each of its terms is."""
    if e.sent is None:
        return np.zeros(())
    adjoint = np.abs(made.adjoint(n))
    if e.slope is not None:
        with np.errstate(all="ignore"):
            return summed(adjoint * np.abs(made.values[e.slope]), np.shape(made.values[e.arg]))
    values = {a: np.abs(made.values[a]) if a.type.dtype != "bool" else made.values[a] for a in n.args}
    values[made.adjoints[n]] = adjoint
    with np.errstate(all="ignore"):
        for x in topological([e.sent], values.__contains__):
            plain = made.values[x] if not x.args or x.type.dtype == "bool" else made.evaluate(x, values)
            values[x] = plain if x.type.dtype == "bool" else np.abs(plain)
    return values[e.sent]


def summed(x: Any, shape: tuple[int, ...]) -> Any:
    """What broadcasting spread out, summed."""
    extra = np.ndim(x) - len(shape)
    if extra < 0:
        return np.broadcast_to(x, shape)
    x = np.sum(x, axis=tuple(range(extra)))
    axes = tuple(k for k, d in enumerate(shape) if d == 1 and x.shape[k] != 1)
    return np.sum(x, axis=axes, keepdims=True) if axes else x


def flat_told(made: Record, n: Node, arg: Node, place: Place) -> Told:
    """Why a slope is 0 at a place: by what the op does there."""
    x = float(entry(made.values[arg], place))
    if is_select(n):
        return branch_told(n, arg)
    if (len(n.args) == 2 and n.op.hands_on) or (n.op.curvature and n.op.is_algebraic):
        return kink_told(made, n, arg, place)
    if is_div(n) or (is_mul(n) and n.args[0] is not n.args[1]):
        others = [a for a in n.args if a is not arg]
        return factor_told(made, others[0] if others else arg, place)
    if (n.op.overflows and x < 0) or (n.op.never_negative and not n.op.curvature and x and not made_of(made, n, place)):
        if n.op.keeps_finite or made_of(made, n, place):
            return f"saturated {n.op.name}", f"{n.op.name} of {x:.6g} is flat to the last digit"
        return "underflow", f"{n.op.name} of {x:.6g} is smaller than any number, and so is its slope"
    if n.op.settles and abs(x) > 1:
        return f"saturated {n.op.name}", f"{n.op.name} of {x:.6g} is flat to the last digit"
    if not np.isfinite(x):
        return "overflow", f"the argument of {n.op.name} is {x}, where it is flat"
    if abs(x) > 1e8:
        return "underflow", f"the slope of {n.op.name} at {x:.6g} is smaller than any number"
    if x == 0 and (found := factor_told(made, arg, place))[0] != "zero factor":
        return found
    what = "the square" if is_mul(n) else n.op.name
    return "stationary", f"{what} has slope 0 at {x:.6g}, its lowest or highest point"


def made_of(made: Record, n: Node, place: Place) -> float:
    """The value of a node at a place."""
    return float(entry(made.values[n], place))


def branch_told(n: Node, arg: Node) -> Told:
    """A selection that took the other value."""
    condition, chosen, other = n.args
    taken = other if arg is chosen else chosen
    if is_ne(condition) and is_const(condition.args[1], 0.0):
        return "kink", "it has a kink at 0, where its slope is taken for 0"
    if condition.op.is_comparison and arg in condition.args and is_const(taken):
        if taken.value == 0:
            return "dead relu", "its argument is at most 0, where relu is 0 and flat"
        return "clipped", f"its argument is beyond the bound, where the value is {taken.value:g} and flat"
    return "branch not taken", f"its condition is {'false' if arg is chosen else 'true'}, and the other value is taken"


def kink_told(made: Record, n: Node, arg: Node, place: Place) -> Told:
    """A maximum or minimum that is the other argument, or a kink."""
    x = float(entry(made.values[arg], place))
    others = [a for a in n.args if a is not arg]
    if not others:
        return "kink", f"{n.op.name} has a kink at {x:.6g}, where its slope is taken for 0"
    if is_const(others[0], 0.0) and n.op.curvature > 0:
        return "dead relu", f"its argument is {x:.6g}, below 0, where relu is 0 and flat"
    if is_const(others[0]):
        return "clipped", f"its argument is {x:.6g}, beyond the bound {others[0].value:g}, where it is flat"
    taken = float(entry(made.values[others[0]], place))
    return "branch not taken", f"{n.op.name}imum takes its other argument, {taken:.6g}, and not {x:.6g}"


def factor_told(made: Record, other: Node, place: Place) -> Told:
    """A factor that is 0, for the reason that it is; or a divisor so large that the quotient is 0."""
    value = float(entry(made.values[other], place))
    if np.isinf(value):
        return "overflow", f"the divisor is {value}, so the quotient and its slope are 0"
    if value:
        return "underflow", f"the slope by {value:.6g} is smaller than any number"
    source = zero_source(made, other)
    if is_mul(source) and all(np.all(made.values[a]) for a in source.args):
        return "underflow", "it is multiplied with a product that is smaller than any number"
    if source.op.is_elementwise and source.args and not source.op.is_arithmetic:
        arg = next(a for a in source.args if a.type.dtype.startswith("float") and not is_const(a))
        spot = first_of(np.asarray(made.values[source]) == 0)
        if is_select(source) or source.op.hands_on or (source.op.curvature and source.op.is_algebraic):
            return branch_told(source, source.args[2]) if is_select(source) else kink_told(made, source, arg, spot)
        if not source.op.keeps_zero and entry(made.values[arg], spot) != 0 and is_level(made, source, arg, spot):
            return flat_told(made, source, arg, spot)
    return "zero factor", "it is multiplied with 0"


def zero_source(made: Record, n: Node) -> Node:
    """The node that made a 0 which was handed on through products and copies."""
    while n.args and (is_mul(n) or (len(n.args) == 1 and (n.op.keeps_zero or n.op.is_view))):
        below = [a for a in n.args if not np.all(made.values[a])]
        if not below:
            return n
        n = below[0]
    return n


# What is no number


def bad(x: Any) -> Any:
    """Where values are infinite or NaN."""
    return ~np.isfinite(np.asarray(x, float))


def why_bad(made: Record, n: Node, e: Edge) -> Cause:
    """Why an edge sends what is no number, though the adjoint of its node is one."""
    for x in (*n.args, n):
        if x.type.dtype.startswith("float") and bad(made.values[x]).any():
            source = first_bad(made, x)
            if source is not None and (e.slope is None or bad(made.values[e.slope]).any()):
                return of_value(made, source)
    if e.slope is None or not bad(made.values[e.slope]).any():
        return Cause(*OVERFLOWN, n)
    slope = made.values[e.slope]
    where = np.broadcast_to(bad(slope), np.broadcast_shapes(np.shape(slope), np.shape(made.values[n])))
    place = first_of(where)
    argument = float(entry(made.values[e.arg], place))
    if n.op.pole_at_zero and is_div(n):
        told: Told = ("overflow", f"the slope of a quotient by {float(entry(made.values[n.args[1]], place)):.6g}"
                                  " is beyond all numbers")  # fmt: skip
    else:
        told = "infinite slope", f"the slope of {n.op.name} at {argument:.6g} is infinite, though its value is a number"
    return located(made, told, n, where, np.ones_like(where))


def first_bad(made: Record, n: Node) -> Node | None:
    """The first node at or below one that is infinite or NaN where its arguments are numbers."""
    for x in topological([n]):
        is_source = x.type.dtype.startswith("float") and not is_const(x) and bad(made.values[x]).any()
        if is_source and not any(bad(made.values[a]).any() for a in x.args if a.type.dtype.startswith("float")):
            return x
    return None


def of_value(made: Record, n: Node) -> Cause:
    """Why a node is no number where its arguments are; of a loop, by its first step that gives one."""
    if n.op.is_loop and (found := in_steps(made, n)) is not None:
        return found
    where = np.asarray(bad(made.values[n]))
    place = first_of(where)
    values = [float(x) for x in operands_at(made, n, place).values()]
    told = value_told(n, values, float(np.asarray(made.values[n])[place]))
    return located(made, told, n, where, np.ones_like(where))


def in_steps(made: Record, n: Node) -> Cause | None:
    """The first value in a loop's body that is no number, in the order of its steps."""
    loop = n.params[0]
    order = topological(loop.roots)
    steps = walked(made, n, loop, order)
    for k in places(loop, len(steps)):
        at_step = replace(made, values=steps[k])
        for x in order:
            is_source = x.args and x.type.dtype.startswith("float") and bad(steps[k][x]).any()
            if is_source and not any(bad(steps[k][a]).any() for a in x.args if a.type.dtype.startswith("float")):
                found = of_value(at_step, x)
                return Cause(found.name, f"{found.sentence}, in step {k}", n)
    return None


def value_told(n: Node, x: list[float], value: float) -> Told:
    """What went wrong, from the operands and the value."""
    shown = ", ".join(f"{v:.6g}" for v in x)
    if is_leaf(n):
        return "bad input", f"it is given as {value}"
    if n.op.routine_axes is not None and np.isnan(value):
        return "outside the domain", f"{n.op.name} has no result: the matrix is singular, or not positive definite"
    if not n.op.is_elementwise or not x:
        return "overflow", f"the value of {n.op.name} is beyond all numbers"
    if is_div(n):
        if x[-1] == 0:
            if x[0] == 0 or len(x) == 1:
                return "0/0", "0 is divided by 0"
            return "division by 0", f"{x[0]:.6g} is divided by 0"
        return "overflow", f"the quotient of {shown} is beyond all numbers"
    if "log" in n.op.name or n.op.name == "xlogy":
        at = x[-1] + (n.op.name == "log1p")
        return ("log of 0", "the logarithm of 0 is taken") if at == 0 else (
            "log of a negative", f"the logarithm of {at:.6g} is taken")  # fmt: skip
    if n.op.steep == 0 and x[0] < 0:
        return "root of a negative", f"{n.op.name} of {shown} is no real number"
    if n.op.steep == 0 and x[0] == 0:
        return "division by 0", f"0 is raised to the power {x[-1]:.6g}"
    if np.isinf(value) and (n.op.overflows or n.op.is_arithmetic):
        return "overflow", f"{n.op.name} of {shown} is beyond all numbers"
    return "outside the domain", f"{n.op.name} of {shown} is {'infinite' if np.isinf(value) else 'no real number'}"
