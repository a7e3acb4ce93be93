"""Functions that mean the same of SymPy expressions, symbolic arrays and numbers, for the formulas of densities."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
import sympy

from gradcompile.frontend import functions

Function = Callable[..., Any]
LOG_TWO, LOG_PI = math.log(2.0), math.log(math.pi)
HALF_LOG_TWO_PI = 0.5 * (LOG_TWO + LOG_PI)


def is_symbolic(x: Any) -> bool:
    """Whether this is an expression of SymPy."""
    return isinstance(x, sympy.Basic)


def both(of_arrays: Function, of_expressions: Function) -> Function:
    """One function of two forms."""
    return lambda *xs: of_expressions(*xs) if any(map(is_symbolic, xs)) else of_arrays(*xs)


def special(name: str) -> Function:
    """A function of scipy.special, which hands symbolic arrays on."""
    ufunc: Function = getattr(scipy.special, name)
    return ufunc


def student(df: Any, x: Any) -> Any:
    """The distribution function of Student's t in SymPy's terms, by the tail on the side of x."""
    tail = sympy.betainc_regularized(df / 2, 0.5, 0, df / (df + x * x)) / 2
    return functions.where(x < 0, tail, 1 - tail)


root_half = math.sqrt(0.5)
log = both(np.log, sympy.log)
log1p = both(np.log1p, lambda x: sympy.log(1 + x))
exp = both(np.exp, sympy.exp)
expm1 = both(np.expm1, lambda x: sympy.exp(x) - 1)
sqrt = both(np.sqrt, sympy.sqrt)
sin = both(np.sin, sympy.sin)
tan = both(np.tan, sympy.tan)
floor = both(np.floor, sympy.floor)
atan2 = both(np.arctan2, sympy.atan2)
absolute = both(np.abs, sympy.Abs)
sigmoid = both(special("expit"), functions.sigmoid)
log_sigmoid = both(special("log_expit"), functions.log_sigmoid)
logit = both(special("logit"), lambda x: sympy.log(x) - sympy.log(1 - x))
exprel = both(special("exprel"), lambda x: (sympy.exp(x) - 1) / x)
erf = both(special("erf"), sympy.erf)
erfc = both(special("erfc"), sympy.erfc)
ndtr = both(special("ndtr"), lambda x: sympy.erfc(-x / sympy.sqrt(2), evaluate=False) / 2)
log_ndtr = both(special("log_ndtr"), lambda x: sympy.log(sympy.erfc(-x / sympy.sqrt(2), evaluate=False) / 2))
ndtri = both(special("ndtri"), lambda q: sympy.sqrt(2) * sympy.erfinv(2 * q - 1))
lgamma = both(special("gammaln"), sympy.loggamma)
betaln = both(special("betaln"), lambda a, b: sympy.loggamma(a) + sympy.loggamma(b) - sympy.loggamma(a + b))
xlogy = both(special("xlogy"), lambda x, y: x * sympy.log(y))
xlog1py = both(special("xlog1py"), lambda x, y: x * sympy.log(1 + y))
gammainc = both(special("gammainc"), lambda a, x: sympy.lowergamma(a, x) / sympy.gamma(a))
gammaincc = both(special("gammaincc"), lambda a, x: sympy.uppergamma(a, x) / sympy.gamma(a))
gammaincinv, gammainccinv = special("gammaincinv"), special("gammainccinv")
erfcx = special("erfcx")
erfinv = both(special("erfinv"), sympy.erfinv)
stdtr = both(special("stdtr"), student)
stdtrit = special("stdtrit")
betainc = both(special("betainc"), lambda a, b, x: sympy.betainc_regularized(a, b, 0, x))
betaincinv = special("betaincinv")
i0e = both(special("i0e"), lambda x: sympy.exp(-sympy.Abs(x)) * sympy.besseli(0, x))
log_cosh = both(lambda x: np.logaddexp(x, -x) - LOG_TWO, lambda x: sympy.log(sympy.cosh(x)))
zeta = both(scipy.special.zeta, sympy.zeta)
where = functions.where


def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for x > 0."""
    if is_symbolic(x):
        return sympy.log(1 - sympy.exp(-x))
    is_near = x < LOG_TWO
    return np.where(
        is_near, np.log(-np.expm1(-np.where(is_near, x, 1.0))), np.log1p(-np.exp(-np.where(is_near, 1.0, x)))
    )


def within(x: Any, low: Any = None, high: Any = None) -> Any:
    """Whether x is between two bounds, of which each may be missing."""
    found = [x >= low] if low is not None else []
    found += [x <= high] if high is not None else []
    return found[0] if len(found) == 1 else found[0] & found[1]
