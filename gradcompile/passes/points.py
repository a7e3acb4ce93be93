"""A branch that holds at one point, as in `(exp(x) - 1)/x if x != 0 else 1`: what stands there has no slope.

Where the value at the point is the limit of the other branch, the derivative is that branch's as well. If the branch
can be computed at the point, it is all there is; if it is 0/0 there, its Taylor polynomial of degree one takes the
place of the value. It comes from derivatives of numerator and denominator, and is held against the value in high
precision, with other symbols at random places. Where the slope is infinite, or known to be that of the value, nothing
is changed. Quotients that cancel near the point, expm1(x)/x and log1p(x)/x, are series there.
"""

import importlib
import math
import operator
import random
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

from gradcompile.analysis.formula import formulas
from gradcompile.diff.reverse import jvp
from gradcompile.ir.algebra import equal, less, number, select
from gradcompile.ir.core import Node, apply, is_const, is_leaf, leaf
from gradcompile.ir.graph import depends_on, operands, rebuild, substitute, topological
from gradcompile.ops.scan import map_body
from gradcompile.passes.simplify import shaped, simplify_node
from gradcompile.passes.stabilize import SHOWN, Rewrite
from gradcompile.passes.terms import (
    factors,
    fraction,
    joined,
    make,
    multiple,
    parts,
    product,
    quotient,
    scaled,
    without,
)

FEW = 8  # terms of a sum that are compared with each other
ORDERS = 4  # of a zero of numerator and denominator
LARGE = 300  # nodes of a branch that is looked at
DRAWS = 2  # places at which two formulas are compared
SAME = 1e-25  # of what is computed to 40 digits
EXPM1 = [1 / math.factorial(k + 1) for k in range(18)]
LOG1P = [(-1) ** k / (k + 1) for k in range(18)]
SERIES = {"expm1": (EXPM1, 1.0), "log1p": (LOG1P, 0.125)}  # of f(x)/x, and up to which |x|


def joined_branches(roots: Sequence[Node]) -> tuple[list[Node], list[Rewrite]]:
    """The roots with such branches joined, and what was changed.

    >>> from gradcompile.ir.core import const
    >>> x = leaf("x", role="param")
    >>> quotient = apply("div", apply("expm1", x), x)
    >>> _, rewrites = joined_branches([apply("select", apply("ne", x, const(0.0)), quotient, const(1.0))])
    >>> [r.rule for r in rewrites]
    ['over_its_argument', 'at_a_point']
    """
    changes: dict[Node, tuple[str, Node]] = {}
    within_loops: list[Rewrite] = []

    def body(roots: Sequence[Node]) -> list[Node]:
        new, found = joined_branches(roots)
        within_loops.extend(found)
        return new

    def rewrite(n: Node) -> Node:
        rule = RULES.get(n.op.name)
        found = rule and rule(n)
        if rule and found:
            changes[n] = (rule.__name__, found)
        return found or map_body(n, body)

    ops = {n.op.name for n in topological(roots)}
    if not any(needed <= ops for needed in NEEDED):
        return list(roots), []
    result = rebuild(roots, rewrite)
    texts = formulas([*changes, *(after for _, after in changes.values())], {}, SHOWN)
    rewrites = [Rewrite(rule, texts[before], texts[after]) for before, (rule, after) in changes.items()]
    return result, list(dict.fromkeys([*rewrites, *within_loops]))


# Near the point


def over_its_argument(n: Node) -> Node | None:
    """expm1(b*x)/x and log1p(b*x)/x: b times a series for small b*x, where the derivative of the quotient cancels."""
    k, above, below = fraction(n)
    for e in (e for e in above if e.op.name in SERIES):
        x, (coefficients, near) = e.args[0], SERIES[e.op.name]
        for f in below:
            ratio, (c, inner) = multiple(f, x), factors(x)
            if ratio is None and f not in inner:
                continue
            series = reduce(lambda p, c: make("add", make("mul", p, x), number(c, x)), coefficients[-2::-1],
                            number(coefficients[-1], x))  # fmt: skip
            others, factor, rest = ([], 1 / ratio, without(below, f)) if ratio else (inner, c, list(below))
            for common in [g for g in others if g in rest]:
                others, rest = without(others, common), without(rest, common) if common in rest else rest
            close = quotient(k * factor, [*without(above, e), *others, series], rest, n)
            return select(less(make("abs", x), near), close, n)
    return None


def one_denominator(n: Node) -> Node | None:
    """c*exp(u)/d - c/d = c*expm1(u)/d."""
    found = parts(n)
    if len(found) > FEW or sum(t.op.name in ("div", "neg", "mul") for t in found) < 2:
        return None
    for a in found:
        c, above, below = fraction(a)
        if not below or [x.op.name for x in above] != ["exp"]:
            continue
        for b in (b for b in found if b is not a):
            d, top, bottom = fraction(b)
            if not top and d == -c and sorted(map(id, bottom)) == sorted(map(id, below)):
                whole = make("div", scaled(c, make("expm1", above[0].args[0])), product(below) or number(1.0, n))
                rest = [t for t in found if t is not a and t is not b]
                return joined(rest, over_its_argument(whole) or whole)
    return None


# At the point


class Point(NamedTuple):
    """A selection whose branches differ at variable = place only; rest: another condition for `apart`, or None."""

    variable: Node
    place: Node
    here: Node
    apart: Node
    rest: Node | None


def point_of(n: Node) -> Point | None:
    """A selection by x = c, x != c, or by the latter and more."""
    condition, a, b = n.args
    if condition.op.name == "and":
        conditions = operands(condition, "and")
        tests = [t for t in conditions if t.op.name == "ne"]
        if len(tests) != 1:
            return None
        others = [t for t in conditions if t is not tests[0]]
        found = point_of(select(tests[0], a, b))
        return found and found._replace(rest=reduce(operator.and_, others))
    if condition.op.name not in ("eq", "ne"):
        return None
    here, apart = (a, b) if condition.op.name == "eq" else (b, a)
    u, c = condition.args
    if is_const(u) or (not is_leaf(u) and is_leaf(c)):
        u, c = c, u
    if is_const(c, 0.0) and u.op.name == "mul" and u.args[0] is u.args[1]:
        u = u.args[0]
    if is_const(c) and u.op.name == "add" and len(u.args) == 2 and any(map(is_const, u.args)):
        shift = next(x for x in u.args if is_const(x))
        u, c = next(x for x in u.args if x is not shift), number(float(c.value) - float(shift.value), c)
    same = u.type.dtype == c.type.dtype and u.type.dtype.startswith("float")
    return Point(u, c, here, inside(apart, condition), None) if same and u is not c else None


def inside(n: Node, condition: Node) -> Node:
    """A branch away from the point, where selections by the same condition are settled."""
    taken = {"eq": 2, "ne": 1}
    pair = set(condition.args)

    def settled(x: Node) -> Node:
        test = x.args[0] if x.op.name == "select" else x
        return x.args[taken[test.op.name]] if test.op.name in taken and x is not test and set(test.args) == pair else x

    if len(topological([n])) > LARGE:
        return n
    (new,) = rebuild([n], settled)
    return n if new is n else rebuild([new], lambda x: (x.op.name == "div" and over_its_argument(x)) or x)[0]


def at_a_point(n: Node) -> Node | None:
    """A selection by x = c: the branch away from c where it has a value there, else its tangent in place of a value."""
    p = point_of(n)
    if p is None or is_given(p.variable) or any(x.op.is_copy for x in topological([p.here, p.apart])):
        return None  # a gradient that is stopped at the point alone is meant
    v = leaf("at a point", p.variable.type)
    here, apart = substitute([p.here, p.apart], {p.variable: v})
    trial = Trial.of(v, p.place, [here, apart], p.variable)
    if trial is None:
        return None
    smooth = apart if trial.is_finite(apart) else without_poles(apart, trial)
    if smooth is None or not trial.is_finite(smooth) or not trial.same(smooth, here):
        return None
    if trial.same(*jvp([smooth, here], [v], [one(v)])):
        return None
    (back,) = substitute([smooth], {v: p.variable})
    if smooth is not apart:
        back = select(equal(p.variable, p.place), back, p.apart)
    found = back if p.rest is None else select(p.rest, back, p.here)
    if found.type.shape not in ((), n.type.shape):
        return None
    found = shaped(found, n)  # where another value makes it infinite or NaN, the selection keeps that out, as written
    return select(less(make("abs", found), math.inf), found, n)


def is_given(n: Node) -> bool:
    """Whether no parameter changes a node: of data, as a mask, the value at the point is all that is asked for."""
    return all(x.params[1] in ("input", "data") for x in topological([n]) if is_leaf(x))


def one(n: Node) -> Node:
    """Ones in the type of a node."""
    return make("add", make("mul", n, number(0.0, n)), number(1.0, n)) if n.type.shape else number(1.0, n)


class Trial(NamedTuple):
    """Numbers in high precision at the point: a value for the variable, and for all that is no elementwise function."""

    variable: Node
    place: Node
    values: Sequence[dict[Node, Any]]

    @staticmethod
    def of(variable: Node, place: Node, roots: Sequence[Node], original: Node) -> "Trial | None":
        """Numbers to try a few formulas with; None if they depend on the variable otherwise than as functions of it."""
        order = topological([*roots, place])
        moved = depends_on(order, [variable])
        below = {x for x in topological([original]) if is_leaf(x)}
        if len(order) > LARGE or place in moved or any(x.op.takes_arrays and x is not variable for x in moved):
            return None
        floats = [x for x in moved - {variable} if x.type.dtype.startswith("float")]
        if below & set(order) or any(x.op.partials is None for x in floats):
            return None
        return Trial(variable, place, [{} for _ in range(DRAWS)])

    def numbers(self, n: Node) -> list[Any]:
        """The values of a node at the point."""
        mpmath = importlib.import_module("mpmath")
        with mpmath.workdps(40):
            return [self._number(n, known, k, mpmath) for k, known in enumerate(self.values)]

    def _number(self, root: Node, known: dict[Node, Any], seed: int, mpmath: Any) -> Any:
        for n in topological([self.place, root], lambda x: x in known):
            if n is self.variable:
                known[n] = known[self.place]
            elif is_const(n):
                known[n] = mpmath.mpf(float(n.value)) if n.type.dtype != "bool" else bool(n.value)
            elif n.op.takes_arrays:
                known[n] = mpmath.mpf(random.Random(f"{seed}/{len(known)}").uniform(0.3, 1.7))
            else:
                known[n] = value_of(n, [known[a] for a in n.args], mpmath)
        return known[root]

    def is_finite(self, n: Node) -> bool:
        """Whether a node and its slope have values at the point."""
        return all(map(finite, [*self.numbers(n), *self.numbers(jvp([n], [self.variable], [one(self.variable)])[0])]))

    def same(self, a: Node, b: Node) -> bool:
        """Whether two nodes are equal at the point."""
        pairs = zip(self.numbers(a), self.numbers(b), strict=True)
        return all(finite(x) and finite(y) and abs(x - y) <= SAME * (1 + abs(x)) for x, y in pairs)

    def is_zero(self, n: Node) -> bool:
        """Whether a node is 0 at the point."""
        return all(finite(x) and abs(x) <= SAME for x in self.numbers(n))


def finite(x: Any) -> bool:
    """Whether this is a real number of finite size."""
    mpmath = importlib.import_module("mpmath")
    return bool(mpmath.isfinite(x)) and not mpmath.im(x)


def value_of(n: Node, args: Sequence[Any], mpmath: Any) -> Any:
    """An elementwise function in high precision; NaN at poles and where there is no such form."""
    function: Callable[..., Any] | None = getattr(mpmath, n.op.exact) if isinstance(n.op.exact, str) else n.op.exact
    try:
        return mpmath.nan if function is None else function(*args, *n.params)
    except (ZeroDivisionError, ValueError, OverflowError):
        return mpmath.nan


# 0/0


def without_poles(n: Node, trial: Trial) -> Node | None:
    """A formula with its 0/0 at the point as polynomials of degree one; None if there is another kind of pole."""
    fractions: dict[Node, tuple[Node, Node]] = {}  # of nodes that have a pole so far
    done: dict[Node, Node] = {}
    for x in topological([n]):
        args = [done.get(a, a) for a in x.args]
        new = x if all(a is b for a, b in zip(args, x.args, strict=True)) else apply(x.op.name, *args, params=x.params)
        poles = [a for a in args if a in fractions]
        if not poles and (x.op.name != "div" or not trial.is_zero(args[1])):
            done[x] = new
            continue
        pair = together(new, [fractions.get(a, (a, None)) for a in args])
        if pair is None:
            return None
        tangent = tangent_of(*pair, trial)
        done[x] = new if tangent is None else tangent
        if tangent is None:
            fractions[done[x]] = pair
    return done[n] if done[n] not in fractions else None


def together(n: Node, args: Sequence[tuple[Node, Node | None]]) -> tuple[Node, Node] | None:
    """Numerator and denominator of a sum, product or quotient of fractions."""
    if n.op.name == "neg":
        return make("neg", args[0][0]), args[0][1] or number(1.0, n)
    if n.op.name == "div":
        (a, b), (c, d) = args
        return make("mul", a, d) if d else a, make("mul", b, c) if b else c
    if n.op.name == "mul":
        found = [d for _, d in args if d is not None]
        return make("mul", *(a for a, _ in args)), product(found) or number(1.0, n)
    if n.op.name != "add":
        return None
    below = list(dict.fromkeys(d for _, d in args if d is not None))
    whole = [product([a, *(d for d in below if d is not own)]) or a for a, own in args]
    return make("add", *whole), product(below) or number(1.0, n)


def tangent_of(above: Node, below: Node, trial: Trial) -> Node | None:
    """Value and slope of a quotient where both have a zero, as a polynomial; None if the denominator's is of a higher
    order."""
    tops, bottoms = [above], [below]
    v = trial.variable
    while trial.is_zero(bottoms[-1]):
        if not trial.is_zero(tops[-1]) or len(bottoms) > ORDERS:
            return None
        for side in (tops, bottoms):
            side.append(scaled(1 / len(side), jvp([side[-1]], [v], [one(v)])[0]))
    for side in (tops, bottoms):
        side.append(scaled(1 / len(side), jvp([side[-1]], [v], [one(v)])[0]))
    n0, n1, d0, d1 = substitute([tops[-2], tops[-1], bottoms[-2], bottoms[-1]], {v: trial.place})
    n0, n1, d0, d1 = rebuild([n0, n1, d0, d1], simplify_node)
    value = make("div", n0, d0)
    slope = make("div", make("add", n1, make("neg", make("mul", value, d1))), d0)
    return make("add", value, make("mul", slope, make("add", v, make("neg", trial.place))))


Rule = Callable[[Node], Node | None]
RULES: dict[str, Rule] = {"add": one_denominator, "div": over_its_argument, "select": at_a_point}
NEEDED = ({"select", "eq"}, {"select", "ne"}, {"div", "expm1"}, {"div", "log1p"}, {"div", "exp", "add"}, {"scan"})
