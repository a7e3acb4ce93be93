"""Exponentials beyond the range of floats: a formula as a mantissa times exp(excess).

exp(u) = exp(u - m)*exp(m), where m is what u exceeds a limit by. Within the limit m is 0, the mantissa is the formula
as it is written, and so is every bit of the result; beyond it, where that overflows or underflows, the excess of the
numerator meets that of the denominator, a logarithm adds it, and a root halves it. So a rewrite by these rules is no
worse than the formula. m may be taken for a constant, as what it changes in the one factor it changes in the other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from gradcompile.ir.algebra import equal, expand, greater, less, number, stop_gradient, sum_over
from gradcompile.ir.core import Node, Params, apply, is_const
from gradcompile.ir.types import Shape
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.shape import is_broadcast
from gradcompile.passes.terms import (
    PRODUCT,
    SUM,
    clip,
    fraction,
    inside,
    is_exp,
    is_positive,
    make,
    minus,
    parts,
    plus,
    quotient,
    replaced,
    scaled,
    split,
    terms,
    total,
    unveiled,
    without,
)

LIMIT = {"float64": 704.0, "float32": 84.0}  # a few times exp of it is finite, as are its root and its inverse
SQUARE = {dtype: t / 4 for dtype, t in LIMIT.items()}  # of what is divided by: second derivatives have its fourth power
WEIGHT = {"float64": 20.0, "float32": 4.0}  # ordinary numbers, and their inverses; others count in exponents
TAIL = {"float64": 20.0, "float32": 8.0}  # from here on erfc(x) is taken as erfcx(x)*exp(-x**2)
DIGITS = {"float64": 43.0, "float32": 19.0}  # beside exp of this an ordinary number has no digits left
MANY = {"float64": 4, "float32": 2}  # factors of one product that may grow


class Scaled(NamedTuple):
    """mantissa*exp(excess)."""

    mantissa: Node
    excess: Node

    def value(self) -> Node:
        """The product."""
        if is_const(self.excess, 0.0):
            return self.mantissa
        return make("mul", self.mantissa, make("exp", self.excess))


# Functions: each is given the limit t


def shift(u: Node, t: float, low: bool = True, high: bool = True) -> Node:
    """What u exceeds the limits by, taken for a constant; 0 where u is infinite, so that exp(u) is what it is there."""
    m = minus(u, clip(u, -t if low else None, t if high else None))
    finite = less(make("abs", m), math.inf)
    return stop_gradient(make("select", finite, m, number(0.0, m)))


def whole(u: Node, t: float, low: bool = True) -> Node:
    """u beyond the limits, taken for a constant, and 0 within them and where u is infinite."""
    size = make("abs", u) if low else u
    beyond = less(number(t, u), size) & less(size, number(math.inf, u))
    return stop_gradient(make("select", beyond, u, number(0.0, u)))


def of_exp(x: Node, t: float) -> Scaled:
    """exp(u) = exp(u - m)*exp(m); what is an excess already, of another formula, stays one."""
    u = x.args[0]
    if is_excess(u):
        return Scaled(number(1.0, u), u)
    m = shift(u, t, high=not is_positive(make("neg", u)), low=not is_positive(u))
    return Scaled(make("exp", minus(u, m)), m)


def of_exp_sum(x: Node, t: float, low: bool = True) -> Scaled:
    """exp(u + v) = exp((u - m) + v)*exp(m), with m a whole number and u the larger of the two: u - m is exact."""
    u, v = x.args
    m = stop_gradient(make("rint", shift(make("add", u, v), t, low=low)))
    other = less(make("abs", u), make("abs", v))
    larger, smaller = make("select", other, v, u), make("select", other, u, v)
    return Scaled(make("exp_sum", minus(larger, m), smaller), m)


def is_excess(u: Node) -> bool:
    """Whether an exponent was made by a rule of this file: 0 within the limits."""
    found = [x for _, x in terms(u)]
    ends = [x for x in found if x is not None and (x.op.is_copy or is_beyond(x))]
    return len(ends) == len(found)


def is_beyond(x: Node) -> bool:
    """Whether this is max(u, 0) or min(u, 0)."""
    return x.op.name in ("max", "min") and any(is_const(a, 0.0) for a in x.args)


def is_limited(u: Node) -> bool:
    """Whether an exponent is within the limits, or has been brought there."""
    numbers = [a for a in u.args if u.op.name in ("max", "min") and is_const(a)]
    return bool(numbers) or any(x is not None and x.op.is_copy for _, x in terms(u))


def of_rising(x: Node, t: float) -> Scaled:
    """f(u) = f(min(u, t))*exp(u - t) above t: expm1."""
    u = x.args[0]
    return Scaled(make(x.op.name, clip(u, None, t)), make("max", minus(u, number(t, u)), number(0.0, u)))


def of_falling(x: Node, t: float) -> Scaled:
    """f(u) = f(max(u, -t))*exp(u + t) below -t: sigmoid, softplus."""
    u = x.args[0]
    return Scaled(make(x.op.name, clip(u, -t, None)), make("min", minus(u, number(-t, u)), number(0.0, u)))


def of_hyperbolic(x: Node, t: float) -> Scaled:
    """f(u) = f(t)*exp(|u| - t) beyond t on either side: cosh and sinh; sech with the other sign."""
    u = x.args[0]
    excess = make("max", minus(make("abs", u), number(t, u)), number(0.0, u))
    return Scaled(make(x.op.name, clip(u, -t, t)), scaled(1.0 if x.op.name in RISING else -1.0, excess))


def of_erfc(x: Node, t: float) -> Scaled:
    """erfc(u) = erfcx(u)*exp(-u**2) in the upper tail."""
    u = x.args[0]
    tail = greater(u, TAIL[u.type.dtype])
    mantissa = make("select", tail, make("erfcx", u), make("erfc", u))
    return Scaled(mantissa, make("select", tail, make("neg", make("mul", u, u)), number(0.0, u)))


FUNCTIONS: dict[str, Callable[[Node, float], Scaled]] = {
    "exp": of_exp,
    "exp_sum": of_exp_sum,
    "expm1": of_rising,
    **dict.fromkeys(("sinh", "cosh", "sech"), of_hyperbolic),
    **dict.fromkeys(("sigmoid", "softplus"), of_falling),
    "erfc": of_erfc,
}
RISING = frozenset({"exp", "exp_sum", "expm1", "sinh", "cosh"})  # these overflow
FALLING = frozenset({"sigmoid", "softplus", "sech", "erfc"})  # these underflow, and nothing else


# Sums


class Exponential(NamedTuple):
    """A term with an exponential: exp(exponent) times a weight; or a sum of such over axes (its params) of a shape."""

    exp: Node
    weight: Node
    over: Params = ()
    shape: Shape = ()

    def size(self) -> Node:
        """The exponent with the logarithm of the weight, roughly; the largest over the axes of a sum."""
        u, c = self.exp.args[0], self.weight
        if not is_const(c):
            u = make("add", u, make("log_high", c if is_positive(c) else make("abs", c)))
        elif not is_ordinary(c, u.type.dtype):
            u = make("add", u, make("log_high", make("abs", c)))
        if not self.over or not u.type.shape:
            return u
        u = apply("amax", expand(u, self.shape), params=self.over)
        return plus(u, math.log(math.prod(int(self.shape[k]) for k in self.over[0])))


def exponential(t: Node) -> tuple[Node, Node] | None:
    """The exponential of a product, and what it is multiplied with, if it has just one."""
    c, above, below = fraction(t)
    exps = [x for x in above if is_exp(x)]
    if len(exps) != 1 or c == 0 or not math.isfinite(c) or is_limited(exps[0].args[0]):
        return None
    return exps[0], quotient(c, without(above, exps[0]), below, t)


def is_loop(x: Node | None) -> bool:
    """Whether this is a sum over axes of known length, as `reroll` makes it of terms that were written one by one."""
    return x is not None and is_sum(x) and all(isinstance(x.args[0].type.shape[k], int) for k in x.params[0])


def loop_of(t: Node) -> tuple[Node, Node] | None:
    """The sum over an axis in a product, and what it is multiplied with, if it has just one, of the product's shape."""
    c, above, below = fraction(t)
    loops = [x for x in above if is_loop(x)]
    if len(loops) != 1 or t.type.shape != loops[0].type.shape or c == 0:
        return None
    return loops[0], quotient(c, without(above, loops[0]), below, t)


def exponentials(t: Node) -> list[Exponential]:
    """A term as exponentials: one, or those of a sum over an axis and what it is multiplied by; none if it is other."""
    single, loop = exponential(t), loop_of(t)
    if single is not None:
        return [Exponential(*single)]
    if loop is None:
        return []
    shape, over = loop[0].args[0].type.shape, loop[0].params
    around = inside(loop[1], shape, over)
    inner = [exponential(x) for x in parts(loop[0].args[0])]
    return [Exponential(p[0], make("mul", around, p[1]), over, shape) for p in inner if p] if all(inner) else []


def is_relative(e: Exponential) -> bool:
    """Whether the largest exponent has been taken off already, as functions of networks do."""
    found = [x for c, x in terms(e.exp.args[0]) if c == -1 and x is not None]
    while any(x.op.name in ("broadcast", "select") for x in found):
        found = [x.args[x.op.name == "select"] if x.op.name in ("broadcast", "select") else x for x in found]
    return any(x.op.is_copy for x in found) and is_const(e.weight)


def shifted(t: Node, m: Node) -> Node:
    """A term times exp(-m): the exponent is made smaller, in each term of a loop, and no digit of it is lost."""
    single, loop = exponential(t), loop_of(t)
    if single is not None:
        return replaced(t, {single[0]: lowered(without_overflow(single[0].args[0], single[1], m), m)}, PRODUCT)
    assert loop is not None
    body = loop[0].args[0]
    top = inside(m, body.type.shape, loop[0].params)
    body = replaced(body, {x: expand(shifted(x, top), x.type.shape) for x in parts(body)}, SUM)
    return replaced(t, {loop[0]: sum_over(body, *loop[0].params)}, PRODUCT)


def without_overflow(u: Node, weight: Node, m: Node) -> Node:
    """u, but no more than m and the limit where the weight is 0, which would make NaN of an infinite exp(u - m)."""
    if is_const(weight):
        return u
    most = make("min", u, plus(m, LIMIT[u.type.dtype]))
    return make("select", equal(weight, 0.0), most, u)


def scaled_sum(n: Node, t: float) -> Scaled | None:
    """A sum with exponentials, those of the largest size near 1 or within the limits; None for any other formula."""
    if n.type.dtype not in LIMIT:  # a sum of whole numbers
        return None
    core, viewed = unveiled(n)
    if core is not n:
        found = scaled_sum(core, t) if is_broadcast(n) and core is n.args[0] else None
        return found and Scaled(viewed(found.mantissa), viewed(found.excess))
    found_exps = {x: exponentials(x) for x in parts(n)}
    each = [e for es in found_exps.values() for e in es]
    squared = t <= SQUARE[n.type.dtype]  # then no number stays beside what is scaled, as the limit is too large for it
    plain = [x for x, es in found_exps.items() if not es and not is_ordinary(x, n.type.dtype)]
    if not each:
        return with_one_function(n, plain, t)
    loops = any(e.over for e in each)
    if (len(found_exps) == 1 and not loops) or (loops and (not fits(n) or any(map(is_relative, each)))):
        return None
    if len(each) == 1 and not loops and hides_numbers(each[0].weight, t) and not plain:
        (e,) = each
        u = e.exp.args[0]
        near = replaced(n, {x: replaced(x, {e.exp: make("exp", clip(u, None, t))}, PRODUCT) for x in found_exps}, SUM)
        return Scaled(near, make("max", minus(u, number(t, u)), number(0.0, u)))
    others = [x for x, es in found_exps.items() if not es]
    shifted_too = others if squared else plain
    return of_many(n, [x for x, es in found_exps.items() if es], each, (shifted_too, len(others) > len(shifted_too)), t)


def fits(n: Node) -> bool:
    """Whether all terms are scalars or have the shape of the sum."""
    return all(x.type.shape in ((), n.type.shape) for x in parts(n))


def is_ordinary(x: Node, dtype: str) -> bool:
    """Whether this is a number of ordinary size: beside an exponential of a dtype beyond the limit it is nothing."""
    weight = WEIGHT[dtype]
    return is_const(x) and 1 / weight <= abs(float(x.value)) <= weight


def hides_numbers(weight: Node, t: float) -> bool:
    """Whether ordinary numbers are nothing beside a number times exp(t), and that does not overflow."""
    if not is_const(weight) or not weight.value:
        return False
    size = math.log(abs(float(weight.value)))
    return DIGITS[weight.type.dtype] - t <= size <= math.log(WEIGHT[weight.type.dtype])


def of_many(
    n: Node, growing: Sequence[Node], each: Sequence[Exponential], others: tuple[Sequence[Node], bool], t: float
) -> Scaled:
    """A sum of exponentials and other terms, all of them shifted by what the largest exceeds the limits by.

    others: terms that are shifted as well, and whether there are any that are not.
    """
    sizes = [e.size() for e in each]
    top = reduce(lambda u, v: make("max", u, v), sizes)
    plain, beside = others
    m = shift(top, t, low=False) if beside else whole(top, t, low=not plain)
    new = {x: shifted(x, m) for x in growing}
    new |= {x: make("mul", x, make("exp", make("neg", m))) for x in plain}
    return Scaled(replaced(n, new, SUM), m)


def with_one_function(n: Node, plain: Sequence[Node], t: float) -> Scaled | None:
    """A sum of ordinary numbers and a function other than exp, alike in size: 1 + cosh(x). The numbers stay."""
    term = plain[0] if len(plain) == 1 and len(parts(n)) > 1 else None
    c, above, below = fraction(term) if term is not None else (0.0, [], [])
    if term is None or below or len(above) != 1 or above[0].op.name not in RISING or is_exp(above[0]):
        return None
    if not hides_numbers(number(c, n), t):
        return None
    grown = above[0]  # where it is small the numbers are what counts
    mantissa, m = of_exp_sum(grown, t, low=False) if grown.op.name == "exp_sum" else FUNCTIONS[grown.op.name](grown, t)
    return Scaled(replaced(n, {term: replaced(term, {grown: mantissa}, PRODUCT)}, SUM), m)


# Products


def scaled_factor(x: Node, t: float) -> Scaled | None:
    """A factor with its excess taken out, if it grows."""
    if x.op.name in FUNCTIONS:
        return FUNCTIONS[x.op.name](x, t)
    return scaled_sum(x, t)


def scaled_product(n: Node, limits: Mapping[str, float] = SQUARE) -> Scaled | None:
    """A product or quotient with the excess of its factors taken out; None if none of them, or too many, may grow.

    The limit is shared among the factors above the line, and among those below it, as their product has to be finite.
    """
    if n.type.dtype not in limits:  # of whole numbers
        return None
    _, above, below = fraction(n)
    limit = limits[n.type.dtype]
    most = MANY[n.type.dtype]
    if len(above + below) > 8:
        return None
    count = max(sum(scaled_factor(x, limit) is not None for x in side) for side in (above, below))
    if not 0 < count <= most:
        return None
    found = {x: s for x in dict.fromkeys(above + below) if (s := scaled_factor(x, limit / count)) is not None}
    exps = [x for x in above if is_exp(x)]
    down = [found[x].excess for x in below if x in found]
    if len(exps) == len(down) == 1 and sum(x in found for x in above) == 1 and not is_exp(below[0]):
        u, m = exps[0].args[0], down[0]
        new = {x: s.mantissa for x, s in found.items()} | {exps[0]: lowered(u, m)}
        return Scaled(replaced(n, new, PRODUCT), number(0.0, n))
    up = [found[x].excess for x in above if x in found]
    excess = reduce(minus, down, total(up)) if up else make("neg", total(down))
    return Scaled(replaced(n, {x: s.mantissa for x, s in found.items()}, PRODUCT), excess)


def lowered(u: Node, m: Node) -> Node:
    """exp(u - m), whatever the difference loses in rounding."""
    return make("exp_sum", u, make("neg", m))


def overflows(x: Node) -> bool:
    """Whether a factor may overflow where the formula does not: a function that rises, or a sum with one."""
    core, _ = unveiled(x)
    if is_exp(core):
        return is_excess(core.args[0]) or not is_limited(core.args[0])
    return core.op.name in RISING or (
        (core.op.name == "add" or is_loop(core))
        and x.type.dtype in SQUARE
        and scaled_sum(core, SQUARE[x.type.dtype]) is not None
    )


def weighted(t: Node) -> tuple[Node, Node] | None:
    """weight and exponent of a term a*exp(u), or of a positive number; None for any other term, or a number below 0."""
    single = exponential(t)
    if single is not None:
        return single[1], single[0].args[0]
    c, x = split(t)
    return (number(c, t), number(0.0, t)) if x is None and 0 < c < math.inf else None
