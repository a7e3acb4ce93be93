"""Stabilisation: what a numerical analyst would have written, before differentiation so that gradients gain as well.

Each rule has its algebra beside it. SymPy distributes numbers (2*(exp(x) - 1) arrives as 2*exp(x) - 2) and orders terms
and factors as it likes, so sums are matched term by term, each with its numeric factor, and products factor by factor,
in any order. Long sums and products are looked at a bounded number of times, so the pass is linear in the graph.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from functools import reduce
from typing import NamedTuple

from gradcompile.formula import formulas
from gradcompile.ir import Node, apply, const, is_const, rebuild
from gradcompile.ops.record import Params
from gradcompile.ops.scan import rebodied
from gradcompile.ops.shape import expand
from gradcompile.passes.simplify import simplify_node
from gradcompile.types import Shape

Term = tuple[float, Node | None]  # a numeric factor, and what it multiplies (None: the number alone)
Rule = Callable[[Node], Node | None]
FEW = 16  # factors of a product, or terms of a nested sum, that are looked at
SHOWN = 80  # characters of a formula in a Rewrite
KEEP_ZERO = ("add", "hypot", "mul", "div", "neg", "abs", "sqrt", "cbrt")  # 0 where arguments are, all or one of them
SUMS = ("add", "expm1", "sinh", "cosh", "exp")  # above the line, these may overflow where the sum below it does
ROUNDING = 1e-15  # numbers that SymPy or a user multiplied out may differ by so much, relatively


class Rewrite(NamedTuple):
    """One change that `stabilize` made: the rule's name, and the formula before and after."""

    rule: str
    before: str
    after: str


def stabilize(roots: Sequence[Node]) -> tuple[list[Node], list[Rewrite]]:
    """The roots by the rules below, arguments first, and what was changed.

    >>> from gradcompile.ir import leaf
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

    def rewrite(n: Node) -> Node:
        for rule in RULES.get(n.op.name, ()):
            found = rule(n)
            if found is not None:
                changes[n] = (rule.__name__, found)
                return found
        return rebodied(n, body)

    result = rebuild(roots, rewrite)
    texts = formulas([*changes, *(after for _, after in changes.values())], {}, SHOWN)
    rewrites = [Rewrite(rule, texts[before], texts[after]) for before, (rule, after) in changes.items()]
    return result, list(dict.fromkeys([*rewrites, *inside]))


# Graph algebra, folding constants on the way


def make(name: str, *args: Node) -> Node:
    """A node, simplified."""
    return simplify_node(apply(name, *args))


def number(value: float, like: Node) -> Node:
    """A constant of another node's dtype."""
    return const(value, like.type.dtype)


def scaled(factor: float, x: Node) -> Node:
    """factor * x."""
    return make("mul", number(factor, x), x)


def minus(x: Node, y: Node) -> Node:
    """x - y."""
    return make("neg", y) if is_const(x, 0.0) else x if is_const(y, 0.0) else make("add", x, make("neg", y))


def plus(x: Node, c: float) -> Node:
    """x + c."""
    return x if c == 0 else make("add", x, number(c, x))


def split(n: Node) -> Term:
    """A term as a number times something."""
    factor = 1.0
    while True:
        if n.op.name == "const":
            return factor * float(n.value), None
        if n.op.name == "neg":
            factor, n = -factor, n.args[0]
        elif n.op.name == "mul" and n.args[0].op.name == "const":
            factor, n = factor * float(n.args[0].value), n.args[1]
        elif n.op.name == "div" and n.args[1].op.name == "const" and float(n.args[1].value) != 0:
            factor, n = factor / float(n.args[1].value), n.args[0]
        else:
            return factor, n


def parts(n: Node) -> list[Node]:
    """The terms of a sum, those of short sums inside it among them; anything else is one term."""
    if n.op.name != "add":
        return [n]
    return [t for a in n.args for t in (a.args if a.op.name == "add" and len(a.args) <= FEW else (a,))]


def terms(n: Node) -> list[Term]:
    """The terms of a sum with their numeric factors."""
    return [split(a) for a in parts(n)]


def factors(n: Node) -> tuple[float, list[Node]]:
    """A product as a number and its other factors, at most a few of them."""
    number, found, stack = 1.0, list[Node](), [n]
    while stack:
        c, x = split(stack.pop())
        number *= c
        if x is not None and x.op.name == "mul" and len(found) + len(stack) < FEW:
            stack += reversed(x.args)
        elif x is not None:
            found.append(x)
    return number, found


def fraction(n: Node) -> tuple[float, list[Node], list[Node]]:
    """A number, the factors above the line, and those below it."""
    number, found = factors(n)
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


def opposite(n: Node, name: str) -> tuple[list[Node], float, Node] | None:
    """In a sum, terms c*f(u) and -c for the function of that name: the other terms, c, and u."""
    found = terms(n)
    numbers = {c: k for k, (c, x) in enumerate(found) if x is None}
    for k, (c, x) in enumerate(found):
        if x is not None and x.op.name == name and -c in numbers and c != 0:
            rest = [a for i, a in enumerate(parts(n)) if i not in (k, numbers[-c])]
            return rest, c, x.args[0]
    return None


def joined(rest: Sequence[Node], x: Node) -> Node:
    """The other terms of a sum and a new one."""
    return make("add", *rest, x) if rest else x


# Sums


def exp_minus_one(n: Node) -> Node | None:
    """c*exp(x) - c = c*expm1(x)."""
    found = opposite(n, "exp")
    return found and joined(found[0], scaled(found[1], make("expm1", found[2])))


def one_minus_cos(n: Node) -> Node | None:
    """c - c*cos(x) = 2*c*sin(x/2)**2."""
    found = opposite(n, "cos")
    if found is None:
        return None
    half = make("sin", scaled(0.5, found[2]))
    return joined(found[0], scaled(-2 * found[1], apply("mul", half, half)))


def one_minus_sigmoid(n: Node) -> Node | None:
    """c - c*sigmoid(x) = c*sigmoid(-x)."""
    found = opposite(n, "sigmoid")
    return found and joined(found[0], scaled(-found[1], make("sigmoid", make("neg", found[2]))))


def sinh_of_exps(n: Node) -> Node | None:
    """c*exp(x) - c*exp(-x) = 2*c*sinh(x)."""
    found = terms(n)
    if len(found) != 2 or not all(is_exp(x) for _, x in found) or found[0][0] != -found[1][0]:
        return None
    (c, up), (_, down) = found
    assert up is not None and down is not None
    return scaled(2 * c, make("sinh", up.args[0])) if down.args[0] is make("neg", up.args[0]) else None


# Logarithms


def log_of_product(n: Node) -> Node | None:
    """log(a*exp(u)/b) = log(a/b) + u, and log(a*sigmoid(u)/b) = log(a/b) - softplus(-u): no underflow on the way."""
    c, above, below = fraction(n.args[0])
    taken = [x for x in above + below if x.op.name in ("exp", "sigmoid")]
    if not taken:
        return None
    logs = []
    for side, sign in ((above, "+"), (below, "-")):
        for x in side:
            if x in taken:
                u = x.args[0] if is_exp(x) else make("neg", make("softplus", make("neg", x.args[0])))
                logs.append(u if sign == "+" else make("neg", u))
    rest = quotient(c, [x for x in above if x not in taken], [x for x in below if x not in taken], n)
    return make("add", *logs, *([] if is_const(rest, 1.0) else [make("log", rest)]))


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


class Exponential(NamedTuple):
    """The term weight*exp(exponent), or the sum of such terms over axes (the params of that sum) of a shape."""

    weight: Node
    exponent: Node
    over: Params = ()
    shape: Shape = ()

    def largest(self) -> Node:
        """The exponent, the largest of them over the axes of a sum."""
        if not self.over or not self.exponent.type.shape:
            return self.exponent
        return apply("amax", expand(self.exponent, self.shape), params=self.over)

    def relative(self, largest: Node) -> Node:
        """weight*exp(exponent - largest), the terms of a sum not yet added up."""
        top = inside(largest, self.shape, self.over)
        return make("mul", self.weight, make("exp", minus(self.exponent, top)))


def inside(x: Node, shape: Shape, over: Params) -> Node:
    """What stands outside a sum over axes of a shape, with its axes where they are inside."""
    if not over or not x.type.shape:
        return x
    left = tuple(k for k in range(len(shape)) if k not in over[0])
    x = expand(x, tuple(shape[k] for k in left))
    return x if left == tuple(range(over[0][-1] + 1, len(shape))) else apply("broadcast", x, params=(shape, left))


def log_sum_exp(n: Node) -> Node | None:
    """log(c + d*exp(u)) = log(c) + softplus(u + log(d/c)); log(a*exp(u) + ...) = m + log(a*exp(u - m) + ...).

    m is the largest exponent, a number is its multiple of exp(0), and the weights a, b may have any sign. Beside 1 the
    terms may be tiny: log(1 + a*exp(u)) = m + log1p(expm1(-m) + a*exp(u - m)). Terms may be sums of such over an axis.
    """
    if n.args[0].op.name == "broadcast":
        core = log_sum_exp(apply("log", n.args[0].args[0]))
        return core and apply("broadcast", core, params=n.args[0].params)
    found = [exponentials(t) for t in parts(n.args[0])]
    each = sorted((e for f in found for e in f), key=lambda e: e.exponent.op.name != "const")
    loops = any(e.over for e in each)
    if not all(found) or (len(each) < 2 and not loops) or each[-1].exponent.op.name == "const":
        return None
    if loops and (any(t.type.shape not in ((), n.type.shape) for t in parts(n.args[0])) or any(map(is_relative, each))):
        return None
    (a, u, *_), (b, v, *_) = each[0], each[-1]
    if len(each) == 2 and not loops and is_const(u, 0.0) and b.op.name == "const":
        soft = make("softplus", plus(v, log_ratio(float(b.value), float(a.value))))
        return plus(soft, math.log(float(a.value)))
    largest = apply("stop_gradient", reduce(lambda u, v: make("max", u, v), (e.largest() for e in each)))
    one = is_const(u, 0.0) and is_const(a, 1.0)
    rest = relative_terms(each[1:] if one else each, largest)
    if one:
        rest = [make("expm1", make("neg", largest)), *rest]
    return make("add", largest, make("log1p" if one else "log", apply("add", *rest)))


def is_relative(e: Exponential) -> bool:
    """Whether the largest exponent has been taken off already, as functions of networks do."""
    found = [x for c, x in terms(e.exponent) if c == -1 and x is not None]
    while any(x.op.name in ("broadcast", "select") for x in found):
        found = [x.args[x.op.name == "select"] if x.op.name in ("broadcast", "select") else x for x in found]
    return any(x.op.name == "stop_gradient" for x in found)


def relative_terms(each: Sequence[Exponential], largest: Node) -> list[Node]:
    """Exponentials relative to the largest, those summed over the same axes of as many terms in one sum."""
    single = [e.relative(largest) for e in each if not e.over]
    loops: dict[tuple[Params, Shape], list[Node]] = {}
    for e in each:
        if e.over:
            term = expand(e.relative(largest), e.shape)
            loops.setdefault((e.over, term.type.shape), []).append(term)
    return [*single, *(apply("sum", joined(ts[:-1], ts[-1]), params=over) for (over, _), ts in loops.items())]


def exponentials(t: Node) -> list[Exponential]:
    """A term as exponentials: one, or those of a sum over an axis and what it is multiplied by; none if it is other."""
    pair = weighted(t)
    if pair is not None:
        return [Exponential(*pair)]
    c, above, below = fraction(t)
    loops = [x for x in above if is_loop(x)]
    if len(loops) != 1 or not 0 < c < math.inf:
        return []
    shape, over = loops[0].args[0].type.shape, loops[0].params
    if t.type.shape != loops[0].type.shape:
        return []
    around = inside(quotient(c, without(above, loops[0]), below, t), shape, over)
    inner = [weighted(x) for x in parts(loops[0].args[0])]
    found = [Exponential(make("mul", around, p[0]), p[1], over, shape) for p in inner if p is not None]
    return found if len(found) == len(inner) and all(e.exponent.op.name != "const" for e in found) else []


def is_loop(x: Node | None) -> bool:
    """Whether this is a sum over axes of known length, as `reroll` makes it of terms that were written one by one."""
    return x is not None and x.op.name == "sum" and all(isinstance(x.args[0].type.shape[k], int) for k in x.params[0])


def weighted(t: Node) -> tuple[Node, Node] | None:
    """weight and exponent of a term a*exp(u), or of a positive number; None for any other term, or a number below 0."""
    c, above, below = fraction(t)
    exps = [x for x in above if is_exp(x)]
    if not 0 < c < math.inf or len(exps) > 1 or (not exps and (above or below)):
        return None
    if not exps:
        return number(c, t), number(0.0, t)
    return quotient(c, without(above, exps[0]), below, t), exps[0].args[0]


def log_one_plus(n: Node) -> Node | None:
    """log(1 + x) = log1p(x)."""
    inside = parts(n.args[0])
    rest = [a for a in inside if not is_const(a, 1.0)]
    if len(rest) != len(inside) - 1 or not rest:
        return None
    return make("log1p", make("add", *rest) if len(rest) > 1 else rest[0])


def log_one_minus_exp(n: Node) -> Node | None:
    """log(1 - exp(x)) as log(-expm1(x)) near 0 and log1p(-exp(x)) below -log(2) (Maechler, Rmpfr vignette, 2012)."""
    inside = n.args[0]
    if inside.op.name != "neg" or inside.args[0].op.name != "expm1":
        return None
    x = inside.args[0].args[0]
    near = apply("lt", number(-math.log(2.0), n), x)
    return apply("select", near, n, apply("log1p", make("neg", make("exp", x))))


# Quotients: what is below the line is taken factor by factor


def tanh_of_exps(n: Node) -> Node | None:
    """expm1(x)/(c*exp(x) + c) = tanh(x/2)/c, and sinh(x)/(c*exp(x) + c*exp(-x)) = tanh(x)/(2*c)."""
    k, above, below = fraction(n)
    for f in (x for x in above if x.op.name in ("expm1", "sinh")):
        x, minus_x = f.args[0], make("neg", f.args[0])
        other = number(0.0, x) if f.op.name == "expm1" else minus_x
        for d in below:
            found = positive_exps(d) or []
            if len(found) == 2 and {u for _, u in found} == {x, other} and found[0][0] == found[1][0]:
                c, u = (found[0][0], scaled(0.5, x)) if f.op.name == "expm1" else (2 * found[0][0], x)
                return quotient(k / c, [*without(above, f), make("tanh", u)], without(below, d), n)
    return None


def bernoulli(n: Node) -> Node | None:
    """k*x/expm1(x) = k*x_over_expm1(x), which is k at x = 0; and x/expm1(b*x) = x_over_expm1(b*x)/b."""
    k, above, below = fraction(n)
    for e in (x for x in below if x.op.name == "expm1"):
        x = e.args[0]
        c, inner = factors(x)
        for f in above:
            ratio = multiple(f, x)
            rest = [] if ratio is not None else without(inner, f) if f in inner else None
            if rest is not None and c != 0:
                top = [*without(above, f), make("x_over_expm1", x)]
                return quotient(k * (1 / c if ratio is None else ratio), top, without(below, e) + rest, n)
    return None


def logistic(n: Node) -> Node | None:
    """1/(c + d*exp(x)) = sigmoid(-x - log(d/c))/c, and exp(x)/(d*exp(x) + c*exp(y)) = sigmoid(x - y - log(c/d))/d."""
    k, above, below = fraction(n)
    count = len(below)
    for d in tuple(below):
        found = positive_exps(d)
        if found is None or len(found) != 2:
            continue
        numerator = next((x for x in above if is_exp(x) and any(u is x.args[0] for _, u in found)), None)
        wanted = number(0.0, n) if numerator is None else numerator.args[0]
        found.sort(key=lambda p: p[1] is not wanted)
        (c, u), (c_other, other) = found
        if u is not wanted:
            continue
        above = above if numerator is None else without(above, numerator)
        share = make("sigmoid", sigmoid_argument(u, other, log_ratio(c_other, c)))
        above, below, k = [*above, share], without(below, d), k / c
    return quotient(k, above, below, n) if len(below) < count else None


def sigmoid_argument(u: Node, v: Node, offset: float) -> Node:
    """u - v - offset."""
    return make("neg", plus(v, offset)) if is_const(u, 0.0) else plus(minus(u, v), -offset)


def log_ratio(c: float, d: float) -> float:
    """log(c/d) of positive numbers, also where c/d leaves the range of floats."""
    return math.log(c / d) if 0 < c / d < math.inf else math.log(c) - math.log(d)


def softmax(n: Node) -> Node | None:
    """exp(u)/(exp(u) + exp(v) + ...) = exp(u - log(exp(u) + exp(v) + ...)), and 1/(...) = exp(-log(...))."""
    k, above, below = fraction(n)
    for d in below:
        found, loops = positive_exps(d), is_loop_of_exps(d)
        if not loops and (found is None or len(found) < 2):
            continue
        exponents = {u for _, u in found or ()}
        numerator = next((x for x in above if is_exp(x) and (loops or x.args[0] in exponents)), None)
        if numerator is None and any(x.op.name in SUMS or is_loop(x) for x in above):
            continue
        lse = log_sum_exp(apply("log", d))
        if lse is not None:
            u, rest = (number(0.0, n), above) if numerator is None else (numerator.args[0], without(above, numerator))
            return quotient(k, [*rest, make("exp", minus(u, lse))], without(below, d), n)
    return None


def is_loop_of_exps(n: Node) -> bool:
    """Whether a sum over an axis, and whatever else is added to it, has positive terms c*exp(u) only."""
    found = terms(n.args[0] if n.op.name == "broadcast" else n)
    positive = all(0 < c < math.inf for c, _ in found)
    loops = [x for _, x in found if x is not None and is_loop(x)]
    others = [x for _, x in found if x is not None and not is_loop(x)]
    return bool(loops) and positive and all(map(is_exp, others)) and all(positive_exps(x.args[0]) for x in loops)


# Roots and products


def norm(n: Node) -> Node | None:
    """sqrt(x**2 + y**2 + ...) = hypot(hypot(x, y), ...), and sqrt(x**2) = |x|: no overflow, and no NaN at 0."""
    level = []
    for t in parts(n.args[0]):
        root = square_root(t)
        if root is None:
            return None
        level.append(root)
    if all(x.op.name == "const" for x in level):
        return None
    if len(level) == 1:
        return make("abs", level[0])
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [make("hypot", x, y) for x, y in pairs] + level[len(level) // 2 * 2 :]
    return level[0]


def norm_of_loop(n: Node) -> Node | None:
    """sqrt(s) of a sum s of squares over an axis = sqrt(s) if s != 0 else 0, so that its derivative at 0 is 0."""
    whole = n.args[0].args[0] if n.args[0].op.name == "broadcast" else n.args[0]
    loops = [x for c, x in terms(whole) if x is not None and is_loop(x) and c > 0]
    others = [t for t in parts(whole) if split(t)[1] not in loops]
    squares = [*others, *(t for x in loops for t in parts(x.args[0]))]
    if not loops or any(square_root(t) is None for t in squares):
        return None
    return apply("select", apply("ne", n.args[0], number(0.0, n)), n, number(0.0, n))


def norm_of_product(n: Node) -> Node | None:
    """sqrt(s), s an array contracted with itself, = sqrt(s) if s != 0 else 0, so that its derivative at 0 is 0."""
    c, x = split(n.args[0])
    if x is None or x.op.name != "dot" or x.args[0] is not x.args[1] or x.params[:2] != x.params[:1] * 2 or c <= 0:
        return None
    return apply("select", apply("ne", n.args[0], number(0.0, n)), n, number(0.0, n))


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

    So for all factors that vanish with the logarithm's argument: x**2*log(x), (x**2 + y**2)*log(hypot(x, y)).
    """
    c, found = factors(n)
    for log in (x for x in found if x.op.name in ("log", "log1p")):
        rest, u = without(found, log), log.args[0]
        inside = set(fraction(u)[1]) if log.op.name == "log" else set()
        x = next((x for x in rest if x in inside or (log.op.name == "log1p" and is_one_plus(x, u))), None)
        if log.op.name == "log":
            likely = [f for f in rest if f is x or f.op.name in KEEP_ZERO]
            zeros = {*zeros_with(u), *([] if x is None else [x])} if likely else set()
            taken = [f for f in likely if vanishes(f, zeros)]
            if taken:
                entropy = make("xlogy", product(taken) or n, u)
                return quotient(c, [*(f for f in rest if f not in taken), entropy], (), n)
        elif x is not None:
            entropy = make("select", make("lt", number(-0.5, n), u), make("mul", x, log), make("xlogy", x, x))
            return quotient(c, [*without(rest, x), entropy], (), n)
    return None


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


def vanishes(n: Node, zeros: Set[Node]) -> bool:
    """Whether a node is 0 where some others are, as far as a few nodes tell."""
    order, pending = list[Node](), [n]
    while pending:
        x = pending.pop()
        order.append(x)
        if len(order) > 2 * FEW:
            return False
        pending += () if x in zeros or x.op.name not in KEEP_ZERO else x.args
    gone = set(zeros)
    for x in reversed(order):
        if x.op.name in ("add", "hypot"):
            is_zero = gone.issuperset(x.args)
        else:
            above = x.args[:1] if x.op.name == "div" else x.args
            is_zero = x.op.name in KEEP_ZERO and not gone.isdisjoint(above)
        if is_zero:
            gone.add(x)
    return n in gone


def is_one_plus(x: Node, u: Node) -> bool:
    """Whether x = 1 + u."""
    return x.op.name == "add" and multiple(x, plus(u, 1.0)) == 1


RULES: dict[str, tuple[Rule, ...]] = {
    "add": (exp_minus_one, one_minus_cos, one_minus_sigmoid, sinh_of_exps),
    "log": (log_of_det, log_of_product, log_sum_exp, log_one_plus, log_one_minus_exp),
    "div": (tanh_of_exps, bernoulli, logistic, softmax),
    "sqrt": (norm, norm_of_loop, norm_of_product),
    "mul": (x_log_x,),
}
