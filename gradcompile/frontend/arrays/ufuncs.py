"""NumPy's elementwise functions, and SciPy's special ones, on symbolic arrays."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import FUNCTIONS, METHODS, UFUNCS, Array, dtype_name, lift, lift_all
from gradcompile.ir import algebra
from gradcompile.ir.algebra import expand, stop_gradient
from gradcompile.ir.core import OPS, Node, apply, const, is_const, node
from gradcompile.ir.types import broadcast, promote

F = TypeVar("F", bound=Callable[..., Any])


# Ops on nodes, with NumPy's conversions


def cast(n: Node, dtype: str) -> Node:
    """A node in a dtype; a number is converted at once.

    >>> cast(const(2, "int64"), "float64")
    <const float64[]>
    """
    if n.type.dtype == dtype:
        return n
    if is_const(n):
        return const(bool(n.value) if dtype == "bool" else int(n.value) if dtype == "int64" else n.value, dtype)
    return algebra.unequal(n, const(0.0)) if dtype == "bool" else algebra.astype(n, dtype)


def floating(n: Node) -> Node:
    """A node as floats."""
    return n if n.type.dtype.startswith("float") else cast(n, "float64")


def arithmetic(n: Node) -> Node:
    """A node as numbers: truth values are 0 and 1."""
    return cast(n, "int64") if n.type.dtype == "bool" else n


def elementwise(name: str, *operands: Node) -> Node:
    """An elementwise op, its operands converted to what it is defined for; integers follow the floats beside them.

    Raises ExpressionError if the shapes do not broadcast.
    """
    op = OPS[name]
    broadcast(*(n.type.shape for n in operands))
    widest = promote(*(n.type.dtype for n in operands))
    if op.is_connective:
        operands = tuple(map(truth, operands))
    elif op.keeps_whole or op.is_comparison:
        operands = tuple(map(arithmetic, operands))
    else:
        kind = widest if widest.startswith("float") else "float64"
        operands = tuple(n if n.type.dtype.startswith("float") else cast(n, kind) for n in operands)
    return node(op, operands)


def truth(n: Node) -> Node:
    """A node as truth values."""
    return cast(n, "bool")


def choose(condition: Node, x: Node, y: Node, *, own: bool = False) -> Node:
    """x where the condition holds, else y; of one dtype.

    own: it is not the user's selection. What is left out then holds no NaN, so products need no care (`masks.Care`).
    """
    if "bool" in (x.type.dtype, y.type.dtype) and x.type.dtype != y.type.dtype:
        x, y = arithmetic(x), arithmetic(y)
    return apply("select", truth(condition), x, y, params=("own",) if own else ())


def number(value: float, like: Node) -> Node:
    """A constant of a node's dtype, or a float64 if that holds no fractions."""
    return const(float(value), like.type.dtype if like.type.dtype.startswith("float") else "float64")


def minus(x: Node, y: Node) -> Node:
    """x - y."""
    return elementwise("add", x, elementwise("neg", y))


def mirrored(x: Node) -> Node:
    """Numbers in the opposite order: -x, and of whole numbers -1 - x, which the least of them has as well."""
    x = elementwise("neg", x)
    return x if x.type.dtype.startswith("float") else elementwise("add", x, const(-1, "int64"))


# The table of ufuncs


def direct(name: str, op: str) -> None:
    """A ufunc that is an op."""
    if OPS[op].arity == 1:
        UFUNCS[name] = lambda x: Array(elementwise(op, lift(x)))
    else:
        UFUNCS[name] = lambda x, y: Array(elementwise(op, *lift_all(x, y)))


SAME = ("exp expm1 exp2 log log1p log2 log10 sin cos tan sinh cosh tanh sqrt cbrt rint sign hypot "
        "heaviside erf erfc gamma digamma xlogy")  # fmt: skip
OTHER = {
    "divide": "div", "float_power": "pow", "remainder": "mod", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "less": "lt", "less_equal": "le", "equal": "eq", "not_equal": "ne", "logical_and": "and",
    "logical_or": "or", "logical_xor": "xor", "logical_not": "not", "gammaln": "lgamma", "psi": "digamma",
    "expit": "sigmoid",
}  # fmt: skip
for _ufunc, _op in {**{_name: _name for _name in SAME.split()}, **OTHER}.items():
    direct(_ufunc, _op)


def ufunc(name: str) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
    """Enter a ufunc that is built of several ops, as a function of nodes."""

    def enter(build: Callable[..., Node]) -> Callable[..., Node]:
        def unary(x: Any) -> Array:
            return Array(build(lift(x)))

        def both(x: Any, y: Any) -> Array:
            return Array(build(*lift_all(x, y)))

        UFUNCS[name] = unary if build.__code__.co_argcount == 1 else both
        return build

    return enter


def of_truths(op: str, logical: str) -> Callable[..., Node]:
    """An op that of truth values alone is another, as NumPy's are."""

    def build(x: Node, y: Node) -> Node:
        return elementwise(logical if x.type.dtype == y.type.dtype == "bool" else op, x, y)

    return build


ufunc("add")(of_truths("add", "or"))
ufunc("multiply")(of_truths("mul", "and"))
ufunc("maximum")(of_truths("max", "or"))
ufunc("minimum")(of_truths("min", "and"))


@ufunc("absolute")
def absolute(x: Node) -> Node:
    """|x|."""
    return x if x.type.dtype == "bool" else elementwise("abs", x)


@ufunc("negative")
def negative(x: Node) -> Node:
    """-x."""
    if x.type.dtype == "bool":
        raise ExpressionError("truth values have no negative; write ~x for the opposite, or 1 - x")
    return elementwise("neg", x)


@ufunc("subtract")
def subtract(x: Node, y: Node) -> Node:
    """x - y."""
    if x.type.dtype == y.type.dtype == "bool":
        raise ExpressionError("truth values have no difference; write x ^ y for where they differ, or 1*x - y")
    return minus(x, y)


def rounding(name: str) -> Callable[[Node], Node]:
    """A rounding, which leaves whole numbers as they are."""
    return lambda x: elementwise(name, x) if x.type.dtype.startswith("float") else x


ufunc("floor")(rounding("floor"))
ufunc("ceil")(rounding("ceil"))


@ufunc("fabs")
def fabs(x: Node) -> Node:
    """|x| as floats."""
    return elementwise("abs", floating(x))


@ufunc("reciprocal")
def reciprocal(x: Node) -> Node:
    """1/x; of whole numbers its integral part, and 0 of 0."""
    if x.type.dtype.startswith("float"):
        return elementwise("div", number(1.0, x), x)
    x = arithmetic(x)
    return choose(elementwise("eq", elementwise("abs", x), const(1, "int64")), x, const(0, "int64"))


def whole_quotient(x: Node, y: Node) -> Node:
    """The quotient of whole numbers rounded down; 0 for y = 0."""
    x, divisor = arithmetic(x), floating(arithmetic(y))

    def nearest(n: Node) -> Node:
        return cast(elementwise("rint", elementwise("div", floating(n), divisor)), "int64")

    about = nearest(x)
    rest = minus(x, elementwise("mul", about, y))  # of either sign, and of some divisors at most: what follows is exact
    quotient = elementwise("add", about, nearest(minus(rest, elementwise("mod", rest, y))))
    zero = const(0, "int64")
    return choose(elementwise("eq", y, zero), zero, quotient)


@ufunc("power")
def power(x: Node, y: Node) -> Node:
    """x**y; whole if both are, as in NumPy."""
    if x.type.dtype.startswith("float") or y.type.dtype.startswith("float"):
        return elementwise("pow", x, y)
    if not is_const(y):
        return cast(elementwise("rint", elementwise("pow", x, y)), "int64")
    k = int(y.value)
    if k < 0:
        raise ExpressionError(f"whole numbers to the power {k} are none; write {float(k)} for the exponent")
    found, square = expand(const(1, "int64"), x.type.shape), arithmetic(x)
    while k:
        found = elementwise("mul", found, square) if k % 2 else found
        square, k = elementwise("mul", square, square), k // 2
    return found


ufunc("positive")(lambda x: x)
ufunc("greater")(lambda x, y: elementwise("lt", y, x))
ufunc("greater_equal")(lambda x, y: elementwise("le", y, x))
ufunc("deg2rad")(lambda x: elementwise("mul", x, number(math.pi / 180, x)))
ufunc("rad2deg")(lambda x: elementwise("mul", x, number(180 / math.pi, x)))
ufunc("radians")(lambda x: elementwise("mul", x, number(math.pi / 180, x)))
ufunc("degrees")(lambda x: elementwise("mul", x, number(180 / math.pi, x)))
ufunc("isnan")(lambda x: elementwise("ne", x, x))
ufunc("isinf")(lambda x: elementwise("eq", elementwise("abs", x), number(math.inf, x)))
ufunc("isfinite")(lambda x: elementwise("lt", elementwise("abs", x), number(math.inf, x)))
ufunc("log_expit")(lambda x: elementwise("neg", elementwise("softplus", elementwise("neg", x))))


@ufunc("square")
def square(x: Node) -> Node:
    """x*x."""
    return elementwise("mul", x, x)


@ufunc("trunc")
def trunc(x: Node) -> Node:
    """x toward zero."""
    if not x.type.dtype.startswith("float"):
        return x
    return choose(elementwise("lt", x, number(0.0, x)), elementwise("ceil", x), elementwise("floor", x))


@ufunc("fmax")
def fmax(x: Node, y: Node) -> Node:
    """The larger of two, the other one where one is NaN."""
    larger = choose(elementwise("ne", y, y), x, elementwise("max", x, y))
    return choose(elementwise("ne", x, x), y, larger)


@ufunc("fmin")
def fmin(x: Node, y: Node) -> Node:
    """The smaller of two, the other one where one is NaN."""
    return elementwise("neg", fmax(elementwise("neg", x), elementwise("neg", y)))


@ufunc("floor_divide")
def floor_divide(x: Node, y: Node) -> Node:
    """The quotient rounded down, by the remainder: the quotient itself may have been rounded up; no derivative."""
    if not (x.type.dtype.startswith("float") or y.type.dtype.startswith("float")):
        return whole_quotient(x, y)
    ratio, rest = elementwise("div", x, y), elementwise("mod", floating(x), floating(y))
    down, size, width = elementwise("floor", ratio), elementwise("abs", rest), elementwise("abs", floating(y))
    is_most = elementwise("lt", width, elementwise("add", size, size))  # of the divisor, or all if that is infinite
    is_most = elementwise("or", is_most, elementwise("eq", size, width))
    is_up = elementwise("and", elementwise("eq", ratio, down), is_most)
    found = choose(is_up, elementwise("add", down, number(-1.0, down)), down)
    pole = choose(elementwise("eq", y, number(0.0, y)), ratio, rest)
    return stop_gradient(choose(elementwise("eq", rest, rest), found, pole))


@ufunc("logaddexp")
def logaddexp(x: Node, y: Node) -> Node:
    """log(exp(x) + exp(y)) as y + softplus(x - y), from the larger: no overflow."""
    first = elementwise("lt", x, y)
    high, low, top = choose(first, y, x), choose(first, x, y), elementwise("max", x, y)
    is_finite = elementwise("lt", elementwise("abs", top), number(math.inf, top))  # infinities have no difference
    return choose(is_finite, elementwise("add", high, elementwise("softplus", minus(low, high))), top)


for _name, _op in {"bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor", "invert": "not"}.items():

    def _logical(*operands: Any, op: str = _op, name: str = _name) -> Array:
        nodes = lift_all(*operands)
        if any(n.type.dtype != "bool" for n in nodes):
            raise ExpressionError(f"np.{name} takes truth values; compare first, as in (x > 0) & (y > 0)")
        return Array(elementwise(op, *nodes))

    UFUNCS[_name] = _logical

ufunc("conjugate")(lambda x: x)


def times(x: Node, y: Node) -> Node:
    """x*y."""
    return elementwise("mul", x, y)


@ufunc("logaddexp2")
def logaddexp2(x: Node, y: Node) -> Node:
    """log2(2**x + 2**y), without overflow."""
    two = math.log(2.0)
    return times(number(1 / two, x), logaddexp(times(number(two, x), x), times(number(two, y), y)))


@ufunc("signbit")
def signbit(x: Node) -> Node:
    """Whether x is negative, -0 included."""
    x = floating(x)
    below = elementwise("lt", x, number(0.0, x))
    is_zero = elementwise("eq", x, number(0.0, x))
    return elementwise("or", below, elementwise("and", is_zero, elementwise("lt", elementwise(
        "div", number(1.0, x), choose(is_zero, x, number(1.0, x), own=True)), number(0.0, x))))  # fmt: skip


@ufunc("copysign")
def copysign(x: Node, y: Node) -> Node:
    """|x| with the sign of y."""
    size = elementwise("abs", floating(x))
    return choose(signbit(y), elementwise("neg", size), size)


@ufunc("fmod")
def fmod(x: Node, y: Node) -> Node:
    """The remainder with the sign of x."""
    size = elementwise("mod", elementwise("abs", arithmetic(x)), elementwise("abs", arithmetic(y)))
    return choose(elementwise("lt", arithmetic(x), const(0, "int64")), elementwise("neg", size), size)


@ufunc("left_shift")
def left_shift(x: Node, y: Node) -> Node:
    """x*2**y of whole numbers."""
    return times(x, power(const(2, "int64"), whole(y)))


@ufunc("right_shift")
def right_shift(x: Node, y: Node) -> Node:
    """x/2**y of whole numbers, rounded down."""
    return whole_quotient(whole(x), power(const(2, "int64"), whole(y)))


def whole(x: Node) -> Node:
    """A node of whole numbers; ExpressionError for floats."""
    if x.type.dtype.startswith("float"):
        raise ExpressionError("whole numbers are needed; write x.astype('int64')")
    return arithmetic(x)


@ufunc("ldexp")
def ldexp(x: Node, y: Node) -> Node:
    """x*2**y, in two halves that do not overflow."""
    half = elementwise("floor", elementwise("div", floating(y), number(2.0, x)))
    rest = minus(floating(y), half)
    return times(times(floating(x), elementwise("exp2", half)), elementwise("exp2", rest))


def of_several(name: str, *builds: Callable[..., Node]) -> None:
    """A ufunc of several results."""
    UFUNCS[name] = lambda *operands: tuple(Array(build(*lift_all(*operands))) for build in builds)


def exponent(x: Node) -> Node:
    """The power of 2 that the size of x is below, and at least half of."""
    size = elementwise("abs", floating(x))
    is_number = elementwise("lt", number(0.0, x), size) & elementwise("lt", size, number(math.inf, x))
    about = elementwise("floor", elementwise("log2", choose(is_number, size, number(0.5, x), own=True)))
    scaled = ldexp(size, elementwise("neg", about))
    up = choose(elementwise("le", number(2.0, x), scaled), number(1.0, x), number(0.0, x))
    down = choose(elementwise("lt", scaled, number(1.0, x)), number(1.0, x), number(0.0, x))
    found = minus(elementwise("add", elementwise("add", about, up), number(1.0, x)), down)
    return stop_gradient(choose(is_number, found, number(0.0, x)))


of_several("divmod", lambda x, y: floor_divide(x, y), lambda x, y: elementwise("mod", x, y))
of_several("modf", lambda x: minus(floating(x), trunc(floating(x))), lambda x: trunc(floating(x)))
of_several("frexp", lambda x: ldexp(x, elementwise("neg", exponent(x))), lambda x: cast(exponent(x), "int64"))


# Elementwise functions that are no ufuncs


def function(*functions: Callable[..., Any], method: str = "") -> Callable[[F], F]:
    """Enter the implementation of NumPy functions, and of a method of that name."""

    def enter(implementation: F) -> F:
        FUNCTIONS.update(dict.fromkeys(functions, implementation))
        if method:
            METHODS[method] = implementation
        return implementation

    return enter


@function(np.where)
def where(condition: Any, x: Any, y: Any) -> Array:
    """x where the condition holds, else y; no gradient leaks from the other."""
    is_whole = all(isinstance(v, int | np.integer) for v in (x, y))
    chosen, (a, b) = lift(condition), [lift(v, "int64") for v in (x, y)] if is_whole else lift_all(x, y)
    broadcast(chosen.type.shape, a.type.shape, b.type.shape)
    return Array(choose(chosen, a, b))


@function(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Array:
    """a, kept between two bounds; at a bound half the derivative, as of a maximum."""
    a_min, a_max = (min if a_min is None else a_min), (max if a_max is None else a_max)
    n, low, high = lift_all(a, *(0.0 if bound is None else bound for bound in (a_min, a_max)))
    n = n if a_min is None else elementwise("max", n, low)
    return Array(n if a_max is None else elementwise("min", n, high))


@function(method="clip")
def clip_method(a: Array, min: Any = None, max: Any = None) -> Array:
    """The array, kept between two bounds."""
    return clip(a, min, max)


@function(np.round, np.around, method="round")
def rounded(a: Any, decimals: int = 0) -> Array:
    """a to so many decimals, of two nearest the even one; no derivative."""
    n = lift(a)
    if not n.type.dtype.startswith("float"):
        return Array(n if decimals >= 0 else cast(rounded(Array(floating(n)), decimals).node, n.type.dtype))
    if decimals == 0:
        return Array(elementwise("rint", n))
    scale = number(10.0 ** abs(decimals), n)
    whole = elementwise("rint", elementwise("mul" if decimals > 0 else "div", n, scale))
    return Array(elementwise("div" if decimals > 0 else "mul", whole, scale))


@function(np.isposinf)
def isposinf(x: Any) -> Array:
    """Where x is the positive infinity."""
    n = floating(lift(x))
    return Array(elementwise("eq", n, number(math.inf, n)))


@function(np.isneginf)
def isneginf(x: Any) -> Array:
    """Where x is the negative infinity."""
    n = floating(lift(x))
    return Array(elementwise("eq", n, number(-math.inf, n)))


@function(np.iscomplex)
def iscomplex(x: Any) -> Array:
    """Where x has an imaginary part: nowhere."""
    return Array(expand(const(False, "bool"), lift(x).type.shape))


@function(np.isreal)
def isreal(x: Any) -> Array:
    """Where x has no imaginary part: everywhere."""
    return Array(expand(const(True, "bool"), lift(x).type.shape))


@function(np.isrealobj)
def isrealobj(x: Any) -> bool:
    """Whether the dtype is real: it is."""
    return True


@function(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    """Whether the dtype is complex: it is not."""
    return False


@function(np.imag)
def imag(val: Any) -> Array:
    """Zeros: the array is real."""
    return Array(lift(val)).imag


@function(np.angle)
def angle(z: Any, deg: bool = False) -> Array:
    """0, or pi where x is negative."""
    n = floating(lift(z))
    half = number(180.0 if deg else math.pi, n)
    return Array(choose(signbit(n), half, choose(elementwise("eq", n, n), number(0.0, n), n)))


@function(np.fix)
def fix(x: Any) -> Array:
    """x toward zero."""
    return Array(trunc(floating(lift(x))))


@function(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Where two arrays differ by no more than atol + rtol*|b|, or are equal."""
    x, y = (Array(floating(n)) for n in lift_all(a, b))
    near = (abs(x - y) <= atol + rtol * abs(y)) & (abs(y) < math.inf)
    near = near | (x == y)
    return near | ((x != x) & (y != y)) if equal_nan else near


@function(np.allclose)
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether they are close everywhere."""
    return np.all(isclose(a, b, rtol, atol, equal_nan))


@function(np.sinc)
def sinc(x: Any) -> Array:
    """sin(pi x)/(pi x), 1 at 0."""
    n = floating(lift(x))
    return Array(elementwise("sinc", elementwise("mul", number(math.pi, n), n)))


@function(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """x, with numbers in place of NaN and of infinities: of those the largest and the least there are, if not given."""
    n = floating(lift(x))
    limits = np.finfo(n.type.dtype)
    given = {math.inf: limits.max if posinf is None else posinf, -math.inf: limits.min if neginf is None else neginf}
    found = choose(elementwise("ne", n, n), number(nan, n), n)
    for infinity, value in given.items():
        found = choose(elementwise("eq", n, number(infinity, n)), number(float(value), n), found)
    return Array(found)


@function(np.real, np.real_if_close, method="conj")
@function(np.copy, method="conjugate")
def itself(a: Any, *_: Any, **__: Any) -> Array:
    """The array itself: it is real, and never changes."""
    return Array(lift(a))


@function(method="astype")
def astype(x: Array, dtype: Any) -> Array:
    """x in another dtype; between floats the derivative is 1, else 0."""
    name = dtype_name(dtype)
    if (x.node.type.dtype, name) == ("float32", "float64"):
        raise ExpressionError("a loss of float32 arrays is computed in float32 throughout; give the arrays the dtype "
                              "float64, as in gradcompile.array(name, shape, 'float64')")  # fmt: skip
    return Array(cast(x.node, name))


@function(method="copy")
def copy(x: Array) -> Array:
    """x itself, which never changes."""
    return x
