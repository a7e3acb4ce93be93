"""The convex functions that a loss applies to its outputs, for Gauss-Newton matrices.

A loss is followed from its value down, through what is linear, to functions of known curvature. What such a function is
applied to is an *output*: its first derivatives go into the matrix, below it nothing is curved. The rules:

* Terms are added, and multiplied by what holds no parameter. Such a factor is a weight: its sign is read off where the
  formula tells it, an input counts as not negative, and of what has no sign that can be told, as 1 - t, it is taken for
  that which makes the term convex.
* A convex function, or minus a concave one, has the curvature H of its second derivative. A square is one of them, and
  so are a product r'A r, and the logarithm of a sum of exponentials, whose curvature is the covariance of the softmax.
* Of a monotone function of squares, as of the robust loss rho(r**2), the slope counts alone: 2 rho' J'J, whether rho
  is convex or not. The absolute value is the root of a square.
* What one function takes for its output is an output wherever else it stands.

What reaches a node that no rule is about has no Gauss-Newton matrix, and is refused.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from gradcompile.analysis.bounds import lower_bounds
from gradcompile.analysis.formula import formulas
from gradcompile.diff import reverse
from gradcompile.diff.masks import is_masked, times
from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import (
    add,
    expand,
    is_add,
    is_div,
    is_mul,
    is_neg,
    is_select,
    number,
    part_at,
    placed_in,
)
from gradcompile.ir.core import Node, apply, is_const, is_leaf
from gradcompile.ir.graph import rebuild, substitute, topological
from gradcompile.ops.contract import is_dot, spread_labels
from gradcompile.ops.elementwise import (
    is_abs,
    is_cosh,
    is_erf,
    is_erfc,
    is_exp,
    is_hypot,
    is_log,
    is_log1p,
    is_pow,
    is_sigmoid,
)
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.scan import fresh
from gradcompile.ops.shape import is_broadcast, places

CURE = (
    "a Gauss-Newton matrix is that of convex functions of outputs: squares, rho(r**2), cross entropies, minus the "
    "logarithm of a likelihood of exponential family; leave gauss_newton out for the whole Hessian"
)


Core = Node | frozenset[tuple[Node, int]]


class Curved(NamedTuple):
    """What a Gauss-Newton matrix adds up: scale * sum(weight * (d left) (d right)'), the symmetric part of it."""

    scale: Node
    weight: Node
    left: Node
    right: Node


class Function(NamedTuple):
    """A function that a loss is made of, at a node: its adjoint times a factor is the weight of two derivatives.

    aligned: an adjoint of the node, repeated to the shape of the factor.
    """

    node: Node
    factor: Node
    left: Node
    right: Node
    aligned: Callable[[Node], Node] = lambda adjoint: adjoint


def curved(loss: Node, params: Sequence[Node]) -> list[Curved]:
    """What the Gauss-Newton matrix of a loss adds up.

    Raises ExpressionError where the loss is no convex function of outputs.
    """
    loss = likelihoods(loss, params)
    walk = Walk(loss, params)
    functions = walk.functions()
    found = adjoints_above(loss, [f.node for f in functions], walk.held)
    terms = []
    for f in functions:
        if f.node in found:
            scale, weight = taken_apart(times(f.aligned(found[f.node]), f.factor))
            terms.append(Curved(scale, weight, f.left, f.right))
    return terms


def adjoints_above(loss: Node, wanted: Sequence[Node], held: Iterable[Node]) -> dict[Node, Node]:
    """The adjoints of nodes in a loss in which some nodes are held, as if they were inputs of their own."""
    new = {n: fresh(n.type) for n in held}
    above, *own = substitute([loss, *wanted], new)
    found = reverse.adjoints(above, own)
    pairs = [(n, found[k]) for n, k in zip(wanted, own, strict=True) if k in found]
    values = substitute([g for _, g in pairs], {leaf: n for n, leaf in new.items()})
    return dict(zip((n for n, _ in pairs), values, strict=True))


def likelihoods(loss: Node, params: Sequence[Node]) -> Node:
    """A loss with the logarithms of exponentials, of logistic functions and of quotients taken.

    So a likelihood that is written by its probabilities has the outputs that these are made of; and a share s/(1 + s)
    is 1 - 1/(1 + s), a function of the one square s, and a product of squares the square of a product.
    """
    order = topological([loss])
    moving = moved(order, params)
    still, least = set(order) - moving, lower_bounds(order)

    def rule(n: Node) -> Node:
        """One node, whose arguments are rewritten."""
        if is_div(n) and (z := logistic(n)) is not None:
            whole = apply("sigmoid", z)
            return whole if is_exp(n.args[0]) else times(n.args[0], whole)
        if is_div(n):
            return share(n, still) or square_of_all(n, still) or n
        if is_mul(n):
            return square_of_all(n, still) or n
        return logarithm(n.args[0], still, least) or n if is_log(n) else n

    return rebuild([loss], rule, settled=still.__contains__)[0]


def logistic(n: Node) -> Node | None:
    """z, of a quotient c/(1 + exp(-z)) or exp(z)/(1 + exp(z)); None of any other."""
    above, below = n.args
    if not is_add(below) or len(below.args) != 2 or not any(is_const(a, 1.0) for a in below.args):
        return None
    raised = next((a for a in below.args if is_exp(a)), None)
    if raised is None:
        return None
    return raised.args[0] if above is raised else -raised.args[0] if not is_exp(above) else None


def share(n: Node, still: Collection[Node]) -> Node | None:
    """A quotient c*u/(k + d*u) as c/d - (c/d)*k/(k + d*u), in which u stands once; None of any other.

    still: the nodes that hold no parameter, as c, d and k have to.
    """
    whole, below = (factored(a, still) for a in n.args)
    ((total, power),) = below.core if len(below.core) == 1 else ((n, 0),)
    if power != 1 or not is_add(total) or not whole.core:
        return None
    moving = [a for a in total.args if a not in still]
    part = factored(moving[0], still)
    if len(moving) != 1 or len(total.args) == 1 or part.core != whole.core:
        return None
    level = whole.factor / (below.factor * part.factor)
    return level - level * add(*(a for a in total.args if a in still)) / total


def square_of_all(n: Node, still: set[Node]) -> Node | None:
    """A product or quotient of squares, as a**2*exp(2*u)/b**2, as the square of one output; None of any other."""
    parts = [weight_and_root(a, still) for a in n.args]
    roots = [r for _, r in filter(None, parts) if r is not None]
    if None in parts or all(map(is_exp, roots)) or not still.isdisjoint(n.args[is_div(n) :]):
        return None
    one = number(1.0, n)
    (v, left), (w, right) = ((w, one if r is None else r) for w, r in filter(None, parts))
    weight, output = (times(v, w), left * right) if is_mul(n) else (v / w, left / right)
    still.add(weight)
    return times(weight, output * output)


def weight_and_root(n: Node, still: Collection[Node]) -> tuple[Node, Node | None] | None:
    """The w and r of w*r*r, w without a parameter and r with some, if with any; None of what is no square."""
    if n in still or is_const(n):
        return n, None
    weight, inner = number(1.0, n), n
    if is_mul(n) and (n.args[0] in still or n.args[1] in still):
        weight, inner = n.args if n.args[0] in still else n.args[::-1]
    if is_exp(inner):
        return weight, apply("exp", 0.5 * inner.args[0])
    return (weight, inner.args[0]) if is_mul(inner) and inner.args[0] is inner.args[1] else None


class Factored(NamedTuple):
    """A product: a factor that holds no parameter, and the powers of what the parameters move."""

    factor: Node
    core: frozenset[tuple[Node, int]]


def factored(n: Node, still: Collection[Node]) -> Factored:
    """A node as a product."""
    factor, powers, pending = number(1.0, n), Counter[Node](), [(n, 1)]
    while pending:
        top, power = pending.pop()
        if top in still or is_const(top):
            factor = factor * top if power > 0 else factor / top
        elif is_mul(top):
            pending += [(a, power) for a in top.args]
        elif is_div(top):
            pending += [(top.args[0], power), (top.args[1], -power)]
        elif is_neg(top):
            factor, pending = -factor, [*pending, (top.args[0], power)]
        else:
            powers[top] += power
    return Factored(factor, frozenset((u, k) for u, k in powers.items() if k))


def logarithm(u: Node, still: Collection[Node], least: Mapping[Node, float]) -> Node | None:
    """log(u) by what u is made of; None where there is nothing to gain.

    still: the nodes that hold no parameter.  least: what nodes are never below.
    """
    if is_exp(u):
        return u.args[0]
    if is_sigmoid(u):
        return -apply("softplus", -u.args[0])
    if is_erfc(u):
        return apply("log_erfc", u.args[0])
    if is_cosh(u):
        return apply("log_cosh", u.args[0])
    if is_add(u) and len(u.args) == 2 and any(map(is_const, u.args)):
        return logarithm_of_rest(*(u.args if is_const(u.args[0]) else u.args[::-1]))
    if is_mul(u):
        a, b = u.args if u.args[0] in still else u.args[::-1]
        return apply("log", a) + b.args[0] if a in still and is_exp(b) else None
    if is_div(u) and least.get(u.args[1], -1.0) >= 0:
        return apply("log", u.args[0]) - (logarithm(u.args[1], still, least) or apply("log", u.args[1]))
    return None


def taken_apart(adjoint: Node) -> tuple[Node, Node]:
    """The factor of an adjoint that is one number for all its entries, and what else there is."""
    scale = weight = number(1.0, adjoint)
    pending = [adjoint]
    while pending:
        n = pending.pop()
        if not n.type.shape and not is_masked(n):
            scale = times(scale, n)
        elif is_mul(n):
            pending += n.args
        elif is_neg(n):
            scale, pending = -scale, [*pending, n.args[0]]
        elif is_broadcast(n) and not n.args[0].type.shape:
            pending.append(n.args[0])
        else:
            weight = times(weight, n)
    return scale, weight


def moved(order: Iterable[Node], params: Iterable[Node]) -> set[Node]:
    """The nodes whose derivative by the parameters may be other than 0."""
    found = set(params)
    for n in order:
        still = n.op.is_copy or n.op.by_shape or not n.type.dtype.startswith("float")
        if not still and not found.isdisjoint(n.args):
            found.add(n)
    return found


def signs(order: Iterable[Node], moving: set[Node], least: Mapping[Node, float]) -> dict[Node, int]:
    """The signs of nodes that hold no parameter, 0 where they have none; inputs count as not negative."""
    found: dict[Node, int] = {}
    for n in order:
        if n in moving:
            continue
        own = [found.get(a, 0) for a in n.args]
        if is_const(n) or is_leaf(n) or least[n] >= 0:
            found[n] = -1 if is_const(n) and n.value < 0 else 1
        elif is_neg(n):
            found[n] = -own[0]
        elif is_mul(n) or is_div(n):
            found[n] = own[0] * own[1]
        else:
            found[n] = own[0] if len(set(own)) == 1 and (is_add(n) or n.op.is_linear) else 0
    return found


def logarithm_of_rest(number: Node, other: Node) -> Node | None:
    """log(number + other), of a function that goes from 0 to that number, less it; None of any other."""
    inner = other.args[0] if is_neg(other) else other
    if is_sigmoid(inner) and is_const(number, 1.0):
        return -apply("softplus", inner.args[0]) if inner is not other else None
    if is_erfc(inner) and is_const(number, 2.0):
        return apply("log_erfc", -inner.args[0]) if inner is not other else None
    if is_erf(inner) and is_const(number, 1.0):
        return apply("log_erfc", inner.args[0] if inner is not other else -inner.args[0])
    return None


class Walk:
    """A loss on the way from its value to its outputs.

    sign: of what a node is multiplied by on the way from the loss, 1 or -1, 0 if that is whatever it has to be, None
    where both come.  outputs: nodes that are, or whose parts are, what a curved function is applied to.
    products: those that the loss is linear in.
    """

    def __init__(self, loss: Node, params: Sequence[Node]) -> None:
        self.order = topological([loss])
        self.moving = moved(self.order, params)
        self.least = lower_bounds(self.order)
        self.factors = signs(self.order, self.moving, self.least)
        self.positive = self.never_negative()
        self.of_squares = self.made_of_squares()
        self.sign: dict[Node, int | None] = {loss: 1}
        self.outputs: set[Node] = set()
        self.products: list[Node] = []
        self.found: list[Function] = []

    def functions(self) -> list[Function]:
        """The functions that the loss is made of."""
        for n in reversed(self.order):
            if n in self.sign and n not in self.outputs and not is_leaf(n):
                self.look(n, self.sign[n])
            self.spread_output(n)
        self.settle_products()
        for n in reversed(self.order):
            self.spread_output(n)
        return self.found

    def spread_output(self, n: Node) -> None:
        """What an output is a linear map of are outputs as well."""
        if n in self.outputs and not is_leaf(n) and self.is_linear(n):
            self.outputs.update(self.own(n))

    @property
    def held(self) -> list[Node]:
        """What the outputs are linear maps of, but for the parameters themselves."""
        return [n for n in self.outputs if not is_leaf(n) and not self.is_linear(n)]

    # ---- what a node is

    def own(self, n: Node) -> list[Node]:
        """The arguments that the parameters move."""
        return [a for a in n.args if a in self.moving]

    def is_linear(self, n: Node) -> bool:
        """Whether a node is linear in the arguments that move."""
        if is_add(n) or is_neg(n) or n.op.is_linear:
            return True
        own = self.own(n)
        if is_mul(n) or is_dot(n):
            return len(own) == 1
        return is_div(n) and own == [n.args[0]]

    def never_negative(self) -> set[Node]:
        """The nodes that are not negative wherever they have a value."""
        found: set[Node] = set()
        for n in self.order:
            made_of_such = (is_add(n) or is_mul(n) or is_div(n)) and found.issuperset(n.args)
            if self.least[n] >= 0 or self.factors.get(n, 0) > 0 or made_of_such:
                found.add(n)
        return found

    def factor(self, n: Node) -> int:
        """The sign of what a linear node multiplies by."""
        if is_neg(n):
            return -1
        others = [a for a in n.args if a not in self.moving] if is_mul(n) or is_dot(n) or is_div(n) else []
        return self.factors[others[0]] if others else 1

    def made_of_squares(self) -> set[Node]:
        """The nodes that depend on the parameters by squares alone, through what is linear or monotone."""
        found: set[Node] = set()
        for n in self.order:
            own = self.own(n) if n in self.moving else []
            is_square = bool(own) and (is_abs(n) or is_hypot(n) or self.is_square(n))
            if is_square or (own and found.issuperset(own) and (self.is_linear(n) or self.direction(n))):
                found.add(n)
        return found

    def is_product(self, n: Node) -> bool:
        """Whether a node is a product of two outputs entry by entry, or the sum of such."""
        return (is_mul(n) or (is_dot(n) and n.params[0] == n.params[1])) and len(self.own(n)) == 2

    def is_square(self, n: Node) -> bool:
        """Whether a node is a square, or a quadratic form of an output."""
        if not self.is_product(n):
            return False
        a, b = n.args
        return a is b or self.cores(a) == self.cores(b)

    def cores(self, n: Node) -> set[Core]:
        """What a node is a linear map of."""
        found, pending, seen = set[Core](), [n], set[Node]()
        while pending:
            top = pending.pop()
            if top in seen:
                continue
            seen.add(top)
            if not is_leaf(top) and self.is_linear(top):
                pending += self.own(top)
            else:
                found.add(self.without_factors(top))
        return found

    def without_factors(self, n: Node) -> Core:
        """A product of what the parameters move, without the other factors in it; any other node as it is."""
        if not is_mul(n):
            return n
        pending, moving = [n], Counter[Node]()
        while pending:
            top = pending.pop()
            if is_mul(top) or ((is_neg(top) or is_div(top)) and self.is_linear(top)):
                pending += self.own(top)
            else:
                moving[top] += 1
        return frozenset(moving.items())

    def is_fraction(self, n: Node) -> bool:
        """Whether a node is what holds no parameter divided by what is not negative."""
        return is_div(n) and n.args[0] not in self.moving and n.args[1] in self.positive

    def is_power(self, n: Node) -> bool:
        """Whether a node is a fixed power of what is not negative."""
        return is_pow(n) and is_const(n.args[1]) and n.args[0] in self.positive

    def direction(self, n: Node) -> int:
        """1 if a node rises with the arguments that move, -1 if it falls; 0 if that is unknown."""
        if self.is_power(n):
            return 1 if n.args[1].value > 0 else -1
        if self.is_fraction(n):
            return -self.factors[n.args[0]]
        return 1 if is_select(n) else n.op.monotone

    def curvature(self, n: Node) -> int:
        """1 if a node is convex in the one argument that moves, -1 if it is concave; 0 if that is unknown."""
        if self.is_power(n):
            return -1 if 0 < n.args[1].value < 1 else 1
        return self.factors[n.args[0]] if self.is_fraction(n) else n.op.curvature

    # ---- what a node adds

    def look(self, n: Node, sign: int | None) -> None:
        """What a node adds, that stands in the loss with a sign, and what it hands down."""
        own = self.own(n)
        if self.is_linear(n):
            self.hand_down(own, sign, self.factor(n))
        elif self.is_product(n) and not self.is_square(n):
            self.products.append(n)
        elif sign is None:
            self.refuse(n)
        elif is_select(n):
            self.hand_down(own, sign, 1)
        elif self.of_squares.issuperset(own) and self.direction(n):
            self.hand_down(own, sign, self.direction(n))
        elif not (sign >= 0 and self.add_convex(n)) and not self.add_function(n, sign):
            self.refuse(n)

    def hand_down(self, own: Iterable[Node], sign: int | None, factor: int) -> None:
        """Note that arguments stand in the loss with the sign of their node, times a factor's."""
        for a in own:
            new = None if sign is None else sign * factor
            known = self.sign.get(a, new)
            self.sign[a] = new if known == 0 else known if new in (0, known) else None

    def add(self, n: Node, factor: Node, *outputs: Node) -> bool:
        """Note a function whose curvature is a factor, in the direction of an output, or of two."""
        left, right = (expand(a, n.type.shape) for a in (outputs[0], outputs[-1]))
        self.found.append(Function(n, factor, left, right))
        self.outputs.update(outputs)
        return True

    def add_convex(self, n: Node) -> bool:
        """Note a function that is convex as it stands; False if it is none of these."""
        if self.is_product(n):
            return self.add_product(n)
        if is_abs(n) or is_hypot(n):
            return all(self.add(n, 1.0 / n, a) for a in self.own(n))
        if self.is_power(n) and is_abs(n.args[0]):
            size, power = n.args
            return self.add(n, power * apply("pow", size, power - 2.0), size.args[0])
        return (is_log(n) or is_log1p(n)) and self.add_log_of_sum(n)

    def add_product(self, n: Node) -> bool:
        """Note a product of outputs, of arrays with an adjoint for each of their entries."""
        a, b = n.args
        if is_mul(n):
            return self.add(n, number(2.0, n), a, b)
        _, labels, own = n.params
        self.found.append(
            Function(n, number(2.0, n), a, b, lambda adjoint: spread_labels(adjoint, own, labels, a.type.shape))
        )
        self.outputs.update((a, b))
        return True

    def settle_products(self) -> None:
        """What the products add that the loss is linear in.

        Nothing, if one is an output of a curved function, whatever else it is multiplied by. Its factors may be outputs
        of a quadratic form, in which each is squared as well. Any other is refused.
        """
        known = {self.without_factors(n) for n in self.held}
        rest = [n for n in self.products if self.without_factors(n) not in known]
        pairs = [tuple(map(self.cores, n.args)) for n in rest]
        squares = [f.left for f in self.found if f.left is f.right and self.is_product(f.node)]
        squared = set[Core]().union(*map(self.cores, squares), *(a & b for a, b in pairs))
        self.outputs.update(self.products)
        for n, (a, b) in zip(rest, pairs, strict=True):
            if not a | b <= squared:
                self.refuse(n)
            self.outputs.remove(n)
            self.add_product(n)

    def add_function(self, n: Node, sign: int) -> bool:
        """Note a function of one output, by its second derivative; False if that has not the right sign."""
        own = self.own(n)
        if len(own) != 1 or not self.curvature(n) or self.curvature(n) * sign < 0 or n.op.partials is None:
            return False
        slope = n.op.partials(n)[n.args.index(own[0])]
        if slope is None:
            return False
        return self.add(n, reverse.jvp([slope], own, [number(1.0, own[0])])[0], own[0])

    def add_log_of_sum(self, n: Node) -> bool:
        """Note the logarithm of a sum of exponentials, whose curvature is a covariance; False if it is none.

        Each exponential has the share exp(z - n) of the sum, and counts by how it moves against that: z - n.
        """
        one = number(1.0, n)
        terms = [n.args[0], one] if is_log1p(n) else [n.args[0]]
        pending: list[tuple[Node, tuple[Node, ...], Node]] = [(u, (), one) for u in terms]
        found, outputs = list[Function](), list[Node]()
        while pending:
            u, steps, factor = pending.pop()
            aligned = partial(repeated, steps)
            log = aligned(n)
            if u not in self.moving:
                if self.factors.get(u, 1) < 0:
                    return False
                found.append(Function(n, factor * u * apply("exp", -log), log, log, aligned))
            elif is_exp(u):
                output = u.args[0] - log
                outputs.append(u.args[0])
                found.append(Function(n, factor * apply("exp", output), output, output, aligned))
            elif is_add(u):
                pending += [(a, steps, factor) for a in u.args]
            elif is_mul(u) and self.is_linear(u) and self.factor(u) >= 0:
                a, other = u.args if u.args[0] in self.moving else u.args[::-1]
                pending.append((a, steps, factor * other))
            elif log.type.shape == u.type.shape and is_undone(u):
                pending.append((u.args[0], (*steps, u), factor))
            else:
                return False
        self.found += found
        self.outputs.update(outputs)
        return True

    def refuse(self, n: Node) -> None:
        """Raise ExpressionError: a node has no curvature that is known to be of the right sign."""
        text = formulas([n], {}, 60)[n]
        raise ExpressionError(f"the loss is no convex function of outputs at {text}: {CURE}")


def is_undone(n: Node) -> bool:
    """Whether what has the shape of a node can be repeated to that of its argument."""
    if is_broadcast(n):
        at = places(n.params, len(n.args[0].type.shape))
        return all(d == 1 for k, d in enumerate(n.type.shape) if k not in at)
    return is_sum(n)


def repeated(steps: Sequence[Node], x: Node) -> Node:
    """An array like the first of some nodes, each the argument of the next, as one like the last: sums undone."""
    for n in steps:
        inner = n.args[0].type.shape
        if is_sum(n):
            kept = tuple(k for k in range(len(inner)) if k not in n.params[0])
            x = placed_in(x, inner, kept)
        else:
            at = places(n.params, len(inner))
            x = part_at(x, tuple(None if k in at else 0 for k in range(len(n.type.shape))))
    return x
