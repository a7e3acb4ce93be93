"""Slopes: where a derivative is infinite though the value is finite, and what 0 times it is.

At 0 the square root of s rises infinitely fast, and 0 times that is NaN, where the derivative is 0 or known by
convention. Four things are known from the graph:

* A parameter whose factor is a 0 that no parameter changes, as u in (a*u)**v or in u*sqrt(a), has no part in the value:
  its derivative is an exact 0, whatever comes from outside.
* A root or power of what is never negative, as |x| or x**2 + y**2, has a minimum where that is 0. If there is a
  derivative it is 0; if there is none, 0 is chosen, as for `abs`.
* Where a value no longer changes, as exp(a*u) at a*u = -inf, its adjoint is 0, and so is what an infinite input u sends
  on: no parameter changes the infinity. (Of columns of data this would cost loops over samples 2 to 10 %.)
* A square root of what vanishes with its own derivative, as x @ S @ x at 0, has the derivative 0, or a kink like that
  of `abs`. So 0 times the slope of a square root is 0. This does not hold for a cube root: that of x**3 is x.

Nothing of this hides an infinity: where a factor is not 0, it stays.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial

from gradcompile.analysis.bounds import SMALL, lower_bounds
from gradcompile.diff.masks import is_masked, masked, times
from gradcompile.ir.algebra import all_of, equal, less, select, unequal
from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ir.graph import operands, topological

FEW = 16  # factors of a product that are looked at
ROOT, ANY = 1, 2  # how an adjoint may be infinite: as that of a square root, or otherwise

Power = tuple[Node, float]


class Slopes:
    """What is known of the partials of a graph, arguments first; `moving` are the nodes that parameters change.

    `least` are the lower bounds of the graph, if somebody has them already.
    """

    def __init__(self, order: Sequence[Node], moving: Set[Node], least: Mapping[Node, float] | None = None) -> None:
        self.least = lower_bounds(order) if least is None else least
        self.moving = moving
        self._far = far_factors(order, moving)
        self._steep: dict[Node, int] = {}  # the nodes whose adjoint may be infinite, and how
        for n in reversed(order):
            if n in moving:
                self._pass_on(n)

    def _pass_on(self, n: Node) -> None:
        """Enter how the adjoints of a node's arguments may be infinite."""
        inherited = self._steep.get(n, 0)
        if inherited == ROOT and n.op.partials is not None and not n.op.is_algebraic:
            inherited = ANY
        for k, a in enumerate(n.args):
            found = max(inherited, self._own(n, k))
            if found and a in self.moving:
                self._steep[a] = max(found, self._steep.get(a, 0))

    def steep(self, n: Node) -> int:
        """How the adjoint of a node may be infinite, 0 if it may not."""
        return self._steep.get(n, 0)

    def _own(self, n: Node, k: int) -> int:
        """How the partial of a node by an argument may be infinite where its value is finite."""
        place = n.op.steep
        if place is None or k != 0 or self.at_minimum(n, k):
            return 0
        if place >= 0 and self.least[n.args[place]] >= SMALL:
            return 0
        if n.op.name == "cbrt":
            return ANY
        if n.op.name != "pow":
            return ROOT
        exponent = n.args[1]
        if not is_const(exponent):
            return ANY
        return 0 if not 0 < exponent.value < 1 else ROOT if exponent.value >= 0.5 else ANY

    def at_minimum(self, n: Node, k: int) -> bool:
        """Whether a partial is infinite at most where the node is at its minimum, or of x*log(x) of such a minimum."""
        place = n.op.steep
        if place is None or place < 0 or k != 0 or not 0 <= self.least[n.args[place]] < SMALL:
            return False
        if n.op.name == "pow":
            return not is_const(n.args[1]) or 0 < n.args[1].value < 1
        return n.op.name != "xlogy" or n.args[0] is n.args[1]

    def off_minimum(self, n: Node) -> Node:
        """The condition under which a node that has a minimum where its argument is 0 is not there."""
        s = n.args[n.op.steep or 0]
        zero = const(0.0, s.type.dtype)
        positive = unequal(s, zero)
        if n.op.name != "pow" or is_const(n.args[1]):
            return positive
        return positive | less(n.args[1], 0.0)

    def sent(self, n: Node, k: int, adjoint: Node, partial: Node) -> Node:
        """adjoint * partial, with 0 for a partial that is infinite at a minimum, and for 0 times infinity."""
        if n.op.steep is None:
            return self.settled(n, adjoint, self.times(adjoint, partial, self.steep(n)))
        if self.at_minimum(n, k):
            partial = masked(self.off_minimum(n), partial)
        result = self.settled(n, adjoint, self.times(adjoint, partial, self.steep(n)))
        for factor in self.vanishing(adjoint)[0] if k == 0 and not is_const(partial) and self._own(n, k) else ():
            result = masked(unequal(factor, 0.0), result)
        return unless_zero(n.args[0], result) if k == 0 and outweighs(adjoint, n) else result

    def settled(self, n: Node, adjoint: Node, product: Node) -> Node:
        """What a node sends on, which is 0 where its adjoint is, even if an infinite input is a factor of it.

        What is divided, or raised to a power, has to be infinite itself: u/x is so at x = 0 too, where x changes it.
        """
        if n not in self._far:
            return product
        if is_masked(adjoint) and is_masked(product):
            return masked(product.args[0], self.settled(n, adjoint.args[1], product.args[1]))
        if is_const(adjoint):
            return product
        is_zero = equal(adjoint, 0.0)
        if n.op.name == "div" and n.args[1] not in self.moving:
            is_zero = all_of(is_zero, equal(n.args[1], 0.0))
        elif n.op.name in ("div", "pow"):
            is_zero = all_of(is_zero, equal(apply("abs", n.args[0]), math.inf))
        return select(is_zero, const(0.0, product.type.dtype), product)

    def times(self, adjoint: Node, partial: Node, steep: int) -> Node:
        """adjoint * partial, where the adjoint may be infinite: 0 where the partial is for a reason that is known."""
        if not steep or is_const(partial):
            return times(adjoint, partial)
        if is_masked(partial):
            return masked(partial.args[0], self.times(adjoint, partial.args[1], steep))
        if is_masked(adjoint):
            return masked(adjoint.args[0], self.times(adjoint.args[1], partial, steep))
        still, others = self.vanishing(partial)
        product = times(adjoint, partial)
        if others and steep == ROOT:
            product = unless_lost(partial, product)
        for factor in still:
            product = masked(unequal(factor, 0.0), product)
        return product

    def to_bases(self, n: Node, adjoint: Node, bases: Sequence[Power]) -> list[tuple[Node, Node | None]]:
        """What goes from v = x/y to each base of y = b**k*...: -k*v/b, which is in range where x/y**2 is not."""
        found: list[tuple[Node, Node | None]] = []
        for base, k in bases:
            ratio = n / base
            partial = ratio if k == 1.0 else const(k, n.type.dtype) * ratio
            found.append((base, self.settled(n, adjoint, self.times(adjoint, -partial, self.steep(n)))))
        return found

    def vanishing(self, partial: Node) -> tuple[list[Node], bool]:
        """The factors of a partial that no parameter changes, and whether there are others that may be 0."""
        still, others, pending = list[Node](), False, [partial]
        for _ in range(FEW):
            if not pending:
                break
            p = pending.pop()
            if p.op.name == "neg":
                pending.append(p.args[0])
            elif p.op.name == "mul":
                pending += p.args
            elif p.op.name == "div":
                pending.append(p.args[0])
            elif self._is_still(p):
                still += [] if is_const(p) else [p]
            else:
                is_step = p.op.name == "select" and all(is_const(a) and a.value != 0 for a in p.args[1:])
                others = others or not is_step
        return still, others or bool(pending)

    def _is_still(self, p: Node) -> bool:
        """Whether no parameter changes a node; one that is new, as partials are, is looked at by its arguments."""
        pending = [p]
        for _ in range(FEW):
            if not pending:
                return True
            p = pending.pop()
            if p in self.moving:
                return False
            pending += () if p in self.least else p.args
        return False


def moved(order: Sequence[Node], params: Iterable[Node]) -> set[Node]:
    """The nodes that parameters change by little where they change by little: not floor(x), or a fixed value."""
    found = set(params)
    for n in order:
        if not found.isdisjoint(n.args) and n.op.derivative != "none" and not n.op.is_copy:
            found.add(n)
    return found


def far_factors(order: Sequence[Node], moving: Set[Node]) -> set[Node]:
    """Products and powers whose slopes an infinite input makes infinite, below a function that may have settled.

    A quotient by data is infinite where they are 0, as (a/u)**b of a first row at time 0.
    """
    far = {n for n in order if n.op.name == "leaf" and n.params[1] == "input" and n.type.dtype.startswith("float")}
    far |= {n for n in order if n in moving and is_by_data(n, moving)}
    if not far:
        return far
    for n in order:
        by_entry = n.op.partials is not None or n.op.is_view
        if by_entry and not (n.op.settles and not n.op.overflows) and not far.isdisjoint(n.args):
            far.add(n)
    below = {a for n in order if n in moving for a in settled_args(n)}
    for n in reversed(order):
        if n in below and n.op.derivative != "none":
            below.update(n.args)
    return {n for n in order if n in far and n in below and is_factored(n, far, moving)}


def settled_args(n: Node) -> Sequence[Node]:
    """The arguments by which the slope of a node is 0 far out, where the node is finite."""
    if n.op.name == "div":
        return n.args[1:]
    return n.args[:1] if n.op.name == "pow" else n.args if n.op.settles or n.op.name in ("atan", "atan2") else ()


def is_factored(n: Node, far: Set[Node], moving: Set[Node]) -> bool:
    """Whether a slope of a node, by what parameters change, has a factor that may be infinite.

    Of arrays only where the argument that moves is no row of many, whose sums of products are contractions.
    """
    if n.op.name not in ("mul", "div", "pow", "hypot") or n not in far:
        return False
    if not n.type.shape or is_by_data(n, moving):
        return not moving.isdisjoint(n.args)
    a, b = n.args
    pairs = ((b, a),) if n.op.name == "div" else ((a, b), (b, a))
    return a is not b and any(x in moving and y in far and x.type.shape in ((), n.type.shape) for x, y in pairs)


def is_by_data(n: Node, moving: Set[Node]) -> bool:
    """Whether this is a quotient by a leaf that no parameter changes, or by a power of one."""
    if n.op.name != "div":
        return False
    below = n.args[1]
    products = topological([below], lambda m: m.op.name != "mul")  # each once: those of high powers share their parts
    factors = {a for m in products for a in m.args if a.op.name != "mul"} or {below}
    return len(factors) == 1 and all(x.op.is_leaf and x not in moving for x in factors)


def unless_zero(factor: Node, product: Node) -> Node:
    """The product, and 0 where this factor of it is 0, even if the other is infinite.

    A later infinite factor makes this NaN, unlike select(c, x, 0), which stands for a branch that was not taken.
    """
    zero = const(0.0, factor.type.dtype)
    return select(equal(factor, zero), const(0.0, product.type.dtype), product)


def unless_lost(factor: Node, product: Node) -> Node:
    """The product, and 0 where this factor of it is 0 and the other infinite.

    Where the other is finite the product stays, as its own derivative by the factor is not 0 there.
    """
    lost = all_of(equal(factor, 0.0), unequal(product, product))
    return select(lost, const(0.0, product.type.dtype), product)


def outweighs(adjoint: Node, n: Node) -> bool:
    """Whether factors of an adjoint vanish faster than the slope of a root, or of x*log(x) by x, becomes infinite.

    So it is of x*sqrt(x), of sqrt(x)**3 and of (x*log(x))**2: as x goes to 0 the product goes to 0.
    """
    if n.op.name not in ("sqrt", "xlogy"):
        return False
    found = operands(adjoint, "add")
    if n.op.name == "sqrt":
        halves = {n: 1.0, n.args[0]: 2.0}
        return len(found) <= FEW and all(weight(t, lambda x: halves.get(x, 0.0)) > 1 for t in found)
    alike = partial(weight, of=lambda x: float(x.op is n.op and x.args[1] is n.args[1]))  # as x*log(y) and z*log(y)
    return len(found) <= FEW and all(alike(t) > 0 for t in found)


def weight(term: Node, of: Callable[[Node], float]) -> float:
    """The weights of a product's factors, added up; those below the line count against it."""
    found, pending = 0.0, [(term, 1.0)]
    for _ in range(2 * FEW):
        if not pending:
            return found
        x, sign = pending.pop()
        own = of(x)
        if own:
            found += sign * own
        elif x.op.name == "neg":
            pending.append((x.args[0], sign))
        elif x.op.name == "select" and is_const(x.args[1], 0.0):  # 0 where another factor is, see unless_zero
            pending.append((x.args[2], sign))
        elif x.op.name in ("mul", "div"):
            pending += [(x.args[0], sign), (x.args[1], -sign if x.op.name == "div" else sign)]
    return 0.0


def powers(order: Sequence[Node]) -> dict[Node, list[Power]]:
    """The nodes that are products with powers, c*x**k*y**m..., as bases and exponents; products of few bases alone."""
    found: dict[Node, list[Power]] = {}
    for n in order:
        parts = power_parts(n, found)
        if parts is not None and len(parts) <= FEW:
            found[n] = parts
    return {n: parts for n, parts in found.items() if any(k != 1.0 for _, k in parts)}


def power_parts(n: Node, found: Mapping[Node, list[Power]]) -> list[Power] | None:
    """Bases and exponents of a power, a root, or a product of such; None for any other node."""
    if n.op.name == "sqrt":
        return [(n.args[0], 0.5)]
    if n.op.name == "cbrt":
        return [(n.args[0], 1 / 3)]
    if n.op.name == "pow" and is_const(n.args[1]):
        return [(n.args[0], float(n.args[1].value))]
    if n.op.name == "neg":
        return found.get(n.args[0])
    if n.op.name != "mul":
        return None
    exponents: dict[Node, float] = {}
    for a in n.args:
        for base, k in [] if is_const(a) else found.get(a, [(a, 1.0)]):
            exponents[base] = exponents.get(base, 0.0) + k
    return list(exponents.items())
