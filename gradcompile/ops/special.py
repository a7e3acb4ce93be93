"""Special functions whose values are SciPy's: incomplete gamma and beta functions, integrals, elliptic functions, ...

The partials are algebra on the same functions. Where none is known, as by the order of a Bessel function, a derivative
is refused by name (`refuses`).
"""

import math
from typing import Any

import numpy as np

from gradcompile.ir.core import Node, apply, const
from gradcompile.ops.elementwise import SPECIAL, function, late, mp, of_order, real, register_ordered, scipy, sp

RECORD: dict[str, Any] = {"accuracy": SPECIAL, "ulps": 64.0, "tolerance": 1e-12, "cost": 60}
MANY = ("betainc", "betaincinv", "hyp1f1", "hyp2f1")  # that are of more than two arguments
TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2 * math.pi)


def part_of(name: str, k: int) -> Any:
    """One of the results of a function of SciPy."""
    return lambda x: scipy(name)(x)[k]


def computed(name: str) -> Any:
    """A function that the library computes, of arrays."""
    return lambda *args: np.vectorize(late("gradcompile.library.special", name), otypes=[float])(*args)


def owen(x: Any, y: Any) -> Any:
    """Owen's T in SymPy's terms."""
    t = sp("Dummy", "t")
    return sp("Integral", sp("exp", -(x**2) * (1 + t**2) / 2) / (1 + t**2), (t, 0, y)) / (2 * sp("acos", -1))


def exact_inverse(of: Any, start: str, *given: Any) -> Any:
    """The argument at which a function of mpmath has the last of the given values, from SciPy's on."""
    first = float(scipy(start)(*map(float, given)))
    return mp("findroot", lambda y: of(y) - given[-1], (first * (1 - 1e-9), first * (1 + 1e-9)))


def exact_student(v: Any, x: Any) -> Any:
    """Student's t distribution function, by the incomplete beta function in high precision."""
    tail = mp("betainc", v / 2, 0.5, 0, v / (v + x * x), True) / 2
    return tail if x < 0 else 1 - tail


# Inverse error functions, and what is between exponentials and error functions

function("erfinv", "x", (f"{1 / TWO_OVER_ROOT_PI!r}*exp(erfinv(x)*erfinv(x))",), scipy("erfinv"),
         domain=((-0.99, 0.99),), monotone=1, doc="the y with erf(y) = x", **RECORD)  # fmt: skip
function("erfcinv", "x", (f"{-1 / TWO_OVER_ROOT_PI!r}*exp(erfcinv(x)*erfcinv(x))",), scipy("erfcinv"),
         exact=lambda x: mp("erfinv", 1 - x), domain=((0.01, 1.9),), monotone=-1, doc="the y with erfc(y) = x",
         **RECORD)  # fmt: skip
function("ndtri", "x", (f"{ROOT_TWO_PI!r}*exp(0.5*(ndtri(x)*ndtri(x)))",), scipy("ndtri"),
         exact=lambda x: mp("sqrt", 2) * mp("erfinv", 2 * x - 1),
         sympy=lambda x: sp("sqrt", 2) * sp("erfinv", 2 * x - 1), domain=((0.01, 0.99),), monotone=1,
         doc="the quantile of the normal distribution", **RECORD)  # fmt: skip
function("erfi", "x", (f"{TWO_OVER_ROOT_PI!r}*exp(x*x)",), scipy("erfi"), domain=((-4.0, 4.0),), monotone=1,
         overflows=True, doc="-i erf(i x)", **{**RECORD, "ulps": 256.0})  # fmt: skip
function("dawsn", "x", ("1 - 2*(x*dawsn(x))",), scipy("dawsn"),
         exact=lambda x: mp("exp", -x * x) * mp("erfi", x) * mp("gamma", mp("mpf", 0.5)) / 2,
         sympy=lambda x: sp("exp", -(x**2)) * sp("erfi", x) * sp("gamma", sp("Rational", 1, 2)) / 2,
         domain=((-4.0, 4.0),), doc="Dawson's integral", **RECORD)  # fmt: skip
function("owens_t", "x y", (f"{-0.5 / ROOT_TWO_PI!r}*exp(-0.5*(x*x))*erf({math.sqrt(0.5)!r}*(x*y))",
                            f"{0.5 / math.pi!r}*exp(-0.5*((x*x)*(1 + y*y)))/(1 + y*y)"), scipy("owens_t"),
         exact=lambda x, y: mp("quad", lambda t: mp("exp", -(x * x) * (1 + t * t) / 2) / (1 + t * t), [0, y]) / (
             2 * mp("acos", -1)), sympy=owen, domain=((-2.0, 2.0), (-1.5, 1.5)), doc="Owen's T", **RECORD)  # fmt: skip

# Exponential and trigonometric integrals

function("expi", "x", ("exp(x)/x",), scipy("expi"), exact="ei", sympy="Ei", domain=((0.5, 20.0),), overflows=True,
         doc="exponential integral Ei", **RECORD)  # fmt: skip
function("exp1", "x", ("-exp(-x)/x",), scipy("exp1"), exact="e1", sympy=lambda x: sp("expint", 1, x),
         domain=((0.1, 20.0),), doc="exponential integral E1", **RECORD)  # fmt: skip
function("si", "x", ("sinc(x)",), part_of("sici", 0), sympy="Si", domain=((-20.0, 20.0),), doc="sine integral",
         **RECORD)  # fmt: skip
function("ci", "x", ("cos(x)/x",), part_of("sici", 1), sympy="Ci", domain=((0.1, 0.5),),
         doc="cosine integral", **RECORD)  # fmt: skip
function("shi", "x", ("sinh(x)/x if x != 0 else 1",), part_of("shichi", 0), sympy="Shi", domain=((-10.0, 10.0),),
         doc="hyperbolic sine integral", **RECORD)  # fmt: skip
function("chi", "x", ("cosh(x)/x",), part_of("shichi", 1), sympy="Chi", domain=((0.8, 10.0),),
         doc="hyperbolic cosine integral", **RECORD)  # fmt: skip
function("fresnels", "x", (f"sin({math.pi / 2!r}*(x*x))",), part_of("fresnel", 0), domain=((-2.0, 2.0),),
         doc="Fresnel's integral of the sine", **RECORD)  # fmt: skip
function("fresnelc", "x", (f"cos({math.pi / 2!r}*(x*x))",), part_of("fresnel", 1), domain=((-2.0, 2.0),),
         doc="Fresnel's integral of the cosine", **RECORD)  # fmt: skip
function("spence", "x", ("log(x)/(1 - x) if x != 1 else -1",), scipy("spence"), exact=lambda x: mp("polylog", 2, 1 - x),
         sympy=lambda x: sp("polylog", 2, 1 - x), domain=((1.3, 10.0),), doc="dilogarithm of 1 - x",
         **RECORD)  # fmt: skip


def expint_slope(n: Node) -> Node:
    """-E(k - 1, x); E(0, x) is exp(-x)/x."""
    x, k = n.args[0], n.params[0]
    return -of_order("expint", n, k - 1) if k > 1 else -(apply("exp", -x) / x)


register_ordered("expint", lambda x, k: scipy("expn")(k, x), expint_slope, "d expint(n, x)/dx = -expint(n - 1, x)",
        exact=lambda x, k: real(mp("expint", k, x)), sympy=lambda x, k: sp("expint", k, x), domain=((0.1, 20.0),),
        orders=(1, 2, 5), doc="generalised exponential integral")  # fmt: skip

# Incomplete gamma and beta functions, hypergeometric functions, zeta

function("lgamma_rise", "x y", ("digamma_rise(x, y)", "digamma(x + y)"), computed("lgamma_rise"),
         exact=lambda x, y: mp("loggamma", x + y) - mp("loggamma", x),
         sympy=lambda x, y: sp("loggamma", x + y) - sp("loggamma", x), domain=((0.5, 50.0), (0.01, 50.0)),
         doc="lgamma(x + y) - lgamma(x)", **RECORD)  # fmt: skip
function("digamma_rise", "x y", ("zeta(2, x + y) - zeta(2, x)", "zeta(2, x + y)"), computed("digamma_rise"),
         exact=lambda x, y: mp("digamma", x + y) - mp("digamma", x),
         sympy=lambda x, y: sp("digamma", x + y) - sp("digamma", x), domain=((0.5, 50.0), (0.01, 50.0)),
         doc="digamma(x + y) - digamma(x)", **RECORD)  # fmt: skip
DENSITY = "exp(xlogy(a - 1, x) - x - lgamma(a))"
LOG_BETA = "(lgamma(a) - lgamma_rise(b, a) if a < b else lgamma(b) - lgamma_rise(a, b))"
OF_BETA = f"exp((a - 1)*log(x) + (b - 1)*log1p(-x) - {LOG_BETA})"
INVERSE = "betaincinv(a, b, x)"
OVER_BETA = f"exp((1 - a)*log({INVERSE}) + (1 - b)*log1p(-{INVERSE}) + {LOG_BETA})"
Y = "gammaincinv(a, x)"
FAR_Y = "gammainccinv(a, x)"
OVER_GAMMA, OVER_FAR_GAMMA = (f"exp((1 - a)*log({y}) + {y} + lgamma(a))" for y in (Y, FAR_Y))
LOG_STUDENT = "(lgamma_rise(0.5*v, 0.5) - 0.5*log(v) - {half_log_pi!r} - 0.5*(v + 1)*log1p({x}*{x}/v))"
STUDENT = LOG_STUDENT.format(half_log_pi=0.5 * math.log(math.pi), x="x")
STUDENT_OF_QUANTILE = LOG_STUDENT.format(half_log_pi=0.5 * math.log(math.pi), x="stdtrit(v, x)")
BY_SHAPE_AND_X = f"{OF_BETA}*(log(x) + digamma_rise(a, b) if f != 0 else log1p(-x) + digamma_rise(b, a))"
# of Student's t by its degrees of freedom: of the beta function by the nearer end, and of its argument v/(v + x*x)
BY_FREEDOM = (
    "-0.25*sign({x})*(betainc_slope(0.5*v, 0.5, v/(v + {x}*{x}), 1) if v < {x}*{x} else "
    "-betainc_slope(0.5, 0.5*v, {x}*{x}/(v + {x}*{x}), 0)) - 0.5*{x}/v*{density}"
)


def exact_beta_slope(a: Any, b: Any, x: Any, f: Any) -> Any:
    """The derivative of betainc by one of its shapes, by differences in high precision."""
    return mp("diff", lambda p: mp("betainc", *((p, b) if f else (a, p)), 0, x, True), a if f else b)


def slope_of_beta(a: Any, b: Any, x: Any, f: Any) -> Any:
    """The derivative of betainc in SymPy's terms."""
    return sp("Derivative", sp("betainc_regularized", a, b, 0, x), b if f == 0 else a)


function("gammainc", "a x", ("gammainc_slope(a, x)", DENSITY), scipy("gammainc"),
         exact=lambda a, x: mp("gammainc", a, 0, x, True), sympy=lambda a, x: sp("lowergamma", a, x) / sp("gamma", a),
         domain=((0.5, 10.0), (0.5, 20.0)), doc="regularised lower incomplete gamma function", **RECORD)  # fmt: skip
function("gammaincc", "a x", ("-gammainc_slope(a, x)", f"-{DENSITY}"), scipy("gammaincc"),
         exact=lambda a, x: mp("gammainc", a, x, mp("mpf", "inf"), True),
         sympy=lambda a, x: sp("uppergamma", a, x) / sp("gamma", a), domain=((0.5, 10.0), (0.5, 10.0)),
         doc="regularised upper incomplete gamma function", **RECORD)  # fmt: skip


def exact_slope(a: Any, x: Any) -> Any:
    """The derivative of gammainc by its order, by differences in high precision."""
    return mp("diff", lambda order: mp("gammainc", order, 0, x, True), a)


function("gammainc_slope", "a x", (None, f"{DENSITY}*(log(x) - digamma(a))"), computed("gammainc_slope"),
         exact=exact_slope, sympy=lambda a, x: sp("Derivative", sp("lowergamma", a, x) / sp("gamma", a), a),
         refuses=(0,), domain=((0.5, 10.0), (0.5, 20.0)),
         doc="derivative of gammainc by its order", **{**RECORD, "ulps": 1e5, "tolerance": 1e-10})  # fmt: skip
function("betainc_slope", "a b x f", (None, None, BY_SHAPE_AND_X, "0"), computed("betainc_slope"),
         exact=lambda a, b, x, f: exact_beta_slope(a, b, x, f), refuses=(0, 1), sympy=slope_of_beta,
         domain=((0.5, 5.0), (0.5, 5.0), (0.1, 0.9), (0.0, 0.0)),
         doc="derivative of betainc by a, or by b where the last argument is 0",
         **{**RECORD, "ulps": 1e4})  # fmt: skip
function("betainc", "a b x", ("betainc_slope(a, b, x, 1)", "betainc_slope(a, b, x, 0)", OF_BETA),
         scipy("betainc"), exact=lambda a, b, x: mp("betainc", a, b, 0, x, True),
         sympy=lambda a, b, x: sp("betainc_regularized", a, b, 0, x),
         domain=((0.5, 5.0), (0.5, 5.0), (0.1, 0.9)), doc="regularised incomplete beta function", **RECORD)  # fmt: skip
function("betaincinv", "a b x", (f"-betainc_slope(a, b, {INVERSE}, 1)*{OVER_BETA}",
                                 f"-betainc_slope(a, b, {INVERSE}, 0)*{OVER_BETA}", OVER_BETA),
         scipy("betaincinv"),
         exact=lambda a, b, x: exact_inverse(lambda y: mp("betainc", a, b, 0, y, True), "betaincinv", a, b, x),
         sympy=lambda a, b, x: sp("Function", "betaincinv")(a, b, x),
         domain=((0.8, 5.0), (0.8, 5.0), (0.1, 0.9)), doc="the y with betainc(a, b, y) = x",
         **RECORD)  # fmt: skip
function("gammaincinv", "a x", (f"-gammainc_slope(a, {Y})*{OVER_GAMMA}", OVER_GAMMA),
         scipy("gammaincinv"),
         exact=lambda a, x: exact_inverse(lambda y: mp("gammainc", a, 0, y, True), "gammaincinv", a, x),
         sympy=lambda a, x: sp("Function", "gammaincinv")(a, x), domain=((0.8, 10.0), (0.1, 0.9)),
         doc="the y with gammainc(a, y) = x", **RECORD)  # fmt: skip
function("gammainccinv", "a x", (f"-gammainc_slope(a, {FAR_Y})*{OVER_FAR_GAMMA}", f"-{OVER_FAR_GAMMA}"),
         scipy("gammainccinv"),
         exact=lambda a, x: exact_inverse(lambda y: mp("gammainc", a, y, mp("mpf", "inf"), True), "gammainccinv", a, x),
         sympy=lambda a, x: sp("Function", "gammainccinv")(a, x), domain=((0.8, 10.0), (0.1, 0.9)),
         doc="the y with gammaincc(a, y) = x", **RECORD)  # fmt: skip
function("stdtr", "v x", (BY_FREEDOM.format(x="x", density=f"exp({STUDENT})"), f"exp({STUDENT})"),
         scipy("stdtr"), exact=exact_student, sympy=lambda v, x: sp("Function", "stdtr")(v, x),
         domain=((0.8, 9.0), (-5.0, 5.0)), doc="Student's t distribution function", **RECORD)  # fmt: skip
T = "stdtrit(v, x)"
function("stdtrit", "v x", (f"-({BY_FREEDOM.format(x=T, density=f'exp({STUDENT_OF_QUANTILE})')})"
                            f"*exp(-{STUDENT_OF_QUANTILE})", f"exp(-{STUDENT_OF_QUANTILE})"), scipy("stdtrit"),
         exact=lambda v, x: exact_inverse(lambda y: exact_student(v, y), "stdtrit", v, x),
         sympy=lambda v, x: sp("Function", "stdtrit")(v, x), domain=((0.8, 9.0), (0.05, 0.95)),
         doc="the y with stdtr(v, y) = x", **{**RECORD, "ulps": 256.0})  # fmt: skip
function("hyp1f1", "a b x", (None, None, "(a/b)*hyp1f1(a + 1, b + 1, x)"), scipy("hyp1f1"), refuses=(0, 1),
         sympy=lambda a, b, x: sp("hyper", [a], [b], x), domain=((0.5, 3.0), (1.0, 4.0), (-2.0, 2.0)),
         doc="confluent hypergeometric function", **RECORD)  # fmt: skip
function("hyp2f1", "a b c x", (None, None, None, "(a*b/c)*hyp2f1(a + 1, b + 1, c + 1, x)"), scipy("hyp2f1"),
         refuses=(0, 1, 2), sympy=lambda a, b, c, x: sp("hyper", [a, b], [c], x),
         domain=((0.5, 2.0), (0.5, 2.0), (2.5, 4.0), (-0.8, 0.8)),
         doc="Gauss's hypergeometric function", **RECORD)  # fmt: skip
function("zeta", "a x", ("zeta_slope(a, x)", "-a*zeta(a + 1, x)"), scipy("zeta"), sympy=lambda a, x: sp("zeta", a, x),
         domain=((1.5, 8.0), (0.5, 8.0)), doc="Hurwitz's zeta function for a > 1, x > 0",
         **RECORD)  # fmt: skip
function("zeta_slope", "a x", (None, "-zeta(a + 1, x) - a*zeta_slope(a + 1, x)"),
         computed("zeta_slope"),
         exact=lambda a, x: mp("zeta", a, x, 1), sympy=lambda a, x: sp("Derivative", sp("zeta", a, x), a), refuses=(0,),
         domain=((1.5, 8.0), (0.5, 8.0)), doc="derivative of zeta by its first argument",
         **{**RECORD, "ulps": 1e4})  # fmt: skip

# Elliptic integrals of the parameter m

function("ellipk", "x", ("(ellipk(x) - ellipd(x))/(2*(1 - x))",), scipy("ellipk"), sympy="elliptic_k",
         domain=((-5.0, 0.95),), doc="complete elliptic integral of the first kind", **RECORD)  # fmt: skip
function("ellipe", "x", ("-0.5*ellipd(x)",), scipy("ellipe"), sympy=lambda x: sp("elliptic_e", x),
         domain=((-5.0, 0.95),), doc="complete elliptic integral of the second kind", **RECORD)  # fmt: skip
D_SLOPE = "(ellipk(x) - ellipd(x))/(2*(1 - x)) - 0.5*ellipd(x)"
function("ellipd", "x", (f"({D_SLOPE})/x if x != 0 else {3 * math.pi / 32!r}",),
         lambda x: scipy("elliprd")(0.0, 1.0 - np.asarray(x), 1.0) / 3,
         exact=lambda x: mp("elliprd", 0, 1 - x, 1) / 3,
         sympy=lambda x: (sp("elliptic_k", x) - sp("elliptic_e", x)) / x, domain=((0.3, 0.9),),
         doc="(K(m) - E(m))/m", **RECORD)  # fmt: skip
ROOT = "sqrt(1 - y*(sin(x)*sin(x)))"
BY_M = f"ellipeinc(x, y)/(2*y*(1 - y)) - ellipkinc(x, y)/(2*y) - sin(2*x)/(4*(1 - y)*{ROOT})"
function("ellipkinc", "x y", (f"1/{ROOT}", BY_M),
         scipy("ellipkinc"), exact="ellipf", sympy="elliptic_f", domain=((0.1, 1.4), (0.2, 0.9)),
         doc="incomplete elliptic integral of the first kind; no derivative by m at 0 and 1", **RECORD)  # fmt: skip
function("ellipeinc", "x y", (ROOT, "(ellipeinc(x, y) - ellipkinc(x, y))/(2*y)"), scipy("ellipeinc"), exact="ellipe",
         sympy=lambda x, y: sp("elliptic_e", x, y), domain=((0.1, 1.4), (0.2, 0.9)),
         doc="incomplete elliptic integral of the second kind; no derivative by m at 0", **RECORD)  # fmt: skip

# Airy functions, and Bessel functions without their exponentials

AIRY: dict[str, Any] = {**RECORD, "domain": ((-2.0, 5.0),), "tolerance": 1e-11, "ulps": 256.0}
function("airyai", "x", ("airyaiprime(x)",), part_of("airy", 0), doc="Airy function Ai", **AIRY)
function("airyaiprime", "x", ("x*airyai(x)",), part_of("airy", 1), exact=lambda x: mp("airyai", x, 1),
         doc="derivative of Ai", **AIRY)  # fmt: skip
function(
    "airybi", "x", ("airybiprime(x)",), part_of("airy", 2), doc="Airy function Bi", **{**AIRY, "domain": ((0.0, 5.0),)}
)
function("airybiprime", "x", ("x*airybi(x)",), part_of("airy", 3), exact=lambda x: mp("airybi", x, 1),
         doc="derivative of Bi", **{**AIRY, "domain": ((0.0, 5.0),)})  # fmt: skip


def scaled_slope(n: Node, sign: float) -> Node:
    """The slope of exp(-sign*|x|)*B(k, x), with B(-1) = B(1)."""
    x, k = n.args[0], n.params[0]
    name, half = n.op.name, const(0.5 * sign, x.type.dtype)
    lower = of_order(name, n, abs(k - 1) if float(k).is_integer() else k - 1)
    own = n * apply("sign", x) if sign > 0 else n
    return half * (lower + of_order(name, n, k + 1)) - const(sign, x.type.dtype) * own


register_ordered("besselie", lambda x, k: scipy("ive")(k, x), lambda n: scaled_slope(n, 1.0),
        "d besselie(n, x)/dx = (besselie(n - 1, x) + besselie(n + 1, x))/2 - sign(x)*besselie(n, x)",
        exact=lambda x, k: mp("exp", -abs(x)) * mp("besseli", k, x),
        sympy=lambda x, k: sp("exp", -sp("Abs", x)) * sp("besseli", k, x), domain=((0.1, 20.0),), orders=(0, 1, 2),
        doc="exp(-|x|) times the modified Bessel function, first kind")  # fmt: skip
register_ordered("besselke", lambda x, k: scipy("kve")(k, x), lambda n: scaled_slope(n, -1.0),
        "d besselke(n, x)/dx = besselke(n, x) - (besselke(n - 1, x) + besselke(n + 1, x))/2",
        exact=lambda x, k: real(mp("exp", x) * mp("besselk", k, x)),
        sympy=lambda x, k: sp("exp", x) * sp("besselk", k, x), domain=((0.5, 20.0),), orders=(0, 1, 2),
        doc="exp(x) times the modified Bessel function, second kind")  # fmt: skip
