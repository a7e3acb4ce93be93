"""scipy.special's functions that do not hand symbolic arrays on, under their names; its ufuncs take these themselves.

>>> import gradcompile as gc
>>> from gradcompile import special
>>> special.logsumexp(gc.array("x", ("n", 3)), axis=1).shape
('n',)
"""

import math
from typing import Any

import numpy
from scipy import special

from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.frontend import nn
from gradcompile.frontend.arrays.core import Array, lift, of_numbers
from gradcompile.frontend.arrays.ufuncs import elementwise, floating
from gradcompile.ir.core import apply
from gradcompile.tracebacks import entries

np: Any = numpy  # whose stubs know numbers alone, as SciPy's do
sc: Any = special
OWN = ("comb", "factorial", "lambertw", "log_softmax", "logsumexp", "multigammaln", "perm", "polygamma", "softmax",
       "spherical_in", "spherical_jn", "spherical_kn", "spherical_yn", "zeta")  # fmt: skip


def __getattr__(name: str) -> Any:
    """A ufunc of scipy.special: it takes symbolic arrays, or says that there is no such function for them."""
    found = getattr(sc, name, None)
    if name.startswith("_") or not isinstance(found, numpy.ufunc):
        raise AttributeError(f"gradcompile.special has no {name!r}; it has scipy.special's ufuncs and {', '.join(OWN)}")
    return found


def is_symbolic(*xs: Any) -> bool:
    """Whether one of these is a symbolic array."""
    return any(isinstance(x, Array) for x in xs)


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """log(sum(b*exp(a))) over axes, without overflow."""
    if not is_symbolic(a, b):
        return sc.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=return_sign)
    if b is None and not return_sign:
        return nn.logsumexp(a, axis, keepdims)
    x, weights = np.broadcast_arrays(Array(lift(a)), Array(lift(1.0 if b is None else b)))
    high = nn.stop_gradient(np.max(np.where(weights == 0.0, -np.inf, x), axis=axis, keepdims=True))
    high = np.where(np.isfinite(high), high, 0.0)
    total = np.sum(np.where(weights == 0.0, 0.0, weights * np.exp(np.where(weights == 0.0, 0.0, x - high))), axis=axis,
                   keepdims=keepdims)  # fmt: skip
    found = np.log(np.abs(total) if return_sign else total) + (high if keepdims else np.sum(high, axis=axis))
    return (found, np.sign(total)) if return_sign else found


def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x)/sum(exp(x)) over axes, of all entries unless some are given."""
    if axis is None or isinstance(axis, tuple | list):
        return np.exp(x - logsumexp(x, axis, keepdims=True)) if is_symbolic(x) else sc.softmax(x, axis)
    return nn.softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """x - log(sum(exp(x))) over axes, of all entries unless some are given."""
    if axis is None or isinstance(axis, tuple | list):
        return x - logsumexp(x, axis, keepdims=True) if is_symbolic(x) else sc.log_softmax(x, axis)
    return nn.log_softmax(x, axis)


def polygamma(n: Any, x: Any) -> Any:
    """The derivative of digamma, n times."""
    if not is_symbolic(n, x):
        return sc.polygamma(n, x)
    if is_symbolic(n) or np.ndim(n) or int(n) != n or n < 0:
        raise ExpressionError(f"polygamma of the order {n!r}: one whole number from 0 on is needed")
    node = floating(lift(x))
    return Array(elementwise("digamma", node) if n == 0 else apply("polygamma", node, params=(int(n),)))


def multigammaln(a: Any, d: int) -> Any:
    """The logarithm of the gamma function of d dimensions."""
    if not is_symbolic(a):
        return sc.multigammaln(a, d)
    return 0.25 * d * (d - 1) * math.log(math.pi) + sum(sc.gammaln(a - 0.5 * k) for k in range(d))


@of_numbers
def zeta(x: Any, q: Any = None) -> Any:
    """Hurwitz's zeta function, Riemann's for q = 1."""
    if not is_symbolic(x, q):
        return sc.zeta(x, q)
    return Array(elementwise("zeta", floating(lift(x)), floating(lift(1.0 if q is None else q))))


def factorial(n: Any, exact: bool = False) -> Any:
    """gamma(n + 1), 0 for negative n."""
    if not is_symbolic(n):
        return sc.factorial(n, exact)
    return np.where(n < 0, 0.0, sc.gamma(np.where(n < 0, 0, n) + 1.0))


def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    """The number of ways to choose k of N; 0 where there is none."""
    if not is_symbolic(N, k):
        return sc.comb(N, k, exact=exact, repetition=repetition)
    n = N + k - 1.0 if repetition else N
    there = (k >= 0) & (k <= n) & (n >= 0)
    return np.where(there, sc.binom(np.where(there, n, 1.0), np.where(there, k, 0.0)), 0.0)


def perm(N: Any, k: Any, exact: bool = False) -> Any:
    """The number of sequences of k of N; 0 where there is none."""
    if not is_symbolic(N, k):
        return sc.perm(N, k, exact)
    there = (k >= 0) & (k <= N) & (N >= 0)
    return np.where(there, sc.poch(np.where(there, N - k, 0.0) + 1.0, np.where(there, k, 0.0)), 0.0)


def spherical(name: str, of: Any, sign: float = 0.0) -> Any:
    """A spherical Bessel function, by the Bessel function of half an order more; derivatives by differentiation.

    sign: of the second term of its series at 0, beside the first; 0 if it is infinite there.
    """

    def build(n: int, z: Any, derivative: bool = False) -> Any:
        if derivative:
            raise ArgumentError("derivative=True: differentiate the function itself, by gradcompile.derivative")
        if not is_symbolic(z):
            return getattr(sc, name)(n, z)
        return ends(n, z) if sign else np.sqrt(0.5 * math.pi / z) * of(n + 0.5, z)

    def ends(n: int, z: Any) -> Any:
        """Those that are even or odd, and finite at 0, where two terms of the series are what there is of digits."""
        is_near = abs(z) < 2e-4
        size = np.where(is_near, 1.0, abs(z))
        far = np.sqrt(0.5 * math.pi / size) * of(n + 0.5, size)
        first = 1.0 / math.prod(range(1, 2 * n + 2, 2))
        near = np.where(is_near, z, 0.0)
        return np.where(is_near, first * near**n * (1.0 + sign * near * near / (4 * n + 6)),
                        far * np.sign(z) if n % 2 else far)  # fmt: skip

    return build


spherical_jn, spherical_yn = spherical("spherical_jn", sc.jv, -1.0), spherical("spherical_yn", sc.yv)
spherical_in, spherical_kn = spherical("spherical_in", sc.iv, 1.0), spherical("spherical_kn", sc.kv)


@of_numbers
def lambertw(z: Any, k: int = 0) -> Any:
    """The real w with w*exp(w) = z, on branch 0 or -1; NaN where it is not real."""
    if k not in (0, -1):
        raise ArgumentError(f"branch {k} of lambertw is not real; the real ones are 0 and -1")
    return Array(apply("lambertw", floating(lift(z)), params=(k,)))


entries(globals())
