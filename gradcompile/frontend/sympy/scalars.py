"""What each class of SymPy becomes in the graph: the parts that are converted first, and what is built of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import mul
from typing import Any, NamedTuple

import sympy
from sympy.concrete.expr_with_limits import ExprWithLimits
from sympy.core.function import AppliedUndef
from sympy.core.numbers import NumberSymbol
from sympy.functions.special.polynomials import OrthogonalPolynomial
from sympy.logic.boolalg import BooleanFalse, BooleanTrue
from sympy.matrices.expressions.matexpr import MatrixElement

from gradcompile.errors import ExpressionError
from gradcompile.frontend import functions
from gradcompile.frontend.sympy.arguments import stands_for_symbol
from gradcompile.ir import core as ir
from gradcompile.ir.algebra import (
    add,
    at_most,
    equal,
    is_mul,
    is_neg,
    length_along,
    less,
    select,
    stop_gradient,
    sum_over,
    times,
    unequal,
)
from gradcompile.ir.core import OPS, Node, apply, is_const
from gradcompile.signature.names import is_small, text

UNROLLED = 100_000  # terms of a Sum or Product
RESOLVED = 2_000  # nodes of a Subs or Derivative that SymPy is asked to work out
POLYNOMIALS = (OrthogonalPolynomial, sympy.assoc_legendre)
LARGEST = {"float64": 1.7976931348623157e308, "float32": 3.4028234663852886e38}


class ComplexError(ExpressionError):
    """There is an I in a loss, which may be real all the same."""


@dataclass(frozen=True, slots=True)
class Context:
    """What building needs: the dtype, the nodes of the symbols, and a leaf that has one entry a sample."""

    dtype: str
    atoms: Mapping[Any, Node]
    samples: Node | None = None

    def const(self, value: float) -> Node:
        """A constant of the dtype."""
        return ir.const(value, self.dtype)


class Conversion(NamedTuple):
    """The subexpressions to convert, and what makes a node of theirs."""

    parts: Sequence[Any]
    build: Callable[..., Node]
    atom: Any = None


Handler = Callable[[Any], Conversion]


# Numbers

FAR = 300  # bits of a coefficient whose powers beside it may leave the range of floats


def number(expr: Any) -> Conversion:
    """A constant, correctly rounded."""
    value = nearest(expr)
    return Conversion((), lambda c: c.const(within(value, c.dtype, expr)))


def nearest(expr: Any) -> float:
    """The float nearest to a number, 0 below the smallest; ExpressionError above the largest."""
    if expr.is_Rational:
        top, bottom = int(expr.p), int(expr.q)
    elif expr.is_infinite or expr is sympy.nan:
        return float(expr)
    else:
        sign, mantissa, exponent, bits = (expr if expr.is_Float else expr.evalf(40))._mpf_
        if mantissa and exponent + bits > 1200:
            raise out_of_range(expr)
        if mantissa and exponent + bits < -1200:
            return -0.0 if sign else 0.0
        top, bottom = (-1) ** sign * int(mantissa) * 2 ** max(exponent, 0), 2 ** max(-exponent, 0)
    try:
        return top / bottom
    except OverflowError:
        raise out_of_range(expr) from None


def within(value: float, dtype: str, expr: Any) -> float:
    """The value, if the dtype can hold it."""
    if math.isfinite(value) and abs(value) > LARGEST[dtype]:
        raise out_of_range(expr, dtype)
    return value


def out_of_range(expr: Any, dtype: str = "float64") -> ExpressionError:
    """The error for a number that no float is near to."""
    if expr.is_Float and not -5000 < expr._mpf_[2] < 5000:
        shown = f"of about 2**{expr._mpf_[2] + expr._mpf_[3]}"
    else:
        shown = text(expr, 60) if is_small(expr, 8) else f"of {expr.p.bit_length() + expr.q.bit_length()} bits"
    return ExpressionError(f"the number {shown} is outside the range of {dtype}; rescale the loss, or take logarithms")


def undefined_number(expr: Any) -> Conversion:
    """A constant that is no real number."""
    raise (ComplexError if expr is sympy.I else ExpressionError)(
        f"the loss contains {expr}, which is no real number; write the loss without it"
    )


# Sums and products: constants and scalars are gathered first, so that their work leaves the loop over the samples


def per_sample(n: Node) -> bool:
    """Whether the node has one entry a sample."""
    return n.type.shape[:1] == ("n",)


def signed(c: Context, n: Node) -> Node:
    """A term with a negative coefficient as the negation of one with a positive coefficient."""
    if is_mul(n) and is_const(n.args[0]) and n.args[0].value < 0:
        return -times(c.const(-n.args[0].value), n.args[1])
    return n


def total(c: Context, *terms: Node) -> Node:
    """The sum of the terms: the scalar ones first, and what is subtracted after what is added."""
    scalars = sorted((signed(c, t) for t in terms if not per_sample(t)), key=is_neg)
    samples = [signed(c, t) for t in terms if per_sample(t)]
    if scalars and samples:
        scalars = [add(*scalars)]
    return add(*sorted(scalars + samples, key=is_neg)) if terms else c.const(0.0)


def chain(factors: Sequence[Node]) -> Node | None:
    """The product from left to right, None if there are no factors."""
    result = None
    for f in factors:
        result = f if result is None else times(result, f)
    return result


def quotient(c: Context, above: Node | None, below: Node | None) -> Node | None:
    """above/below, where None stands for one."""
    if below is None:
        return above
    return (c.const(1.0) if above is None else above) / below


def ratio(c: Context, above: Sequence[Node], below: Sequence[Node]) -> Node:
    """The quotient of two products, with the scalar factors in a quotient of their own."""
    negative = sum(is_const(f, -1.0) for f in above) % 2
    above = cube_roots([f for f in above if not is_const(f, -1.0)])
    numbers, scalars = [f for f in above if is_const(f)], [f for f in above if not is_const(f) and not per_sample(f)]
    top, bottom = chain([f for f in above if per_sample(f)]), chain([f for f in below if per_sample(f)])
    factor, divisor = chain(numbers + scalars), chain([f for f in below if not per_sample(f)])
    if factor is not None or (top is None and bottom is None):
        factor, divisor = quotient(c, factor, divisor), None
    if top is None:
        result = quotient(c, factor, chain([f for f in (divisor, bottom) if f is not None]))
    else:
        samples = quotient(c, top, chain([f for f in (divisor, bottom) if f is not None]))
        result = chain([f for f in (factor, samples) if f is not None])
    result = c.const(1.0) if result is None else result
    return -result if negative else result


def cube_roots(factors: list[Node]) -> list[Node]:
    """sign(x)*cbrt(|x|), as SymPy writes a real root, as cbrt(x)."""
    for s in [f for f in factors if f.op.name == "sign"]:
        size = apply("abs", s.args[0])
        root = next((f for f in factors if f.op.name == "cbrt" and f.args[0] is size), None)
        if root is not None:
            factors = [apply("cbrt", s.args[0]) if f is root else f for f in factors if f is not s]
    return factors


def product(expr: Any) -> Conversion:
    """A product; factors of negative powers go below the line."""
    parts: list[Any] = []
    powers: list[Any] = []
    for f in within_range(expr.args):
        below = isinstance(f, sympy.Pow) and f.args[1].is_Number and f.args[1].is_negative
        if below:
            real_power(f)
        parts.append(f.args[0] if below else f)
        powers.append(-f.args[1] if below else None)
    return Conversion(parts, partial(split, powers=powers))


def within_range(factors: Sequence[Any]) -> Sequence[Any]:
    """c*x**n with a very large or small number as c/2**(k*n)*(2**k*x)**n: x**200/factorial(200)."""
    c, *others = factors
    powers = [f for f in others if f.is_Pow and f.args[1].is_Integer and abs(f.args[1]) > 1]
    bits = c.p.bit_length() - c.q.bit_length() if c.is_Rational else 0
    if abs(bits) < FAR or not powers:
        return factors
    steepest = max(powers, key=lambda f: abs(f.args[1]))
    x, n = steepest.args
    k = int(bits / int(n))
    near = sympy.Pow(sympy.Mul(sympy.Integer(2) ** k, x, evaluate=False), n, evaluate=False)
    return [c / sympy.Integer(2) ** (k * n), *(near if f is steepest else f for f in others)]


def split(c: Context, *nodes: Node, powers: Sequence[Any]) -> Node:
    """A ratio of the nodes without a power and those with one."""
    pairs = list(zip(nodes, powers, strict=True))
    return ratio(c, [n for n, p in pairs if p is None], [power(c, n, p) for n, p in pairs if p is not None])


# Powers


def raised(expr: Any) -> Conversion:
    """A power, by the kind of its base and exponent."""
    base, exponent = expr.args
    if base is sympy.E:
        return Conversion((exponent,), call("exp"))
    if exponent.is_Number:
        real_power(expr)
        return Conversion((base,), partial(power, exponent=exponent))
    if base == 2 and base.is_Number:
        return Conversion((exponent,), call("exp2"))
    return Conversion((base, exponent), call("pow"))


def real_power(expr: Any) -> None:
    """Refuse a root of a negative number."""
    base, exponent = expr.args
    if base.is_Number and base.is_negative and not nearest(exponent).is_integer():
        raise ExpressionError(f"{text(expr)} is complex; losses are real: for a real root write real_root or Cbrt")


def power(c: Context, base: Node, exponent: Any) -> Node:
    """A constant power: products for integers, a square root for 1/2.

    1/x**k is (1/x)**k, whose derivative stays in range where x**(2*k) would not.
    """
    halves = 2 * nearest(exponent)
    if not halves.is_integer():
        if base.op.name == "abs" and exponent == sympy.Rational(1, 3):
            return apply("cbrt", base)
        return apply("pow", base, c.const(nearest(exponent)))
    whole, odd = divmod(2 * abs(exponent.p) // exponent.q, 2) if exponent.is_Rational else divmod(abs(int(halves)), 2)
    if exponent.is_negative and whole > 1 and not odd:
        base, exponent = c.const(1.0) / base, -exponent
    if not whole and not odd:
        return c.const(1.0)
    if odd:
        result = apply("pow", base, c.const(whole + 0.5)) if whole else apply("sqrt", base)
    else:
        result = repeated(base, whole)[0]
    return c.const(1.0) / result if exponent.is_negative else result


def repeated(base: Node, count: int) -> list[Node]:
    """base**count by repeated squaring, as a list of at most one factor; an even power of |x| is one of x."""
    if base.op.name == "abs" and count % 2 == 0:
        base = base.args[0]
    result = None
    while count:
        if count & 1:
            result = base if result is None else base * result
        count >>= 1
        base = base * base if count else base
    return [] if result is None else [result]


# Functions


def call(name: str, *params: Any) -> Callable[..., Node]:
    """What builds the op of that name."""
    return lambda c, *nodes: apply(name, *nodes, params=params)


def simple(name: str) -> Handler:
    """A function that is an op."""
    build = call(name)
    return lambda expr: Conversion(expr.args, build)


def formula(build: Callable[..., Node]) -> Handler:
    """A function that is a formula of ops."""
    return lambda expr: Conversion(expr.args, build)


def negated(c: Context, n: Node) -> Node:
    """-n."""
    return -n


def reciprocal(c: Context, n: Node) -> Node:
    """1/n."""
    return c.const(1.0) / n


def inverse(name: str) -> Handler:
    """A function that is the reciprocal of an op."""
    return formula(lambda c, x: reciprocal(c, apply(name, x)))


def of_inverse(name: str) -> Handler:
    """A function that is an op of the reciprocal."""
    return formula(lambda c, x: apply(name, c.const(1.0) / x))


def logarithm(expr: Any) -> Conversion:
    """log(x) or log(x)/log(base); a number that no float holds, and what is made of gamma functions, by logarithms."""
    x, *base = expr.args
    if base:
        return Conversion((sympy.log(x, evaluate=False), sympy.log(base[0], evaluate=False)), call("div"))
    coefficient, rest = x.as_coeff_Mul() if isinstance(x, sympy.Mul | sympy.Rational) else (sympy.S.One, x)
    far = coefficient.is_positive and not sympy.Float("1e-300") < coefficient < sympy.Float("1e300")
    found = sympy.Mul.make_args(rest)
    gammas = [g for f in found for g in gammas_of(f) or ()]
    if not (far or gammas):
        return Conversion((x,), call("log"))
    others = [f for f in found if gammas_of(f) is None and f != 1] + ([] if far or coefficient == 1 else [coefficient])
    powers = [f for f in others if isinstance(f, sympy.exp | sympy.Pow) and not f.as_base_exp()[0].is_Rational]
    left = [sympy.Mul(*(f for f in others if f not in powers), evaluate=False)] if len(others) > len(powers) else []
    pairs = [f.as_base_exp() for f in powers]
    pairs = [(sympy.Abs(b) if e.is_even and e.is_Number else b, e) for b, e in pairs]
    positive = [b for b, _ in pairs if b is not sympy.E and not isinstance(b, sympy.Abs)]
    terms = [e * sympy.log(b, evaluate=False) if b is not sympy.E else e for b, e in pairs]
    terms += [sympy.log(f, evaluate=False) for f in left]
    parts = [*terms, *positive, *(a for _, a in gammas), *([] if far else [x])]
    build = partial(by_logarithms, counts=(len(terms), len(positive), len(gammas)), powers=[k for k, _ in gammas],
                    shift=nearest(sympy.log(coefficient).evalf(40)) if far else 0.0)  # fmt: skip
    return Conversion(parts, build)


def by_logarithms(c: Context, *nodes: Node, counts: tuple[int, int, int], powers: Sequence[int], shift: float) -> Node:
    """The logarithm of a product as a sum, where bases and arguments of gamma functions are positive; else that of the
    product, which comes last if floats can hold it."""
    cuts = [sum(counts[:k]) for k in (1, 2, 3)]
    terms, inside, direct = list(nodes[: cuts[0]]), nodes[cuts[1] : cuts[2]], nodes[cuts[2] :]
    for k, n in zip(powers, inside, strict=True):
        log = apply("lgamma", n)
        terms.append(log if k == 1 else -log if k == -1 else c.const(float(k)) * log)
    result = total(c, *terms, *([c.const(shift)] if shift else []))
    for n in nodes[cuts[0] : cuts[2]] if direct else ():
        if not is_const(n):
            result = select(less(c.const(0.0), n), result, apply("log", direct[0]))
    return result


Gammas = list[tuple[int, Any]]  # a product of powers of gamma functions: exponents and arguments


def gammas_of(expr: Any) -> Gammas | None:
    """A function, or a whole power of one, as a product of gamma functions; None if it is none."""
    power = 1
    if isinstance(expr, sympy.Pow) and expr.args[1].is_Integer:
        expr, power = expr.args[0], int(expr.args[1])
    rule = GAMMAS.get(type(expr))
    return rule and [(power * k, a) for k, a in rule(*expr.args)]


GAMMAS: dict[Any, Callable[..., Gammas]] = {
    sympy.factorial: lambda n: [(1, n + 1)],
    sympy.binomial: lambda n, k: [(1, n + 1), (-1, k + 1), (-1, n - k + 1)],
    sympy.RisingFactorial: lambda x, k: [(1, x + k), (-1, x)],
    sympy.FallingFactorial: lambda x, k: [(1, x + 1), (-1, x - k + 1)],
    sympy.beta: lambda x, y=None: [(1, x), (1, x if y is None else y), (-1, x + (x if y is None else y))],
}
WRITTEN = 50  # factors of a rising or falling factorial that are written out


def gamma_quotient(expr: Any) -> Conversion:
    """A quotient of gamma functions; a few factors, where the order is a small number."""
    x, k = expr.args
    if k.is_Integer and 0 <= k <= WRITTEN:
        step = 1 if isinstance(expr, sympy.RisingFactorial) else -1
        below = sympy.factorial(k) if isinstance(expr, sympy.binomial) else sympy.S.One
        factors = [sympy.Add(x, step * j) for j in range(int(k))]
        return Conversion(factors, lambda c, *nodes: ratio(c, nodes, [c.const(nearest(below))] if below != 1 else []))
    return gamma_functions(expr)


def gamma_functions(expr: Any) -> Conversion:
    """A function as a quotient of gamma functions."""
    found = GAMMAS[type(expr)](*expr.args)
    return Conversion([a for _, a in found], partial(of_gammas, signs=[s for s, _ in found]))


def of_gammas(c: Context, *nodes: Node, signs: Sequence[int]) -> Node:
    """A quotient of gamma functions, by logarithms where one would overflow; 0 at the poles of those below the line."""
    zero, big = c.const(0.0), c.const(170.0 if c.dtype == "float64" else 34.0)
    above, below = [[n for n, s in zip(nodes, signs, strict=True) if s == k] for k in (1, -1)]
    direct = ratio(c, [apply("gamma", n) for n in above], [apply("gamma", n) for n in below])
    logs = [apply("lgamma", n) for n in nodes]
    logs = [n if s == 1 else -n for n, s in zip(logs, signs, strict=True)]
    size = reduce(mul, [apply("exp", add(*logs)), *(sign_of_gamma(c, n) for n in nodes)])
    largest = reduce(partial(apply, "max"), nodes)
    result = select(less(largest, big), direct, size)
    for n in below:
        result = select(is_pole(c, n), zero, result)
    for n in above:
        result = select(is_pole(c, n), c.const(math.nan), result)
    return result


def sign_of_gamma(c: Context, n: Node) -> Node:
    """The sign of gamma(n): of odd floors below 0 it is negative."""
    odd = apply("mod", apply("floor", apply("min", n, c.const(0.0))), c.const(2.0))
    return select(equal(odd, c.const(0.0)), c.const(1.0), c.const(-1.0))


def is_pole(c: Context, n: Node) -> Node:
    """Whether n is 0, -1, -2, ..."""
    return at_most(n, c.const(0.0)) & equal(n, apply("floor", n))


def acot(c: Context, x: Node) -> Node:
    """SymPy's inverse cotangent: odd, pi/2 at 0."""
    one = c.const(1.0)
    left = -apply("atan2", one, -x)
    return select(less(x, c.const(0.0)), left, apply("atan2", one, x))


def with_order(name: str, whole: bool = False) -> Handler:
    """A function of an order that is a number, whole or not, and an argument."""

    def handle(expr: Any) -> Conversion:
        order, argument = expr.args
        if not (order.is_Integer or (order.is_Number and order.is_finite and not whole)):
            raise ExpressionError(
                f"{text(expr)}: the order {text(order, 40)} of {expr.func.__name__} is no number as it stands; put one "
                "in, as by loss.subs, or write a custom function"
            )
        return Conversion((argument,), call(name, int(order) if order.is_Integer else nearest(order)))

    return handle


def polygamma(expr: Any) -> Conversion:
    """A derivative of digamma."""
    if expr.args[0] == 0:
        return Conversion(expr.args[1:], call("digamma"))
    if expr.args[0].is_Integer and expr.args[0].is_negative:
        raise ExpressionError(f"{text(expr)}: polygamma of a negative order is not an op; use loggamma for order -1")
    return with_order("polygamma", whole=True)(expr)


def lambertw(expr: Any) -> Conversion:
    """A real branch of Lambert's W."""
    branch = expr.args[1] if len(expr.args) > 1 else sympy.S.Zero
    if branch not in (0, -1):
        raise ExpressionError(f"{text(expr)}: branch {branch} of LambertW is not real; the real ones are 0 and -1")
    return Conversion(expr.args[:1], call("lambertw", int(branch)))


def heaviside(c: Context, x: Node, at_zero: Node | None = None) -> Node:
    """The step, with its value at 0."""
    return apply("heaviside", x, c.const(0.5) if at_zero is None else at_zero)


def extreme(name: str) -> Handler:
    """An n-ary maximum or minimum as a tree, the scalars first."""

    def build(c: Context, *nodes: Node) -> Node:
        level = sorted(nodes, key=per_sample)
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            level = [apply(name, a, b) for a, b in pairs] + level[len(level) // 2 * 2 :]
        return level[0]

    return formula(build)


def average(c: Context, x: Node) -> Node:
    """The mean over the samples."""
    samples = c.samples if c.samples is not None else x
    return summed(c, x) / count(c, samples)


def count(c: Context, x: Node) -> Node:
    """The number of samples, in the dtype of the graph."""
    return length_along(x, 0)


def summed(c: Context, x: Node) -> Node:
    """The sum over the samples."""
    return sum_over(x, (0,))


def over_samples(build: Callable[..., Node]) -> Handler:
    """mean or total: its argument must be per sample."""

    def handle(expr: Any) -> Conversion:
        def checked(c: Context, x: Node) -> Node:
            if not per_sample(x):
                raise ExpressionError(
                    f"{text(expr)}: the argument of {expr.func.__name__} has no value a sample; name the symbols "
                    "that change from sample to sample in data="
                )
            return build(c, x)

        return Conversion(expr.args, checked)

    return handle


# Conditions


def truth(c: Context, n: Node) -> Node:
    """A condition; a number counts as true when it is not 0."""
    return n if n.type.dtype == "bool" else unequal(n, c.const(0.0))


def logical(name: str) -> Handler:
    """A logical op on conditions, n-ary ones from left to right."""

    def build(c: Context, *nodes: Node) -> Node:
        terms = [truth(c, n) for n in nodes]
        result = terms[0]
        for t in terms[1:]:
            result = apply(name, result, t)
        return result if len(terms) > 1 else apply(name, result) if name == "not" else result

    return formula(build)


def implies(c: Context, a: Node, b: Node) -> Node:
    """not a, or b."""
    return ~truth(c, a) | truth(c, b)


def comparison(name: str, swap: bool = False) -> Handler:
    """A relational; greater is less with the sides exchanged."""

    def build(c: Context, a: Node, b: Node) -> Node:
        if "bool" in (a.type.dtype, b.type.dtype):
            differ = apply("xor", truth(c, a), truth(c, b))
            return differ if name == "ne" else ~differ
        return apply(name, b, a) if swap else apply(name, a, b)

    def handle(expr: Any) -> Conversion:
        real = holds_for_reals(expr)
        return Conversion(expr.args, build) if real is None else boolean(real)

    return handle


def holds_for_reals(expr: Any) -> bool | None:
    """Whether a condition is known because everything is real: Eq(im(x), 0), which SymPy's real roots contain."""
    if isinstance(expr, sympy.Eq | sympy.Ne) and isinstance(expr.args[0], sympy.im) and expr.args[1] == 0:
        return isinstance(expr, sympy.Eq)
    return {sympy.true: True, sympy.false: False}.get(expr) if isinstance(expr, BooleanTrue | BooleanFalse) else None


def boolean(value: bool) -> Conversion:
    """A condition that is settled."""
    return Conversion((), lambda c: ir.const(value, "bool"))


def piecewise(expr: Any) -> Conversion:
    """A chain of selections, up to the first condition that always holds; NaN where none does."""
    pairs: list[Any] = []
    for value, condition in expr.args:
        known = holds_for_reals(condition)
        if known is not False:
            pairs.append((value, condition, known))
        if known:
            break
    settled = bool(pairs and pairs[-1][2])
    conditions = [p[1] for p in (pairs[:-1] if settled else pairs)]
    return Conversion([p[0] for p in pairs] + conditions, partial(choose, branches=len(pairs)))


def choose(c: Context, *nodes: Node, branches: int) -> Node:
    """The value of the first branch whose condition holds."""
    values, conditions = nodes[:branches], nodes[branches:]
    result = values[-1] if len(values) > len(conditions) else c.const(math.nan)
    for value, condition in zip(reversed(values[: len(conditions)]), reversed(conditions), strict=True):
        result = select(truth(c, condition), value, result)
    return result


def if_then_else(c: Context, condition: Node, a: Node, b: Node) -> Node:
    """A selection between values, or between conditions."""
    test = truth(c, condition)
    if "bool" not in (a.type.dtype, b.type.dtype):
        return select(test, a, b)
    return test & truth(c, a) | ~test & truth(c, b)


# What SymPy holds unevaluated


def unrolled(build: Callable[..., Node], undo: Callable[..., Node]) -> Handler:
    """A Sum or Product with numeric bounds, written out over its last index; undo: what SymPy means by bounds that
    are exchanged, of what is between them."""

    def handle(expr: Any) -> Conversion:
        body, *limits = expr.args
        index, low, high = limits[-1]
        if not (low.is_Integer and high.is_Integer):
            if (found := constant(expr)) is not None:
                return found
            raise ExpressionError(
                f"{text(expr)}: the bounds {low} and {high} are no whole numbers as they stand; put numbers in, as by "
                "loss.subs(n, 10), or work the sum out by doit()"
            )
        if high - low >= UNROLLED:
            raise ExpressionError(f"{text(expr)}: {high - low + 1} terms; at most {UNROLLED} are written out")
        inner = body if len(limits) == 1 else expr.func(body, *limits[:-1])
        places = between(low, high)
        plan = Conversion([at_place(inner, index, k) for k in range(places[0], places[1] + 1)], build)
        return plan if high >= low - 1 else plan._replace(build=lambda c, *terms: undo(c, build(c, *terms)))

    return handle


def at_place(body: Any, index: Any, place: int) -> Any:
    """The term of a sum at a place; ExpressionError where SymPy refuses it."""
    try:
        return replaced(body, index, sympy.Integer(place))
    except ExpressionError:
        raise
    except (IndexError, ValueError, TypeError) as error:
        raise ExpressionError(f"{text(body)} at {index} = {place}: {error}; change the bounds, or the shape") from error


def between(low: Any, high: Any) -> tuple[int, int]:
    """The places between bounds; of bounds that are exchanged, as SymPy and Karr have it, those that they exclude.

    >>> between(0, 3), between(3, 1)
    ((0, 3), (2, 2))
    """
    return (int(low), int(high)) if high >= low - 1 else (int(high) + 1, int(low) - 1)


def replaced(expr: Any, old: Any, new: Any) -> Any:
    """The expression with a symbol replaced where it is free; each shared part is rebuilt once."""
    done: dict[int, Any] = {}
    stack = [(expr, reach(expr, old))]
    while stack:
        e, (parts, rebuild) = stack[-1]
        waiting = [] if id(e) in done else [a for a in parts if id(a) not in done]
        if waiting:
            stack.extend((a, reach(a, old)) for a in waiting)
            continue
        stack.pop()
        if id(e) not in done:
            args = [done[id(a)] for a in parts]
            changed = any(a is not b for a, b in zip(args, parts, strict=True))
            done[id(e)] = new if isinstance(e, sympy.Symbol) and e == old else rebuild(new, *args) if changed else e
    return done[id(expr)]


def checked(expr: Any, new: Any) -> Any:
    """A Sum or Product with numbers for outer indices; ExpressionError where that exchanges its bounds.

    What is meant there is not known: by SymPy minus a sum, by code that has a loop none.
    """
    both = isinstance(new, ExprWithLimits) and isinstance(expr, ExprWithLimits) and len(new.limits) == len(expr.limits)
    for limit, (index, low, high) in zip(new.limits, expr.limits, strict=True) if both else ():
        if limit[1].is_Integer and limit[2].is_Integer and limit[2] < limit[1] - 1 and limit != (index, low, high):
            raise ExpressionError(
                f"{text(expr)}: for some outer index the bounds of {index} are {limit[1]} and {limit[2]}, of which the "
                f"upper one is lower; write Max({high}, {low - 1}) for the upper one, if the sum is empty then"
            )
    return new


Reach = tuple[Sequence[Any], Callable[..., Any]]  # parts, and what makes the whole of what replaces them


def reach(expr: Any, old: Any) -> Reach:
    """The parts in which a symbol means what it means outside: all of them, unless the expression binds it itself."""
    kind = type(expr)
    if issubclass(kind, POLYNOMIALS):  # which SymPy would write out in powers
        return expr.args, lambda new, *args: expr.func(*args, evaluate=False)
    if not issubclass(kind, BINDERS):
        return expr.args, lambda new, *args: expr.func(*args)
    if isinstance(expr, sympy.Subs) and old in expr.variables:
        return expr.args[2:], lambda new, point: sympy.Subs(expr.args[0], expr.args[1], point)
    if isinstance(expr, sympy.Lambda) and old in expr.variables:
        return (), lambda new: expr
    if isinstance(expr, sympy.Derivative) and old in expr.variables:
        return (old,), lambda new, _: sympy.Subs(expr, old, new)
    if not isinstance(expr, ExprWithLimits) or old not in (bound := [limit[0] for limit in expr.limits]):
        return expr.args, lambda new, *args: checked(expr, expr.func(*args))
    at = len(bound) - 1 - bound[::-1].index(old)  # the outermost limit that binds it, whose bounds are outside
    (_, *ends), inner, outer = expr.limits[at], expr.limits[:at], expr.limits[at + 1 :]

    def rebuild(new: Any, *args: Any) -> Any:
        return checked(expr, expr.func(expr.args[0], *inner, (old, *args[: len(ends)]), *args[len(ends) :]))

    return (*ends, *outer), rebuild


def resolved(expr: Any) -> Conversion:
    """What `doit` makes of a small Subs or Derivative; a derivative of x(t) is itself, and must have been named."""
    unnamed = stands_for_symbol(expr)
    result = expr.doit() if is_small(expr, RESOLVED) and not unnamed else expr
    if unnamed or (isinstance(result, sympy.Subs | sympy.Derivative) and not stands_for_symbol(result)):
        raise ExpressionError(
            f"{text(expr)}: doit() does not resolve this {type(expr).__name__}; write the derivative out, or name "
            f"the function of time and its derivative in params, inputs or data{definition_of(expr)}"
        )
    return Conversion((result,), lambda c, x: x)


def definition_of(expr: Any) -> str:
    """A hint at how to define the first undefined function in a small expression, so that it has a derivative."""
    parts = sympy.preorder_traversal(expr) if is_small(expr, RESOLVED) else ()
    name = next((e.func.__name__ for e in parts if isinstance(e, AppliedUndef)), None)
    return f"; or define {name} by gradcompile.custom({name!r}, value, partials) first" if name else ""


def trace(expr: Any) -> Conversion:
    """The trace of an explicit matrix."""
    return Conversion([expr.args[0][k, k] for k in range(expr.args[0].rows)], total)


def by_minors(c: Context, *nodes: Node, places: Sequence[tuple[int, int]], size: int) -> Node:
    """A determinant by its minors, each of which is computed once; nodes: the entries at places, others are 0.

    There is no division in it, so that value and derivatives are right where the matrix is singular.
    """
    entry = dict(zip(places, nodes, strict=True))
    minors: dict[tuple[int, ...], Node] = {(): c.const(1.0)}  # of the last rows, by their columns
    for row in reversed(range(size)):
        larger: dict[tuple[int, ...], list[Node]] = {}
        for columns, minor in minors.items():
            for k in (k for k in range(size) if (row, k) in entry and k not in columns):
                term = times(entry[row, k], minor)
                odd = sum(j < k for j in columns) % 2
                larger.setdefault(tuple(sorted((*columns, k))), []).append(-term if odd else term)
        minors = {columns: total(c, *terms) for columns, terms in larger.items()}
    return minors.get(tuple(range(size)), c.const(0.0))


def dot(expr: Any) -> Conversion:
    """The scalar product of two explicit vectors."""
    a, b = (list(m) for m in expr.args)
    return Conversion([sympy.Mul(x, y) for x, y in zip(a, b, strict=True)], total)


def element(expr: Any) -> Conversion:
    """An entry of an array, or of an explicit matrix."""
    parent, *place = expr.args
    if not all(i.is_Integer for i in place):
        raise ExpressionError(
            f"{text(expr)}: the index {', '.join(map(str, place))} is not constant; write W[2, 3], or sum over the "
            "index by Sum(W[k], (k, 0, 9))"
        )
    if isinstance(parent, sympy.IndexedBase | sympy.MatrixSymbol):
        return atom(expr)
    return Conversion((parent[tuple(int(i) for i in place)],), lambda c, x: x)


def atom(expr: Any) -> Conversion:
    """What stands for a value from outside."""
    return Conversion((), lambda c: c.atoms[expr], expr)


def undefined(expr: Any) -> Conversion:
    """A function nobody named."""
    name = expr.func.__name__
    raise ExpressionError(
        f"{text(expr)} is an undefined function; name it in params, inputs or data where it stands for a symbol, or "
        f"define it by gradcompile.custom({name!r}, value, partials)"
    )


# What can't be compiled, and what to write instead

REAL = "everything is real here: write the loss without it"
SCALAR = "a loss is a scalar: pick an entry, as in m[0, 0], or add the entries up"
CURES: dict[Any, str] = {
    sympy.conjugate: REAL,
    sympy.re: REAL,
    sympy.im: REAL,
    sympy.arg: REAL,
    sympy.Integral: "work the integral out by doit(), or write a quadrature as a Sum",
    sympy.Limit: "work the limit out by doit()",
    sympy.DiracDelta: "it has no values; write a narrow Gaussian",
    sympy.Tuple: SCALAR,
    sympy.Order: "drop it by removeO()",
}
DEFAULT = "write it by elementary functions, or define it by gradcompile.custom(name, value, partials)"


def rewritten(expr: Any, rewrite: Callable[[Any], Any]) -> Conversion | None:
    """What SymPy makes of a small expression; None if that is the same again, or SymPy can't."""
    if not is_small(expr, RESOLVED):
        return None
    try:
        new = rewrite(expr)
    except ValueError:  # of a derivative, by the real part of what it is taken by
        return None
    if any(type(e) is type(expr) for e in sympy.preorder_traversal(new)):
        return None
    return Conversion((new,), lambda c, n: n)


def by(rewrite: Callable[[Any], Any]) -> Handler:
    """A function that SymPy writes by others."""
    return lambda expr: rewritten(expr, rewrite) or unsupported(expr)


def constant(expr: Any) -> Conversion | None:
    """A number that SymPy can evaluate, the same to 20 and to 30 digits; None if it is none."""
    if not is_small(expr) or expr.free_symbols:
        return None
    try:
        few, many = (expr.evalf(k) for k in (20, 30))
    except (ValueError, NotImplementedError, TypeError, ArithmeticError):  # as a sum that diverges
        return None
    if not (few.is_Float and many.is_Float and abs(few - many) <= abs(many) * sympy.Float("1e-15")):
        return None
    return number(many)


def real_part(expr: Any) -> Any:
    """re, im, arg, conjugate or Abs of an expression of real symbols, without complex numbers where that can be."""
    real = {s: sympy.Dummy(s.name, real=True) for s in expr.free_symbols if isinstance(s, sympy.Symbol)}
    inner = expr.xreplace(real)
    if isinstance(inner, sympy.arg):
        new = sympy.atan2(*inner.args[0].as_real_imag()[::-1], evaluate=False)
    else:
        new = sympy.expand_complex(inner)
    return new.xreplace({d: s for s, d in real.items()})


def unsupported(expr: Any) -> Conversion:
    """The error for what is no op, unless it is a constant."""
    if isinstance(expr, sympy.Expr) and (found := constant(expr)) is not None:
        return found
    cure = next((CURES[k] for k in type(expr).__mro__ if k in CURES), DEFAULT)
    raise ExpressionError(f"{text(expr)}: {type(expr).__name__} can't be compiled; {cure}")


def conversion(expr: Any, named: Mapping[Any, Any]) -> Conversion:
    """How to convert one expression; `named` holds the x(t), derivatives and elements that stand for symbols."""
    if isinstance(expr, NAMEABLE) and stands_for_symbol(expr) and expr in named:
        return atom(expr)
    handler = next((HANDLERS[k] for k in type(expr).__mro__ if k in HANDLERS), None) or of_record(type(expr))
    return handler(expr)


def of_record(head: Any) -> Handler:
    """What converts a function that the record of an op has as its own, or one of SymPy's for generated code."""
    home, _, module = head.__module__.rpartition(".")
    if home == "sympy.codegen":
        return CODEGEN.get((module, head.__name__)) or of_name(head.__name__ if module == "cfunctions" else "")
    name = next((op.name for op in OPS.values() if op.sympy is head), None)
    return unsupported if name is None else simple(name)


def of_name(name: str) -> Handler:
    """What converts a function that has the name of an op."""
    op = OPS.get(name)
    if op is None or not (op.emit and op.partials):
        return unsupported
    return with_order(name) if op.orders else simple(name)


BINDERS = (ExprWithLimits, sympy.Subs, sympy.Lambda, sympy.Derivative)
NAMEABLE = (AppliedUndef, sympy.Derivative, sympy.Indexed, MatrixElement)
RECIPROCAL = {"cot": "tan", "sec": "cos", "csc": "sin", "coth": "tanh", "sech": "cosh", "csch": "sinh"}  # 1 over which
HANDLERS: dict[Any, Handler] = {
    sympy.Symbol: atom,
    sympy.Number: number,
    NumberSymbol: number,
    sympy.core.numbers.Infinity: number,
    sympy.core.numbers.NegativeInfinity: number,
    sympy.core.numbers.NaN: number,
    sympy.core.numbers.ComplexInfinity: undefined_number,
    sympy.core.numbers.ImaginaryUnit: undefined_number,
    sympy.Add: formula(total),
    sympy.Mul: product,
    sympy.Pow: raised,
    sympy.log: logarithm,
    **dict.fromkeys((sympy.binomial, sympy.RisingFactorial, sympy.FallingFactorial), gamma_quotient),
    sympy.Abs: simple("abs"),
    sympy.ceiling: simple("ceil"),
    sympy.loggamma: simple("lgamma"),
    sympy.Mod: simple("mod"),
    sympy.frac: formula(lambda c, x: x - apply("floor", x)),
    **{getattr(sympy, head): inverse(name) for head, name in RECIPROCAL.items()},
    **{getattr(sympy, f"a{head}"): of_inverse(f"a{name}") for head, name in RECIPROCAL.items() if head != "cot"},
    sympy.acot: formula(acot),
    sympy.beta: gamma_functions,
    sympy.factorial: formula(lambda c, x: apply("gamma", x + c.const(1.0))),
    sympy.polygamma: polygamma,
    sympy.trigamma: lambda expr: Conversion(expr.args, call("polygamma", 1)),
    sympy.LambertW: lambertw,
    sympy.Heaviside: formula(heaviside),
    sympy.Max: extreme("max"),
    sympy.Min: extreme("min"),
    sympy.Piecewise: piecewise,
    sympy.ITE: formula(if_then_else),
    sympy.Lt: comparison("lt"),
    sympy.Le: comparison("le"),
    sympy.Gt: comparison("lt", swap=True),
    sympy.Ge: comparison("le", swap=True),
    sympy.Eq: comparison("eq"),
    sympy.Ne: comparison("ne"),
    sympy.And: logical("and"),
    sympy.Or: logical("or"),
    sympy.Xor: logical("xor"),
    sympy.Not: logical("not"),
    sympy.Implies: formula(implies),
    BooleanTrue: lambda expr: boolean(True),
    BooleanFalse: lambda expr: boolean(False),
    sympy.Sum: unrolled(total, negated),
    sympy.Product: unrolled(lambda c, *factors: ratio(c, factors, ()), reciprocal),
    **dict.fromkeys((sympy.re, sympy.im, sympy.arg, sympy.conjugate), by(real_part)),
    sympy.Contains: by(lambda expr: expr.args[1].as_relational(expr.args[0])),
    sympy.SingularityFunction: by(lambda expr: expr.rewrite(sympy.Piecewise)),
    sympy.Poly: by(lambda expr: expr.as_expr()),
    sympy.Subs: resolved,
    sympy.UnevaluatedExpr: formula(lambda c, x: x),
    sympy.Indexed: element,
    AppliedUndef: undefined,
    functions.mean: over_samples(average),
    functions.total: over_samples(summed),
    functions.stop_gradient: formula(lambda c, x: stop_gradient(x)),
    functions.relu: formula(lambda c, x: select(at_most(x, c.const(0.0)), c.const(0.0), x)),
    functions.log_sigmoid: formula(lambda c, x: -apply("softplus", -x)),
}
for _op in OPS.values():  # functions that have the name of an op
    if _op.emit and _op.partials:
        _found = (getattr(module, _op.name, None) for module in (sympy, functions))
        if (_head := next((f for f in _found if isinstance(f, sympy.FunctionClass)), None)) is not None:
            HANDLERS.setdefault(_head, of_name(_op.name))
# Of SymPy's functions for generated code, by module and name: who uses them has loaded them.
CODEGEN: dict[tuple[str, str], Handler] = {
    ("cfunctions", "Cbrt"): simple("cbrt"),
    ("cfunctions", "Sqrt"): simple("sqrt"),
    ("cfunctions", "fma"): formula(lambda c, a, b, d: total(c, ratio(c, [a, b], ()), d)),
    ("numpy_nodes", "logaddexp"): formula(lambda c, a, b: apply("log", apply("exp", a) + apply("exp", b))),
}
