"""What passes match sums and products with: terms and factors with their numbers, in any order, in trees of any form.

SymPy distributes numbers (2*(exp(x) - 1) arrives as 2*exp(x) - 2) and orders terms and factors as it likes. Long sums
and products are looked at a bounded number of times, so that what looks at every node of a graph stays linear.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import _lru_cache_wrapper, lru_cache, reduce
from typing import Any, TypeVar

from gradcompile.ir.algebra import broadcast_to, expand, number
from gradcompile.ir.core import Node, apply, is_const, node
from gradcompile.passes.simplify import simplify_node

Value = TypeVar("Value")
MEMORIES: list["_lru_cache_wrapper[Any]"] = []
Term = tuple[float, Node | None]  # a numeric factor, and what it multiplies (None: the number alone)
FEW = 16  # factors of a product, or terms of a nested sum, that are looked at
LONG = 1024  # parts of a product that is taken apart to its last factor
SUM, PRODUCT = frozenset({"add"}), frozenset({"mul", "div", "neg"})
ROUNDING = 1e-15  # numbers that SymPy or a user multiplied out may differ by so much, relatively


def remembered(function: Callable[[Node], Value]) -> "_lru_cache_wrapper[Value]":
    """A function that remembers its last results, since one rule after the other asks for them; see `forget`."""
    MEMORIES.append(lru_cache(maxsize=256)(function))
    return MEMORIES[-1]


def forget() -> None:
    """Let go of the graph that was looked at last."""
    for memory in MEMORIES:
        memory.cache_clear()


def make(name: str, *args: Node) -> Node:
    """A node, simplified."""
    return simplify_node(apply(name, *args))


def scaled(factor: float, x: Node) -> Node:
    """factor * x."""
    return make("mul", number(factor, x), x)


def minus(x: Node, y: Node) -> Node:
    """x - y."""
    return make("neg", y) if is_const(x, 0.0) else x if is_const(y, 0.0) else make("add", x, make("neg", y))


def plus(x: Node, c: float) -> Node:
    """x + c."""
    return x if c == 0 else make("add", x, number(c, x))


def total(xs: Sequence[Node]) -> Node:
    """The sum of some nodes."""
    return reduce(lambda u, v: make("add", u, v), xs)


def split(n: Node) -> Term:
    """A term as a number times something."""
    factor = 1.0
    while True:
        if is_const(n):
            return factor * float(n.value), None
        if n.op.name == "neg":
            factor, n = -factor, n.args[0]
        elif n.op.name == "mul" and is_const(n.args[0]):
            factor, n = factor * float(n.args[0].value), n.args[1]
        elif n.op.name == "div" and is_const(n.args[1]) and float(n.args[1].value) != 0:
            factor, n = factor / float(n.args[1].value), n.args[0]
        else:
            return factor, n


def parts(n: Node) -> list[Node]:
    """The terms of a sum, those of short sums inside it among them; anything else is one term."""
    if n.op.name != "add":
        return [n]
    return [t for a in n.args for t in (a.args if a.op.name == "add" and len(a.args) <= FEW else (a,))]


@remembered
def terms(n: Node) -> tuple[Term, ...]:
    """The terms of a sum with their numeric factors."""
    return tuple([split(a) for a in parts(n)])


def factors(n: Node) -> tuple[float, list[Node]]:
    """A product as a number and its other factors, at most a few of them."""
    number, found = known_factors(n)
    return number, list(found)


@remembered
def known_factors(n: Node) -> tuple[float, tuple[Node, ...]]:
    """The factors, to be looked at only."""
    number, found, stack = 1.0, list[Node](), [n]
    while stack:
        c, x = split(stack.pop())
        number *= c
        if x is not None and x.op.name == "mul" and len(found) + len(stack) < FEW:
            stack += reversed(x.args)
        elif x is not None:
            found.append(x)
    return number, tuple(found)


def fraction(n: Node) -> tuple[float, list[Node], list[Node]]:
    """A number, the factors above the line, and those below it."""
    number, above, below = known_fraction(n)
    return number, list(above), list(below)


@remembered
def known_fraction(n: Node) -> tuple[float, Sequence[Node], Sequence[Node]]:
    """The fraction, to be looked at only."""
    number, found = known_factors(n)
    if not any(x.op.name == "div" for x in found):
        return number, found, ()
    above, below = list[Node](), list[Node]()
    for x in found:
        if x.op.name != "div":
            above.append(x)
            continue
        (a, top), (b, bottom) = factors(x.args[0]), factors(x.args[1])
        if b == 0:
            return number, [*above, x], below
        number, above, below = number * a / b, above + top, below + bottom
    return number, above, below


@remembered
def whole_powers(n: Node) -> tuple[float, Sequence[tuple[Node, int]]]:
    """A product of up to a thousand factors as a number and whole powers of its other factors, positive ones first."""
    number, counts, stack = 1.0, Counter[Node](), [(n, 1)]
    for _ in range(LONG):
        if not stack:
            break
        m, k = stack.pop()
        c, x = split(m)
        if x is None and c == 0:
            c, x = 1.0, m
        number *= c if k > 0 else 1 / c
        if x is not None and x.op.name in ("mul", "div"):
            stack += [(x.args[1], k if x.op.name == "mul" else -k), (x.args[0], k)]
        elif x is not None:
            counts[x] += k
    for m, k in stack:
        counts[m] += k
    return number, sorted(counts.items(), key=lambda found: found[1] < 0)


def squared(t: Node) -> tuple[float, Node] | None:
    """c and x of a term c*x*x."""
    c, above, below = fraction(t)
    return (c, above[0]) if len(above) == 2 and above[0] is above[1] and not below and math.isfinite(c) else None


def product(xs: Iterable[Node]) -> Node | None:
    """The product, scalars first; None if there is nothing to multiply."""
    ordered = sorted(xs, key=lambda x: len(x.type.shape))
    return reduce(lambda x, y: make("mul", x, y), ordered) if ordered else None


def quotient(number_: float, above: Sequence[Node], below: Sequence[Node], like: Node) -> Node:
    """number * product of what is above / product of what is below."""
    top, bottom = product(above), product(below)
    if bottom is not None:
        return make("div", number(number_, like) if top is None else scaled(number_, top), bottom)
    return number(number_, like) if top is None else scaled(number_, top)


def without(xs: Sequence[Node], x: Node) -> list[Node]:
    """The list without one occurrence of x."""
    k = xs.index(x)
    return [*xs[:k], *xs[k + 1 :]]


def multiple(x: Node, y: Node) -> float | None:
    """k if x = k*y for a number k, term by term and up to rounding."""
    f, g = ({t: c for c, t in terms(n)} for n in (x, y))
    if f.keys() != g.keys() or 0 in g.values():
        return None
    ratios = [f[t] / g[t] for t in f]
    return ratios[0] if all(abs(k - ratios[0]) <= ROUNDING * abs(k) for k in ratios) else None


def is_exp(x: Node | None) -> bool:
    """Whether this is an exponential."""
    return x is not None and x.op.name == "exp"


def positive_exps(n: Node) -> list[tuple[float, Node]] | None:
    """(c, u), (d, v), ... if n = c*exp(u) + d*exp(v) + ... with positive numbers; a number alone has exponent 0."""
    found = terms(n)
    if not any(is_exp(x) for _, x in found):
        return None
    if any(not 0 < c < math.inf or not (x is None or is_exp(x)) for c, x in found):
        return None
    return [(c, number(0.0, n) if x is None else x.args[0]) for c, x in found]


@remembered
def numbers_in(n: Node) -> Mapping[float, int]:
    """The numbers among the terms of a sum, and their places."""
    return {c: k for k, (c, x) in enumerate(terms(n)) if x is None}


def opposite(n: Node, name: str, sign: float = 1.0) -> tuple[list[Node], float, Node, Callable[[Node], Node]] | None:
    """In a sum, terms c*f(u), or a view of that, and -sign*c for a function: the other terms, c, f(u), and the view."""
    numbers = numbers_in(n)
    if not numbers:
        return None
    found = terms(n)
    for k, (c, x) in enumerate(found):
        if x is not None and -sign * c in numbers and c != 0:
            core, viewed = unveiled(x)
            if core.op.name == name:
                rest = [a for i, a in enumerate(parts(n)) if i not in (k, numbers[-sign * c])]
                return rest, c, core, viewed
    return None


def joined(rest: Sequence[Node], x: Node) -> Node:
    """The other terms of a sum and a new one."""
    return make("add", *rest, x) if rest else x


def replaced(n: Node, new: Mapping[Node, Node], ops: Iterable[str], depth: int = FEW) -> Node:
    """A tree of some ops with what stands below them replaced; its form, and so its rounding, stays."""
    if n in new:
        return new[n]
    if n.op.name not in ops or depth == 0:
        return n
    args = [replaced(a, new, ops, depth - 1) for a in n.args]
    return n if tuple(args) == n.args else simplify_node(node(n.op, args, n.params))


def replaced_once(n: Node, old: Node, new: Node, depth: int = FEW) -> Node:
    """A product with one of its factors replaced, once, however often it occurs."""
    if n is old:
        return new
    for k, a in enumerate(n.args if n.op.name in PRODUCT and depth else ()):
        found = replaced_once(a, old, new, depth - 1)
        if found is not a:
            return simplify_node(node(n.op, [*n.args[:k], found, *n.args[k + 1 :]], n.params))
    return n


def unveiled(n: Node) -> tuple[Node, Callable[[Node], Node]]:
    """What a view is of, through views of views, and a function that views another array likewise."""
    views = list[Node]()
    while (n.op.is_view or n.op.picks_entries) and len(views) < FEW:
        views.append(n)
        n = n.args[0]

    def viewed(x: Node) -> Node:
        for v in reversed(views):
            x = node(v.op, [x, *v.args[1:]], v.params)
        return x

    return n, viewed


def is_positive(n: Node) -> bool:
    """Whether a product is never below 0: squares, exponentials, absolute values and the like."""
    c, above, below = fraction(n)
    odd = [x for side in (above, below) for x, k in Counter(side).items() if k % 2]
    return c >= 0 and all(x.op.never_negative for x in odd)


def clip(x: Node, low: float | None, high: float | None) -> Node:
    """x, but not below low, nor above high."""
    x = x if low is None else make("max", x, number(low, x))
    return x if high is None else make("min", x, number(high, x))


def inside(x: Node, shape: tuple[int | str, ...], over: tuple[object, ...]) -> Node:
    """What stands outside a sum over axes of a shape, with its axes where they are inside."""
    axes: tuple[int, ...] = over[0] if over else ()  # type: ignore[assignment]
    if not over or not x.type.shape:
        return x
    left = tuple(k for k in range(len(shape)) if k not in axes)
    x = expand(x, tuple(shape[k] for k in left))
    return x if left == tuple(range(axes[-1] + 1, len(shape))) else broadcast_to(x, shape, left)
