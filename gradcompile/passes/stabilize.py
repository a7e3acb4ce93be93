"""Stabilisation: what a numerical analyst would have written, before differentiation so that gradients gain as well.

Each rule has its algebra beside it. SymPy distributes numbers (2*(exp(x) - 1) arrives as 2*exp(x) - 2), so sums are
matched term by term, each with its numeric factor, in any order.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

from gradcompile.formula import formulas
from gradcompile.ir import Node, apply, const, is_const, rebuild
from gradcompile.passes.simplify import simplify_node

Term = tuple[float, Node | None]  # a numeric factor, and what it multiplies (None: the number alone)
Rule = Callable[[Node], Node | None]


class Rewrite(NamedTuple):
    """One change that `stabilize` made: the rule's name, and the formula before and after."""

    rule: str
    before: str
    after: str


def stabilize(roots: Sequence[Node]) -> tuple[list[Node], list[Rewrite]]:
    """The roots by the rules below, arguments first, and what was changed."""
    changes: dict[Node, tuple[str, Node]] = {}

    def rewrite(n: Node) -> Node:
        for rule in RULES.get(n.op.name, ()):
            found = rule(n)
            if found is not None:
                changes[n] = (rule.__name__, found)
                return found
        return n

    result = rebuild(roots, rewrite)
    texts = formulas([*changes, *(after for _, after in changes.values())], {}, 60)
    rewrites = [Rewrite(rule, texts[before], texts[after]) for before, (rule, after) in changes.items()]
    return result, list(dict.fromkeys(rewrites))


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


def terms(n: Node) -> list[Term]:
    """The terms of a sum, or the one term that anything else is."""
    return [split(a) for a in n.args] if n.op.name == "add" else [split(n)]


def is_exp(x: Node | None) -> bool:
    """Whether this is an exponential."""
    return x is not None and x.op.name == "exp"


def exponents(n: Node) -> list[Node] | None:
    """u, v, ... if n is exp(u) + exp(v) + ..., with positive factors and numbers taken into the exponents."""
    found = terms(n)
    if not any(is_exp(x) for _, x in found) or any(c <= 0 or not (x is None or is_exp(x)) for c, x in found):
        return None
    return [number(math.log(c), n) if x is None else plus(x.args[0], math.log(c)) for c, x in found]


def opposite(n: Node, name: str, sign: float) -> tuple[list[Node], float, Node] | None:
    """In a sum, terms c*f(u) and -c for the function of that name: the other terms, sign*c, and u."""
    found = terms(n)
    for k, (c, x) in enumerate(found):
        if x is None or x.op.name != name:
            continue
        for j, (d, y) in enumerate(found):
            if y is None and d == -c and c * sign > 0:
                return [a for i, a in enumerate(n.args) if i not in (j, k)], sign * c, x.args[0]
    return None


def joined(rest: Sequence[Node], x: Node) -> Node:
    """The other terms of a sum and a new one."""
    return make("add", *rest, x) if rest else x


# Sums


def exp_minus_one(n: Node) -> Node | None:
    """c*exp(x) - c = c*expm1(x)."""
    for sign in (1.0, -1.0):
        found = opposite(n, "exp", sign)
        if found is not None:
            rest, c, x = found
            return joined(rest, scaled(sign * c, make("expm1", x)))
    return None


def one_minus_cos(n: Node) -> Node | None:
    """c - c*cos(x) = 2*c*sin(x/2)**2."""
    for sign in (-1.0, 1.0):
        found = opposite(n, "cos", sign)
        if found is not None:
            rest, c, x = found
            half = make("sin", scaled(0.5, x))
            return joined(rest, scaled(-2 * sign * c, apply("mul", half, half)))
    return None


def one_minus_sigmoid(n: Node) -> Node | None:
    """c - c*sigmoid(x) = c*sigmoid(-x)."""
    for sign in (-1.0, 1.0):
        found = opposite(n, "sigmoid", sign)
        if found is not None:
            rest, c, x = found
            return joined(rest, scaled(-sign * c, make("sigmoid", make("neg", x))))
    return None


def sinh_of_exps(n: Node) -> Node | None:
    """c*exp(x) - c*exp(-x) = 2*c*sinh(x)."""
    found = terms(n)
    if len(found) != 2 or not all(is_exp(x) for _, x in found) or found[0][0] != -found[1][0]:
        return None
    (c, up), (_, down) = found
    assert up is not None and down is not None
    if down.args[0] is make("neg", up.args[0]):
        return scaled(2 * c, make("sinh", up.args[0]))
    return None


# Logarithms


def log_of_sigmoid(n: Node) -> Node | None:
    """log(c*sigmoid(x)) = log(c) - softplus(-x)."""
    c, x = split(n.args[0])
    if x is None or x.op.name != "sigmoid" or c <= 0:
        return None
    return plus(make("neg", make("softplus", make("neg", x.args[0]))), math.log(c))


def log_sum_exp(n: Node) -> Node | None:
    """log(exp(u) + exp(v)) = u + softplus(v - u); of more terms m + log(exp(u - m) + ...), m the largest exponent."""
    found = exponents(n.args[0])
    if found is None:
        return None
    found.sort(key=lambda u: u.op.name != "const")
    if len(found) == 1:
        return found[0]
    if len(found) == 2:
        u, v = found
        difference = v if is_const(u, 0.0) else make("add", v, make("neg", u))
        soft = make("softplus", difference)
        return soft if is_const(u, 0.0) else make("add", u, soft)
    largest = apply("stop_gradient", reduce(lambda u, v: make("max", u, v), found))
    shifted = [make("exp", make("add", u, apply("neg", largest))) for u in found]
    return make("add", largest, make("log", apply("add", *shifted)))


def log_one_plus(n: Node) -> Node | None:
    """log(1 + x) = log1p(x)."""
    inside = n.args[0]
    if inside.op.name != "add" or not any(is_const(a, 1.0) for a in inside.args):
        return None
    rest = [a for a in inside.args if not is_const(a, 1.0)]
    return (
        make("log1p", make("add", *rest) if len(rest) > 1 else rest[0]) if len(rest) == len(inside.args) - 1 else None
    )


# Quotients


def logistic(n: Node) -> Node | None:
    """a/(c + d*exp(x)) = a/c*sigmoid(-x - log(d/c)), and a*exp(x)/(c + d*exp(x)) = a/d*sigmoid(x + log(d/c))."""
    found = terms(n.args[1])
    if len(found) != 2 or any(c <= 0 for c, _ in found) or sum(x is None for _, x in found) != 1:
        return None
    (c, _), (d, e) = sorted(found, key=lambda t: t[1] is not None)
    a, top = split(n.args[0])
    if e is None or not is_exp(e) or (top is not None and top is not e):
        return None
    x = plus(e.args[0], math.log(d / c))
    return scaled(a / c, make("sigmoid", make("neg", x))) if top is None else scaled(a / d, make("sigmoid", x))


def softmax(n: Node) -> Node | None:
    """c*exp(u)/(exp(u) + exp(v) + ...) = c*exp(u - log(exp(u) + exp(v) + ...))."""
    c, top = split(n.args[0])
    if top is None or not is_exp(top) or not any(x is top for _, x in terms(n.args[1])):
        return None
    lse = log_sum_exp(apply("log", n.args[1]))
    return None if lse is None else scaled(c, make("exp", make("add", top.args[0], make("neg", lse))))


def bernoulli(n: Node) -> Node | None:
    """a*x/(c*expm1(x)) = a/c * (x/expm1(x)), which is 1 at 0."""
    (a, x), (c, e) = split(n.args[0]), split(n.args[1])
    if x is None or e is None or e.op.name != "expm1" or e.args[0] is not x:
        return None
    return scaled(a / c, make("x_over_expm1", x))


def tanh_of_exps(n: Node) -> Node | None:
    """a*expm1(x)/(c*exp(x) + c) = a/c*tanh(x/2)."""
    a, top = split(n.args[0])
    found = terms(n.args[1])
    if top is None or top.op.name != "expm1" or len(found) != 2 or found[0][0] != found[1][0]:
        return None
    others = [x for _, x in found if x is not None]
    if len(others) != 1 or not is_exp(others[0]) or others[0].args[0] is not top.args[0]:
        return None
    return scaled(a / found[0][0], make("tanh", scaled(0.5, top.args[0])))


# Roots and products


def norm(n: Node) -> Node | None:
    """sqrt(x**2 + y**2 + ...) = hypot(hypot(x, y), ...), and sqrt(x**2) = |x|: no overflow, and no NaN at 0."""
    parts = []
    for c, x in terms(n.args[0]):
        square = x is not None and x.op.name == "mul" and x.args[0] is x.args[1]
        if c <= 0 or not (x is None or square):
            return None
        parts.append(number(math.sqrt(c), n) if x is None else scaled(math.sqrt(c), x.args[0]))
    if all(p.op.name == "const" for p in parts):
        return None
    return reduce(lambda x, y: make("hypot", x, y), parts) if len(parts) > 1 else make("abs", parts[0])


def x_log_x(n: Node) -> Node | None:
    """x*log(x) = xlogy(x, x), which is 0 at 0; other factors stay outside."""
    for product, log in (n.args, n.args[::-1]):
        if log.op.name != "log":
            continue
        outside, rest = [], product
        while rest is not log.args[0] and rest.op.name == "mul":
            inside = next((a for a in rest.args if a is log.args[0]), None)
            outside.append(rest.args[0] if rest.args[1] is inside or inside is None else rest.args[1])
            rest = inside or rest.args[1]
        if rest is log.args[0]:
            return reduce(lambda x, y: make("mul", y, x), outside, apply("xlogy", rest, rest))
    return None


RULES: dict[str, tuple[Rule, ...]] = {
    "add": (exp_minus_one, one_minus_cos, one_minus_sigmoid, sinh_of_exps),
    "log": (log_of_sigmoid, log_sum_exp, log_one_plus),
    "div": (logistic, softmax, bernoulli, tanh_of_exps),
    "sqrt": (norm,),
    "mul": (x_log_x,),
}
