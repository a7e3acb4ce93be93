"""Differences of a function at two places, f(u) - f(v), which lose the digits that the two have in common.

By algebra the difference of the arguments comes first: sqrt(u) - sqrt(v) = (u - v)/(sqrt(u) + sqrt(v)). It is exact
where u and v are near each other, and known where it is a number, as of sqrt(x + 1) - sqrt(x). Where neither holds, the
formula stays as it is written.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gradcompile.ir.algebra import all_of, greater, is_div, is_mul, less, number, stop_gradient
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.passes.terms import (
    FEW,
    joined,
    make,
    minus,
    parts,
    plus,
    scaled,
    split,
    squared,
    terms,
    unveiled,
)

HUGE = {"float64": 1e300, "float32": 1e35}  # a product that is far from infinite
Forms = Mapping[str, Callable[["Difference"], "Form | None"]]
Form = tuple[Node | None, Node]  # the condition under which a form holds (None: always), and the form


class Difference(NamedTuple):
    """f(u) - f(v). by: u - v; written: the function."""

    u: Node
    v: Node
    by: Node
    name: str

    @property
    def is_known(self) -> bool:
        """Whether u - v is a number."""
        return is_const(self.by)


def difference(u: Node, v: Node) -> float | None:
    """u - v, if that is a number."""
    rest = uncommon(u, v)
    h = float(rest.pop(None, 0))
    return h if not any(rest.values()) and h != 0 else None


def uncommon(u: Node, v: Node) -> dict[Node | None, float]:
    """The terms of u - v, without those that u and v have in common."""
    left: dict[Node | None, float] = {}
    for sign, side in ((1.0, u), (-1.0, v)):
        for c, x in terms(side):  # a node may be several terms
            left[x] = left.get(x, 0.0) + sign * c
    return {x: c for x, c in left.items() if c != 0}


def apart(u: Node, v: Node) -> tuple[Node, bool]:
    """u - v, and whether that is exact where u and v are near: a number, one term, or a difference of given numbers."""
    h = difference(u, v)
    if h is not None:
        return number(h, u), True
    rest = uncommon(u, v)
    if len(rest) == 1 and len(terms(u)) + len(terms(v)) > 2:
        ((x, c),) = rest.items()
        return (number(c, u) if x is None else scaled(c, x)), True
    return minus(u, v), is_given(u) and is_given(v)


def is_given(x: Node) -> bool:
    """Whether a value comes without rounding from outside."""
    core, _ = unveiled(split(x)[1] or x)
    return is_leaf(core) or is_const(core)


def function_of(t: Node) -> tuple[float, str, Node] | None:
    """A term as a number times a function of one argument; 1/u is one, and so is u*u."""
    c, x = split(t)
    if x is None or not math.isfinite(c):
        return None
    if is_div(x) and is_const(x.args[0]):
        return c * float(x.args[0].value), "div", x.args[1]
    square = squared(t) if is_mul(x) else None
    if square is not None:
        return square[0], "square", square[1]
    return (c, x.op.name, x.args[0]) if len(x.args) == 1 else None


def closer(n: Node, forms: Forms, always: bool = False) -> Node | None:
    """A sum with its first difference of a function that a rule has another form for, u - v being exact or always."""
    each = parts(n)
    found = [(t, f) for t in each if (f := function_of(t)) is not None and f[1] in forms] if len(each) <= FEW else []
    for k, (a, first) in enumerate(found):
        for b, second in found[k + 1 :]:
            (c, name, u), (d, other, v) = alike(first, second)
            if c != -d or c == 0 or name != other or u.type != v.type:
                continue
            u, v = (u, v) if c > 0 else (v, u)
            by, exact = apart(u, v)
            new = forms[name](Difference(u, v, by, name)) if exact or always else None
            if new is not None:
                rest = [t for t in each if t is not a and t is not b]
                written = make("add", a, b) if rest else n
                form = scaled(abs(c), new[1])
                return joined(rest, form if new[0] is None else make("select", new[0], form, written))
    return None


def alike(f: tuple[float, str, Node], g: tuple[float, str, Node]) -> tuple[tuple[float, str, Node], ...]:
    """Two functions as they are; of log(u) and log1p(v) the latter as log(1 + v), which it was."""
    if {f[1], g[1]} != {"log", "log1p"}:
        return f, g
    return tuple((c, "log", plus(u, 1.0) if name == "log1p" else u) for c, name, u in (f, g))


def below(x: Node, limit: Node | float) -> Node:
    """|x| < limit."""
    return less(make("abs", x), limit if isinstance(limit, Node) else number(limit, x))


def of_roots(d: Difference) -> Form:
    """(u - v)/(sqrt(u) + sqrt(v))."""
    form = make("div", d.by, make("add", make("sqrt", d.u), make("sqrt", d.v)))
    return (None if d.is_known else below(d.by, scaled(0.5, d.v))), form


def of_logs(d: Difference) -> Form:
    """log1p((u - v)/v), from the lesser of the two where that is known."""
    if d.is_known and float(d.by.value) < 0:
        condition, form = of_logs(Difference(d.v, d.u, make("neg", d.by), d.name))
        return condition, make("neg", form)
    near = d.v if d.is_known else scaled(0.5, d.v)
    return below(d.by, near), make("log1p", make("div", d.by, d.v))


def of_logs_beside_one(d: Difference) -> Form:
    """log1p((u - v)/(1 + v))."""
    v = plus(d.v, 1.0)
    return below(d.by, scaled(0.5, v)), make("log1p", make("div", d.by, v))


def of_softplus(d: Difference) -> Form:
    """log1p(sigmoid(v)*expm1(u - v))."""
    return below(d.by, 1.0), make("log1p", make("mul", make("sigmoid", d.v), make("expm1", d.by)))


def of_exps(d: Difference) -> Form:
    """exp(v)*expm1(u - v)."""
    return below(d.by, 1.0), make("mul", make("exp", d.v), make("expm1", d.by))


def of_inverses(d: Difference) -> Form:
    """1/u - 1/v = -((u - v)/u/v)."""
    form = make("neg", make("div", make("div", d.by, d.u), d.v))
    return (None if d.is_known else below(d.by, scaled(0.5, make("abs", d.v)))), form


def of_angles(d: Difference) -> Form | None:
    """atan(u) - atan(v) = atan2(u - v, 1 + u*v)."""
    if not d.is_known:
        return None
    product = make("mul", d.u, d.v)
    angle = make("atan2", make("abs", d.by), plus(product, 1.0))
    return below(product, HUGE[d.u.type.dtype]), angle if float(d.by.value) > 0 else make("neg", angle)


def of_sines(d: Difference) -> Form:
    """cos(v)*sin(u - v) - 2*sin((u - v)/2)**2*sin(v), and for cosines -sin(v) and cos(v); the value alone.

    The derivative of the formula as it is written has all digits.
    """
    half = make("sin", scaled(0.5, d.by))
    sin, cos = make("sin", d.v), make("cos", d.v)
    across, along = (cos, sin) if d.name == "sin" else (make("neg", sin), cos)
    form = minus(make("mul", across, make("sin", d.by)), make("mul", scaled(2.0, make("mul", half, half)), along))
    written = minus(make(d.name, d.u), make(d.name, d.v))
    return below(d.by, 1.0), make("add", written, stop_gradient(minus(form, written)))


def of_sigmoids(d: Difference) -> Form:
    """sigmoid(u)*sigmoid(-v)*(1 - exp(v - u)), unless v is above u + 1."""
    near = make("neg", make("expm1", make("neg", d.by)))
    far = plus(make("neg", make("exp_sum", d.v, make("neg", d.u))), 1.0)
    part = near if d.is_known else make("select", below(d.by, 1.0), near, far)
    ends = make("mul", make("sigmoid", d.u), make("sigmoid", make("neg", d.v)))
    return less(number(-1.0, d.by), d.by), make("mul", ends, part)


def of_tanh(d: Difference) -> Form:
    """Twice that of sigmoid(2*u) and sigmoid(2*v)."""
    u, v, by = (scaled(2.0, x) for x in (d.u, d.v, d.by))
    inside, form = of_sigmoids(Difference(u, v, by, "sigmoid"))
    return inside, scaled(2.0, form)


def of_errors(d: Difference) -> Form:
    """erfc(v) - erfc(u) where both are above 1/2, and erfc(-u) - erfc(-v) where both are below -1/2."""
    upper = minus(make("erfc", d.v), make("erfc", d.u))
    lower = minus(make("erfc", make("neg", d.u)), make("erfc", make("neg", d.v)))
    above = all_of(*(greater(x, 0.5) for x in (d.u, d.v)))
    under = all_of(*(less(x, -0.5) for x in (d.u, d.v)))
    return above | under, make("select", above, upper, lower)


def of_tails(d: Difference) -> Form:
    """erfc(-v) - erfc(-u) where both are below 0, where erfc is near 2."""
    zero = number(0.0, d.by)
    under = less(d.u, zero) & less(d.v, zero)
    return under, minus(make("erfc", make("neg", d.v)), make("erfc", make("neg", d.u)))


def of_squares(d: Difference) -> Form:
    """(u - v)*(u + v) where it is small beside the squares."""
    written = minus(make("mul", d.u, d.u), make("mul", d.v, d.v))
    near = below(written, scaled(0.5, make("mul", d.v, d.v)))
    return near, make("mul", d.by, make("add", d.u, d.v))


def root_less_part(n: Node) -> Node | None:
    """c*sqrt(b**2 + w) - c*b = c*w/(sqrt(b**2 + w) + b) where b > 0, and so with hypot(b, w)."""
    found = terms(n)
    for (c, root), (k, b) in (found, found[::-1]) if len(found) == 2 else ():
        if root is None or root.op.name not in ("sqrt", "hypot") or c == 0:
            continue
        rest = beside_square(root, k / c, b)
        if rest is None or rest.type != root.type:
            continue
        if b is None and k * c > 0:
            continue  # a sum of positive numbers
        side = number(-k / c, n) if b is None else scaled(-k / c, b)
        positive = less(number(0.0, n), side) & less(root, number(math.inf, n))
        ratio = make("div", rest, make("add", root, side))
        form = make("mul", rest, ratio) if root.op.name == "hypot" else ratio
        return make("select", positive, scaled(c, form), n)
    return None


def beside_square(root: Node, k: float, b: Node | None) -> Node | None:
    """w of sqrt((k*b)**2 + w) and of hypot(k*b, w)."""
    if root.op.name == "hypot":
        sides = [abs(c) == abs(k) and x is b for c, x in map(split, root.args)]
        return root.args[sides.index(False)] if sorted(sides) == [False, True] else None
    square = None if b is None else make("mul", b, b)
    each = parts(root.args[0])
    rest = [t for t in each if split(t) != (k * k, square)]
    return make("add", *rest) if rest and len(rest) == len(each) - 1 else None


TAILS: Forms = {"sigmoid": of_sigmoids, "erf": of_errors, "erfc": of_tails}
FORMS: Forms = {
    **TAILS,
    "square": of_squares,
    "sqrt": of_roots,
    "log": of_logs,
    "log1p": of_logs_beside_one,
    "softplus": of_softplus,
    "exp": of_exps,
    "div": of_inverses,
    "atan": of_angles,
    "sin": of_sines,
    "cos": of_sines,
    "tanh": of_tanh,
}
