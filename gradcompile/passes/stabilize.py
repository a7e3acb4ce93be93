"""Stabilisation: what a numerical analyst would have written, before differentiation so that gradients gain as well.

Each rule has its algebra beside it. A rewrite is kept only where it is at least as accurate for all values of its
parts, infinities included, or where the graph proves what it needs: a sign, a bound, a number. So a rule keeps the form
of what it does not speak of (the order of other factors decides whether they overflow), and what overflows is given
another form beyond the range of floats only (see `scaled`). `tests/fuzz/rewrites.py` compares each rule with the
formula as written.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from fractions import Fraction
from functools import reduce
from typing import NamedTuple

from gradcompile.analysis.formula import formulas
from gradcompile.ir.algebra import all_of, astype, at_most, expand, greater, less, number, select, sum_over, unequal
from gradcompile.ir.core import Node, apply, const, is_const, node
from gradcompile.ir.graph import rebuild
from gradcompile.ops.contract import is_dot
from gradcompile.ops.scan import map_body
from gradcompile.ops.shape import coverage, is_broadcast
from gradcompile.passes import differences
from gradcompile.passes.differences import closer, difference, root_less_part
from gradcompile.passes.scaled import (
    FALLING,
    FUNCTIONS,
    LIMIT,
    RISING,
    SQUARE,
    Scaled,
    is_excess,
    is_loop,
    overflows,
    scaled_factor,
    scaled_product,
    scaled_sum,
    weighted,
)
from gradcompile.passes.series import cancelling, elementary, is_known, log_near_one, removable
from gradcompile.passes.terms import (
    FEW,
    ROUNDING,
    clip,
    factors,
    fraction,
    is_exp,
    is_positive,
    joined,
    make,
    minus,
    multiple,
    opposite,
    parts,
    plus,
    positive_exps,
    product,
    quotient,
    replaced_once,
    scaled,
    split,
    squared,
    terms,
    total,
    unveiled,
    whole_powers,
    without,
)

__all__ = ["RULES", "Rewrite", "parts", "square_root", "stabilize", "weighted"]

Rule = Callable[[Node], Node | None]
RANGE = {"float64": 1e-40, "float32": 1e-6}  # numbers from here to the inverse are far from the ends of the range
SHOWN = 80  # characters of a formula in a Rewrite


class Rewrite(NamedTuple):
    """One change that `stabilize` made: the rule's name, and the formula before and after."""

    rule: str
    before: str
    after: str


def stabilize(roots: Sequence[Node]) -> tuple[list[Node], list[Rewrite]]:
    """The roots by the rules below, arguments first, and what was changed.

    >>> from gradcompile.ir.core import const, leaf
    >>> _, rewrites = stabilize([apply("log", apply("add", const(1.0), apply("exp", leaf("x"))))])
    >>> rewrites[0].before, rewrites[0].after
    ('log(1 + exp(x))', 'softplus(x)')
    """
    changes: dict[Node, tuple[str, Node]] = {}
    inside: list[Rewrite] = []  # what was changed in the bodies of loops

    def body(roots: Sequence[Node]) -> list[Node]:
        new, found = stabilize(roots)
        inside.extend(found)
        return new

    def by(table: dict[str, tuple[Rule, ...]]) -> Callable[[Node], Node]:
        def rewrite(n: Node) -> Node:
            for rule in table.get(n.op.name, ()):
                found = rule(n)
                if found is not None:
                    changes[n] = (rule.__name__, found)
                    return found
            return map_body(n, body) if table is RULES else n

        return rewrite

    result = rebuild(rebuild(roots, by(RULES)), by(LATE))
    texts = formulas([*changes, *(after for _, after in changes.values())], {}, SHOWN)
    rewrites = [Rewrite(rule, texts[before], texts[after]) for before, (rule, after) in changes.items()]
    return result, list(dict.fromkeys([*rewrites, *inside]))


# Sums: c*f(u) - c, where f(u) may be near 1


def exp_minus_one(n: Node) -> Node | None:
    """c*exp(x) - c = c*expm1(x)."""
    return one_less(n, "exp", lambda x, _: make("expm1", x))


def power_minus_one(n: Node) -> Node | None:
    """c*a**x - c = c*expm1(x*log(a)) where |x*log(a)| < 1/2, and likewise 2**x."""

    def near(whole: Node, x: Node, y: Node) -> Node:
        u = make("mul", y, log_one_plus(apply("log", x)) or make("log", x))
        small = unequal(u, 0.0) & less(make("abs", u), 0.5)
        return make("select", small, make("expm1", u), plus(whole, -1.0))

    powers = one_less(n, "pow", lambda x, f: near(f, x, f.args[1]))
    powers = powers or one_less(n, "cbrt", lambda x, f: near(f, x, number(1 / 3, x)))
    return powers or one_less(n, "exp2", lambda x, f: near(f, number(2.0, x), x))


def one_minus_cos(n: Node) -> Node | None:
    """c - c*cos(x) = 2*c*sin(x/2)**2, and cosh(x) - 1 = 2*sinh(x/2)**2."""

    def twice_square(name: str, sign: float) -> Callable[[Node, Node], Node]:
        def of(x: Node, _: Node) -> Node:
            half = make(name, scaled(0.5, x))
            return scaled(2 * sign, half * half)

        return of

    return one_less(n, "cos", twice_square("sin", -1.0)) or one_less(n, "cosh", twice_square("sinh", 1.0))


def root_minus_one(n: Node) -> Node | None:
    """c*sqrt(1 + x) - c = c*x/(1 + sqrt(1 + x)) where |x| < 1; sqrt(1 + x**2) is hypot(1, x) by then."""

    def of_root(x: Node, root: Node) -> Node | None:
        rest = [a for a in x.args if not is_const(a, 1.0)]
        if x.op.name != "add" or len(rest) != len(x.args) - 1 or len(rest) != 1:
            return None
        return near_zero(rest[0], root, make("div", rest[0], plus(root, 1.0)))

    def of_hypot(_: Node, root: Node) -> Node | None:
        sides = [a for a in root.args if not is_const(a, 1.0)]
        if len(sides) != 1:
            return None
        return near_zero(sides[0], root, make("mul", sides[0], make("div", sides[0], plus(root, 1.0))))

    def near_zero(x: Node, root: Node, near: Node) -> Node:
        return make("select", less(make("abs", x), 1.0), near, plus(root, -1.0))

    return one_less(n, "sqrt", of_root) or one_less(n, "hypot", of_hypot)


def one_minus_sigmoid(n: Node) -> Node | None:
    """c - c*sigmoid(x) = c*sigmoid(-x)."""
    return one_less(n, "sigmoid", lambda x, _: make("neg", make("sigmoid", make("neg", x))))


def tanh_less_one(n: Node) -> Node | None:
    """c*tanh(x) + c = 2*c*sigmoid(2*x), and c - c*tanh(x) = 2*c*sigmoid(-2*x)."""

    def of(sign: float) -> Callable[[Node, Node], Node]:
        return lambda x, _: scaled(-2.0 * sign, make("sigmoid", scaled(-2.0 * sign, x)))

    return one_less(n, "tanh", of(1.0)) or one_less(n, "tanh", of(-1.0), -1.0)


def cosh_less_sinh(n: Node) -> Node | None:
    """c*cosh(x) - c*sinh(x) = c*exp(-x), and c*cosh(x) + c*sinh(x) = c*exp(x)."""
    found = terms(n)
    names = [x.op.name for _, x in found if x is not None]
    if sorted(names) != ["cosh", "sinh"]:
        return None
    (c, cosh), (d, sinh) = found if names[0] == "cosh" else found[::-1]
    if cosh is None or sinh is None or cosh.args[0] is not sinh.args[0] or abs(c) != abs(d):
        return None
    return scaled(c, make("exp", cosh.args[0] if c == d else make("neg", cosh.args[0])))


def one_less_square(n: Node) -> Node | None:
    """c - c*x**2 = c*(1 - x)*(1 + x) where it is small, with 1 - x by the rules for such differences."""
    each = parts(n)
    for t, y in (each, each[::-1]) if len(each) == 2 else ():
        square, d = squared(t), split(y)
        if square is not None and d == (-square[0], None) and d[0] != 0:
            u = square[1]
            sides = [make("add", number(1.0, u), side) for side in (make("neg", u), u)]
            product_ = make("mul", *(by_rules(side, LESS_ONE) or side for side in sides))
            small = less(make("abs", n), 0.5 * abs(d[0]))
            return make("select", small, scaled(d[0], product_), n)
    return None


def inverse_less_one(n: Node) -> Node | None:
    """c/s - c = c*(1 - s)/s where s is near 1, with 1 - s by the rules for such differences: 1/(1 + x) - 1.

    So c*u/s - c with u - s by another of these rules: 1 - x/sqrt(1 + x**2).
    """
    found = terms(n)
    for (c, x), (d, y) in (found, found[::-1]) if len(found) == 2 else ():
        if y is None and x is not None and x.op.name == "div" and d != 0:
            top, s = x.args
            if c * value_of(top) == -d:
                rest = one_taken(s)
                if rest is not None:
                    near = less(make("abs", rest), 0.5)
                    return make("select", near, scaled(d, make("div", rest, s)), n)
            elif (part := root_less_part(make("add", s, scaled(c / d, top)))) is not None and part.op.name == "select":
                near = part.args[0] & less(make("abs", n), 0.5 * abs(d))
                return make("select", near, scaled(d, make("div", part.args[1], s)), n)
    return None


def value_of(x: Node) -> float:
    """The value of a number, NaN of anything else."""
    return float(x.value) if is_const(x) else math.nan


def one_taken(s: Node) -> Node | None:
    """s - 1, if its 1 can be left out or a rule has a form for it."""
    rest = [t for t in parts(s) if not is_const(t, 1.0)]
    if len(rest) == len(parts(s)) - 1 and len(rest) == 1:
        return rest[0]
    return by_rules(plus(s, -1.0), LESS_ONE)


def by_rules(n: Node, rules: Sequence[Rule]) -> Node | None:
    """What the first of some rules makes of a node."""
    return next((found for rule in rules if (found := rule(n)) is not None), None)


def log_of_close_values(n: Node) -> Node | None:
    """log(f(u) - f(v)) of sigmoid and erf: by their tails or by u - v (see `differences`)."""
    found = closer(n.args[0], differences.TAILS, always=True)
    if found is None or found.op.name != "select" or found.args[2] is not n.args[0]:
        return None
    return make("select", found.args[0], log_of(found.args[1]), n)


def close_arguments(n: Node) -> Node | None:
    """f(u) - f(v) by u - v, where that is exact (see `differences`)."""
    return closer(n, differences.FORMS)


def arc_near_one(n: Node) -> Node | None:
    """acos(1 - x) = 2*asin(sqrt(x/2)) near 0, and so asin, at -1 as well; acosh(1 + x) = 2*asinh(sqrt(x/2))."""
    inside = n.args[0]
    rest = [t for t in parts(inside) if not is_const(t)]
    ends = [float(t.value) for t in parts(inside) if is_const(t)]
    if len(rest) != 1 or ends not in ([1.0], [-1.0]) or (n.op.name == "acosh" and ends != [1.0]):
        return None
    (x,), (end,) = rest, ends
    half = scaled(0.5 if n.op.name == "acosh" else -0.5 * end, x)
    smooth = norm(apply("sqrt", half))
    if n.op.name == "acosh":
        angle = make("asinh", smooth or make("sqrt", half))
    elif smooth:
        angle = make("asin", smooth)
    else:
        angle = make("atan", make("sqrt", make("div", half, plus(make("neg", half), 1.0))))
    angle = scaled(2.0, angle)
    if n.op.name == "asin":
        angle = plus(scaled(-end, angle), end * math.pi / 2)
    elif end < 0:
        angle = plus(make("neg", angle), math.pi)
    near = less(half, number(0.125 if n.op.name == "asin" else 0.5, x))
    inside = near if smooth else less(number(0.0, x), half) & near
    return make("select", inside, angle, n)


def sigmoid_less_half(n: Node) -> Node | None:
    """c*sigmoid(x) - c/2 = c/2*tanh(x/2) where |x| < 1; the derivative of tanh loses digits beyond."""
    return one_less(n, "sigmoid", lambda x, _: centred_sigmoid(x), 0.5)


def centred_sigmoid(x: Node) -> Node:
    """sigmoid(x) - 1/2, accurate near 0."""
    near = scaled(0.5, make("tanh", scaled(0.5, x)))
    return make("select", less(make("abs", x), 1.0), near, plus(make("sigmoid", x), -0.5))


def softplus_less_argument(n: Node) -> Node | None:
    """c*softplus(x) - c*x = c*softplus(-x)."""
    found = terms(n)
    if len(found) != 2:
        return None
    for (c, x), (d, y) in (found, found[::-1]):
        if x is not None and x.op.name == "softplus" and c == -d and y is x.args[0]:
            return scaled(c, make("softplus", make("neg", y)))
    return None


def lgamma_difference(n: Node) -> Node | None:
    """c*lgamma(x + h) - c*lgamma(x) for a number h, by Stirling's series where x > 30."""
    found = [(a, *split(a)) for a in parts(n)]
    gammas = [(a, c, x.args[0]) for a, c, x in found if x is not None and x.op.name == "lgamma"][:FEW]
    for k, (a, c, u) in enumerate(gammas):
        for b, d, v in gammas[k + 1 :]:
            h = difference(u, v) if c == -d else None
            if h is not None and abs(h) <= 10:
                (c, u, v, h) = (c, u, v, h) if h > 0 else (d, v, u, -h)
                rest = [x for x, _, _ in found if x is not a and x is not b]
                return joined(rest, scaled(c, lgamma_rise(u, v, h)))
    return None


def lgamma_rise(u: Node, v: Node, h: float) -> Node:
    """lgamma(u) - lgamma(v) for u = v + h."""
    far = clip(v, 30.0, None)
    shift = make("mul", plus(far, h - 0.5), make("log1p", make("div", number(h, v), far)))
    ends = minus(stirling(plus(far, h)), stirling(far))
    series = total([scaled(h, make("log", far)), plus(shift, -h), ends])
    return make("select", greater(v, 30.0), series, minus(make("lgamma", u), make("lgamma", v)))


def stirling(z: Node) -> Node:
    """1/(12*z) - 1/(360*z**3) + 1/(1260*z**5) - 1/(1680*z**7)."""
    inverse = make("div", number(1.0, z), z)
    return make("mul", inverse, polynomial((1 / 12, -1 / 360, 1 / 1260, -1 / 1680), make("mul", inverse, inverse)))


def polynomial(coefficients: Sequence[float], x: Node) -> Node:
    """The polynomial, constant term first, by Horner's rule."""
    result = number(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        result = plus(make("mul", x, result), c)
    return result


def one_minus_erf(n: Node) -> Node | None:
    """c - c*erf(x) = c*erfc(x), c + c*erf(x) = c*erfc(-x) = 2*c - c*erfc(x), and c - c*erfc(x) = c*erf(x)."""
    found_terms = terms(n)
    for c, x in found_terms if len(found_terms) == 2 else ():
        if x is not None and x.op.name == "erfc" and (-2 * c, None) in found_terms:
            return scaled(-c, make("erfc", make("neg", x.args[0])))
    found = one_less(n, "erf", lambda x, _: make("neg", make("erfc", x)))
    found = found or one_less(n, "erf", lambda x, _: make("erfc", make("neg", x)), -1.0)
    return found or one_less(n, "erfc", lambda x, _: make("neg", make("erf", x)))


def one_less(n: Node, name: str, of: Callable[[Node, Node], Node | None], sign: float = 1.0) -> Node | None:
    """c*(f(u) - 1), and other terms, with f(u) - 1 from u and f(u); f(u) + 1 for the sign -1."""
    found = opposite(n, name, sign)
    if found is None:
        return None
    rest, c, f, viewed = found
    inner = of(f.args[0], f)
    if inner is not None and inner.op.name == "neg":
        c, inner = -c, inner.args[0]  # what looks through the view meets the function
    return None if inner is None else joined(rest, scaled(c, viewed(inner)))


def one_minus_tanh_squared(n: Node) -> Node | None:
    """c - c*tanh(x)**2 = c*sech(x)**2."""
    found = terms(n)
    for c, x in found:
        above = fraction(x)[1] if x is not None and x.op.name == "mul" else []
        squared_tanh = len(above) == 2 and above[0] is above[1] and above[0].op.name == "tanh"
        if squared_tanh and len(found) == 2 and (-c, None) in found:
            slope = make("sech", above[0].args[0])
            return scaled(-c, slope * slope)
    return None


def one_plus_sinh_squared(n: Node) -> Node | None:
    """c + c*sinh(x)**2 = c*cosh(x)**2."""
    found = terms(n)
    for c, x in found if len(found) == 2 else ():
        square = squared(x) if x is not None else None
        if square is not None and square[1].op.name == "sinh" and (c * square[0], None) in found:
            slope = make("cosh", square[1].args[0])
            return scaled(c * square[0], slope * slope)
    return None


def sinh_of_exps(n: Node) -> Node | None:
    """c*exp(x) - c*exp(-x) = 2*c*sinh(x)."""
    found = mirrored(n, -1.0)
    return found and scaled(2 * found[0], make("sinh", found[1]))


def mirrored(n: Node, sign: float) -> tuple[float, Node] | None:
    """c and x of c*exp(x) + sign*c*exp(-x)."""
    found = terms(n)
    if len(found) != 2 or not all(is_exp(x) for _, x in found) or found[0][0] != sign * found[1][0]:
        return None
    (c, up), (_, down) = found
    assert up is not None and down is not None
    return (c, up.args[0]) if down.args[0] is make("neg", up.args[0]) and ordinary(c, n) else None


# Logarithms


def log_of_product(n: Node) -> Node | None:
    """log(exp(u)) = u, log(cosh(u)) = log_cosh(u), ...; log(a*exp(u)/b) = u + log(a) - log(b), to the last digit.

    The logarithm of a is taken in two parts, log_high and log_low, and the first added to u first: where the two cancel
    that is exact. Of several factors the product is scaled.
    """
    x = n.args[0]
    if x.op.name == "exp_sum":
        return make("add", *x.args)
    c, above, below = fraction(x)
    if c == 1 and above and not below and above.count(above[0]) == len(above) and above[0].op.name in LOGARITHMS:
        return scaled(len(above), LOGARITHMS[above[0].op.name](above[0].args[0]))
    if c == 0.5 and not below and len(above) == 1 and above[0].op.name == "erfc":
        return log_of_half_erfc(above[0].args[0])
    found = [(y, 1.0) for y in above] + [(y, -1.0) for y in below]
    taken = [y for y, _ in found if is_exp(y)]
    positive = [y for y, _ in found if len(parts(y)) > 1 and all(map(is_positive, parts(y)))]
    sums = {y: s for y in positive if (s := scaled_sum(y, LIMIT[n.type.dtype])) is not None}
    if len(found) == 1 and c == 1 and not taken:
        return None
    if any(is_known(y) and y.args[0] in taken for y, _ in found):
        return None  # the factors' rounding errors cancel, as in exp(x)/tan(exp(x))
    if taken + list(sums) and len(taken) <= 1 and len(found) <= len(taken) + len(sums) + 1 and 0 < c < math.inf:
        return log_in_parts(c, found, sums)
    if any(y.op.name in FUNCTIONS for y, _ in found) or any(scaled_factor(y, LIMIT[n.type.dtype]) for y in below):
        whole = scaled_product(x, LIMIT)
        return whole and log_of_scaled(whole)
    return None


def log_of_twice_sigmoid(n: Node) -> Node | None:
    """log(2*sigmoid(x)) = log1p(tanh(x/2)) near 0, where it is 0, else log(2) - softplus(-x)."""
    c, above, below = fraction(n.args[0])
    if c != 2 or below or [x.op.name for x in above] != ["sigmoid"]:
        return None
    x = above[0].args[0]
    near = make("log1p", make("tanh", scaled(0.5, x)))
    far = plus(make("neg", make("softplus", make("neg", x))), math.log(2.0))
    return make("select", less(make("abs", x), 1.0), near, far)


def log_of_asinh(n: Node) -> Node | None:
    """log(sqrt(1 + x**2) + x) = asinh(x), and log(sqrt(1 + x**2) - x) = -asinh(x)."""
    found = terms(n.args[0])
    for (c, root), (d, x) in (found, found[::-1]) if len(found) == 2 else ():
        if root is not None and root.op.name == "hypot" and c == 1 and x is not None:
            sides = [(abs(k), y) for k, y in map(split, root.args)]
            if (abs(d), x) in sides and sides[1 - sides.index((abs(d), x))] == (1.0, None):
                return make("asinh", scaled(d, x))
    return None


def log_one_less_square(n: Node) -> Node | None:
    """log(1 - x**2): of (1 - x)*(1 + x) where that is small, else log1p(-x**2); and so log(1 - x/sqrt(1 + x**2))."""
    found = by_rules(n.args[0], (one_less_square, inverse_less_one))
    if found is None:
        return None
    return make("select", found.args[0], log_of(found.args[1]), log_one_plus(n) or n)


def log_of_half_erfc(u: Node) -> Node:
    """log(erfc(u)/2), of the normal distribution function: log1p(-erfc(-u)/2) below 0, log_erfc(u) - log(2) above."""
    upper = plus(make("log_erfc", u), -math.log(2.0))
    lower = make("log1p", scaled(-0.5, make("erfc", make("neg", u))))
    return make("select", less(u, 0.0), lower, upper)


def log_of_factors(n: Node) -> Node | None:
    """log(b**y*exp(u)/gamma(x)*...) = y*log(b) + u - lgamma(x) + ... where a factor leaves the range of floats.

    So for whole powers above 2, and for products of many factors. Within the range the formula stays, since large
    logarithms lose the digits that the product has.
    """
    x = n.args[0]
    c, found = whole_powers(x)
    views = {y: log for y, _ in found[:FEW] if (log := log_of_picked(y)) is not None}
    special = [(y, k) for y, k in found if y in views or y.op.name in FAR or y.op.name in LOGARITHMS]
    high = [(y, k - int(math.fmod(k, 2))) for y, k in found if abs(k) > 2 and (y, k) not in special]
    if not (views or high or len(found) > FEW or any(y.op.name in FAR for y, _ in found)):
        return None
    if not 0 < abs(c) < math.inf or (len(found) == 1 and not high and (views or x.op.name == "pow")):
        return None
    sizes = [(y, 7.0) for y in dict.fromkeys([*(y for y, _ in special), x])] + [(y, 7 / abs(k)) for y, k in high]
    inside = [
        apply("lt", *pair)
        for y, power in sizes
        for small, large in [[number(RANGE[n.type.dtype] ** p, n) for p in (power, -power)]]
        for pair in ((small, make("abs", y)), (make("abs", y), large))
    ]
    logs = [scaled(float(k), views.get(y) or log_of_factor(y)) for y, k in special]
    logs += [scaled(float(k), make("log", make("abs", y))) for y, k in high]
    rest = Counter({y: k for y, k in found if (y, k) not in special})
    rest.subtract(dict(high))
    return make("select", all_of(*inside), n, total(logs + logs_of_rest(c, rest, n)))


def logs_of_rest(c: float, rest: Mapping[Node, int], n: Node) -> list[Node]:
    """The logarithm of a product of ordinary factors; of many that of their signs, and those of a few at a time."""
    above, below = ([y for y, k in rest.items() for _ in range(sign * k)] for sign in (1, -1))
    if len(above) + len(below) <= FEW:
        plain = quotient(c, above, below, n)
        return [] if is_const(plain, 1.0) else [make("log", plain)]
    few = [(sign, product(side[k : k + 8]) or n) for sign, side in ((1.0, above), (-1.0, below))
           for k in range(0, len(side), 8)]  # fmt: skip
    signs = [scaled(c, make("sign", few[0][1])), *(make("sign", x) for _, x in few[1:])]
    return [make("log", product(signs) or n), *(scaled(sign, make("log", make("abs", x))) for sign, x in few)]


def log_of_picked(y: Node) -> Node | None:
    """The logarithm of a view that stands among factors, if rules speak of what it is a view of."""
    x, viewed = unveiled(y)
    found = None if x is y else first_found(apply("log", x))
    return None if found is None else viewed(found)


def log_of_factor(y: Node) -> Node:
    """The logarithm of a factor that may be beyond the range of floats; NaN where its sign is not known."""
    u = y.args[0]
    if y.op.name == "pow":
        return make("xlogy", y.args[1], u)
    if y.op.name == "gamma":
        return make("select", greater(u, 0.0), make("lgamma", u), number(math.nan, u))
    return log_of_bessel(y) if y.op.name in FAR else LOGARITHMS[y.op.name](u)


def log_of_bessel(y: Node) -> Node:
    """log(I_k(x)) = x - log(2*pi*x)/2 + log(1 - (m - 1)/(8*x) + ...), m = 4*k**2, and K_k likewise, far from 0."""
    u, (k,), sign = y.args[0], y.params, -1.0 if y.op.name == "besseli" else 1.0
    inverse = make("div", number(0.125, u), u)
    series = number(1.0, u)
    for j in range(8, 0, -1):
        term = make("mul", scaled(sign * (4 * k * k - (2 * j - 1) ** 2) / j, inverse), series)
        series = plus(term, 1.0)
    root = scaled(-0.5, make("log", scaled(2 / math.pi if sign > 0 else 2 * math.pi, u)))
    return total([scaled(-sign, u), root, make("log", series)])


FAR = frozenset({"pow", "gamma", "besseli", "besselk"})


def log_of_scaled(s: Scaled) -> Node:
    """log(mantissa) + excess, exact where they cancel."""
    return make("add", make("add", s.excess, make("log_high", s.mantissa)), make("log_low", s.mantissa))


def log_in_parts(c: float, found: Sequence[tuple[Node, float]], sums: dict[Node, Scaled]) -> Node:
    """log(c) + sum of sign*log(x): large parts of the logarithms first, which cancel exactly, then the small ones."""
    like = found[0][0]
    steps, high, low = list[Node](), list[Node](), list[Node]()
    for x, sign in [*found, *([(number(c, like), 1.0)] if c != 1 else [])]:
        if is_exp(x):
            high.append(scaled(sign, x.args[0]))
        else:
            mantissa = sums[x].mantissa if x in sums else x
            steps.append(scaled(sign, make("log_high", mantissa)))
            low.append(scaled(sign, make("log_low", mantissa)))
            high += [scaled(sign, sums[x].excess)] if x in sums else []
    known = [h for h in [*steps, *high] if not is_zero(h)]
    return reduce(lambda a, b: make("add", a, b), [total(known), *low])


def is_zero(x: Node) -> bool:
    """Whether this is the number 0, of either sign."""
    return is_const(x) and float(x.value) == 0


def log_near_and_far(name: str) -> Callable[[Node], Node]:
    """log(f(u)) of a function that grows like an exponential: the logarithm of the mantissa, and the excess."""

    def rule(u: Node) -> Node:
        mantissa, excess = FUNCTIONS[name](make(name, u), LIMIT[u.type.dtype])
        return make("add", make("log", mantissa), excess)

    return rule


LOGARITHMS: dict[str, Callable[[Node], Node]] = {
    "exp": lambda u: u,
    "sigmoid": lambda u: make("neg", make("softplus", make("neg", u))),
    "cosh": lambda u: make("log_cosh", u),
    "sech": lambda u: make("neg", make("log_cosh", u)),
    "erfc": lambda u: make("log_erfc", u),
    **{name: log_near_and_far(name) for name in ("expm1", "sinh", "softplus")},
}


def log_of_view(n: Node) -> Node | None:
    """log(x.reshape(...)) = log(x).reshape(...), and so through transposes, picked entries, branches and arrays put
    together. Only where the logarithm of what stands behind is rewritten.
    """
    x, viewed = unveiled(n.args[0])
    found = log_of_assembled(x) if x.op.name == "assemble" else None
    if x is not n.args[0]:
        found = found or first_found(apply("log", x))
        return None if found is None else viewed(found)
    return log_of_branches(x) if x.op.name == "select" else found


def log_of_assembled(x: Node, filled: bool = False) -> Node | None:
    """The logarithm of what fills an array, part by part, if rules speak of one of the parts.

    filled: whether entries without a part are not looked at.
    """
    met = coverage(*x.params)
    if met is None or not (met <= 1).all():
        return None
    logs = [
        apply("log", a if a.type.dtype == x.type.dtype else apply("cast", a, params=(x.type.dtype,))) for a in x.args
    ]
    new: list[Node] = []
    for log in logs:
        part, viewed = unveiled(log.args[0])
        found = first_found(apply("log", part))
        new.append(log if found is None else viewed(found))
    if new == logs:
        return None
    result = node(x.op, new, x.params)
    if filled or (met == 1).all():
        return result
    places = node(x.op, [expand(const(1, "int64"), a.type.shape) for a in x.args], x.params)
    return make("select", apply("lt", const(0, "int64"), places), result, number(-math.inf, result))


def exp_of_view(n: Node) -> Node | None:
    """A view of exp(x) as exp of the view, so that what sums or divides it finds the exponential."""
    x, viewed = unveiled(n)
    return make("exp", viewed(x.args[0])) if is_exp(x) and x.type.shape else None


def log_of_branches(x: Node) -> Node | None:
    """The logarithm of a selection as one of logarithms, if rules speak of one of these."""
    branches = [astype(b, x.type.dtype) for b in x.args[1:]]
    new = [log_of(b) for b in branches]
    if is_covered(branches[0], x.args[0]):
        new[0] = log_of_assembled(branches[0], filled=True) or new[0]
    return None if new == [apply("log", b) for b in branches] else make("select", x.args[0], *new)


def is_covered(x: Node, condition: Node) -> bool:
    """Whether a condition holds where an array has been put together of parts, as `np.pad` fills the rest."""
    places = condition.args[1] if condition.op.name == "lt" and is_const(condition.args[0], 0) else x
    of_ones = places.op is x.op and all(is_broadcast(a) and is_const(a.args[0], 1) for a in places.args)
    return x.op.name == "assemble" and of_ones and places.params == x.params


def log_of(x: Node) -> Node:
    """The logarithm by these rules."""
    n = apply("log", x)
    return first_found(n) or log_one_plus(n) or (log_of_branches(x) if x.op.name == "select" else None) or n


def first_found(n: Node) -> Node | None:
    """What the first rule that speaks of a logarithm of a formula, not of a view or whole numbers, makes of it."""
    return by_rules(n, LOG_RULES) if n.args[0].type.dtype in RANGE else None


def log_of_root(n: Node) -> Node | None:
    """log(sqrt(x)) = log(x)/2, and so of x**k for a k that is not whole: near 1 a root loses digits of x - 1."""
    x = bare(n.args[0])
    k = {"sqrt": 0.5, "cbrt": 1 / 3}.get(x.op.name)
    if x.op.name == "pow" and is_const(x.args[1]) and not float(x.args[1].value).is_integer():
        k = float(x.args[1].value)
    return None if k is None or is_root_of_dets(x) else scaled(k, log_of(x.args[0]))


def other_base(n: Node) -> Node | None:
    """log2 and log10 of what rules have a natural logarithm for."""
    log = apply("log", n.args[0])
    found = first_found(log) or log_of_view(log)
    return found and scaled(1 / math.log(2.0 if n.op.name == "log2" else 10.0), found)


def log_of_ratio(n: Node) -> Node | None:
    """log(u/v) = log1p((u - v)/v) where that is small, if u - v is a number or one term: log((1 + x)/(1 - x))."""
    x = n.args[0]
    u, v = x.args if x.op.name == "div" else (x, x)
    if u is v or u.type != v.type or not (len(parts(u)) > 1 or len(parts(v)) > 1):
        return None
    by, exact = differences.apart(u, v)
    if not exact or len(parts(by)) > 1:
        return None
    small = make("div", by, v)
    return make("select", less(make("abs", small), 0.5), make("log1p", small), n)


def log_of_dot(n: Node) -> Node | None:
    """The logarithm of a product of two vectors as that of a sum, of which rules may speak."""
    x = n.args[0]
    if not is_dot(x) or x.type.shape or any(len(a.type.shape) != 1 for a in x.args):
        return None
    whole = apply("log", sum_over(make("mul", *x.args), (0,)))
    return by_rules(whole, LOG_RULES)


def log_of_log1p(n: Node) -> Node | None:
    """log1p(x) by the rules for log(1 + x): log1p(exp(x)) = softplus(x), log1p(-sigmoid(x)) = -softplus(x)."""
    inside = make("add", n.args[0], number(1.0, n))
    inner = one_minus_sigmoid(inside) or one_minus_tanh_squared(inside)
    if inner is not None:
        return first_found(make("log", inner))
    whole = make("log", inside)
    return inverse(n) or next((found for rule in (log_one_minus_exp, log_sum_exp) if (found := rule(whole))), None)


def log_of_det(n: Node) -> Node | None:
    """log(x*det(A)/det(B)) = log|det(A)| - log|det(B)| + log(x*signs), and so for roots of such products: no overflow.

    The logarithm of a negative number stays NaN.
    """
    return log_by_dets(n.args[0], lambda x: is_det(x) or is_root_of_dets(x))


def log_by_dets(n: Node, taken: Callable[[Node], bool]) -> Node | None:
    """The logarithm of a product with determinants, or roots of such products, among its factors; else None."""
    c, above, below = fraction(n)
    found = [(power, x) for power, side in ((1.0, above), (-1.0, below)) for x in side if taken(x)]
    if not found or c == 0:
        return None
    signs = product(apply("detsign", x.args[0]) for _, x in found if is_det(x))
    top, bottom = ([x for x in side if not taken(x)] for side in (above, below))
    rest = quotient(c, top, bottom, n)
    if signs is not None:
        negative = make("lt", signs, number(0.0, n))
        rest = make("mul", make("select", negative, number(-1.0, n), number(1.0, n)), rest)
    return make("add", *(scaled(power, log_size(x)) for power, x in found), make("log", rest))


def is_det(x: Node) -> bool:
    """Whether this is a determinant."""
    return x.op.name == "det"


def is_root_of_dets(x: Node) -> bool:
    """Whether this is the square root of a product with a determinant among its factors."""
    return x.op.name == "sqrt" and any(is_det(y) for side in fraction(x.args[0])[1:] for y in side)


def log_size(x: Node) -> Node:
    """log|det(A)|; the logarithm of a root, which is NaN where that is."""
    inner = log_by_dets(x.args[0], is_det) if x.op.name == "sqrt" else None
    return apply("logabsdet", x.args[0]) if inner is None else scaled(0.5, inner)


def log_sum_exp(n: Node) -> Node | None:
    """log(1 + exp(u)) = softplus(u); log(exp(u) + exp(-u)) = log_cosh(u) + log(2); log(a*exp(u) + ...) is scaled.

    Scaled, with m what the largest exponent exceeds the limits by: m + log(a*exp(u - m) + ...). Beside 1 the terms may
    be tiny, which log1p keeps. No digits cancel, as the logarithm and m have one sign.
    """
    x = n.args[0]
    found = parts(x)
    ones, others = [p for p in found if is_const(p, 1.0)], [p for p in found if not is_const(p, 1.0)]
    if x.op.name == "add" and len(ones) == len(others) == 1 and is_exp(others[0]):
        return make("softplus", others[0].args[0])
    pair = mirrored(x, 1.0) if x.op.name == "add" else None
    if pair is not None and pair[0] >= 0.5:
        return plus(make("log_cosh", pair[1]), math.log(2 * pair[0]))
    whole = log_of_whole(x)
    s = whole or scaled_sum(x, LIMIT[n.type.dtype])
    if s is None:
        return None
    mantissa, m = s
    if whole is not None or (len(ones) == 1 and (len(others) == 1 or all(map(is_positive, others)))):
        rest = mantissa if whole is not None else total([p for p in parts(mantissa) if not is_const(p, 1.0)])
        return make("add", make("log1p", rest), m)
    return make("add", make("log", mantissa), m)


def log_of_whole(x: Node) -> Scaled | None:
    """c + d*exp(u) - 1 = d*expm1(u) where c + d = 1, scaled: log(3 - 2*exp(u)) is near 0 for a small u."""
    found = terms(x)
    if len(found) != 2 or {t is None for _, t in found} != {True, False}:
        return None
    if not all(math.isfinite(c) for c, _ in found) or Fraction(found[0][0]) + Fraction(found[1][0]) != 1:
        return None
    (d, e) = next((c, t) for c, t in found if t is not None)
    if not is_exp(e):
        return None
    mantissa, m = FUNCTIONS["expm1"](make("expm1", e.args[0]), LIMIT[x.type.dtype])
    return Scaled(scaled(d, mantissa), m)


def log_one_plus(n: Node) -> Node | None:
    """log(1 + x) = log1p(x); of more terms than one if 1 is added last, or none of them is negative."""
    x = n.args[0]
    inside = parts(x)
    rest = [a for a in inside if not is_const(a, 1.0)]
    if len(rest) != len(inside) - 1 or not rest:
        return None
    if len(rest) == 1 or all(map(is_positive, rest)):
        return make("log1p", total(rest))
    if is_const(x.args[-1], 1.0):
        return make("log1p", make("add", *x.args[:-1]) if len(x.args) > 2 else x.args[0])
    return make("log1p", x.args[1]) if is_const(x.args[0], 1.0) and len(x.args) == 2 else None


def log_one_minus_exp(n: Node) -> Node | None:
    """log(1 - exp(x)) as log(-expm1(x)) near 0 and log1p(-exp(x)) below -log(2) (Maechler, Rmpfr vignette, 2012).

    log(-expm1(-exp(u))) is u - log(-exp(u)/expm1(-exp(u))).
    """
    inside = n.args[0]
    if inside.op.name == "add":
        inside = exp_minus_one(inside) or inside
    if inside.op.name != "neg" or inside.args[0].op.name != "expm1":
        return None
    x = inside.args[0].args[0]
    near = less(number(-math.log(2.0), n), x)
    c, w = split(x)
    small = apply("log", inside)
    if c == -1 and w is not None and is_exp(w):  # 1 - exp(-w) is near w, however small that is
        small = minus(w.args[0], make("log", make("x_over_expm1", x)))
    return select(near, small, apply("log1p", make("neg", make("exp", x))))


def inverse(n: Node) -> Node | None:
    """atanh(tanh(x)) = x and the like, where that holds for every x; acosh(cosh(x)) = |x|."""
    x = n.args[0]
    if (n.op.name, x.op.name) in INVERSES:
        return x.args[0]
    if x.op.name == "neg" and (n.op.name, x.args[0].op.name) in INVERSES and n.op.name != "log1p":
        return make("neg", x.args[0].args[0])
    if (n.op.name, x.op.name) == ("acosh", "cosh"):
        return make("abs", x.args[0])
    return half_logit(x) or atanh_near_one(x) if n.op.name == "atanh" else None


def atanh_near_one(x: Node) -> Node | None:
    """atanh(1 - s) = (log(2 - s) - log(s))/2 for a small s, of which 1 - s has lost the digits; atanh(-expm1(u))."""
    c, y = split(x)
    if c == -1 and y is not None and y.op.name == "expm1":
        s = make("exp", y.args[0])
    else:
        rest, ends = ([t for t in parts(x) if is_const(t) is known] for known in (False, True))
        if len(rest) != 1 or len(ends) != 1 or abs(float(ends[0].value)) != 1:
            return None
        c = -float(ends[0].value)
        s = scaled(c, rest[0])
    near = scaled(-0.5 * c, minus(make("log", minus(number(2.0, x), s)), log_of(s)))
    return make("select", less(number(0.0, x), s) & less(s, 0.5), near, apply("atanh", x))


def half_logit(x: Node) -> Node | None:
    """atanh(2*sigmoid(u) - 1) = u/2."""
    c, y = split(x)
    if y is None or y.op.name != "select" or abs(c) != 2 or y.args[2].op.name != "add":
        return None
    found = next((a.args[0] for a in y.args[2].args if a.op.name == "sigmoid"), None)
    return scaled(0.25 * c, found) if found is not None and centred_sigmoid(found) is y else None


INVERSES = {("atanh", "tanh"), ("asinh", "sinh"), ("log1p", "expm1"), ("tan", "atan"), ("sinh", "asinh")}


def lgamma_of_exp(n: Node) -> Node | None:
    """lgamma(exp(x)) = -x - gamma*exp(x) below -40, where exp(x) is tiny or 0 (Euler's gamma)."""
    if not is_exp(n.args[0]):
        return None
    x = n.args[0].args[0]
    near = make("lgamma", make("exp", clip(x, -40.0, None)))
    tiny = make("neg", make("add", x, scaled(0.5772156649015329, make("exp", x))))
    return make("select", at_most(x, -40.0), tiny, near)  # where near is clipped, at -40 as well


# Quotients


def ratio_near_zero(n: Node) -> Node | None:
    """f(x)/x by its power series near 0, where the derivative cancels, for f with f(0) = 0; sin(x)/x = sinc(x).

    So f(x)/(x*y), where what is left of it does not overflow.
    """
    top = n.args[0]
    for f in fraction(top)[1]:
        if f.op.name not in SERIES and f.op.name != "sin":
            continue
        x = f.args[0]
        r, rest = divided(n.args[1], x)
        if r is None or (rest is not None and has_pole(n, x)):
            continue
        if rest is not None and (whole := removable(n)) is not None:
            return whole
        if f.op.name == "sin":
            limit, near = 1.0, make("sinc", x)
            if rest is None:
                return replaced_once(top, f, scaled(r, near))
        else:
            limit, count = SERIES[f.op.name]
            z, coefficients = clip(x, -limit, limit), elementary(f.op.name).coefficients
            is_even = not any(coefficients[1::2])  # a series in x**2
            few = [float(c) for c in coefficients[:: 1 + is_even][:count]]
            near = polynomial(few, make("mul", z, z) if is_even else z)
        return near_pole(less(make("abs", x), limit), replaced_once(top, f, scaled(r, near)), rest, n)
    return None


def has_pole(n: Node, x: Node) -> bool:
    """Whether a quotient has a pole at x = 0, as it is divided by x more often than it has factors that are 0 there."""
    above = [f for f in fraction(n.args[0])[1] if f.op.name in SERIES or f.op.name == "sin"]
    zeros = sum(multiple(f.args[0], x) is not None for f in above)
    return zeros < sum(multiple(g, x) is not None for g in factors(n.args[1])[1])


def divided(below: Node, x: Node) -> tuple[float | None, Node | None]:
    """r and y with y*x = r*below, for a number r; no y where x = r*below."""
    r = multiple(x, below)
    if r is not None:
        return r, None
    c, found = factors(below)
    for g in found if len(found) > 1 else ():
        r = multiple(x, g)
        if r is not None and ordinary(r, x):
            rest = product(without(found, g))
            return r, None if rest is None else scaled(c, rest)
    return None, None


def near_pole(near: Node, top: Node, below: Node | None, n: Node) -> Node:
    """A quotient by another form near a pole of its parts: top/below, if neither is beyond the range of floats."""
    if below is not None:
        near = near & less(make("abs", top), math.inf) & less(make("abs", below), math.inf)
        top = make("div", top, below)
    return make("select", near, top, quotient_of_exps(n) or n)


SERIES = {  # f(x)/x by the power series of f: up to which |x|, and how many of its coefficients that are not 0
    "sinh": (0.5, 8), "tanh": (0.25, 10), "atan": (0.25, 13), "atanh": (0.25, 13), "asin": (0.25, 12),
    "asinh": (0.25, 12), "erf": (0.5, 12), "expm1": (0.25, 12), "log1p": (0.0625, 14),
}  # fmt: skip


def logistic(n: Node) -> Node | None:
    """a/(c + c*exp(x)) = a*sigmoid(-x)/c, and a*exp(x)/(c*exp(x) + c*exp(y)) = a*sigmoid(x - y)/c for y = 0 or -x.

    With a difference above the line, which is a tangent of x/2 or x, it is twice a sigmoid less a half, whose slope has
    all digits. So are powers of such sums below the line.
    """
    c, below = factors(n.args[1])
    top = n.args[0]
    if not below or c == 0:
        return None
    for x in below:
        cosh = [(0.5, x.args[0]), (0.5, make("neg", x.args[0]))] if x.op.name == "cosh" else None
        found = cosh or positive_exps(x)
        if found is None or len(found) != 2 or found[0][0] != found[1][0]:
            return None
        new = with_sigmoid(top, found[0][1], found[1][1]) or with_sigmoid(top, found[1][1], found[0][1])
        if new is None:
            return None
        top, c = new, c * found[0][0]
    return over(top, c)


def with_sigmoid(top: Node, x: Node, y: Node) -> Node | None:
    """top/(exp(x) + exp(y)), if y is 0 or -x: with sigmoid(x - y) for exp(x), or times sigmoid(-x).

    With 2*sigmoid(x) - 1 for expm1(x), and sigmoid(2*x) - 1/2 for sinh(x).
    """
    e = make("exp", x)
    if y is make("neg", x) or is_const(y, 0.0):
        argument = x if is_const(y, 0.0) else scaled(2.0, x)
        if e in fraction(top)[1]:
            return replaced_once(top, e, make("sigmoid", argument))
        factor, less = (2.0, make("expm1", x)) if is_const(y, 0.0) else (1.0, make("sinh", x))
        if less in fraction(top)[1]:
            return replaced_once(top, less, scaled(factor, centred_sigmoid(argument)))
        if is_const(y, 0.0) and not any(map(overflows, fraction(top)[1])):
            return make("mul", top, make("sigmoid", make("neg", x)))
    return None


def over(x: Node, c: float) -> Node:
    """x/c."""
    return x if c == 1 else make("div", x, number(c, x))


def bernoulli(n: Node) -> Node | None:
    """k*x/expm1(x) = k*x_over_expm1(x), which is k at x = 0; and x/(y*expm1(b*x)) = x_over_expm1(b*x)/(b*y) near 0."""
    c, below = factors(n.args[1])
    if [x.op.name for x in below].count("expm1") != 1 or c == 0:
        return None
    one = next(x for x in below if x.op.name == "expm1")
    others = product(without(below, one))
    rest = None if others is None else scaled(c, others)
    top, x = n.args[0], one.args[0]
    ratio, small = make("x_over_expm1", x), less(make("abs", x), 1.0)
    k, inner = factors(x)
    for f in fraction(top)[1]:
        if (r := multiple(f, x)) is not None:
            new = scaled(r, replaced_once(top, f, ratio))
            return over(new, c) if rest is None else near_pole(small, new, rest, n)
        if inner.count(f) == 1 and k != 0:
            new = make("mul", replaced_once(top, f, quotient(1 / k, (), without(inner, f), n)), ratio)
            return near_pole(small, over(new, c) if rest is None else new, rest, n)
    return None


def quotient_of_exps(n: Node) -> Node | None:
    """a/b with exponentials below the line: what of b is beyond the range of floats is taken out (see `scaled`).

    exp(u)/exp(v) = exp(u - v) with the rounding error of u - v put back, exp(-x**2)/erfc(x) = 1/erfcx(x), and
    a/cosh(x) = a*sech(x), whose derivative needs no 1/cosh(x)**2 beside it.
    """
    c, above, below = fraction(n)
    if below and all(x.op.name == "cosh" for x in below) and ordinary(c, n) and not any(map(overflows, above)):
        return reduce(lambda r, x: make("mul", r, make("sech", x.args[0])), below, quotient(c, above, (), n))
    if ordinary(c, n) and len(above) == len(below) == 1:
        (a,), (b,) = above, below
        if is_exp(a) and is_exp(b):
            return scaled(c, make("exp_sum", a.args[0], make("neg", b.args[0])))
        if is_exp(a) and b.op.name == "erfc" and is_square(make("neg", a.args[0]), b.args[0]):
            above_zero = less(number(0.0, n), b.args[0])  # below, erfcx overflows and erfc is near 2
            return make("select", above_zero, make("div", number(c, n), make("erfcx", b.args[0])), n)
    grown = [x for x in above if scaled_factor(x, SQUARE[n.type.dtype]) is not None]
    if not any(map(overflows, below)) and not (grown and any(x.op.name in FALLING for x in below)):
        return None
    found = scaled_product(n)
    return found and found.value()


def ordinary(c: float, like: Node) -> bool:
    """Whether a number is far from the ends of the range of floats."""
    return RANGE[like.type.dtype] < abs(c) < 1 / RANGE[like.type.dtype]


def is_square(x: Node, u: Node) -> bool:
    """Whether x = u**2, up to rounding."""
    (c, above, below), (d, top, bottom) = fraction(x), fraction(u)
    same = Counter(above) == Counter(top + top) and Counter(below) == Counter(bottom + bottom)
    return same and abs(c - d * d) <= ROUNDING * d * d


# Products, powers and roots


def product_of_exps(n: Node) -> Node | None:
    """exp(u)*exp(v) = exp(u + v) with the rounding error of u + v put back, exp(x**2)*erfc(x) = erfcx(x),
    exp(x)*sigmoid(-x) = sigmoid(x).

    An exponential times other functions that may overflow or underflow against it is scaled.
    """
    c, above, below = fraction(n)
    exps = [x for x in above if is_exp(x)]
    others = [x for x in above if x.op.name in (RISING | FALLING) and not is_exp(x)]
    if below or not exps or (len(exps) < 2 and not others):
        return None
    if len(above) == 2 and ordinary(c, n):
        if others and others[0].op.name == "sigmoid" and multiple(others[0].args[0], exps[0].args[0]) == -1:
            return scaled(c, make("sigmoid", exps[0].args[0]))
        if len(exps) == 2 and exps[0] is not exps[1]:
            return scaled(c, make("exp_sum", exps[0].args[0], exps[1].args[0]))
        if others and others[0].op.name == "erfc" and is_square(exps[0].args[0], others[0].args[0]):
            return scaled(c, make("erfcx", others[0].args[0]))
    found = scaled_product(n, LIMIT) if others or any(is_excess(x.args[0]) for x in exps) else None
    return found and found.value()


def root_of_exps(n: Node) -> Node | None:
    """sqrt(exp(x)) = exp(x/2); of other formulas with exponentials it is that of the mantissa, with half the excess."""
    x = n.args[0]
    if is_exp(x):
        return make("exp", scaled(0.5, x.args[0]))
    if x.op.name == "exp_sum":
        return make("exp_sum", *(scaled(0.5, u) for u in x.args))
    found = scaled_product(x, LIMIT)
    return found and Scaled(make("sqrt", found.mantissa), scaled(0.5, found.excess)).value()


def power_of_exps(n: Node) -> Node | None:
    """s**y with exponentials in s: that of the mantissa, times exp(y*excess)."""
    x, y = n.args
    found = scaled_product(x, LIMIT)
    if found is None:
        return None
    finite = y if is_const(y) else clip(y, -1e30, 1e30)  # an infinite power of what is within the range: 0
    return Scaled(make("pow", found.mantissa, y), make("mul", finite, found.excess)).value()


def norm(n: Node) -> Node | None:
    """sqrt(x**2 + y**2 + ...) = hypot(hypot(x, y), ...), and sqrt(x**2) = |x|: no overflow, and no NaN at 0."""
    level = []
    for t in parts(n.args[0]):
        root = square_root(t)
        if root is None:
            return None
        level.append(root)
    if all(is_const(x) for x in level):
        return None
    if len(level) == 1:
        return make("abs", level[0])
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [make("hypot", x, y) for x, y in pairs] + level[len(level) // 2 * 2 :]
    return level[0]


def norm_of_loop(n: Node) -> Node | None:
    """sqrt(s) of a sum s of squares over an axis = sqrt(s) if s != 0 else 0, so that its derivative at 0 is 0."""
    whole = n.args[0].args[0] if is_broadcast(n.args[0]) else n.args[0]
    loops = [x for c, x in terms(whole) if x is not None and is_loop(x) and c > 0]
    others = [t for t in parts(whole) if split(t)[1] not in loops]
    squares = [*others, *(t for x in loops for t in parts(x.args[0]))]
    if not loops or any(square_root(t) is None for t in squares):
        return None
    return or_zero(n)


def or_zero(n: Node) -> Node | None:
    """sqrt(s) if s != 0 else 0, and so of one that is written so already."""
    s = n.args[0].args[0] if n.op.name == "select" else n.args[0] if n.op.name == "sqrt" else None
    return None if s is None else select(unequal(s, number(0.0, n)), n, number(0.0, n))


def norm_of_product(n: Node) -> Node | None:
    """sqrt(s), s an array contracted with itself, = sqrt(s) if s != 0 else 0, so that its derivative at 0 is 0."""
    c, x = split(n.args[0])
    if x is None or not is_dot(x) or x.args[0] is not x.args[1] or x.params[:2] != x.params[:1] * 2 or c <= 0:
        return None
    return or_zero(n)


def square_root(t: Node) -> Node | None:
    """x if the term is x**2, a positive number included."""
    c, above, below = fraction(t)
    counts = Counter(above), Counter(below)
    if not 0 < c < math.inf or any(k % 2 for side in counts for k in side.values()):
        return None
    top, bottom = ([x for x, k in side.items() for _ in range(k // 2)] for side in counts)
    return quotient(math.sqrt(c), top, bottom, t)


def x_log_x(n: Node) -> Node | None:
    """x*log(c*x) = xlogy(x, c*x), which is 0 at x = 0, and so (1 + x)*log1p(x) below x = -1/2.

    So for all factors that vanish with the logarithm's argument: x**2*log(x), (x**2 + y**2)*log(hypot(x, y)); and for
    powers of the logarithm, of which each has a factor of its own, if there are as many: x*log(x)**2 is
    xlogy(xlogy(x, x), x).
    """
    c, found = factors(n)
    for log in (x for x in found if x.op.name in ("log", "log1p")):
        u, logs, others = log.args[0], found.count(log), [x for x in found if x is not log]
        if log.op.name == "log" and others:
            zeros = {*zeros_with(u), *fraction(u)[1]}
            likely = [f for f in others if (g := bare(f)) in zeros or g.op.keeps_zero or is_root_or_power(g)]
            taken = [f for f in likely if vanishes(bare(f), zeros)]
            shares = [(product(taken[k::logs]), len(range(k, logs, len(taken)))) for k in range(min(logs, len(taken)))]
            if shares:
                rest = [f for f in others if f not in taken]
                return quotient(c, [*rest, *(entropy(x or n, u, count) for x, count in shares)], (), n)
        elif log.op.name == "log1p":
            x = next((x for x in others if x.op.name == "add" and multiple(x, plus(u, 1.0)) == 1), None)
            if x is not None:
                near = product([x, *[log] * logs]) or n
                new = make("select", make("lt", number(-0.5, n), u), near, entropy(x, x, logs))
                return quotient(c, [*without(others, x), new], (), n)
    return None


def entropy(x: Node, u: Node, logs: int) -> Node:
    """x*log(u)**logs, 0 where x is 0."""
    return reduce(lambda y, _: make("xlogy", y, u), range(logs), x)


def bare(x: Node) -> Node:
    """The root of what is 0 where the root is, as `or_zero` writes it."""
    while x.op.name == "select" and is_const(x.args[2], 0.0) and x is or_zero(x.args[1]):
        x = x.args[1]
    return x


def zeros_with(u: Node) -> set[Node]:
    """What is 0 wherever u is: for hypot(x, y) and for x**2 + y**2 also x and y."""
    found, pending = set[Node](), [u]
    while pending and len(found) < FEW:
        n = pending.pop()
        found.add(n)
        if n.op.name in ("hypot", "abs", "sqrt", "cbrt", "neg") or (n.op.name == "mul" and n.args[0] is n.args[1]):
            pending += n.args
        elif n.op.name == "add" and all(square_root(t) is not None for t in n.args):
            pending += [x for t in n.args if len({*fraction(t)[1]}) == 1 for x in fraction(t)[1][:1]]
    return found


def is_root_or_power(x: Node) -> bool:
    """Whether this is a power with a positive number for its exponent, which is 0 where its base is."""
    return x.op.name == "pow" and is_const(x.args[1]) and float(x.args[1].value) > 0


def vanishes(n: Node, zeros: Set[Node]) -> bool:
    """Whether a node is 0 where some others are, as far as a few nodes tell."""
    order, pending = list[Node](), [n]
    while pending:
        x = pending.pop()
        order.append(x)
        if len(order) > 2 * FEW:
            return False
        pending += () if x in zeros or not (x.op.keeps_zero or is_root_or_power(x)) else x.args
    gone = set(zeros)
    for x in reversed(order):
        if x.op.keeps_zero == "all":
            is_zero = gone.issuperset(x.args)
        else:
            above = x.args[:1] if x.op.name in ("div", "pow") else x.args
            is_zero = (x.op.keeps_zero or is_root_or_power(x)) and not gone.isdisjoint(above)
        if is_zero:
            gone.add(x)
    return n in gone


LESS_ONE: tuple[Rule, ...] = (
    *(exp_minus_one, power_minus_one, one_minus_cos, root_minus_one, one_minus_sigmoid, one_minus_erf, tanh_less_one),
)
LOG_RULES: tuple[Rule, ...] = (
    *(log_one_minus_exp, log_of_asinh, log_one_less_square, log_of_twice_sigmoid),
    *(log_of_det, log_of_root, log_of_factors, log_of_product, log_of_ratio, log_sum_exp),
    log_of_dot,
)
RULES: dict[str, tuple[Rule, ...]] = {
    "add": (
        *LESS_ONE,
        *(sigmoid_less_half, softplus_less_argument, one_minus_tanh_squared, one_plus_sinh_squared, sinh_of_exps),
        *(lgamma_difference, cosh_less_sinh),
    ),
    "log": (log_of_close_values, *LOG_RULES, log_one_plus, log_of_view),
    "log1p": (log_of_log1p,),
    **dict.fromkeys(("log2", "log10"), (other_base,)),
    "lgamma": (lgamma_of_exp,),
    "div": (bernoulli, ratio_near_zero, logistic, quotient_of_exps),
    "sqrt": (norm, norm_of_loop, norm_of_product, root_of_exps),
    "mul": (x_log_x, product_of_exps),
    "pow": (power_of_exps,),
    **dict.fromkeys({f for f, _ in INVERSES} - {"log1p"}, (inverse,)),
    "acosh": (inverse, arc_near_one),
    **dict.fromkeys(("acos", "asin"), (arc_near_one,)),
    **dict.fromkeys(("reshape", "transpose"), (exp_of_view,)),
}
# What no other rule looks into: after the others
LATE: dict[str, tuple[Rule, ...]] = {
    "add": (cancelling, inverse_less_one, one_less_square, root_less_part, close_arguments),
    "log": (log_near_one,),
    **dict.fromkeys(("mul", "div"), (removable,)),
}
