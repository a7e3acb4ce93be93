"""Elementwise ops: arithmetic, elementary and special functions, comparisons, logic and selection.

The partials are mathematics (see `algebra`). A partial `p if c else 0` is a mask: behind a branch that was not taken
it passes nothing on, whatever p is there.
"""

import importlib
import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from gradcompile.ir.core import Node, Op, Params, apply, const, elementwise, named, predicate, register
from gradcompile.ir.types import ArrayType, broadcast, promote
from gradcompile.ops import least
from gradcompile.ops.algebra import horner, partials, rules_text

Value = Callable[..., Any]

ANY = (-20.0, 20.0)
POSITIVE = (1e-3, 50.0)


def function(name: str, names: str, rules: tuple[str | None, ...], value: Value, emit: str = "", **record: Any) -> None:
    """Register an elementwise op whose partials are the rules, printed as a call unless `emit` is given."""
    arguments = ", ".join(f"{{{k}}}" for k in range(len(rules)))
    record = {"sympy": name, "exact": name, **record}
    text = rules_text(name, names, *rules) if any(rules) else "none"
    register(Op(name, elementwise, value, emit or f"{name}({arguments})", partials=partials(names, *rules),
                derivative=text, arity=len(rules), **record))  # fmt: skip


def accurate(bound: float, value: float = 2.0) -> dict[str, Any]:
    """The accuracy of a function of vmath; NumPy's or SciPy's, which the value is here, may be less."""
    return {"accuracy": f"at most {bound} ulp", "ulps": max(bound, value)}


def late(module: str, name: str) -> Value:
    """A function of a module that is imported when it is first called."""
    return lambda *args: getattr(importlib.import_module(module), name)(*args)


def scipy(name: str) -> Value:
    """A function of scipy.special."""
    return late("scipy.special", name)


def mp(name: str, *args: Any) -> Any:
    """A function of mpmath, called."""
    return getattr(importlib.import_module("mpmath"), name)(*args)


def sp(name: str, *args: Any) -> Any:
    """A function of SymPy, called."""
    return getattr(importlib.import_module("sympy"), name)(*args)


def real(z: Any) -> Any:
    """The real value of an mpmath number, NaN where a function leaves the reals."""
    return z if not mp("im", z) else mp("mpf", "nan")


# Arithmetic


register(Op("add", elementwise, lambda *xs: reduce(np.add, xs), "{0} + {1}",
            lambda n: (const(1.0, n.type.dtype),) * len(n.args),
            exact=lambda *xs: mp("fsum", xs), sympy="Add", arity=None, domain=(ANY, ANY, ANY),
            derivative="d add(x, y, ...)/dx = 1", accuracy="correctly rounded, term by term", ulps=4.0, tolerance=0.0,
            keeps_finite=True, keeps_zero="all", keeps_whole=True, is_arithmetic=True, is_algebraic=True,
            is_commutative=True, least=least.of_sum, keeps_literals=True, preferred_name="terms", ends_functions=True,
            doc="x + y + ..., added from left to right"))  # fmt: skip
EXACT: dict[str, Any] = {"accuracy": "correctly rounded", "ulps": 0.5}
function("mul", "x y", ("y", "x"), np.multiply, "{0} * {1}", exact=lambda x, y: x * y,
         sympy="Mul", domain=(ANY, ANY),
         keeps_finite=True, keeps_zero="any", keeps_whole=True, is_arithmetic=True, is_algebraic=True,
         is_commutative=True, least=least.of_product, keeps_literals=True, preferred_name="product",
         ends_functions=True,
         doc="x y", **EXACT)  # fmt: skip
function("div", "x y", ("1/y", "-(x/y/y)"), np.divide, "{0} / {1}",
         exact=lambda x, y: x / y, sympy=lambda x, y: x / y, domain=(ANY, POSITIVE),
         convention="x/0 is an infinity, 0/0 is NaN",
         pole_at_zero=True, keeps_zero="any", is_arithmetic=True, is_algebraic=True,
         least=lambda x, _: 0.0 if x[0] >= 0 and x[1] > 0 else least.NONE, preferred_name="ratio", ends_functions=True,
         time=4, doc="x/y", **EXACT)  # fmt: skip
function("neg", "x", ("-1",), np.negative, "-{0}", exact=lambda x: -x, sympy=lambda x: -x,
         domain=(ANY,),
         keeps_finite=True, keeps_zero="any", keeps_whole=True, is_arithmetic=True, is_algebraic=True,
         keeps_literals=True, preferred_name="opposite", ends_functions=True,
         doc="-x", **EXACT)  # fmt: skip
function("pow", "x y", ("y*x**(y - 1) if y != 0 else 0", "x**y*log(x) if x**y != 0 else 0"), np.power,
         "power({0}, {1})", exact=lambda x, y: real(x**y), sympy="Pow", cost=16, domain=((0.01, 8.0), (-5.0, 5.0)),
         steep=0, tolerance=1e-13, convention="d/dx is 0 where y = 0; d/dy is 0 where x**y = 0",
         overflows=True, is_algebraic=True,
         doc="x to the power y; NaN for x < 0 unless y is an integer", **accurate(2))  # fmt: skip
function("sqrt", "x", ("0.5/sqrt(x)",), np.sqrt, exact=lambda x: real(mp("sqrt", x)), domain=(POSITIVE,),
         steep=0, convention="the derivative at 0 is infinite",
         pole_at_zero=True, never_negative=True, keeps_zero="any", least=least.of_root, preferred_name="root", time=6,
         curvature=-1, monotone=1, doc="square root", **EXACT)  # fmt: skip
function("cbrt", "x", ("1/(3*cbrt(x)*cbrt(x))",), scipy("cbrt"), exact=lambda x: mp("sign", x) * mp("cbrt", abs(x)),
         sympy=lambda x: sp("real_root", x, 3), cost=8, domain=(POSITIVE,),
         steep=0, convention="real for x < 0; the derivative at 0 is infinite",
         keeps_zero="any",
         monotone=1, doc="real cube root",
         **accurate(0.7))  # fmt: skip
function("hypot", "x y", ("x/hypot(x, y) if hypot(x, y) != 0 else 0", "y/hypot(x, y) if hypot(x, y) != 0 else 0"),
         np.hypot, sympy=lambda x, y: sp("sqrt", x * x + y * y), cost=4, domain=(ANY, ANY),
         convention="the derivative at (0, 0) is 0",
         never_negative=True, keeps_zero="all",
         doc="sqrt(x**2 + y**2) without overflow",
         **accurate(1.3))  # fmt: skip
function("mod", "x y", ("1", "-rint((x - mod(x, y))/y)"), np.mod, cost=4,
         exact=lambda x, y: x - y * mp("floor", x / y), sympy="Mod", domain=(ANY, POSITIVE),
         convention="the sign of the divisor; the jumps have no derivative",
         accuracy="correctly rounded", ulps=4.0,
         keeps_whole=True, least=lambda x, _: 0.0 if x[1] > 0 else least.NONE, emit_whole="remainder({0}, {1})",
         doc="x - y*floor(x/y)")  # fmt: skip

# Kinks and steps

function("abs", "x", ("sign(x)",), np.abs, "fabs({0})", exact="fabs", sympy="Abs", domain=(ANY,),
         convention="the derivative at 0 is 0",
         keeps_finite=True, never_negative=True, keeps_zero="any", keeps_whole=True, is_algebraic=True,
         least=least.zero, emit_whole="{0} if {0} >= 0 else -{0}",
         curvature=1, doc="absolute value", **EXACT)  # fmt: skip
function("sign", "x", (None,), np.sign, domain=(ANY,), convention="sign(0) = 0; no derivative",
         keeps_finite=True, keeps_whole=True, hands_on=True,
         doc="-1, 0 or 1",
         **EXACT)  # fmt: skip
function("max", "x y", ("(0.5 if x == y else 1) if x >= y else 0", "(0.5 if x == y else 1) if y >= x else 0"),
         np.maximum, "maximum({0}, {1})", exact=lambda x, y: x if x >= y or x != x else y, sympy="Max",
         domain=(ANY, ANY), convention="a tie is split equally; NaN if either is",
         keeps_finite=True, keeps_whole=True, hands_on=True, is_algebraic=True, is_commutative=True,
         least=lambda x, _: max(x), emit_whole="{0} if {0} >= {1} else {1}", preferred_name="larger",
         curvature=1, monotone=1, doc="the larger of two",
         cost=3, **EXACT)  # fmt: skip
function("min", "x y", ("(0.5 if x == y else 1) if x <= y else 0", "(0.5 if x == y else 1) if y <= x else 0"),
         np.minimum, "minimum({0}, {1})", exact=lambda x, y: x if x <= y or x != x else y, sympy="Min",
         domain=(ANY, ANY), convention="a tie is split equally; NaN if either is",
         keeps_finite=True, keeps_whole=True, hands_on=True, is_algebraic=True, is_commutative=True,
         least=lambda x, _: min(x), emit_whole="{0} if {0} <= {1} else {1}", preferred_name="smaller",
         curvature=-1, monotone=1, doc="the smaller of two",
         cost=3, **EXACT)  # fmt: skip
function("floor", "x", (None,), np.floor, domain=(ANY,), convention="no derivative",
         keeps_finite=True,
         doc="largest integer not above x",
         **EXACT)  # fmt: skip
function("ceil", "x", (None,), np.ceil, sympy="ceiling", domain=(ANY,), convention="no derivative",
         keeps_finite=True,
         doc="smallest integer not below x", **EXACT)  # fmt: skip
function("rint", "x", (None,), np.rint, exact="nint", domain=(ANY,),
         sympy=lambda x: sp("floor", (2 * x + 1) / 4) + sp("ceiling", (2 * x - 1) / 4), convention="no derivative",
         keeps_finite=True,
         doc="the nearest integer, of two the even one", **EXACT)  # fmt: skip
function("heaviside", "x h", (None, "1 if x == 0 else 0"), np.heaviside,
         exact=lambda x, h: h if x == 0 else mp("mpf", int(x > 0)) if x == x else x,
         sympy="Heaviside", domain=(ANY, ANY), convention="h at 0; no derivative by x",
         keeps_finite=True, hands_on=True,
         doc="0 below 0, 1 above, h at 0",
         **EXACT)  # fmt: skip

# Exponentials and logarithms

LOG: dict[str, Any] = {"cost": 8, "domain": (POSITIVE,), "convention": "log(0) = -inf, NaN for x < 0"}


function("exp", "x", ("exp(x)",), np.exp, cost=8, domain=(ANY,),
         overflows=True, settles=True, never_negative=True, least=least.zero, preferred_name="e",
         curvature=1, monotone=1, doc="exponential", **accurate(0.9))  # fmt: skip
function("expm1", "x", ("exp(x)",), np.expm1, sympy=lambda x: sp("exp", x) - 1, cost=8, domain=(ANY,),
         overflows=True, settles=True,
         curvature=1, monotone=1, doc="exp(x) - 1, exact near 0", **accurate(0.95))  # fmt: skip
function("exp2", "x", (f"exp2(x)*{math.log(2.0)!r}",), np.exp2, exact=lambda x: mp("mpf", 2) ** x, sympy=lambda x: 2**x,
         cost=8, domain=(ANY,),
         overflows=True, settles=True, never_negative=True, least=least.zero,
         curvature=1, monotone=1, doc="2 to the power x", **accurate(0.95))  # fmt: skip
function("log", "x", ("1/x",), np.log, exact=lambda x: real(mp("log", x)),
         pole_at_zero=True,
         curvature=-1, monotone=1, doc="natural logarithm", **LOG,
         **accurate(0.95))  # fmt: skip
function("log1p", "x", ("1/(1 + x)",), np.log1p, exact=lambda x: real(mp("log1p", x)), sympy=lambda x: sp("log", 1 + x),
         cost=8, domain=((-0.99, 20.0),), convention="log1p(-1) = -inf, NaN below",
         curvature=-1, monotone=1, doc="log(1 + x), exact near 0", **accurate(0.95))  # fmt: skip
function("log2", "x", (f"{1 / math.log(2.0)!r}/x",), np.log2, exact=lambda x: real(mp("log", x, 2)),
         sympy=lambda x: sp("log", x, 2), curvature=-1, monotone=1,
         doc="logarithm to base 2", **LOG, **accurate(1.9))  # fmt: skip
function("log10", "x", (f"{1 / math.log(10.0)!r}/x",), np.log10, exact=lambda x: real(mp("log", x, 10)),
         sympy=lambda x: sp("log", x, 10), curvature=-1, monotone=1,
         doc="logarithm to base 10", **LOG, **accurate(2))  # fmt: skip
function("xlogy", "x y", ("log(y)", "x/y if x != 0 else 0"), scipy("xlogy"),
         exact=lambda x, y: x if x == 0 else real(x * mp("log", y)), sympy=lambda x, y: x * sp("log", y), cost=9,
         domain=(ANY, POSITIVE), steep=1, convention="0 where x = 0", doc="x log(y)", **accurate(1.8))  # fmt: skip

# Trigonometric and hyperbolic functions

UNIT = (-0.99, 0.99)
function("sin", "x", ("cos(x)",), np.sin, cost=8, domain=(ANY,),
         keeps_finite=True,
         doc="sine", **accurate(0.85))  # fmt: skip
function("cos", "x", ("-sin(x)",), np.cos, cost=8, domain=(ANY,),
         keeps_finite=True,
         doc="cosine", **accurate(0.85))  # fmt: skip
function("tan", "x", ("1 + tan(x)*tan(x)",), np.tan, cost=12, domain=((-1.5, 1.5),), tolerance=1e-13,
         doc="tangent", **accurate(2.3))  # fmt: skip
function("asin", "x", ("1/sqrt((1 - x)*(1 + x))",), np.arcsin, exact=lambda x: real(mp("asin", x)), cost=12,
         domain=(UNIT,), steep=-1, tolerance=1e-13, convention="NaN for |x| > 1", doc="inverse sine",
         **accurate(2.5))  # fmt: skip
function("acos", "x", ("-(1/sqrt((1 - x)*(1 + x)))",), np.arccos, exact=lambda x: real(mp("acos", x)), cost=12,
         domain=(UNIT,), steep=-1, tolerance=1e-13, convention="NaN for |x| > 1", doc="inverse cosine",
         **accurate(1.3))  # fmt: skip
function("atan", "x", ("1/(1 + x*x)",), np.arctan, cost=12, domain=(ANY,),
         keeps_finite=True,
         monotone=1, doc="inverse tangent", **accurate(1.6))  # fmt: skip
function("atan2", "y x", ("x/hypot(x, y)/hypot(x, y)", "-(y/hypot(x, y)/hypot(x, y))"), np.arctan2, cost=16,
         domain=(ANY, ANY), convention="the derivative at (0, 0) is NaN", doc="angle of the point (x, y)",
         **accurate(1.6))  # fmt: skip
function("sinh", "x", ("cosh(x)",), np.sinh, cost=12, domain=(ANY,),
         overflows=True,
         monotone=1, doc="hyperbolic sine", **accurate(2.3))  # fmt: skip
function("cosh", "x", ("sinh(x)",), np.cosh, cost=12, domain=(ANY,),
         overflows=True, never_negative=True,
         curvature=1, doc="hyperbolic cosine", **accurate(1.9))  # fmt: skip
function("tanh", "x", ("1 - tanh(x)*tanh(x)",), np.tanh, cost=12, domain=(ANY,),
         convention="the derivative loses digits far from 0: half of them at 10",
         keeps_finite=True, settles=True,
         monotone=1, doc="hyperbolic tangent",
         **accurate(0.75))  # fmt: skip
function("asinh", "x", ("1/hypot(1, x)",), np.arcsinh, cost=12, domain=(ANY,),
         monotone=1, doc="inverse hyperbolic sine", **accurate(2.5))  # fmt: skip
function("acosh", "x", ("1/(sqrt(x - 1)*sqrt(x + 1))",), np.arccosh, exact=lambda x: real(mp("acosh", x)), cost=12,
         domain=((1.1, 50.0),), steep=-1, convention="NaN for x < 1", doc="inverse hyperbolic cosine",
         **accurate(2.3))  # fmt: skip
function("atanh", "x", ("1/((1 - x)*(1 + x))",), np.arctanh, exact=lambda x: real(mp("atanh", x)), cost=12,
         domain=(UNIT,), tolerance=1e-13, convention="infinite at -1 and 1, NaN beyond",
         doc="inverse hyperbolic tangent", **accurate(2.2))  # fmt: skip

# Smooth steps and quotients


def sigmoid(x: Any) -> Any:
    """1/(1 + exp(-x)), accurate in both tails."""
    e = np.exp(-np.abs(x))
    return np.where(np.asarray(x) >= 0, 1, e) / (1 + e)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), accurate in both tails."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sinc(x: Any) -> Any:
    """sin(x)/x, 1 at 0."""
    safe = np.where(x == 0, 1, x)
    return np.where(x == 0, 1, np.where(np.isinf(x), 0, np.sin(safe) / safe))


def x_over_expm1(x: Any) -> Any:
    """x/(exp(x) - 1), 1 at 0; by exp(-x) above 0, where exp(x) would overflow."""
    up, down = np.clip(x, 0, None), np.clip(x, None, 0)
    above = np.where(up > 750, 0, np.where(up > 750, 0, up) * np.exp(-up) / np.where(up == 0, 1, -np.expm1(-up)))
    below = np.where(down == 0, 1, down) / np.where(down == 0, 1, np.expm1(down))
    return np.where(np.asarray(x) > 0, above, np.where(np.isnan(x), x, below))


def exact_ratio(x: Any) -> Any:
    """x/(exp(x) - 1) in high precision."""
    return mp("mpf", 1) if x == 0 else x / mp("expm1", x)


def exp_sum(x: Any, y: Any) -> Any:
    """exp(x + y), with what the sum loses in rounding put back."""
    s = np.add(x, y)
    back = s - x
    lost = (x - (s - back)) + (y - back)
    e = np.exp(s)
    return np.where(np.abs(s) < 750, e + np.where(np.isinf(e), 0, e) * lost, e)


def sech(x: Any) -> Any:
    """1/cosh(x) without overflow."""
    e = np.exp(-np.abs(x))
    return 2 * e / (1 + e * e)


def log_cosh(x: Any) -> Any:
    """log(cosh(x)) without overflow, accurate near 0."""
    a = np.abs(x)
    e = np.expm1(np.minimum(a, 1))
    return np.where(a < 1, np.log1p(e * e / (2 + 2 * e)), a - math.log(2) + np.log1p(np.exp(-2 * a)))


def log_erfc(x: Any) -> Any:
    """log(erfc(x)), where erfc(x) underflows and where it is near 1."""
    x = np.asarray(x)
    near, middle, far = np.minimum(x, 0.25), np.clip(x, 0.25, 3), np.maximum(x, 3)
    beyond = np.where(x < 3, np.log(scipy("erfc")(middle)), np.log(scipy("erfcx")(far)) - far * far)
    return np.where(x < 0.25, np.log1p(-scipy("erf")(near)), beyond)


LN2_STEP = 0.693145751953125  # the first 16 bits of log(2): its multiples up to 2,000 are exact in any precision


def log_high(x: Any) -> Any:
    """The multiple of LN2_STEP in log(x): times k, with x/2**k from sqrt(1/2) to sqrt(2)."""
    x = np.asarray(x)
    fraction, k = np.frexp(x)
    y = (k - (fraction < math.sqrt(0.5))) * np.asarray(LN2_STEP, x.dtype)
    return np.where(x > 0, np.where(np.isinf(x), x, y), np.where(x == 0, -np.inf, np.nan))


def log_low(x: Any) -> Any:
    """log(x) - log_high(x), computed so that nothing cancels."""
    x = np.asarray(x)
    fraction, k = np.frexp(x)
    up = fraction < math.sqrt(0.5)
    y = np.log1p(fraction * (1 + up) - 1) + (k - up) * (math.log(2) - LN2_STEP)
    return np.where((x > 0) & ~np.isinf(x), y, np.where(x >= 0, 0, np.nan))


def exact_log_high(x: Any) -> Any:
    """The multiple of LN2_STEP in log(x), in high precision."""
    if not 0 < x < math.inf:
        return real(mp("log", x))
    return LN2_STEP * mp("nint", mp("log", x, 2))


def exact_log_low(x: Any) -> Any:
    """What is left of log(x), in high precision; 0 where log_high is infinite."""
    return mp("log", x) - exact_log_high(x) if 0 < x < math.inf else 0 * real(mp("sqrt", x))


BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
SINC_SLOPE = horner([(-1) ** k * 2 * k / math.factorial(2 * k + 1) for k in range(1, 11)], "x*x")
RATIO_SLOPE = horner([b / math.factorial(2 * k + 1) for k, b in enumerate(BERNOULLI)], "x*x")
NEAR = "abs(x) < 1"
FAR = f"(1 if {NEAR} else x)"  # the closed form's argument, kept off the place where it cancels

function("sigmoid", "x", ("sigmoid(x)*sigmoid(-x)",), sigmoid, exact=lambda x: 1 / (1 + mp("exp", -x)),
         sympy=lambda x: 1 / (1 + sp("exp", -x)), cost=10, domain=((-40.0, 40.0),),
         keeps_finite=True, settles=True, never_negative=True, least=least.zero,
         monotone=1, doc="logistic function 1/(1 + exp(-x))", **accurate(0.8))  # fmt: skip
function("softplus", "x", ("sigmoid(x)",), softplus, exact=lambda x: mp("log1p", mp("exp", x)),
         sympy=lambda x: sp("log", 1 + sp("exp", x)), cost=18, domain=((-40.0, 40.0),),
         keeps_finite=True, settles=True, never_negative=True, least=least.zero,
         curvature=1, monotone=1, doc="log(1 + exp(x))",
         **accurate(1.9))  # fmt: skip
function("sinc", "x", (f"x*({SINC_SLOPE}) if {NEAR} else (cos({FAR}) - sinc({FAR}))/{FAR}",), sinc, cost=9,
         domain=(ANY,), convention="1 at 0", doc="sin(x)/x", **accurate(1.7))  # fmt: skip
RATIO_FAR = f"(1 - x_over_expm1(-{FAR}))*(x_over_expm1({FAR})/{FAR})"  # in range as far as the function is
function("x_over_expm1", "x", (f"-0.5 + x*({RATIO_SLOPE}) if {NEAR} else {RATIO_FAR}",),
         x_over_expm1, exact=exact_ratio, sympy=lambda x: x / (sp("exp", x) - 1), cost=9, domain=((-40.0, 40.0),),
         convention="1 at 0", doc="x/(exp(x) - 1)", **accurate(3))  # fmt: skip

function("sech", "x", ("-(sech(x)*tanh(x))",), sech, cost=10, domain=(ANY,),
         settles=True, never_negative=True,
         doc="1/cosh(x), without overflow",
         **accurate(2.3))  # fmt: skip
function("log_cosh", "x", ("tanh(x)",), log_cosh, exact=lambda x: mp("log1p", 2 * mp("sinh", x / 2) ** 2),
         sympy=lambda x: sp("log", sp("cosh", x)), cost=30, domain=(ANY,), curvature=1,
         doc="log(cosh(x)), without overflow",
         **accurate(4))  # fmt: skip
function("exp_sum", "x y", ("exp_sum(x, y)", "exp_sum(x, y)"), exp_sum, exact=lambda x, y: mp("exp", x + y),
         sympy=lambda x, y: sp("exp", x + y), cost=14, domain=(ANY, ANY),
         overflows=True, settles=True,
         doc="exp(x + y), as if x + y were exact",
         **accurate(1.5, 4.0))  # fmt: skip
PARTS: dict[str, Any] = {"cost": 8, "domain": ((0.75, 1.4),), "convention": "the two parts add up to log(x) everywhere"}
function("log_high", "x", (None,), log_high, exact=exact_log_high, sympy=lambda x: sp("Integer", 0),
         doc="the multiple of 0.693145751953125 in log(x), no derivative", **PARTS, **EXACT)  # fmt: skip
function("log_low", "x", ("1/x",), log_low, exact=exact_log_low, sympy="log", accuracy="an ulp of 0.36", ulps=2.0,
         doc="log(x) - log_high(x), less than 0.36 in size", **PARTS)  # fmt: skip

# Special functions

SPECIAL = "SciPy's: about 16 ulp, where the function isn't near a zero"
TAIL = "if abs(x) < 30 else 0"  # beyond, exp(-x**2) is 0, whatever it is multiplied with
ERFCX_SLOPE = (
    -2.0725443900813727, 3.4995148626922368, -3.9421876007354846, 3.4868216767651914, -2.5243126255859027,
    1.5023547128862869, -0.7192609778295854, 0.2598568721478581, -0.05753712980996124, -0.0017409400517815383,
    0.006950515210459004, -0.002165364531146778, -0.0001979152983920089, 0.0003297320137161514, -4.9093545586442885e-05,
    -3.622941307883733e-05, 1.3148685009271532e-05, 3.4608442579264426e-06, -2.3659628266757696e-06,
    -2.2577134586907528e-07, 3.2344743204514596e-07, -1.3253627523334513e-08, -1.6370111171229066e-08,
)  # fmt: skip
ERFCX_FAR = f"({horner(list(ERFCX_SLOPE), '(1 - 8/(x + 4))')})/(x + 4)/(x + 4)"  # nothing cancels, whatever x is
function("erf", "x", (f"exp(-(x*x))*{2 / math.sqrt(math.pi)!r} {TAIL}",), scipy("erf"), cost=12,
         domain=((-6.0, 6.0),),
         keeps_finite=True, settles=True,
         monotone=1, doc="error function", **accurate(1))  # fmt: skip
function("erfc", "x", (f"exp(-(x*x))*{-2 / math.sqrt(math.pi)!r} {TAIL}",), scipy("erfc"), cost=12,
         domain=((-5.0, 5.0),),
         keeps_finite=True, settles=True, never_negative=True,
         monotone=-1, doc="1 - erf(x), accurate for large x", **accurate(3, 32.0))  # fmt: skip
function("erfcx", "x", (f"{ERFCX_FAR} if x > 0.5 else 2*x*erfcx(x) - {2 / math.sqrt(math.pi)!r}",), scipy("erfcx"),
         exact=lambda x: mp("exp", x * x) * mp("erfc", x), sympy=lambda x: sp("exp", x * x) * sp("erfc", x), cost=16,
         domain=((-3.0, 30.0),), tolerance=1e-13, curvature=1, monotone=-1, doc="exp(x**2) erfc(x), without underflow",
         **accurate(3, 8.0))  # fmt: skip
function("log_erfc", "x", (f"{-2 / math.sqrt(math.pi)!r}/erfcx(x) if x > -30 else 0",), log_erfc,
         exact=lambda x: mp("log1p", -mp("erf", x)) if x < 0.5 else mp("log", mp("erfc", x)),
         sympy=lambda x: sp("log", sp("erfc", x)), cost=40, domain=((-5.0, 50.0),), tolerance=1e-13,
         curvature=-1, monotone=-1, doc="log(erfc(x)), accurate in both tails", **accurate(4.5, 8.0))  # fmt: skip
function("gamma", "x", ("gamma(x)*digamma(x)",), scipy("gamma"), cost=40, domain=((0.1, 20.0),), accuracy=SPECIAL,
         ulps=16.0, tolerance=1e-13, convention="NaN at negative integers",
         overflows=True,
         doc="gamma function")  # fmt: skip
function("lgamma", "x", ("digamma(x)",), scipy("gammaln"), exact=lambda x: mp("log", abs(mp("gamma", x))),
         sympy="loggamma", cost=40, domain=((2.5, 50.0),), accuracy=SPECIAL, ulps=16.0, tolerance=1e-13,
         doc="log|gamma(x)|")  # fmt: skip


# Functions of an integer order, which is a parameter of the node


def register_ordered(name: str, value: Value, partial: Callable[[Node], Node], derivative: str, **record: Any) -> None:
    """Register a function of an integer order and one argument, printed as name(order, x)."""
    register(Op(name, elementwise, value, f"{name}({{p0}}, {{0}})", partials=lambda n: (partial(n),), cost=40,
                derivative=derivative, accuracy=SPECIAL, ulps=64.0, tolerance=1e-13, **record))  # fmt: skip


def of_order(name: str, n: Node, order: int) -> Node:
    """The function of another order at the node's argument."""
    return apply(name, n.args[0], params=(order,))


def scaled(factor: float, x: Node) -> Node:
    """factor * x."""
    return const(factor, x.type.dtype) * x


def bessel_slope(n: Node, lower: float, upper: float) -> Node:
    """(lower * B(k-1) + upper * B(k+1)) / 2 for order k, with B(-1) folded onto B(1)."""
    name, k = n.op.name, n.params[0]
    if k == 0:
        return scaled(upper, of_order(name, n, 1))
    return scaled(lower / 2, of_order(name, n, k - 1)) + scaled(upper / 2, of_order(name, n, k + 1))


def lambert_slope(n: Node) -> Node:
    """exp(-w)/(1 + w), which is w/(x (1 + w)) and holds at x = 0."""
    one = const(1.0, n.type.dtype)
    return apply("exp", -n) / (one + n)


def lambertw(x: Any, branch: int) -> Any:
    """A real branch of Lambert's W, NaN where it isn't real."""
    w = scipy("lambertw")(x, branch)
    return np.where(np.imag(w) == 0, np.real(w), np.nan)


function("digamma", "x", ("polygamma[1](x)",), scipy("digamma"), cost=40, domain=((0.1, 20.0),), accuracy=SPECIAL,
         ulps=16.0, tolerance=1e-13, doc="derivative of log(gamma(x))")  # fmt: skip
register_ordered("polygamma", lambda x, k: scipy("polygamma")(k, x),
        lambda n: of_order("polygamma", n, n.params[0] + 1),
        "d polygamma(n, x)/dx = polygamma(n + 1, x)", exact=lambda x, k: mp("psi", k, x),
        sympy=lambda x, k: sp("polygamma", k, x), domain=((0.5, 20.0),), orders=(1, 2, 3),
        doc="derivative of digamma, n times")  # fmt: skip
register_ordered("besselj", lambda x, k: scipy("jv")(k, x), lambda n: bessel_slope(n, 1.0, -1.0),
        "d besselj(n, x)/dx = (besselj(n - 1, x) - besselj(n + 1, x))/2", exact=lambda x, k: mp("besselj", k, x),
        sympy=lambda x, k: sp("besselj", k, x), domain=((0.1, 20.0),), orders=(0, 1, 2, 5),
        doc="Bessel function, first kind")  # fmt: skip
register_ordered("bessely", lambda x, k: scipy("yv")(k, x), lambda n: bessel_slope(n, 1.0, -1.0),
        "d bessely(n, x)/dx = (bessely(n - 1, x) - bessely(n + 1, x))/2", exact=lambda x, k: real(mp("bessely", k, x)),
        sympy=lambda x, k: sp("bessely", k, x), domain=((0.5, 20.0),), orders=(0, 1, 2, 5),
        convention="-inf at 0, NaN below", doc="Bessel function, second kind")  # fmt: skip
register_ordered("besseli", lambda x, k: scipy("iv")(k, x), lambda n: bessel_slope(n, 1.0, 1.0),
        "d besseli(n, x)/dx = (besseli(n - 1, x) + besseli(n + 1, x))/2", exact=lambda x, k: mp("besseli", k, x),
        sympy=lambda x, k: sp("besseli", k, x), domain=((0.1, 20.0),), orders=(0, 1, 2, 5),
        doc="modified Bessel function, first kind")  # fmt: skip
register_ordered("besselk", lambda x, k: scipy("kv")(k, x), lambda n: bessel_slope(n, -1.0, -1.0),
        "d besselk(n, x)/dx = -(besselk(n - 1, x) + besselk(n + 1, x))/2", exact=lambda x, k: real(mp("besselk", k, x)),
        sympy=lambda x, k: sp("besselk", k, x), domain=((0.5, 20.0),), orders=(0, 1, 2, 5),
        convention="inf at 0, NaN below", doc="modified Bessel function, second kind")  # fmt: skip
register(Op("lambertw", elementwise, lambertw, "lambertw({0}, {p0})", partials=lambda n: (lambert_slope(n),), cost=40,
            exact=lambda x, k: real(mp("lambertw", x, k)), sympy=lambda x, k: sp("LambertW", x, k),
            domain=((-0.36, -0.01),), steep=-1, derivative="d lambertw(x)/dx = exp(-lambertw(x))/(1 + lambertw(x))",
            convention="NaN below -1/e; branch -1 is NaN above 0", accuracy="8 ulp, near -1/e 32 ulp", ulps=8.0,
            tolerance=1e-12, orders=(0, -1), doc="the real w with w exp(w) = x, on branch 0 or -1"))  # fmt: skip

# Comparisons, logic, selection


TRUTH_RECORD: dict[str, Any] = {"derivative": "none", "accuracy": "exact", "ulps": 0.0, "keeps_finite": True}


def register_truth(name: str, value: Value, symbol: str, exact: Value, sympy: str, **record: Any) -> None:
    """Register an op that gives a truth value, which has no derivative."""
    record = {"arity": 2, "domain": (ANY, ANY), **TRUTH_RECORD, **record}
    emit = f"{{0}} {symbol} {{1}}" if record["arity"] != 1 else f"{symbol} {{0}}"
    register(Op(name, predicate, value, emit, exact=exact, sympy=sympy, **record))


TRUTH = (0.0, 1.0)
register_truth("lt", np.less, "<", lambda x, y: x < y, "StrictLessThan",
      is_comparison=True, preferred_name="is_less",
      between=("below", "above"),
      doc="x < y; false for NaN")  # fmt: skip
register_truth("le", np.less_equal, "<=", lambda x, y: x <= y, "LessThan",
      is_comparison=True, preferred_name="is_less",
      between=("up_to", "from"),
      doc="x <= y; false for NaN")  # fmt: skip
register_truth("eq", np.equal, "==", lambda x, y: x == y, "Equality",
      is_comparison=True, is_commutative=True, preferred_name="is_equal",
      between=("is", "is"),
      doc="x = y; false for NaN")  # fmt: skip
register_truth("ne", np.not_equal, "!=", lambda x, y: x != y, "Unequality",
      is_comparison=True, is_commutative=True, preferred_name="differs",
      between=("is_not", "is_not"),
      doc="x differs from y; true for NaN")  # fmt: skip
register_truth("and", lambda *xs: reduce(np.logical_and, xs), "&", lambda *xs: all(xs), "And", arity=None,
      domain=(TRUTH, TRUTH),
      is_connective=True, is_commutative=True, preferred_name="all_hold",
      between=("and", "and"),
      doc="all are true")  # fmt: skip
register_truth("or", lambda *xs: reduce(np.logical_or, xs), "|", lambda *xs: any(xs), "Or", arity=None,
      domain=(TRUTH, TRUTH),
      is_connective=True, is_commutative=True, preferred_name="any_holds",
      between=("or", "or"),
      doc="some are true")  # fmt: skip
register_truth("xor", np.logical_xor, "^", lambda x, y: bool(x) != bool(y), "Xor", domain=(TRUTH, TRUTH),
      is_connective=True, is_commutative=True,
      doc="one is true")  # fmt: skip
register_truth("not", np.logical_not, "not", lambda x: not x, "Not", arity=1, domain=(TRUTH,),
      is_connective=True, preferred_name="fails",
      doc="x is false")  # fmt: skip


def select_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The type of the chosen values; the condition has a part in the shape only."""
    return ArrayType(broadcast(*(t.shape for t in types)), promote(types[1].dtype, types[2].dtype))


register(Op("select", select_type, lambda c, x, y, *marks: np.where(c, x, y), "{1} if {0} else {2}",
            partials=partials("c x y", None, "1 if c else 0", "1 if not c else 0"), arity=3,
            exact=lambda c, x, y, *marks: x if c else y,
            sympy=lambda c, x, y: sp("Piecewise", (x, c), (y, True)), domain=(TRUTH, ANY, ANY), ulps=0.0,
            accuracy="exact",
            derivative="d select(c, x, y)/dx = 1 if c else 0; d select(c, x, y)/dy = 1 if not c else 0",
            convention="nothing, NaN included, comes back from the branch not taken",
            keeps_finite=True, hands_on=True, is_algebraic=True, least=lambda x, _: min(x[1:]), preferred_name="branch",
            ends_functions=True,
            doc="x where c is true, else y"))  # fmt: skip
register(Op("stop_gradient", elementwise, lambda x: x, "{0}", partials=lambda n: (None,), exact=lambda x: x,
            sympy=lambda x: x, cost=0, domain=(ANY,), derivative="d stop_gradient(x)/dx = 0",
            convention="taken for a constant", accuracy="exact", ulps=0.0,
            keeps_finite=True, least=least.of_first, is_copy=True, keeps_literals=True, array_name="fixed", time=0,
            doc="x, without a derivative"))  # fmt: skip


# Which op a node is

is_abs = named("abs")  # |x|
is_cosh = named("cosh")
is_erf = named("erf")
is_erfc = named("erfc")
is_exp = named("exp")
is_hypot = named("hypot")  # sqrt(x**2 + y**2)
is_log = named("log")
is_log1p = named("log1p")  # log(1 + x)
is_pow = named("pow")  # x**y
is_sigmoid = named("sigmoid")  # the logistic function of x
