"""Sums whose terms cancel near 0, as x - sin(x), and quotients whose derivatives do, as tan(x)/x: there they are given
as their power series.

Each term that is a product of known functions of multiples of one x, and of powers of x, has a Laurent series with
rational coefficients. They are added up exactly; where the leading ones cancel, so do digits of the formula as it is
written, and the series takes its place up to where it and its derivative have all digits. A quotient that is finite at
0 though its denominator vanishes there has a derivative of terms that cancel, and no value at 0 itself.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import NamedTuple

from gradcompile.ir.algebra import less, number
from gradcompile.ir.core import Node, apply, is_const
from gradcompile.passes.scaled import is_excess
from gradcompile.passes.terms import factors, fraction, is_exp, make, parts, plus, quotient, split, without

TERMS = 40  # of a series
LONGEST = 28  # coefficients that are printed, zeros among them
DEPTH = 3  # how often sums may stand in each other
FIRST = 3  # terms of a series that tell of what order it is, where numbers in it cancel
MOST = 6  # terms of a sum, and factors of a term
RADII = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
ROUNDING = {"float64": 1e-17, "float32": 1e-9}  # of the value, what is left out may be


class Series(NamedTuple):
    """The sum of coefficients[k]*x**(order + k); the first is not 0."""

    order: int
    coefficients: tuple[Fraction, ...]

    def at_multiple(self, r: Fraction) -> "Series":
        """The series of f(r*x)."""
        return Series(self.order, tuple(c * r ** (self.order + k) for k, c in enumerate(self.coefficients)))


def series(order: int, coefficients: Sequence[Fraction]) -> Series | None:
    """A series without zeros in front; None if there is nothing else."""
    first = next((k for k, c in enumerate(coefficients) if c), None)
    return None if first is None else Series(order + first, tuple(coefficients[first:]))


def times(a: Series, b: Series) -> Series:
    """The product, as far as both are known."""
    count = min(len(a.coefficients), len(b.coefficients))
    found = [Fraction()] * count
    for j, c in enumerate(a.coefficients[:count]):
        for k, d in enumerate(b.coefficients[: count - j] if c else ()):
            if d:
                found[j + k] += c * d
    return Series(a.order + b.order, tuple(found))


def inverse(a: Series) -> Series:
    """The series of 1/f."""
    first, found = a.coefficients[0], list[Fraction]()
    for k in range(len(a.coefficients)):
        rest = sum((a.coefficients[j] * found[k - j] for j in range(1, k + 1)), Fraction(-1 if k == 0 else 0))
        found.append(-rest / first)
    return Series(-a.order, tuple(found))


def factorial_series(first: int, step: int, sign: int) -> Series:
    """x**first/first! + sign*x**(first + step)/(first + step)! + ..."""
    found = [Fraction()] * TERMS
    for j, k in enumerate(range(first, TERMS + first, step)):
        found[k - first] = Fraction(sign**j, math.factorial(k))
    return Series(first, tuple(found))


def odd_powers(coefficient: Callable[[int], Fraction]) -> Series:
    """The sum of coefficient(k)*x**(2*k + 1)."""
    return Series(1, tuple(coefficient(j // 2) if j % 2 == 0 else Fraction() for j in range(TERMS)))


def arc(k: int) -> Fraction:
    """Of asin(x): (2*k)!/(4**k*k!**2*(2*k + 1))."""
    return Fraction(math.comb(2 * k, k), 4**k * (2 * k + 1))


def integrated(coefficients: Sequence[Fraction | int]) -> tuple[Fraction, ...]:
    """The coefficients from the first power on of the integral of a power series."""
    return tuple(Fraction(c) / (k + 1) for k, c in enumerate(coefficients))[: TERMS - 1]


def bessel_series(order: int, sign: int) -> Series:
    """Of J_k (sign -1) and I_k: the sum of sign**j*(x/2)**(2*j + k)/j!/(j + k)!."""
    found = [Fraction()] * TERMS
    for j in range(0, TERMS, 2):
        found[j] = Fraction(
            sign ** (j // 2), math.factorial(j // 2) * math.factorial(j // 2 + order) * 2 ** (j + order)
        )
    return Series(order, tuple(found))


def power(s: Series, p: Fraction) -> Series | None:
    """The series of f**p where f(0) = 1."""
    a = s.coefficients
    if s.order != 0 or a[0] != 1:
        return None
    found = [Fraction(1)]
    for k in range(1, len(a)):
        found.append(sum(((p * j - (k - j)) * a[j] * found[k - j] for j in range(1, k + 1)), Fraction()) / k)
    return Series(0, tuple(found))


def logarithm(s: Series) -> Series | None:
    """The series of log(f) where f(0) = 1: the integral of f'/f."""
    slopes = [k * c for k, c in enumerate(s.coefficients)][1:]
    if s.order != 0 or s.coefficients[0] != 1 or not slopes:
        return None
    return series(1, integrated(times(Series(0, tuple(slopes)), inverse(s)).coefficients))


ROOTS = {"sqrt": Fraction(1, 2), "cbrt": Fraction(1, 3)}
BESSEL = {"besselj": -1, "besseli": 1}


@cache
def elementary(name: str) -> Series:
    """The series of an elementary function, made when it is first wanted."""
    return ELEMENTARY[name]()


def sigmoid_series() -> tuple[Fraction, ...]:
    """The coefficients of 1/(1 + exp(-x)) = 1/2 + tanh(x/2)/2."""
    half = elementary("tanh").at_multiple(Fraction(1, 2))
    return (Fraction(1, 2), *(c / 2 for c in half.coefficients[:-1]))


SLOPE_OF_ERF = Fraction(2 / math.sqrt(math.pi))
ELEMENTARY: dict[str, Callable[[], Series]] = {
    "sin": lambda: factorial_series(1, 2, -1), "cos": lambda: factorial_series(0, 2, -1),
    "sinh": lambda: factorial_series(1, 2, 1), "cosh": lambda: factorial_series(0, 2, 1),
    "tan": lambda: times(elementary("sin"), inverse(elementary("cos"))),
    "tanh": lambda: times(elementary("sinh"), inverse(elementary("cosh"))),
    "sech": lambda: inverse(elementary("cosh")),
    "sigmoid": lambda: Series(0, sigmoid_series()),
    "softplus": lambda: Series(0, (Fraction(math.log(2.0)), *integrated(sigmoid_series()))),
    "log_cosh": lambda: Series(2, integrated((0, *elementary("tanh").coefficients))[1:]),
    "exp": lambda: factorial_series(0, 1, 1), "expm1": lambda: factorial_series(1, 1, 1),
    "sinc": lambda: Series(0, elementary("sin").coefficients),
    "x_over_expm1": lambda: inverse(Series(0, elementary("expm1").coefficients)),
    "log1p": lambda: Series(1, tuple(Fraction((-1) ** k, k + 1) for k in range(TERMS))),
    "atan": lambda: odd_powers(lambda k: Fraction((-1) ** k, 2 * k + 1)),
    "atanh": lambda: odd_powers(lambda k: Fraction(1, 2 * k + 1)),
    "erf": lambda: odd_powers(lambda k: SLOPE_OF_ERF * Fraction((-1) ** k, math.factorial(k) * (2 * k + 1))),
    "asin": lambda: odd_powers(arc), "asinh": lambda: odd_powers(lambda k: (-1) ** k * arc(k)),
}  # fmt: skip


def argument_of(xs: Sequence[Node], depth: int = DEPTH) -> Node | None:
    """The x of the first known function, without its number; functions within sums and roots count if no other does."""
    inside = list[Node]()
    for t in xs:
        for side in fraction(t)[1:]:
            for f in side:
                if is_known(f) and not is_excess(f.args[0]):
                    return split(near_argument(f.args[0]))[1]
                if f.op.name == "select" and (limits := limits_of(f.args[0])):
                    return split(limits[0])[1]
                inside += parts(f) if f.op.name == "add" else parts(f.args[0]) if f.op.name in ROOTS else ()
    found = argument_of(inside, depth - 1) if depth and 0 < len(inside) <= MOST else None
    sums = [f.args[0] for t in xs for f in fraction(t)[1] if f.op.name in ROOTS]
    return found or next((x for f in sums if (x := beside_one(f)) is not None), None)


def beside_one(s: Node) -> Node | None:
    """x of 1 + r*x."""
    each = [split(t)[1] for t in parts(s)]
    others = [x for x in each if x is not None]
    return others[0] if len(others) == 1 and len(each) == 2 and others[0].op.name != "select" else None


def is_known(f: Node) -> bool:
    """Whether this is a function of one argument with a series: a Bessel function of half an order has none."""
    return f.op.name in ELEMENTARY or (f.op.name in BESSEL and float(f.params[0]).is_integer())


def limits_of(condition: Node) -> list[Node]:
    """What a condition demands to be below a number in size, as rules for small arguments do."""
    pending, found = [condition], list[Node]()
    while pending:
        c = pending.pop()
        pending += c.args if c.op.name == "and" else ()
        if c.op.name == "lt" and c.args[0].op.name == "abs" and is_const(c.args[1]):
            found.append(c.args[0].args[0])
    return found


def near_argument(u: Node) -> Node:
    """An argument without the limits that are put to it far from 0."""
    while u.op.name in ("min", "max") and is_const(u.args[1]):
        if not float(u.args[1].value) * (1 if u.op.name == "min" else -1) >= 2 * RADII[0]:
            break
        u = u.args[0]
    return u


def series_of(t: Node, x: Node, count: int = TERMS, depth: int = DEPTH) -> Series | None:
    """The series of a product in x, so many coefficients of it; None if it has other factors, or too many.

    depth: how often sums may stand in each other.
    """
    c, above, below = fraction(t)
    if len(above) + len(below) > MOST or not math.isfinite(c) or c == 0:
        return None
    order, found = 0, list[tuple[Callable[[], Series | None], int]]()
    inner = factors(x)[1]
    for side, power in ((above, 1), (below, -1)):
        left, times_x = powers_out(side, inner)
        order += power * times_x
        for f in left:
            factor = factor_series(f, x, count, depth)
            if factor is None:
                return None
            found.append((factor, power))
    result = Series(order, (Fraction(c), *[Fraction()] * (count - 1)))
    for factor, power in found:
        own = factor()
        if own is None:
            return None
        result = times(result, own if power > 0 else inverse(own))
    return result


def factor_series(f: Node, x: Node, count: int, depth: int) -> Callable[[], Series | None] | None:
    """What makes the series of a known function of a multiple of x, or of a short sum or quotient; None of others."""
    if is_exp(f) and is_excess(f.args[0]):
        return lambda: Series(0, (Fraction(1), *[Fraction()] * (count - 1)))
    if is_known(f):
        r, y = split(near_argument(f.args[0]))
        return (lambda: function_series(f, count).at_multiple(Fraction(r))) if is_multiple(r, y, x) else None
    if (line := line_of(f, x)) is not None:
        return lambda: Series(0, (*line, *[Fraction()] * count)[:count])
    if f.op.name == "select":
        near = depth and any(is_multiple(*split(u), x) for u in limits_of(f.args[0]))
        return (lambda: branch_series(f, x, count, depth - 1)) if near else None
    if f.op.name in ROOTS or f.op.name == "log":
        inner = series_of(f.args[0], x, count, depth) if depth else None
        of = logarithm if f.op.name == "log" else partial(power, p=ROOTS[f.op.name])
        return None if inner is None else (lambda: of(inner))
    if f.op.name == "xlogy":
        return factor_series(make("mul", f.args[0], apply("log", f.args[1])), x, count, depth)
    each = parts(f) if f.op.name in ("add", "div", "mul") else []
    if depth == 0 or not 0 < len(each) <= MOST:
        return None
    terms = [series_of(a, x, count, depth - 1) for a in each]
    known_terms = [a for a in terms if a is not None]
    return (lambda: added(known_terms)) if len(known_terms) == len(terms) else None


def line_of(f: Node, x: Node) -> tuple[Fraction, Fraction] | None:
    """a and b of f = a + b*x, where x is written as a multiple of f and a number."""
    each = [split(t) for t in x.args] if x.op.name == "add" and len(x.args) == 2 else []
    for (r, y), (c, other) in (each, each[::-1]) if each else ():
        if y is f and other is None and r != 0 and math.isfinite(c / r):
            return Fraction(-c) / Fraction(r), 1 / Fraction(r)
    return None


def function_series(f: Node, count: int) -> Series:
    """The series of a known function of x, so many coefficients of it."""
    is_bessel = f.op.name in BESSEL
    whole = bessel_series(int(f.params[0]), BESSEL[f.op.name]) if is_bessel else elementary(f.op.name)
    return Series(whole.order, whole.coefficients[:count])


def branch_series(f: Node, x: Node, count: int, depth: int) -> Series | None:
    """The series of a selection with a branch for small x: of what was written, if a rule of this file made it."""
    whole = series_of(f.args[2], x, TERMS, depth)
    close = None if whole is None else near_zero(whole, x)
    if whole is None or close is None or close[1] is not f.args[1]:
        return series_of(f.args[1], x, count, depth)
    return Series(whole.order, whole.coefficients[:count])


def reach(roots: Sequence[Node], x: Node) -> float:
    """Up to which |x| the branches for small x hold that selections among a few nodes have."""
    pending, seen, least = list(roots), set[Node](), math.inf
    while pending and len(seen) < 64:
        n = pending.pop()
        if n in seen:
            continue
        seen.add(n)
        pending += n.args
        if n.op.name == "lt" and n.args[0].op.name == "abs" and is_const(n.args[1]):
            r, y = split(n.args[0].args[0])
            least = min(least, float(n.args[1].value) / abs(r)) if is_multiple(r, y, x) else least
    return least


def is_multiple(r: float, y: Node | None, x: Node) -> bool:
    """Whether r*y is a multiple of x."""
    return y is x and r != 0 and math.isfinite(r)


def powers_out(side: list[Node], inner: Sequence[Node]) -> tuple[list[Node], int]:
    """The factors without those of x, as often as all of x is among them, and how often that is."""
    count = min((side.count(f) // inner.count(f) for f in inner), default=0)
    for f in inner if count else ():
        for _ in range(count):
            side = without(side, f)
    return side, count


def added(found: Sequence[Series]) -> Series | None:
    """The sum of series, as far as all are known; None if they cancel."""
    first = min(s.order for s in found)
    count = min(s.order + len(s.coefficients) for s in found) - first
    each = [(*[Fraction()] * (s.order - first), *s.coefficients)[:count] for s in found]
    return series(first, [sum(column, Fraction()) for column in zip(*each, strict=True)])


def leading(each: Sequence[Node], x: Node, few: int = 1) -> tuple[int, Fraction] | None:
    """The lowest order of terms in x, and what their coefficients of it add up to; None if a term has no series."""
    firsts: list[tuple[int, Fraction]] = []
    for t in each:
        found = series_of(t, x, few)
        if found is None:
            return None
        firsts.append((found.order, found.coefficients[0]))
    order = min(order for order, _ in firsts)
    return order, sum((c for at, c in firsts if at == order), Fraction())


def near_zero(s: Series, x: Node, most: float = math.inf) -> tuple[float, Node] | None:
    """Up to which |x|, at most, a series with few terms has all digits, as has its derivative, and its value there."""
    lead, digits = abs(s.coefficients[0]), ROUNDING[x.type.dtype]
    for radius in (r for r in RADII if r <= most):
        sizes = [float(abs(c) / lead) * radius**k for k, c in enumerate(s.coefficients)]
        slopes = [abs(s.order + k) * size for k, size in enumerate(sizes)]
        steepest = next((slope for slope in slopes if slope), 1.0)
        enough = (
            k for k in range(1, LONGEST + 1) if sum(sizes[k:]) < digits and sum(slopes[k:]) < 10 * digits * steepest
        )
        count = next(enough, None)
        if count is not None and sum(sizes[1:]) < 8:  # the terms of the series do not cancel either
            return radius, value_of(Series(s.order, s.coefficients[:count]), x)
    return None


def value_of(s: Series, x: Node) -> Node:
    """The series by Horner's rule, in x**2 if every other coefficient is 0."""
    even = not any(s.coefficients[1::2])
    z = make("mul", x, x) if even else x
    coefficients = [float(c) for c in (s.coefficients[::2] if even else s.coefficients)]
    result = number(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        result = make("add", make("mul", z, result), number(c, x))
    for _ in range(abs(s.order)):
        result = make("mul" if s.order > 0 else "div", result, x)
    return result


def is_plain(each: Sequence[Node]) -> bool:
    """Whether this is a function and a number, of which other rules speak: exp(x) - 1, 1 - cos(x)."""
    functions = [x for _, x in map(split, each) if x is not None]
    return len(each) == 2 and len(functions) == 1 and functions[0].op.name in SPOKEN_OF


SPOKEN_OF = frozenset({"exp", "cos", "cosh", "sqrt", "cbrt", "sigmoid", "erf", "tanh"})


def cancelling(n: Node) -> Node | None:
    """A sum of functions of x that is of a higher order at 0 than its terms: its series near 0.

    So for functions of x - 1 where a logarithm of x cancels with powers: x - 1 - log(x).
    """
    each = parts(n)
    if not 1 < len(each) <= MOST or is_plain(each):
        return None
    x = argument_of(each)
    first = None if x is None or x.type != n.type else leading(each, x)
    if x is None or first is None:
        x = less_one_in_logs(each)
        first = None if x is None or x.type != n.type else leading(each, x, FIRST)
    if x is None or first is None or first[1] != 0:
        return None
    found = [series_of(t, x) for t in each]
    known_series = [s for s in found if s is not None]
    if len(known_series) != len(found):
        return None
    whole = added(known_series)
    if whole is None or whole.order <= min(s.order for s in known_series):
        return None
    close = near_zero(whole, x, reach(each, x))
    return close and make("select", less(make("abs", x), close[0]), close[1], n)


def removable(n: Node) -> Node | None:
    """A quotient that is finite at x = 0 though its denominator is 0 there: the functions of x by their series.

    So where a sum of x and a number is 0, as of log(x)/(x - 1) and (x**3 - 1)/(x - 1): no more than a constant there.
    """
    _, above, below = fraction(n)
    if not below or len(above) + len(below) > MOST:
        return None
    x = argument_of([n])
    if x is not None and x.type == n.type and any(vanishes(f, x) for f in below):
        return by_series(n, x, 1)
    lines = [f for f in below if f.op.name == "add" and any(line_of(split(t)[1] or t, f) for t in f.args)]
    for x in [*lines, less_one_in_logs([n])] if above else ():
        if x is not None and x.type == n.type and all(any(vanishes(f, x, FIRST) for f in s) for s in (above, below)):
            return by_series(n, x, FIRST)
    return None


def less_one_in_logs(xs: Sequence[Node]) -> Node | None:
    """x - 1 of the x of which logarithms are factors; None if there are several, or none."""
    found = {f.args[-1] for t in xs for side in fraction(t)[1:] for f in side if f.op.name in ("log", "xlogy")}
    return plus(found.pop(), -1.0) if len(found) == 1 else None


def by_series(n: Node, x: Node, few: int) -> Node | None:
    """A quotient with its functions of x by their series near 0, if those have no pole; few: terms looked at first."""
    c, above, below = fraction(n)
    tops, bottoms = ([f for f in side if f in factors(x)[1] or series_of(f, x, few)] for side in (above, below))
    known_part = quotient(c, tops, bottoms, n)
    first = series_of(known_part, x, few)
    whole = series_of(known_part, x) if first is not None and first.order >= 0 else None
    close = near_zero(whole, x, reach([n], x)) if whole is not None else None
    if close is None or (few > 1 and whole is not None and whole.order > 0):
        return None
    rest = quotient(1.0, [f for f in above if f not in tops], [f for f in below if f not in bottoms], n)
    near = close[1] if is_const(rest, 1.0) else make("mul", rest, close[1])
    return make("select", less(make("abs", x), close[0]), near, n)


def vanishes(f: Node, x: Node, few: int = 1) -> bool:
    """Whether a factor is 0 at x = 0: x itself, or a function of it, as its first few terms tell."""
    if f is x or f in factors(x)[1]:
        return True
    found = series_of(f, x, few)
    return found is not None and found.order > 0


def log_near_one(n: Node) -> Node | None:
    """log(f(x)) = log1p(f(x) - 1) near 0 where f(0) = 1: log(cos(x)), log(sin(x)/x)."""
    each = parts(n.args[0])
    x = argument_of(each) if len(each) <= MOST else None
    if x is None or x.type != n.type or any(map(is_exp, each)):
        return None
    first = leading(each, x)
    if first is None or first[1] not in ((0, 1) if first[0] == 0 else (0,)):
        return None
    found = [series_of(t, x) for t in each]
    known_series = [s for s in found if s is not None]
    whole = added(known_series) if len(known_series) == len(found) else None
    if whole is None or whole.order != 0 or whole.coefficients[0] != 1:
        return None
    rest = series(1, whole.coefficients[1:])
    close = near_zero(rest, x, reach(each, x)) if rest is not None else None
    if close is None:
        return None
    return make("select", less(make("abs", x), min(close[0], 1.0)), make("log1p", close[1]), n)
